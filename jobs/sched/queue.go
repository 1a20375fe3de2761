package sched

import (
	"cmp"
	"errors"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

// Errors of Push.
var (
	ErrFull   = errors.New("sched: the queue is full")
	ErrQueued = errors.New("sched: the run is queued already")
)

// Limits bound a queue and set its pace. Times are milliseconds.
type Limits struct {
	Jobs     int    // most runs that wait
	Bytes    uint64 // most bytes that waiting runs hold
	Age      int64  // waiting that is worth one step of priority
	Patience int64  // waiting after which nothing overtakes the first
}

// DefaultLimits returns limits under which a run of priority 0 overtakes new
// ones of priority 100 after 100 seconds.
func DefaultLimits() Limits {
	return Limits{Jobs: 4096, Bytes: 1 << 30, Age: 1_000, Patience: 10_000}
}

// Item is a run that waits: a job's own, or its check of what another left.
type Item struct {
	ID       consensus.JobID
	Check    consensus.Hash // of what is checked; zero for a job's own run
	Priority uint64         // 0 to 100
	Need     jobs.Resources
	Bytes    uint64 // what is held for it while it waits
	Since    int64  // when it came, Unix milliseconds
}

// Queue holds runs until resources are free for them. It is not safe for
// concurrent use.
type Queue struct {
	limits   Limits
	waiting  []entry // in order
	bytes    uint64
	arrivals uint64
}

// entry is an item with its place. All ages grow alike, so the order of two
// entries never changes, and rank needs no clock.
type entry struct {
	Item
	rank    int64  // lower is first
	arrival uint64 // breaks ties
}

// NewQueue returns an empty queue.
func NewQueue(limits Limits) *Queue { return &Queue{limits: limits} }

// Push adds a run. It returns ErrFull when the queue's count or bytes would go
// over their limit, ErrQueued for one that waits already.
func (q *Queue) Push(item Item) error {
	if slices.ContainsFunc(q.waiting, func(e entry) bool { return e.ID == item.ID && e.Check == item.Check }) {
		return ErrQueued
	}
	if len(q.waiting) >= q.limits.Jobs || item.Bytes > q.limits.Bytes-q.bytes {
		return ErrFull
	}
	q.arrivals++
	e := entry{Item: item, rank: item.Since - int64(min(item.Priority, 100))*q.limits.Age, arrival: q.arrivals}
	at, _ := slices.BinarySearchFunc(q.waiting, e, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.arrival, b.arrival))
	})
	q.waiting = slices.Insert(q.waiting, at, e)
	q.bytes += item.Bytes
	return nil
}

// Next removes and returns the run that starts now, by the rule of the package,
// given the time and what is free; false when none may. The caller reserves
// what it needs and asks again.
func (q *Queue) Next(now int64, free jobs.Resources) (Item, bool) {
	for i, e := range q.waiting {
		if within(e.Need, free) {
			q.remove(i)
			return e.Item, true
		}
		if i == 0 && now-e.Since >= q.limits.Patience {
			break
		}
	}
	return Item{}, false
}

// Remove takes out all that waits of a job, and returns it.
func (q *Queue) Remove(id consensus.JobID) (removed []Item) {
	for i := len(q.waiting) - 1; i >= 0; i-- {
		if e := q.waiting[i]; e.ID == id {
			removed = append(removed, e.Item)
			q.remove(i)
		}
	}
	return removed
}

// Len returns how many runs wait.
func (q *Queue) Len() int { return len(q.waiting) }

// Bytes returns what is held for the runs that wait.
func (q *Queue) Bytes() uint64 { return q.bytes }

// Oldest returns when the run that has waited longest came; false when none
// waits.
func (q *Queue) Oldest() (since int64, ok bool) {
	for i, e := range q.waiting {
		if i == 0 || e.Since < since {
			since = e.Since
		}
	}
	return since, len(q.waiting) > 0
}

func (q *Queue) remove(i int) {
	q.bytes -= q.waiting[i].Bytes
	q.waiting = slices.Delete(q.waiting, i, i+1)
}
