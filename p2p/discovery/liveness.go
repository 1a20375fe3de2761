package discovery

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

const (
	aliveFor    = time.Minute      // how long a successful dial counts
	deadFor     = 30 * time.Second // how long a failed one does, doubling
	deadMost    = 10 * time.Minute
	maxFound    = 2048 // peers kept
	dialAtOnce  = 16
	dialTimeout = 3 * time.Second
)

// liveness knows which of the peers that were found can be dialled.
type liveness struct {
	host host.Host

	mu    sync.Mutex
	peers map[peer.ID]*sighting
}

type sighting struct {
	alive  bool
	fresh  time.Time // until when alive holds
	failed int
}

func newLiveness(h host.Host) *liveness {
	return &liveness{host: h, peers: map[peer.ID]*sighting{}}
}

// found notes peers and reports whether one of them is new.
func (l *liveness) found(ids []peer.ID, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	news := false
	for _, id := range ids {
		if id == l.host.ID() || l.peers[id] != nil {
			continue
		}
		if len(l.peers) >= maxFound && !l.forgetDead(now) {
			continue
		}
		l.peers[id] = &sighting{}
		news = true
	}
	return news
}

// forgetDead makes room and reports whether there is some.
func (l *liveness) forgetDead(now time.Time) bool {
	for id, s := range l.peers {
		if s.failed > 0 && now.Before(s.fresh) {
			delete(l.peers, id)
		}
	}
	return len(l.peers) < maxFound
}

// check returns, of the peers found and those given, who can be dialled and who
// cannot, each by id.
func (l *liveness) check(ctx context.Context, also []peer.ID) (alive, dead []peer.ID) {
	now := time.Now()
	l.found(also, now)
	places := make(chan struct{}, dialAtOnce)
	var dials sync.WaitGroup
	for _, id := range l.due(now) {
		dials.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			l.dial(ctx, id)
		})
	}
	dials.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, s := range l.peers {
		if s.alive {
			alive = append(alive, id)
		} else if s.failed > 0 {
			dead = append(dead, id)
		}
	}
	slices.Sort(alive)
	slices.Sort(dead)
	return alive, dead
}

// due returns the peers whose state is not known of late. Who is connected is
// alive.
func (l *liveness) due(now time.Time) []peer.ID {
	l.mu.Lock()
	defer l.mu.Unlock()
	var due []peer.ID
	for id, s := range l.peers {
		switch {
		case l.host.Network().Connectedness(id) == network.Connected:
			s.alive, s.fresh, s.failed = true, now, 0 // asked again once it is not
		case !now.Before(s.fresh):
			due = append(due, id)
		}
	}
	return due
}

func (l *liveness) dial(ctx context.Context, id peer.ID) {
	dialling, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if s, ok := l.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(id) // we keep one
	}
	err := l.host.Connect(dialling, peer.AddrInfo{ID: id})
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.peers[id]
	if s == nil || ctx.Err() != nil {
		return // forgotten meanwhile, or the asker went away: nothing was learnt
	}
	if err == nil {
		s.alive, s.fresh, s.failed = true, time.Now().Add(aliveFor), 0
		return
	}
	s.failed++
	s.alive = false
	s.fresh = time.Now().Add(min(deadMost, deadFor<<min(s.failed-1, 10)))
}
