package node

import (
	"sync"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

// announced remembers who the members of announced jobs are: readers ask them
// first. It is a hint, bounded, and nothing depends on it.
type announced struct {
	mutex   sync.Mutex
	rosters map[consensus.JobID][]admission.Key
	order   []consensus.JobID
	last    map[admission.Key]uint64 // sequence of each node's last announcement
}

// maxAnnounced bounds the jobs whose rosters are remembered.
const maxAnnounced = 4096

func newAnnounced() *announced {
	return &announced{rosters: map[consensus.JobID][]admission.Key{}, last: map[admission.Key]uint64{}}
}

// newer reports whether a node's announcement is later than its last, and notes it.
func (a *announced) newer(by admission.Key, sequence uint64) bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.last[by] >= sequence {
		return false
	}
	a.last[by] = sequence
	return true
}

func (a *announced) add(id consensus.JobID, roster []admission.Key) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if _, ok := a.rosters[id]; ok {
		return
	}
	if len(a.order) == maxAnnounced {
		delete(a.rosters, a.order[0])
		a.order = a.order[1:]
	}
	a.rosters[id] = roster
	a.order = append(a.order, id)
}

func (a *announced) roster(id consensus.JobID) []admission.Key {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.rosters[id]
}

// pollEvery is how often a job is asked for that this node has no part in.
const pollEvery = 300 * time.Millisecond

// pollUnlessMember returns what wakes somebody who waits for a job: nothing but
// its end for a job that is open here, a timer for another's.
func (n *Node) pollUnlessMember(id consensus.JobID) (<-chan time.Time, func() bool) {
	if _, open := n.member.Job(id); open {
		return nil, func() bool { return true }
	}
	timer := time.NewTimer(pollEvery)
	return timer.C, timer.Stop
}
