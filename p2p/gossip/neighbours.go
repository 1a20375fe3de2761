package gossip

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"
)

// neighbours bounds how much each neighbour may make us judge.
type neighbours struct {
	each  rate.Limit
	burst int

	mu     sync.Mutex
	byPeer map[peer.ID]*rate.Limiter
}

// maxNeighbours is how many peers are told apart before the quiet are forgotten.
const maxNeighbours = 1024

func newNeighbours(each rate.Limit, burst int) *neighbours {
	return &neighbours{each: each, burst: burst, byPeer: map[peer.ID]*rate.Limiter{}}
}

func (n *neighbours) take(id peer.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.byPeer[id]
	if l == nil {
		if len(n.byPeer) >= maxNeighbours {
			n.forgetQuiet()
		}
		l = rate.NewLimiter(n.each, n.burst)
		n.byPeer[id] = l
	}
	return l.Allow()
}

func (n *neighbours) forgetQuiet() {
	for id, l := range n.byPeer {
		if l.Tokens() >= float64(n.burst) {
			delete(n.byPeer, id)
		}
	}
}
