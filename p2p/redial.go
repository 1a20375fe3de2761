package p2p

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

const (
	redialFirst    = 250 * time.Millisecond
	redialMost     = 2 * time.Minute
	redialSpacing  = time.Second
	redialAtOnce   = 16 // each dials up to 8 addresses, and libp2p 160 in all
	redialPatience = 10 * time.Second
)

// redialer dials remembered peers that are not connected, with a back-off for
// each, while fewer than enough are connected: in turn whoever was seen last and
// whoever failed least, for the book may hold a thousand that are gone for good,
// and each of them keeps a place for as long as redialPatience. With nothing to dial
// it holds one sleeping goroutine and no timer.
type redialer struct {
	host   host.Host
	book   *book
	enough int
	signal chan struct{} // capacity 1

	mu    sync.Mutex
	tries map[peer.ID]*tries
	least bool // it is the turn of who failed least
}

type tries struct {
	failed int
	next   time.Time
	under  bool // a dial is under way
}

// succeeded forgets the failures. A peer that lets us in and drops us at once is
// still not dialled without a pause.
func (t *tries) succeeded() { t.failed, t.next = 0, time.Now().Add(redialSpacing) }

func newRedialer(h host.Host, b *book, enough int) *redialer {
	return &redialer{host: h, book: b, enough: enough, signal: make(chan struct{}, 1), tries: map[peer.ID]*tries{}}
}

func (r *redialer) wake() { wake(r.signal) }

// changed notes that a peer came or went.
func (r *redialer) changed(id peer.ID, connected bool) {
	r.mu.Lock()
	if t := r.tries[id]; t != nil && connected {
		t.succeeded()
	}
	r.mu.Unlock()
	if !connected {
		r.wake()
	}
}

func (r *redialer) run(ctx context.Context) error {
	var dials sync.WaitGroup
	defer dials.Wait()
	places := make(chan struct{}, redialAtOnce)
	for {
		select {
		case <-ctx.Done():
			return nil
		case places <- struct{}{}:
		}
		info, wait := r.next(time.Now())
		if info.ID != "" {
			dials.Go(func() {
				defer func() { <-places }()
				r.dial(ctx, info)
			})
			continue
		}
		<-places
		var timer <-chan time.Time
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.signal:
		case <-timer:
		}
	}
}

// next returns whom to dial now, or nobody and how long until somebody is due, 0
// for never.
func (r *redialer) next(now time.Time) (first peer.AddrInfo, wait time.Duration) {
	if len(r.host.Network().Peers()) >= r.enough {
		return first, 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var best *tries
	var seen int64
	for _, s := range r.book.sightings() {
		if s.ID == r.host.ID() || r.host.Network().Connectedness(s.ID) == network.Connected {
			continue
		}
		t := r.tries[s.ID]
		if t == nil {
			t = new(tries)
			r.tries[s.ID] = t
		}
		switch left := t.next.Sub(now); {
		case t.under:
		case left > 0:
			if wait == 0 || left < wait {
				wait = left
			}
		case best == nil,
			r.least && t.failed < best.failed,
			(!r.least || t.failed == best.failed) && s.seen > seen:
			first, best, seen = s.AddrInfo, t, s.seen
		}
	}
	if best != nil {
		best.under, r.least = true, !r.least
	}
	return first, wait
}

func (r *redialer) dial(ctx context.Context, info peer.AddrInfo) {
	dialling, cancel := context.WithTimeout(ctx, redialPatience)
	defer cancel()
	clearBackoff(r.host, info.ID)
	err := r.host.Connect(dialling, info)
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.wake() // it may have gone again while the dial was under way
	t := r.tries[info.ID]
	t.under = false
	if err == nil {
		t.succeeded()
		return
	}
	t.failed++
	pause := backoff(redialFirst, redialMost, t.failed)
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Reason.Final() {
		pause = redialMost
	}
	t.next = time.Now().Add(pause)
}

// backoff doubles from first to most, and takes up to half away at random, so
// that nodes that fell together do not rise together.
func backoff(first, most time.Duration, failed int) time.Duration {
	pause := most
	if shift := failed - 1; shift < 20 {
		pause = min(most, first<<shift)
	}
	return pause - rand.N(pause/2+1)
}

// clearBackoff takes away the swarm's own back-off: the caller keeps one.
func clearBackoff(h host.Host, id peer.ID) {
	if s, ok := h.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(id)
	}
}
