package node

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/member"
)

var _ server.Events = (*Node)(nil)

// events is the last things that happened on this node, numbered. A reader that
// was away for longer than the ring holds is told from the oldest on.
type events struct {
	mutex   sync.Mutex
	ring    []api.Event
	first   uint64 // number of ring[0]
	next    uint64
	changed chan struct{}
	source  string
	life    string // incarnation and start: ids do not repeat over restarts
}

// keptEvents bounds the ring.
const keptEvents = 4096

func newEvents(source, life string) *events {
	return &events{first: 1, next: 1, changed: make(chan struct{}), source: source, life: life}
}

func (e *events) add(kind, subject string, data map[string]any) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if len(e.ring) == keptEvents {
		e.ring = append(e.ring[:0:0], e.ring[keptEvents/4:]...)
		e.first += keptEvents / 4
	}
	e.ring = append(e.ring, api.Event{Schema: api.SchemaEvent, SpecVersion: "1.0", ID: fmt.Sprintf("%s/%d", e.life, e.next),
		Source: e.source, Type: "muster." + kind, Subject: subject, Time: time.Now().UTC().Format(time.RFC3339Nano), Data: data})
	e.next++
	close(e.changed)
	e.changed = make(chan struct{})
}

// from returns the events from a number on, and what tells of more.
func (e *events) from(at uint64) ([]api.Event, uint64, <-chan struct{}) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	at = max(at, e.first)
	if at >= e.next {
		return nil, e.next, e.changed
	}
	return e.ring[at-e.first : len(e.ring) : len(e.ring)], e.next, e.changed
}

// notify is told by the member what happens to jobs.
func (n *Node) notify(e member.Event) {
	n.events.add("job."+e.Type, e.Job.String(), e.Data)
	if e.End != nil {
		n.jobEnded(e.Job, *e.End)
	}
}

// Follow implements server.Events.
func (n *Node) Follow(ctx context.Context, after string, fn func(api.Event) error) error {
	at, err := n.events.position(after)
	if err != nil {
		return err
	}
	for {
		page, next, changed := n.events.from(at)
		for _, e := range page {
			if err := fn(e); err != nil {
				return err
			}
		}
		at = next
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *events) position(after string) (uint64, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	switch after {
	case "":
		return e.next, nil
	case "0":
		return e.first, nil
	}
	life, number, ok := cutLast(after)
	at, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil {
		return 0, &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("%q is no event id", after), Try: "the id of the last event seen, or 0"}
	}
	if life != e.life {
		return e.first, nil // another life's: everything here is news
	}
	return at + 1, nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}
