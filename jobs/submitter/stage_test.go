package submitter

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	blocks "github.com/ipfs/go-block-format"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
	"github.com/muster-network/muster/store/storetest"
)

// stage is a submitter with a cast of members that say what a test lets them,
// in virtual time. What it does to disk and network stands in done, in order.
type stage struct {
	t     *testing.T
	n     *consensustest.Network
	s     *Submitter
	begun time.Time
	end   func() // of Run

	storetest.Memory
	mutex    sync.Mutex
	records  storetest.Records
	done     []string
	watched  map[consensus.JobID]func(Heard)
	charters map[consensus.JobID]*consensus.Charter
	offers   []offer
	voids    map[consensus.JobID]int
	decided  []consensus.JobID
	known    map[consensus.RequestID]Acknowledged
	slow     time.Duration // how long a sync of blocks takes
	// answers is what a member says to an offer or a void; nil: nothing.
	answers func(word string, seat int) *Heard
	fail    error // of appends
}

// job is the job that a record is about.
func (r *record) job() consensus.JobID { return consensus.JobID(dagcbor.Sum(r.Offer.Charter.Bytes)) }

type offer struct {
	to    admission.Key
	job   consensus.JobID
	bytes []byte // of the charter
}

func newStage(t *testing.T) *stage {
	st := &stage{t: t, n: consensustest.New(6), begun: time.Now(), known: map[consensus.RequestID]Acknowledged{},
		answers: func(string, int) *Heard { return nil }}
	st.start()
	return st
}

// start runs a submitter on the records that there are.
func (st *stage) start() {
	st.t.Helper()
	st.watched, st.voids = map[consensus.JobID]func(Heard){}, map[consensus.JobID]int{}
	st.charters = map[consensus.JobID]*consensus.Charter{}
	me := st.n.Nodes[0]
	s, err := New(Config{Network: st.n.ID, Policy: st.n.Genesis.Policy, Signer: me, Credential: func() admission.SignedCredential { return me.Credential },
		Quorum: st, Store: st, Journal: tape{st},
		Roll: func(context.Context) (*consensus.Roll, dagcbor.Link, error) { return st.n.RollMade, st.n.RollLink, nil },
		Known: func(id consensus.RequestID) (Acknowledged, bool, error) {
			a, ok := st.known[id]
			return a, ok, nil
		},
		Ended: func(job consensus.JobID) (Acknowledged, bool, error) {
			for _, a := range st.known {
				if a.Job == job {
					return a, true, nil
				}
			}
			return Acknowledged{}, false, nil
		},
		Decided: func(_ consensus.Offer, _ *consensus.Charter, job consensus.JobID, _ consensus.Conclusion) {
			st.mutex.Lock()
			defer st.mutex.Unlock()
			st.decided = append(st.decided, job)
		},
		Random: rand.NewChaCha8([32]byte{1}), Clock: st.now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		st.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	st.s, st.end = s, sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) && (st.fail == nil || !errors.Is(err, st.fail)) {
			st.t.Errorf("run ends with %v", err)
		}
	})
	st.t.Cleanup(st.end)
}

// restart takes up again what is on disk.
func (st *stage) restart() {
	st.t.Helper()
	st.end()
	st.offers, st.done = nil, nil
	st.start()
	if err := st.s.Recover(st.t.Context()); err != nil {
		st.t.Fatal(err)
	}
}

func (st *stage) now() int64 { return consensustest.Now + time.Since(st.begun).Milliseconds() }

func (st *stage) did(what string) { st.done = append(st.done, what) }

// Put implements store.Blocks.
func (st *stage) Put(ctx context.Context, blks ...blocks.Block) error {
	st.mutex.Lock()
	st.did("put")
	st.mutex.Unlock()
	return st.Memory.Put(ctx, blks...)
}

// Sync implements store.Blocks.
func (st *stage) Sync(ctx context.Context) error {
	select {
	case <-time.After(st.slow):
	case <-ctx.Done():
		return ctx.Err()
	}
	st.mutex.Lock()
	defer st.mutex.Unlock()
	st.did("sync")
	return nil
}

