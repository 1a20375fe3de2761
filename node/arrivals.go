package node

import (
	"context"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/muster-network/muster/jobs/backlog"
)

// arrivals is the peers that have come and are to be asked what is new: each stands
// in it once, and is asked once at a time, however often it comes. So it holds no
// more than the network has members, and who comes over and over keeps nobody else
// waiting for longer than one turn.
type arrivals struct {
	*backlog.Backlog[peer.ID]
	mutex sync.Mutex
	peers map[peer.ID]arrival
}

type arrival int

const (
	waits arrival = iota + 1
	asked
	askedAndCame // again, since it is asked
)

func newArrivals() *arrivals {
	return &arrivals{Backlog: backlog.New[peer.ID](), peers: map[peer.ID]arrival{}}
}

func (a *arrivals) came(id peer.ID) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	switch a.peers[id] {
	case waits, askedAndCame:
	case asked:
		a.peers[id] = askedAndCame
	default:
		a.peers[id] = waits
		a.Add(id)
	}
}

// next waits for the peer whose turn it is. The caller calls done with it.
func (a *arrivals) next(ctx context.Context) (peer.ID, error) {
	id, err := a.Take(ctx)
	if err != nil {
		return "", err
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.peers[id] = asked
	return id, nil
}

func (a *arrivals) done(id peer.ID) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.peers[id] == askedAndCame {
		a.peers[id] = waits
		a.Add(id)
		return
	}
	delete(a.peers, id)
}
