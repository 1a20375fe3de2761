package node

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
)

var (
	_ server.Events = (*Node)(nil)
	_ member.Events = (*events)(nil)
)

// events is what happened on this node, numbered, for whoever follows it. What
// became of jobs is kept in the journal; how they get on is told to those who
// listen, and soon forgotten (decision 016).
//
// Numbers grow, over restarts, too: they follow the clock in microseconds. They
// are told in their order: one whose append is under way holds back those after
// it, so that whoever has seen a number has missed none below it.
type events struct {
	journal     *journal.Journal
	source      string
	incarnation string
	clock       func() time.Time
	ended       func(consensus.JobID, member.End)

	mutex   sync.Mutex
	last    uint64 // number given last
	pruned  uint64 // highest number that was kept and is no more
	kept    int    // about as many are in the journal
	recent  []recent
	before  uint64 // all numbers above it are in recent
	changed chan struct{}
}

// recent is an event that is told from memory. It is put into words when
// somebody listens: most of the time nobody does.
type recent struct {
	number  uint64
	kind    string
	subject string
	at      time.Time
	data    map[string]any
	pending bool // its append is under way
}

// keptEvent is what n/<number> holds.
type keptEvent struct {
	_       struct{} `cbor:",toarray"`
	Type    string
	Subject string
	Time    int64 // Unix milliseconds
	Data    map[string]string
}

const (
	maxRecent = 1024   // events in memory
	maxKept   = 16_384 // in the journal, and up to pruneStep more
	pruneStep = 256    // as many go at once
	pageSize  = 256    // as many are read at once
)

var prefixEvent = []byte("n/")

// prunedKey holds the number of the last event that was pruned.
func prunedKey() []byte { return []byte("n:pruned") }

func eventKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(nil), prefixEvent...), number)
}

// openEvents goes on where the journal ends.
func openEvents(j *journal.Journal, source string, clock func() time.Time) (*events, error) {
	incarnation := j.Incarnation()
	e := &events{journal: j, source: source, incarnation: fmt.Sprintf("%x", incarnation[:]), clock: clock, changed: make(chan struct{}),
		ended: func(consensus.JobID, member.End) {}}
	value, err := j.Get(prunedKey())
	if err != nil && !errors.Is(err, journal.ErrNotFound) {
		return nil, err
	}
	if len(value) == 8 {
		e.pruned = binary.BigEndian.Uint64(value)
	}
	e.last = e.pruned
	err = j.Scan(prefixEvent, nil, func(key, _ []byte) (bool, error) {
		if len(key) != len(prefixEvent)+8 {
			return false, fmt.Errorf("journal: event key of %d bytes", len(key))
		}
		e.kept++
		e.last = binary.BigEndian.Uint64(key[len(prefixEvent):])
		return true, nil
	})
	e.before = e.last
	e.last = max(e.last, uint64(clock().UnixMicro())) // some were given that are nowhere any more
	return e, err
}

// Tell implements member.Events.
func (e *events) Tell(ev member.Event) { e.tell("job."+ev.Type, ev.Job.String(), ev.Data) }

// tell tells of something to those who listen, and keeps it in memory.
func (e *events) tell(kind, subject string, data map[string]any) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.add(kind, subject, data, false)
	e.news()
}

// Keep implements member.Events.
func (e *events) Keep(ev member.Event) ([]journal.Entry, func(error)) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	kept := keptEvent{Type: "job." + ev.Type, Subject: ev.Job.String(), Data: map[string]string{}}
	number, at := e.add(kept.Type, kept.Subject, ev.Data, true)
	kept.Time = at.UnixMilli()
	for name, word := range ev.Data {
		kept.Data[name] = fmt.Sprint(word)
	}
	value, err := dagcbor.Marshal(kept)
	if err != nil {
		panic(err) // words always encode
	}
	e.kept++
	entries := []journal.Entry{{Key: eventKey(number), Value: value}}
	if ev.Type != "accepted" { // a job's opening only adds; its end removes
		entries = append(entries, e.prune()...)
	}
	return entries, func(err error) {
		if e.settle(number, err) && ev.End != nil {
			e.ended(ev.Job, *ev.End)
		}
	}
}

// add gives an event its number. The caller holds the mutex.
func (e *events) add(kind, subject string, data map[string]any, pending bool) (uint64, time.Time) {
	at := e.clock()
	e.last = max(e.last+1, uint64(at.UnixMicro()))
	if len(e.recent) >= maxRecent {
		e.forget(maxRecent / 4)
	}
	e.recent = append(e.recent, recent{e.last, kind, subject, at, data, pending})
	return e.last, at
}

// forget drops the oldest events from memory, but for those not yet told.
func (e *events) forget(n int) {
	if told := slices.IndexFunc(e.recent, func(r recent) bool { return r.pending }); told >= 0 {
		n = min(n, told)
	}
	if n > 0 {
		e.before = e.recent[n-1].number
		e.recent = slices.Delete(e.recent, 0, n)
	}
}

func (e *events) news() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// settle tells an event whose append has ended, or withdraws it, and reports
// which. When nobody knows, because the node goes down, it and those after it
// stay untold: after the restart the journal says.
func (e *events) settle(number uint64, err error) bool {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	at := e.following(number - 1)
	switch {
	case err == nil:
		e.recent[at].pending = false
	case errors.Is(err, context.Canceled):
		return false
	default:
		e.recent = slices.Delete(e.recent, at, at+1)
	}
	e.news()
	return err == nil
}

