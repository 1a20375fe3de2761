package sched_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/sched"
)

func resources(cpu, memory, disk uint64) jobs.Resources {
	return jobs.Resources{CPU: cpu, Memory: memory, Disk: disk}
}

func drawNeed(t *rapid.T) jobs.Resources {
	amount := rapid.Uint64Range(0, 12)
	return resources(amount.Draw(t, "cpu"), amount.Draw(t, "memory"), amount.Draw(t, "disk"))
}

func TestReservationsAreAllOrNothingAndAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := resources(10, 10, 10)
		p := sched.New(total)
		var held []jobs.Resources
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(held) > 0 && rapid.Bool().Draw(t, "release") {
				i := rapid.IntRange(0, len(held)-1).Draw(t, "which")
				p.Release(held[i])
				held = slices.Delete(held, i, i+1)
			} else {
				need, before := drawNeed(t), p.Free()
				fits := need.CPU <= before.CPU && need.Memory <= before.Memory && need.Disk <= before.Disk
				if got := p.Reserve(need); got != fits {
					t.Fatalf("reserve %v of %v: %v", need, before, got)
				}
				if fits {
					held = append(held, need)
				} else if p.Free() != before {
					t.Fatalf("a refused reservation took %v of %v", need, before)
				}
				if fits && !p.Holds(need) {
					t.Fatalf("reserved %v, which it says it can never hold", need)
				}
			}
			sum := p.Free()
			for _, h := range held {
				sum = resources(sum.CPU+h.CPU, sum.Memory+h.Memory, sum.Disk+h.Disk)
			}
			if sum != total {
				t.Fatalf("free and held make %v of %v", sum, total)
			}
		}
	})
}

func TestReleasingWhatWasNotReservedPanics(t *testing.T) {
	p := sched.New(resources(4, 4, 4))
	p.Reserve(resources(1, 1, 1))
	defer func() {
		if recover() == nil {
			t.Error("the pool grew")
		}
	}()
	p.Release(resources(1, 2, 1))
}

func id(n int) consensus.JobID { return consensus.JobID{byte(n), byte(n >> 8)} }

func item(n int, priority uint64, cpu uint64, since int64) sched.Item {
	return sched.Item{ID: id(n), Priority: priority, Need: resources(cpu, 0, 0), Since: since}
}

func TestTheQueueStartsByPriorityThenArrivalThenFit(t *testing.T) {
	limits := sched.Limits{Jobs: 100, Bytes: 100, Age: 1000, Patience: 5000}
	for name, test := range map[string]struct {
		items []sched.Item
		now   int64
		free  uint64
		want  []int // ids in the order of their start
	}{
		"higher priority first":           {[]sched.Item{item(1, 10, 1, 0), item(2, 20, 1, 0)}, 0, 9, []int{2, 1}},
		"first come among equals":         {[]sched.Item{item(1, 10, 1, 0), item(2, 10, 1, 0), item(3, 10, 1, 0)}, 0, 9, []int{1, 2, 3}},
		"age outweighs priority":          {[]sched.Item{item(1, 10, 1, 0), item(2, 12, 1, 2001)}, 2001, 9, []int{1, 2}},
		"age does not yet":                {[]sched.Item{item(1, 10, 1, 0), item(2, 12, 1, 1999)}, 1999, 9, []int{2, 1}},
		"a small one fills the gap":       {[]sched.Item{item(1, 50, 8, 0), item(2, 50, 3, 1)}, 4999, 4, []int{2}},
		"nothing overtakes after that":    {[]sched.Item{item(1, 50, 8, 0), item(2, 50, 3, 1)}, 5000, 4, nil},
		"only the first of all blocks":    {[]sched.Item{item(1, 0, 8, 0), item(2, 90, 3, 1)}, 9000, 4, []int{2}},
		"the first starts when it fits":   {[]sched.Item{item(1, 50, 8, 0), item(2, 50, 3, 1)}, 9000, 11, []int{1, 2}},
		"priority above 100 counts as it": {[]sched.Item{item(1, 1000, 1, 1), item(2, 100, 1, 0)}, 1, 9, []int{2, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			q, p := sched.NewQueue(limits), sched.New(resources(test.free, 0, 0))
			for _, it := range test.items {
				if err := q.Push(it); err != nil {
					t.Fatal(err)
				}
			}
			var got []int
			for {
				it, ok := q.Next(test.now, p.Free())
				if !ok {
					break
				}
				if !p.Reserve(it.Need) {
					t.Fatalf("%v does not fit %v", it, p.Free())
				}
				got = append(got, int(it.ID[0]))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("started %v, want %v", got, test.want)
			}
		})
	}
}

