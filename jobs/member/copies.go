package member

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
)

// Bounds of what is kept for each member that brings ends of its jobs. Whoever is a
// member can certify jobs alone, as many as it likes, so what it has brought is
// counted, and the oldest of that makes room for the next: what others have brought
// first is not touched.
//
// No outcome is lost by it. The members of a job keep its certificate for as long as
// it is to be kept, and so does the node that submitted it; a copy here is where
// those look who know neither (protocol, section 12).
const (
	maxCopies     = 4096     // jobs
	maxCopied     = 16 << 20 // bytes of journal entries
	copiesASecond = 64
	copiesAtOnce  = 512
)

// copies is what is kept for others, by who brought it.
type copies struct {
	records int
	bytes   uint64

	mutex sync.Mutex
	of    map[admission.Key]*brought // no more than the network has members
}

func newCopies(records int, bytes uint64) *copies {
	return &copies{records: records, bytes: bytes, of: map[admission.Key]*brought{}}
}

// brought is what one member has brought.
type brought struct {
	turns turns

	mutex   sync.Mutex
	counted bool   // since the process began, or something was not written
	next    uint64 // number of the next
	records int
	bytes   uint64
}

func (c *copies) by(who admission.Key, now int64) *brought {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	b := c.of[who]
	if b == nil {
		b = &brought{turns: turns{left: copiesAtOnce * 1_000, at: now}}
		c.of[who] = b
	}
	return b
}

// turns is a bucket of thousandths of turns, that fills as milliseconds pass.
type turns struct {
	left, at int64
}

func (t *turns) take(now int64) bool {
	t.left = min(t.left+max(now-t.at, 0)*copiesASecond, copiesAtOnce*1_000)
	t.at = now
	if t.left < 1_000 {
		return false
	}
	t.left -= 1_000
	return true
}

// MayBring takes a turn of a member that brings something to be kept, and reports
// whether it had one. To be asked before what it brings is verified.
func (m *Member) MayBring(who admission.Key) bool {
	now := m.cfg.Clock()
	b := m.copies.by(who, now)
	m.copies.mutex.Lock()
	defer m.copies.mutex.Unlock()
	return b.turns.take(now)
}

// copied is one copy: what b/<bringer><number> holds.
type copied struct {
	_       struct{} `cbor:",toarray"`
	Job     consensus.JobID
	Request consensus.RequestID
	Owner   admission.Key
	Issued  int64
	Size    uint64 // of all its entries but this one
}

// KeepFor is Keep for a job that ended elsewhere and that one of its members brought.
// It makes room among what that one has brought before.
func (m *Member) KeepFor(ctx context.Context, who admission.Key, verdict consensus.Verdict, closed Closed) error {
	c, now := verdict.Charter, m.cfg.Clock()
	switch {
	case now > c.End:
		return fmt.Errorf("job %s need not be kept any more", verdict.Job)
	case c.Issued > now+skew:
		return fmt.Errorf("job %s is from the future", verdict.Job)
	}
	closed.Finished = min(closed.Finished, now)
	b := m.copies.by(who, now)
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if archived, err := m.Archived(verdict.Job); archived || errors.Is(err, ErrOpen) {
		return nil
	} else if err != nil {
		return err
	}
	entries, err := m.told(&closed, verdict)
	if err != nil {
		return err
	}
	if !closed.Copied { // not theirs to make room for
		err := m.cfg.Journal.Append(ctx, entries...)
		if err == nil {
			m.ended(verdict.Job)
		}
		return err
	}
	if err := m.count(who, b); err != nil {
		return err
	}
	one := copied{Job: verdict.Job, Request: c.Request, Owner: c.Owner, Issued: c.Issued, Size: bytesOf(entries)}
	freed, gone, err := m.makeRoom(who, b, one.Size)
	if err != nil {
		return err
	}
	value, err := dagcbor.Marshal(one)
	if err != nil {
		return err
	}
	entries = append(append(entries, journal.Entry{Key: copyKey(who, b.next), Value: value}), gone...)
	if err := m.cfg.Journal.Append(ctx, entries...); err != nil {
		b.counted = false // it may have been written all the same
		return err
	}
	b.next, b.records, b.bytes = b.next+1, b.records+1-freed.records, b.bytes+one.Size-freed.bytes
	m.ended(verdict.Job)
	return nil
}

// count reads, once, what a member brought before this process began.
func (m *Member) count(who admission.Key, b *brought) error {
	if b.counted {
		return nil
	}
	b.next, b.records, b.bytes = 0, 0, 0
	err := m.eachCopy(who, func(number uint64, c copied) bool {
		b.next, b.records, b.bytes = number+1, b.records+1, b.bytes+c.Size
		return true
	})
	b.counted = err == nil
	return err
}

type room struct {
	records int
	bytes   uint64
}

// makeRoom returns the entries that delete the oldest of what a member has brought,
// until size bytes more fit.
func (m *Member) makeRoom(who admission.Key, b *brought, size uint64) (freed room, gone []journal.Entry, err error) {
	fits := func() bool {
		return b.records-freed.records < m.copies.records && b.bytes-freed.bytes+size <= m.copies.bytes
	}
	if fits() {
		return freed, nil, nil
	}
	var failed error
	err = m.eachCopy(who, func(number uint64, c copied) bool {
		gone = append(gone, journal.Entry{Key: copyKey(who, number), Delete: true})
		var kept *Closed
		var ok bool
		if kept, ok, failed = (Archive{m.cfg.Journal}).Closed(c.Job); failed != nil {
			return false
		}
		if ok && kept.Copied { // and not, since, a job of this node's
			charter := &consensus.Charter{Request: c.Request, Owner: c.Owner, Issued: c.Issued}
			for _, key := range [][]byte{keyOf(prefixDone, c.Job), requestKey(charter, c.Job), timeKey(c.Issued, c.Job)} {
				gone = append(gone, journal.Entry{Key: key, Delete: true})
			}
		}
		freed.records, freed.bytes = freed.records+1, freed.bytes+c.Size
		return !fits()
	})
	if err == nil {
		err = failed
	}
	if err == nil && !fits() {
		err = fmt.Errorf("%d bytes to keep of one job", size)
	}
	return freed, gone, err
}

// eachCopy calls fn with what a member has brought, the oldest first, until it
// returns false.
func (m *Member) eachCopy(who admission.Key, fn func(number uint64, c copied) bool) error {
	prefix := keyOf(prefixCopy, who)
	return m.cfg.Journal.Scan(prefix, nil, func(key, value []byte) (bool, error) {
		if len(key) != len(prefix)+8 {
			return false, fmt.Errorf("a copy with a key of %d bytes", len(key))
		}
		var c copied
		if err := dagcbor.Unmarshal(value, &c); err != nil {
			return false, fmt.Errorf("a copy that %s brought: %w", who.Name(), err)
		}
		return fn(binary.BigEndian.Uint64(key[len(prefix):]), c), nil
	})
}

func copyKey(who admission.Key, number uint64) []byte {
	return binary.BigEndian.AppendUint64(keyOf(prefixCopy, who), number)
}

func bytesOf(entries []journal.Entry) (size uint64) {
	for _, e := range entries {
		size += uint64(len(e.Key) + len(e.Value))
	}
	return size
}
