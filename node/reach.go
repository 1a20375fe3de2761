package node

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/muster-network/muster/consensus/admission"
)

// reach remembers since when which members cannot be reached.
type reach struct {
	clock func() int64
	begun int64
	self  admission.Key
	mutex sync.Mutex
	up    map[admission.Key]bool
	gone  map[admission.Key]int64
}

func newReach(self admission.Key, clock func() int64) *reach {
	return &reach{clock: clock, begun: clock(), self: self, up: map[admission.Key]bool{}, gone: map[admission.Key]int64{}}
}

func (r *reach) set(id peer.ID, up bool) {
	key, err := admission.KeyOf(id)
	if err != nil {
		return
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.up[key] = up
	if up {
		delete(r.gone, key)
	} else if _, ok := r.gone[key]; !ok {
		r.gone[key] = r.clock()
	}
}

// away returns since when a node cannot be reached; a node never heard of is
// away since this one began.
func (r *reach) away(key admission.Key) (int64, bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if key == r.self || r.up[key] {
		return 0, false
	}
	if since, ok := r.gone[key]; ok {
		return since, true
	}
	return r.begun, true
}
