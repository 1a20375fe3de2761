package runner

import (
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// Bounds of the stash: messages and their bytes, in all and of one peer.
const (
	maxStash          = 8192
	maxStashPeer      = 2048
	maxStashBytes     = 32 << 20
	maxStashBytesPeer = 4 << 20
)

// stash keeps messages that came before the charter they are about. The oldest
// jobs' go first; whoever sent them says them again.
type stash struct {
	jobs  map[consensus.JobID][]stashed
	order []consensus.JobID
	peers map[admission.Key]share
	total share
}

// share is how much is kept.
type share struct{ messages, bytes int }

func (s share) with(messages, bytes int) share { return share{s.messages + messages, s.bytes + bytes} }

func newStash() *stash {
	return &stash{jobs: map[consensus.JobID][]stashed{}, peers: map[admission.Key]share{}}
}

// perStashed is what a message takes besides its payload and the path of its
// proof, in bytes.
const perStashed = 512

// kept is s as it is kept, with its size: without blocks, which can be fetched,
// and without an offer, which was handed over.
func (s stashed) kept() stashed {
	payload := &s.item.Payload
	if s.note != nil {
		n := *s.note
		s.note, payload = &n, &n.Payload
	}
	s.size = perStashed + len(s.proof.Path)*len(consensus.Hash{})
	if *payload == nil {
		return s
	}
	slim := **payload
	slim.Blocks, slim.Offer = nil, nil
	*payload = &slim
	data, err := dagcbor.Marshal(&slim)
	if err != nil {
		panic(err) // it was decoded
	}
	s.size += len(data)
	return s
}

// add keeps s if there is room for it.
func (st *stash) add(s stashed) {
	peer := st.peers[s.from].with(1, s.size)
	if peer.messages > maxStashPeer || peer.bytes > maxStashBytesPeer {
		return // before room is made: what is not kept may cost the others nothing
	}
	for st.total.messages >= maxStash || st.total.bytes+s.size > maxStashBytes {
		st.take(st.order[0])
	}
	id := s.job()
	if _, ok := st.jobs[id]; !ok {
		st.order = append(st.order, id)
	}
	st.jobs[id] = append(st.jobs[id], s)
	st.peers[s.from] = st.peers[s.from].with(1, s.size)
	st.total = st.total.with(1, s.size)
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
		st.total = st.total.with(-1, -s.size)
		if peer := st.peers[s.from].with(-1, -s.size); peer.messages > 0 {
			st.peers[s.from] = peer
		} else {
			delete(st.peers, s.from)
		}
	}
	return kept
}