// tape is a stage's journal.
type tape struct{ *stage }

// Append implements Journal. It takes a while, as disks do.
func (st tape) Append(ctx context.Context, entries ...journal.Entry) error {
	select {
	case <-time.After(2 * time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	st.mutex.Lock()
	defer st.mutex.Unlock()
	if st.fail != nil {
		return st.fail
	}
	for _, e := range entries {
		if e.Delete {
			st.did("delete")
			continue
		}
		var r record
		if err := dagcbor.Unmarshal(e.Value, &r); err != nil {
			st.t.Error(err)
		}
		switch {
		case r.Acknowledged:
			st.did("record acknowledged")
		case r.Void:
			st.did("record void")
		default:
			st.did("record charter")
		}
	}
	return st.records.Append(ctx, entries...)
}

// Get implements Journal.
func (st tape) Get(key []byte) ([]byte, error) { return st.records.Get(key) }

// Scan implements Journal.
func (st tape) Scan(prefix, after []byte, fn func(key, value []byte) (bool, error)) error {
	return st.records.Scan(prefix, after, fn)
}

// Watch implements Quorum.
func (st *stage) Watch(job consensus.JobID, c *consensus.Charter, heard func(Heard)) {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	st.watched[job], st.charters[job] = heard, c
}

// Forget implements Quorum.
func (st *stage) Forget(job consensus.JobID) {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	delete(st.watched, job)
}

// Offer implements Quorum.
func (st *stage) Offer(_ context.Context, to admission.Key, job consensus.JobID, o consensus.Offer) error {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	st.did("offer")
	st.offers = append(st.offers, offer{to, job, o.Charter.Bytes})
	st.answer("offer", to, job)
	return nil
}

// Void implements Quorum.
func (st *stage) Void(_ context.Context, to admission.Key, job consensus.JobID) error {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	st.did("void")
	st.voids[job]++
	st.answer("void", to, job)
	return nil
}

// answer lets a member speak, a millisecond later.
func (st *stage) answer(word string, to admission.Key, job consensus.JobID) {
	seat, heard := st.charters[job].Place(to), st.watched[job]
	if h := st.answers(word, seat); h != nil && heard != nil {
		h.Seat = seat
		time.AfterFunc(time.Millisecond, func() { heard(*h) })
	}
}

// request is a job of four members under a key.
func (st *stage) request(key, arg string) Request {
	st.t.Helper()
	f := jobs.FileFor("cid:"+consensustest.Link("module").String(), []string{arg})
	f.Run.Quorum.Size = 4
	d := jobs.Defaults{Policy: st.n.Genesis.Policy}
	task, err := f.Task(consensustest.Link("module"), nil, nil, d)
	if err != nil {
		st.t.Fatal(err)
	}
	_, link, err := task.Seal(st.n.ID)
	if err != nil {
		st.t.Fatal(err)
	}
	spec, err := f.Spec(link, nil, d)
	if err != nil {
		st.t.Fatal(err)
	}
	spec.Resources.Disk = 0 // of which the nodes here say nothing
	return Request{Key: key, Spec: spec, Task: task, Class: consensus.Portable}
}

// outline is done, each run of one word said once.
func (st *stage) outline() string {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	return strings.Join(slices.Compact(slices.Clone(st.done)), ", ")
}

// stored are the records on disk.
func (st *stage) stored() []record {
	st.t.Helper()
	var all []record
	if err := (tape{st}).Scan(prefix, nil, func(_, value []byte) (bool, error) {
		var r record
		err := dagcbor.Unmarshal(value, &r)
		all = append(all, r)
		return true, err
	}); err != nil {
		st.t.Fatal(err)
	}
	return all
}

func (st *stage) listening() int {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	return len(st.watched)
}

// settle lets time pass, and what is due by then be done.
func settle(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func code(err error) string {
	var p *jobs.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

func says(kind consensus.Kind) *Heard { return &Heard{Kind: kind} }

// play runs a test in virtual time.
func play(t *testing.T, test func(t *testing.T, st *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t)
		test(t, st)
		st.end()
	})
}
