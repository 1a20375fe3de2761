// Package sched decides what a node runs next: a pool of resources that are
// reserved all or nothing, and a bounded queue of runs that wait for them. It
// is pure: callers hand in the time and start what they are told to.
//
// The rule of the queue. Runs stand in order of priority plus age: waiting for
// Limits.Age is worth one step of priority, and among equals the first to come
// is first. The first in that order that fits what is free starts, so that
// small runs use what a large one leaves idle. When the first of all has waited
// for Limits.Patience, nothing starts before it any more.
//
// So nothing starves: priorities are bounded, hence whoever waits is outranked
// by newcomers for a bounded time only, and becomes the first of all; and as
// every run ends by its timeout, what the first needs becomes free.
package sched

import "github.com/muster-network/muster/jobs"

// Pool is a node's resources for runs. It is not safe for concurrent use.
type Pool struct {
	total, free jobs.Resources
}

// New returns a pool of which nothing is reserved.
func New(total jobs.Resources) *Pool { return &Pool{total: total, free: total} }

// Total returns what the pool holds in all.
func (p *Pool) Total() jobs.Resources { return p.total }

// Free returns what is not reserved.
func (p *Pool) Free() jobs.Resources { return p.free }

// Holds reports whether the pool could ever serve a run with this need. One
// that it does not hold is refused rather than queued.
func (p *Pool) Holds(need jobs.Resources) bool { return within(need, p.total) }

// Reserve takes all that a run needs, or nothing, and reports which.
func (p *Pool) Reserve(need jobs.Resources) bool {
	if !within(need, p.free) {
		return false
	}
	p.free.CPU -= need.CPU
	p.free.Memory -= need.Memory
	p.free.Disk -= need.Disk
	return true
}

// Release gives back what one Reserve took. Giving back more than is reserved
// is a bug of the caller, and panics.
func (p *Pool) Release(need jobs.Resources) {
	taken := jobs.Resources{
		CPU:    p.total.CPU - p.free.CPU,
		Memory: p.total.Memory - p.free.Memory,
		Disk:   p.total.Disk - p.free.Disk,
	}
	if !within(need, taken) {
		panic("sched: released more than was reserved")
	}
	p.free.CPU += need.CPU
	p.free.Memory += need.Memory
	p.free.Disk += need.Disk
}

func within(need, bound jobs.Resources) bool {
	return need.CPU <= bound.CPU && need.Memory <= bound.Memory && need.Disk <= bound.Disk
}
