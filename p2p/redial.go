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
	redialAtOnce   = 8
	redialPatience = 10 * time.Second
)

// redialer dials remembered peers that are not connected, with a back-off for
// each, while fewer than enough are connected. With nothing to dial it holds
// one sleeping goroutine and no timer.
type redialer struct {
	host   host.Host
	book   *book
	enough int
	signal chan struct{} // capacity 1

	mu    sync.Mutex
	tries map[peer.ID]*tries
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

func (r *redialer) wake() {
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

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
		due, wait := r.due(time.Now())
		for _, info := range due {
			select {
			case <-ctx.Done():
				return nil
			case places <- struct{}{}:
			}
			dials.Go(func() {
				defer func() { <-places }()
				r.dial(ctx, info)
			})
		}
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

// due returns whom to dial now, and how long until somebody is due, 0 for never.
func (r *redialer) due(now time.Time) (due []peer.AddrInfo, wait time.Duration) {
	if len(r.host.Network().Peers()) >= r.enough {
		return nil, 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, info := range r.book.all() {
		if info.ID == r.host.ID() || r.host.Network().Connectedness(info.ID) == network.Connected {
			continue
		}
		t := r.tries[info.ID]
		if t == nil {
			t = new(tries)
			r.tries[info.ID] = t
		}
		switch left := t.next.Sub(now); {
		case t.under:
		case left <= 0:
			t.under = true
			due = append(due, info)
		case wait == 0 || left < wait:
			wait = left
		}
	}
	return due, wait
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