// prune returns what removes the oldest events once there are too many, to go
// along with an append. The caller holds the mutex.
func (e *events) prune() []journal.Entry {
	if e.kept <= maxKept+pruneStep {
		return nil
	}
	var entries []journal.Entry
	last := e.pruned
	err := e.journal.Scan(prefixEvent, eventKey(e.pruned), func(key, _ []byte) (bool, error) {
		last = binary.BigEndian.Uint64(key[len(prefixEvent):])
		entries = append(entries, journal.Entry{Key: append([]byte(nil), key...), Delete: true})
		return len(entries) < pruneStep, nil
	})
	if err != nil || len(entries) == 0 {
		return nil // next time: the append will say what is wrong with the journal
	}
	e.pruned, e.kept = last, e.kept-len(entries)
	return append(entries, journal.Entry{Key: prunedKey(), Value: binary.BigEndian.AppendUint64(nil, last)})
}

func (e *events) show(number uint64, kind, subject string, at time.Time, data map[string]any) api.Event {
	return api.Event{Schema: api.SchemaEvent, SpecVersion: "1.0", ID: e.id(number), Source: e.source, Type: "muster." + kind,
		Subject: subject, Time: at.UTC().Format(timeFormat), Data: data}
}

const timeFormat = "2006-01-02T15:04:05.000Z"

func (e *events) id(number uint64) string { return fmt.Sprintf("%s/%d", e.incarnation, number) }

// Follow implements server.Events.
func (n *Node) Follow(ctx context.Context, after string, fn func(api.Event) error) error {
	return n.events.follow(ctx, after, fn)
}

func (e *events) follow(ctx context.Context, after string, fn func(api.Event) error) error {
	at, gap, err := e.position(after)
	if err != nil {
		return err
	}
	for {
		e.mutex.Lock()
		page, next, changed := e.told(at)
		old, before := at < e.before, e.before
		e.mutex.Unlock()
		if old {
			if page, next, err = e.read(at, before); err != nil {
				return err
			}
			// What was pruned, before or meanwhile, may be missing from the page.
			if pruned := e.prunedTo(); pruned > at {
				gap = true
			}
		}
		if gap {
			if err := fn(e.gap(after)); err != nil {
				return err
			}
			gap = false
		}
		for _, ev := range page {
			if err := fn(ev); err != nil {
				return err
			}
			after = ev.ID
		}
		at = next
		if old {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// following returns where in recent the events after a number begin. The caller
// holds the mutex.
func (e *events) following(number uint64) int {
	at, _ := slices.BinarySearchFunc(e.recent, number+1, func(r recent, n uint64) int { return cmp.Compare(r.number, n) })
	return at
}

// told returns the events in memory after a number, the number to go on from,
// and what tells of more. The caller holds the mutex.
func (e *events) told(at uint64) ([]api.Event, uint64, <-chan struct{}) {
	var page []api.Event
	for _, r := range e.recent[e.following(at):] {
		if r.pending {
			break
		}
		page, at = append(page, e.show(r.number, r.kind, r.subject, r.at, r.data)), r.number
	}
	return page, at, e.changed
}

// read returns kept events after a number, up to one where memory begins, and
// the number to go on from.
func (e *events) read(at, before uint64) ([]api.Event, uint64, error) {
	var page []api.Event
	next := before
	err := e.journal.Scan(prefixEvent, eventKey(at), func(key, value []byte) (bool, error) {
		number := binary.BigEndian.Uint64(key[len(prefixEvent):])
		if number > before {
			return false, nil
		}
		if len(page) == pageSize {
			next = at
			return false, nil
		}
		var kept keptEvent
		if err := dagcbor.Unmarshal(value, &kept); err != nil {
			return false, fmt.Errorf("journal: event %d: %w", number, err)
		}
		at = number
		data := make(map[string]any, len(kept.Data))
		for name, word := range kept.Data {
			data[name] = word
		}
		page = append(page, e.show(number, kept.Type, kept.Subject, time.UnixMilli(kept.Time), data))
		return true, nil
	})
	return page, next, err
}

func (e *events) prunedTo() uint64 {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.pruned
}

// gap says that events after an id were not kept: whoever followed them should
// look at the jobs themselves.
func (e *events) gap(after string) api.Event {
	return api.Event{Schema: api.SchemaEvent, SpecVersion: "1.0", ID: e.id(e.prunedTo()), Source: e.source, Type: api.EventGap,
		Time: e.clock().UTC().Format(timeFormat), Data: map[string]any{"after": after}}
}

// position returns the number to go on from, and whether an id says that events
// after it are missing.
func (e *events) position(after string) (at uint64, gap bool, err error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	switch after {
	case "":
		_, at, _ := e.told(e.before)
		return at, false, nil
	case "0":
		return e.pruned, false, nil
	}
	life, digits, ok := strings.Cut(after, "/")
	at, err = strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil {
		return 0, false, &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("%q is no event id", after), Try: "the id of the last event seen, or 0"}
	}
	// Another incarnation's journal is gone; a number that was never given comes
	// from a clock that was set back.
	if life != e.incarnation || at > e.last {
		return e.pruned, true, nil
	}
	return at, false, nil
}
