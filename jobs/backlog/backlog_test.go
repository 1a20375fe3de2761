package backlog_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/muster-network/muster/jobs/backlog"
)

func TestWhatWaitsIsTakenInOrder(t *testing.T) {
	b := backlog.New[int]()
	for i := range 100 {
		b.Add(i)
	}
	for i := range 100 {
		if one, err := b.Take(t.Context()); err != nil || one != i || b.Len() != 99-i {
			t.Fatalf("%d of %d left, %v; want %d", one, b.Len(), err, i)
		}
	}
}

func TestWhoTakesWaitsForAllThatComesAndLeavesWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backlog.New[int]()
		ctx, cancel := context.WithCancel(t.Context())
		const takers, things = 5, 1_000
		var taken sync.Map
		ended := make(chan error, takers)
		for range takers {
			go func() {
				for {
					one, err := b.Take(ctx)
					if err != nil {
						ended <- err
						return
					}
					if _, twice := taken.LoadOrStore(one, true); twice {
						t.Errorf("%d is taken twice", one)
					}
				}
			}()
		}
		synctest.Wait()
		for i := range things { // all at once, while all wait: no signal may be lost
			b.Add(i)
		}
		synctest.Wait()
		for i := range things {
			if _, ok := taken.Load(i); !ok {
				t.Errorf("%d is left", i)
			}
		}
		cancel()
		for range takers {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
}
