package stream

import (
	"context"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
)

// local carries the frames that a node sends to itself.
type local struct {
	cfg  Config
	wake chan struct{} // capacity 1

	mu    sync.Mutex
	queue [][]byte
	bytes int
}

func newLocal(cfg Config) *local { return &local{cfg: cfg, wake: make(chan struct{}, 1)} }

func (l *local) send(frame []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= l.cfg.Queue || l.bytes+len(frame) > l.cfg.QueueBytes {
		return ErrQueueFull
	}
	l.queue = append(l.queue, frame)
	l.bytes += len(frame)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

func (l *local) run(ctx context.Context, self peer.ID, handle func(peer.ID, []byte)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		l.mu.Lock()
		frames := l.queue
		l.queue, l.bytes = nil, 0
		l.mu.Unlock()
		for _, frame := range frames {
			handle(self, frame)
		}
	}
}
