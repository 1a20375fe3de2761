package stream

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

const (
	openTimeout = 10 * time.Second
	linkWanted  = 10 * time.Minute // after the last Send a link is no longer redialled
	retryFirst  = 100 * time.Millisecond
	retryMost   = 10 * time.Second
	maxLanes    = 4  // streams of one purpose with one peer; two when both open at once
	streamTag   = 20 // weight for the connection manager
)

// link is what is known of one peer: the frames that wait, and the streams that
// live. Both sides may open one at the same time; each then sends on the first
// it had, and reads from both. Without streams a link holds no goroutine.
type link struct {
	peer     peer.ID
	handling sync.Mutex // held around Up, Down and frames: one at a time, in order

	mu       sync.Mutex
	queue    [][]byte
	bytes    int
	lanes    []*lane
	out      *lane // where frames go; nil without lanes
	isUp     bool
	dialling bool
	closed   bool
	failed   int
	retryAt  time.Time
	retry    *time.Timer
	used     time.Time
}

// attach adds a living lane. It reports false when there are too many already.
func (l *link) attach(ln *lane) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dialling = false
	if l.closed || len(l.lanes) >= maxLanes {
		return false
	}
	l.lanes = append(l.lanes, ln)
	if l.out == nil {
		l.out = ln
	}
	l.stopRetry()
	return true
}

// detach removes a lane and reports whether it was the last one, and then
// whether the peer was up. l.mu is held.
func (l *link) detach(ln *lane) (last, wasUp bool) {
	for i, other := range l.lanes {
		if other == ln {
			l.lanes = append(l.lanes[:i], l.lanes[i+1:]...)
			break
		}
	}
	if len(l.lanes) == 0 {
		wasUp, l.isUp, l.out = l.isUp, false, nil
		return true, wasUp
	}
	if l.out == ln {
		l.out = l.lanes[0]
		l.out.signal()
	}
	return false, false
}

// rise notes that the peer is there and reports whether that is news.
func (l *link) rise() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isUp || len(l.lanes) == 0 {
		return false
	}
	l.isUp, l.failed, l.retryAt = true, 0, time.Time{}
	return true
}

// hasLane reports whether a lane came while a dial was waiting to begin.
func (l *link) hasLane() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out != nil {
		l.dialling = false
	}
	return l.out != nil
}

// take hands the waiting frames to the writer of ln, in exchange for a slice to
// fill next; none when another lane is to send them.
func (l *link) take(ln *lane, spare [][]byte) [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out != ln || len(l.queue) == 0 {
		return nil
	}
	frames := l.queue
	l.queue, l.bytes = spare, 0
	return frames
}

// write sends what waits until the lane ends. What is in hand when a write
// fails is lost, as what the network held is.
func (l *link) write(ln *lane) {
	var spare [][]byte
	for {
		frames := l.take(ln, spare)
		if frames == nil {
			select {
			case <-ln.wake:
				continue
			case <-ln.ended:
				return
			}
		}
		if err := ln.send(frames); err != nil {
			ln.stream.Reset() // the reader notices
			<-ln.ended
			return
		}
		spare = nil
		if cap(frames) <= maxSpare {
			clear(frames)
			spare = frames[:0]
		}
	}
}

// maxSpare is how many slots of an emptied queue are kept for the next frames.
const maxSpare = 256

func (l *link) stopRetry() {
	if l.retry != nil {
		l.retry.Stop()
		l.retry = nil
	}
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.stopRetry()
	for _, ln := range l.lanes {
		ln.stream.Reset()
	}
}

// backoff doubles with each failure and takes up to half away at random.
func backoff(failed int) time.Duration {
	pause := retryMost
	if shift := failed - 1; shift < 10 {
		pause = min(retryMost, retryFirst<<shift)
	}
	return pause - rand.N(pause/2+1)
}

// clearBackoff takes away the swarm's own back-off: a link keeps one.
func clearBackoff(h host.Host, id peer.ID) {
	if s, ok := h.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(id)
	}
}
