package member

import (
	"context"
	"sync"
)

// backlog is short work waiting for a worker. Adding never blocks: those who
// add are agreement's loop and the readers of streams. What it can hold is
// bounded by the jobs that a member accepts.
type backlog struct {
	mutex sync.Mutex
	work  []func(context.Context)
	ready chan struct{}
}

func newBacklog() *backlog { return &backlog{ready: make(chan struct{}, 1)} }

func (b *backlog) add(do func(context.Context)) {
	b.mutex.Lock()
	b.work = append(b.work, do)
	b.mutex.Unlock()
	b.wake()
}

func (b *backlog) wake() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

func (b *backlog) take(ctx context.Context) (func(context.Context), error) {
	for {
		b.mutex.Lock()
		if len(b.work) > 0 {
			do := b.work[0]
			b.work[0] = nil
			b.work = b.work[1:]
			more := len(b.work) > 0
			b.mutex.Unlock()
			if more {
				b.wake()
			}
			return do, nil
		}
		b.mutex.Unlock()
		select {
		case <-b.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
