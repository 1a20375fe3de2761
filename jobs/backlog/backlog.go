// Package backlog holds what waits to be done by somebody else, in order: where
// whoever finds the work must not wait, and none of it may be left out.
package backlog

import (
	"context"
	"sync"
)

// Backlog is things that wait for somebody to take them, in order. Adding never
// blocks, and nothing is left out: who makes one says what bounds it. Safe for
// concurrent use.
type Backlog[T any] struct {
	mutex sync.Mutex
	list  []T
	ready chan struct{} // capacity 1; full where somebody may find something
}

// New returns one in which nothing waits.
func New[T any]() *Backlog[T] { return &Backlog[T]{ready: make(chan struct{}, 1)} }

// Add puts one thing behind the others.
func (b *Backlog[T]) Add(one T) {
	b.mutex.Lock()
	b.list = append(b.list, one)
	b.mutex.Unlock()
	b.wake()
}

func (b *Backlog[T]) wake() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// Take waits for the first thing and takes it away, or returns the error of ctx.
func (b *Backlog[T]) Take(ctx context.Context) (T, error) {
	for {
		if one, ok := b.first(); ok {
			return one, nil
		}
		select {
		case <-b.ready:
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
}

// first takes the first thing away, if there is one, and wakes whoever waits for the
// next: one signal stands for many things.
func (b *Backlog[T]) first() (one T, ok bool) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if len(b.list) == 0 {
		return one, false
	}
	one = b.list[0]
	var none T
	b.list[0] = none // the array behind the list holds it no longer
	b.list = b.list[1:]
	if len(b.list) > 0 {
		b.wake()
	}
	return one, true
}

// Len returns how many things wait.
func (b *Backlog[T]) Len() int {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return len(b.list)
}
