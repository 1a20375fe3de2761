package runner

import (
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

// Bounds of the stash: messages in all and of one peer.
const (
	maxStash     = 8192
	maxStashPeer = 2048
)

// stash keeps messages that came before the charter they are about. The oldest
// jobs' go first; whoever sent them says them again.
type stash struct {
	jobs  map[consensus.JobID][]stashed
	order []consensus.JobID
	peers map[admission.Key]int
	total int
}

func newStash() *stash {
	return &stash{jobs: map[consensus.JobID][]stashed{}, peers: map[admission.Key]int{}}
}

// add keeps s if there is room for it.
func (st *stash) add(s stashed) {
	if st.peers[s.from] >= maxStashPeer {
		return // before room is made: what is not kept may cost the others nothing
	}
	for st.total >= maxStash && len(st.order) > 0 {
		st.take(st.order[0])
	}
	if p := s.item.Payload; p != nil && len(p.Blocks) > 0 {
		slim := *p
		slim.Blocks = nil // they can be fetched
		s.item.Payload = &slim
	}
	id := s.job()
	if _, ok := st.jobs[id]; !ok {
		st.order = append(st.order, id)
	}
	st.jobs[id] = append(st.jobs[id], s)
	st.peers[s.from]++
	st.total++
}

// take removes and returns what is kept of a job.
func (st *stash) take(id consensus.JobID) []stashed {
	kept, ok := st.jobs[id]
	if !ok {
		return nil
	}
	delete(st.jobs, id)
	for i, other := range st.order {
		if other == id {
			st.order = append(st.order[:i], st.order[i+1:]...)
			break
		}
	}
	for _, s := range kept {
		st.peers[s.from]--
		if st.peers[s.from] == 0 {
			delete(st.peers, s.from)
		}
	}
	st.total -= len(kept)
	return kept
}
