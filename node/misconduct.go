package node

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
)

// misconduct is the evidence that this node holds against others, each piece
// verified before it was kept:
//
//	e/<kind><peer><job>   when it was found, and the evidence
//
// One peer's misdeed of one kind in one job is kept once. Only members of the
// network can be accused, and of each a bounded number of misdeeds is kept, so
// the whole is bounded.
type misconduct struct {
	genesis []byte
	journal evidenceJournal
	clock   func() int64

	mutex  sync.Mutex
	held   map[misdeed]foundEvidence
	jobs   map[consensus.JobID][]misdeed
	barred map[admission.Key]bool // they equivocated, and are not drawn again

	unwritten sync.Map // by misdeed: the evidence that the journal has not taken yet
}

// evidenceJournal is what the evidence is kept in.
type evidenceJournal interface {
	AppendAsync(entries []journal.Entry, done func(error))
	Get(key []byte) ([]byte, error)
	Scan(prefix, after []byte, fn func(key, value []byte) (bool, error)) error
}

// misdeed is what evidence is known by.
type misdeed struct {
	kind consensus.Misconduct
	peer admission.Key
	job  consensus.JobID
}

// foundEvidence is what is in memory of a piece of evidence.
type foundEvidence struct {
	at int64 // Unix milliseconds
	id cid.Cid
}

type evidenceRecord struct {
	_        struct{} `cbor:",toarray"`
	Found    int64
	Evidence []byte
}

// How many misdeeds of a kind are kept of each peer. One equivocation proves all
// there is to prove, so the first stay; disagreements show whether a machine is
// still broken, so the newest do.
const (
	keptEquivocations = 4
	keptDisagreements = 64
)

var prefixEvidence = []byte("e/")

func (d misdeed) key() []byte {
	key := append(bytes.Clone(prefixEvidence), byte(d.kind))
	return append(append(key, d.peer[:]...), d.job[:]...)
}

// openMisconduct reads what evidence there is.
func openMisconduct(genesis []byte, j evidenceJournal, clock func() int64) (*misconduct, error) {
	m := &misconduct{genesis: genesis, journal: j, clock: clock, held: map[misdeed]foundEvidence{},
		jobs: map[consensus.JobID][]misdeed{}, barred: map[admission.Key]bool{}}
	err := j.Scan(prefixEvidence, nil, func(key, value []byte) (bool, error) {
		var r evidenceRecord
		if err := dagcbor.Unmarshal(value, &r); err != nil {
			return false, fmt.Errorf("journal: evidence: %w", err)
		}
		rest := key[len(prefixEvidence):]
		if len(rest) != 1+len(admission.Key{})+len(consensus.JobID{}) {
			return false, fmt.Errorf("journal: evidence under a key of %d bytes", len(key))
		}
		d := misdeed{kind: consensus.Misconduct(rest[0]), peer: admission.Key(rest[1:33]), job: consensus.JobID(rest[33:])}
		m.index(d, foundEvidence{r.Found, consensus.EvidenceID(r.Evidence)})
		return true, nil
	})
	return m, err
}

func (m *misconduct) index(d misdeed, found foundEvidence) {
	m.held[d] = found
	m.jobs[d.job] = append(m.jobs[d.job], d)
	if d.kind == consensus.Equivocated {
		m.barred[d.peer] = true
	}
}

// add verifies evidence and keeps it, unless it is known or enough is. It
// returns what the evidence shows and whether it is news.
func (m *misconduct) add(e *consensus.Evidence) (consensus.Finding, bool, error) {
	f, err := e.Verify(m.genesis)
	if err != nil {
		return f, false, err
	}
	data, err := e.Encode()
	if err != nil {
		return f, false, err
	}
	d := misdeed{f.Misconduct, f.Peer, f.Job}
	found := foundEvidence{m.clock(), consensus.EvidenceID(data)}
	value, err := dagcbor.Marshal(evidenceRecord{Found: found.at, Evidence: data})
	if err != nil {
		return f, false, err
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if _, known := m.held[d]; known {
		return f, false, nil
	}
	entries := []journal.Entry{{Key: d.key(), Value: value}}
	if oldest, full := m.full(d); full {
		if d.kind == consensus.Equivocated {
			return f, false, nil
		}
		m.drop(oldest)
		entries = append(entries, journal.Entry{Key: oldest.key(), Delete: true})
	}
	m.index(d, found)
	m.unwritten.Store(d, data)
	m.journal.AppendAsync(entries, func(error) { m.unwritten.Delete(d) }) // a journal that fails stops the node
	return f, true, nil
}

// full reports whether as much is held of a peer as is kept, and the oldest.
func (m *misconduct) full(d misdeed) (oldest misdeed, full bool) {
	n := 0
	for other, found := range m.held {
		if other.kind != d.kind || other.peer != d.peer {
			continue
		}
		if n++; n == 1 || found.at < m.held[oldest].at || found.at == m.held[oldest].at && bytes.Compare(other.job[:], oldest.job[:]) < 0 {
			oldest = other
		}
	}
	if d.kind == consensus.Equivocated {
		return oldest, n >= keptEquivocations
	}
	return oldest, n >= keptDisagreements
}

func (m *misconduct) drop(d misdeed) {
	delete(m.held, d)
	m.jobs[d.job] = slices.DeleteFunc(m.jobs[d.job], func(o misdeed) bool { return o == d })
	if len(m.jobs[d.job]) == 0 {
		delete(m.jobs, d.job)
	}
}

// knows reports whether evidence of that misdeed is held, or would not be kept.
func (m *misconduct) knows(d misdeed) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	_, known := m.held[d]
	return known || d.kind == consensus.Equivocated && m.barred[d.peer]
}

// bars reports whether a peer is proven to have equivocated.
func (m *misconduct) bars(peer admission.Key) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.barred[peer]
}

// state grows whenever somebody else is barred.
func (m *misconduct) state() uint64 {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return uint64(len(m.barred))
}

// digest names the set of those barred.
func (m *misconduct) digest() [32]byte {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	peers := make([]admission.Key, 0, len(m.barred))
	for peer := range m.barred {
		peers = append(peers, peer)
	}
	slices.SortFunc(peers, func(a, b admission.Key) int { return bytes.Compare(a[:], b[:]) })
	var all []byte
	for _, peer := range peers {
		all = append(all, peer[:]...)
	}
	return sha256.Sum256(all)
}

// in returns the misdeeds held of one job.
func (m *misconduct) in(job consensus.JobID) []misdeed {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return slices.Clone(m.jobs[job])
}

// heldEvidence is evidence with what it is known by.
type heldEvidence struct {
	misdeed
	foundEvidence
}

// list returns what is held and wanted, newest first.
func (m *misconduct) list(wanted func(misdeed) bool) []heldEvidence {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	var all []heldEvidence
	for d, found := range m.held {
		if wanted(d) {
			all = append(all, heldEvidence{d, found})
		}
	}
	slices.SortFunc(all, func(a, b heldEvidence) int {
		if c := cmp.Compare(b.at, a.at); c != 0 {
			return c
		}
		return bytes.Compare(a.misdeed.key(), b.misdeed.key())
	})
	return all
}

// read returns held evidence in its encoded form.
func (m *misconduct) read(d misdeed) ([]byte, error) {
	if data, ok := m.unwritten.Load(d); ok {
		return data.([]byte), nil
	}
	value, err := m.journal.Get(d.key())
	if err != nil {
		return nil, fmt.Errorf("journal: evidence: %w", err)
	}
	var r evidenceRecord
	err = dagcbor.Unmarshal(value, &r)
	return r.Evidence, err
}
