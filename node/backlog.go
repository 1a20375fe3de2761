package node

import (
	"context"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
)

// backlog is things that wait for somebody to take them, in order. Adding never
// blocks, and nothing is left out: who adds says what bounds them.
type backlog[T any] struct {
	mutex sync.Mutex
	list  []T
	ready chan struct{}
}

func newBacklog[T any]() *backlog[T] { return &backlog[T]{ready: make(chan struct{}, 1)} }

func (b *backlog[T]) add(one T) {
	b.mutex.Lock()
	b.list = append(b.list, one)
	b.mutex.Unlock()
	b.wake()
}

func (b *backlog[T]) wake() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

func (b *backlog[T]) take(ctx context.Context) (T, error) {
	for {
		b.mutex.Lock()
		if len(b.list) > 0 {
			one := b.list[0]
			var none T
			b.list[0] = none
			b.list = b.list[1:]
			more := len(b.list) > 0
			b.mutex.Unlock()
			if more {
				b.wake()
			}
			return one, nil
		}
		b.mutex.Unlock()
		select {
		case <-b.ready:
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
}

// arrivals is the peers that have come and are to be asked what is new: each stands
// in it once, and is asked once at a time, however often it comes. So it holds no
// more than the network has members, and who comes over and over keeps nobody else
// waiting for longer than one turn.
type arrivals struct {
	*backlog[peer.ID]
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
	return &arrivals{backlog: newBacklog[peer.ID](), peers: map[peer.ID]arrival{}}
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
		a.add(id)
	}
}

// next waits for the peer whose turn it is. The caller calls done with it.
func (a *arrivals) next(ctx context.Context) (peer.ID, error) {
	id, err := a.take(ctx)
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
		a.add(id)
		return
	}
	delete(a.peers, id)
}