func TestTheQueueIsBoundedByCountAndBytes(t *testing.T) {
	q := sched.NewQueue(sched.Limits{Jobs: 2, Bytes: 10})
	push := func(n int, bytes uint64) error {
		return q.Push(sched.Item{ID: id(n), Bytes: bytes, Since: int64(n)})
	}
	if err := push(1, 6); err != nil {
		t.Fatal(err)
	}
	if err := push(1, 1); !errors.Is(err, sched.ErrQueued) {
		t.Errorf("twice the same: %v", err)
	}
	if err := push(2, 5); !errors.Is(err, sched.ErrFull) {
		t.Errorf("too many bytes: %v", err)
	}
	if err := push(2, ^uint64(0)); !errors.Is(err, sched.ErrFull) {
		t.Errorf("bytes that overflow: %v", err)
	}
	if err := push(2, 4); err != nil {
		t.Error(err)
	}
	if err := push(3, 0); !errors.Is(err, sched.ErrFull) {
		t.Errorf("too many: %v", err)
	}
	if since, ok := q.Oldest(); !ok || since != 1 || q.Len() != 2 || q.Bytes() != 10 {
		t.Errorf("oldest %d %v, %d runs, %d bytes", since, ok, q.Len(), q.Bytes())
	}
	if len(q.Remove(id(1))) != 1 || len(q.Remove(id(1))) != 0 {
		t.Error("a run is removed once")
	}
	if err := push(3, 6); err != nil {
		t.Errorf("after a removal: %v", err)
	}
}

// A large run of low priority waits among an endless stream of small ones of
// higher priority, more than there is room for: it starts, and within the time
// that follows from the rule.
func TestALargeRunOfLowPriorityStartsAtLast(t *testing.T) {
	const total, length = 8, 300 // cores, and the longest run in ms
	limits := sched.Limits{Jobs: 1000, Bytes: 1000, Age: 10, Patience: 500}
	const ahead = 10                                // newcomers that outrank it: one every 10 ms
	const bound = ahead*10 + 500 + (ahead+1)*length // outranked, patient, each of them drained for
	rapid.Check(t, func(t *rapid.T) {
		q, p := sched.NewQueue(limits), sched.New(resources(total, 0, 0))
		ends := map[consensus.JobID]int64{}
		needs := map[consensus.JobID]jobs.Resources{}
		if err := q.Push(item(0, 0, total, 0)); err != nil {
			t.Fatal(err)
		}
		for now, n := int64(0), 1; now <= bound; now += 10 {
			for i := range n {
				if end, ok := ends[id(i)]; ok && end <= now {
					p.Release(needs[id(i)])
					delete(ends, id(i))
				}
			}
			if q.Len() < limits.Jobs {
				if err := q.Push(item(n, ahead, rapid.Uint64Range(1, total-1).Draw(t, "cpu"), now)); err != nil {
					t.Fatal(err)
				}
				n++
			}
			for {
				it, ok := q.Next(now, p.Free())
				if !ok {
					break
				}
				if it.ID == id(0) {
					return
				}
				p.Reserve(it.Need)
				ends[it.ID], needs[it.ID] = now+rapid.Int64Range(10, length).Draw(t, "length"), it.Need
			}
		}
		t.Fatalf("the large run has not started after %d ms", bound)
	})
}
