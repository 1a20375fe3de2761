package submitter

import (
	"slices"
	"time"
)

// agenda is things whose time will come, in order.
type agenda[T any] []due[T]

type due[T any] struct {
	at   int64 // Unix milliseconds
	what T
}

func (a agenda[T]) add(at int64, what T) agenda[T] {
	i, _ := slices.BinarySearchFunc(a, at, func(d due[T], at int64) int {
		if d.at <= at {
			return -1
		}
		return 1
	})
	return slices.Insert(a, i, due[T]{at, what})
}

// wait arms a timer for the first.
func (a agenda[T]) wait(timer *time.Timer, now int64) {
	if len(a) == 0 {
		timer.Stop()
		return
	}
	timer.Reset(time.Duration(max(a[0].at+1-now, 0)) * time.Millisecond)
}

// next takes off the first whose time has come.
func (a agenda[T]) next(now int64) (what T, rest agenda[T], ok bool) {
	if len(a) == 0 || a[0].at >= now {
		return what, a, false
	}
	return a[0].what, a[1:], true
}
