package sim

import (
	"slices"
	"testing"
)

// seeds is how many schedules are played of each scenario: 20,000 in all, fewer
// where the race detector slows them down.
const seeds = 4_000 / slowness

func TestNoScheduleBreaksAnInvariant(t *testing.T) {
	for i, sc := range Scenarios() {
		t.Run(sc.Name, func(t *testing.T) {
			t.Parallel()
			var seen Coverage
			for seed := range uint64(seeds) {
				s := Settle(sc, seed+1)
				r := Run(s, &seen, false)
				if r.Failure == nil {
					continue
				}
				small := ShrinkFailure(s, r.Failure.Invariant)
				t.Fatalf("go run ./cmd/sim -scenario %d -replay %d\n%s\n%s", i, seed+1, Run(small, nil, true).Trace, small)
			}
			t.Logf("%d schedules\n%s", seen.Runs, seen.String())
		})
	}
}

// I12: the same seed gives the same trace.
func TestTheSameSeedGivesTheSameTrace(t *testing.T) {
	for _, sc := range Scenarios() {
		for seed := range uint64(20) {
			a, b := Run(Settle(sc, seed+1), nil, true), Run(Settle(sc, seed+1), nil, true)
			if a.Hash != b.Hash || a.Trace != b.Trace {
				t.Fatalf("%s, seed %d: two runs, two traces", sc.Name, seed+1)
			}
			if c := Run(Settle(sc, seed+1), nil, false); c.Hash != a.Hash {
				t.Fatalf("%s, seed %d: words change what happens", sc.Name, seed+1)
			}
		}
	}
}

func TestShrinkKeepsWhatFailsAndNothingElse(t *testing.T) {
	for seed := range uint64(50) {
		s := Settle(Scenarios()[1], seed+1)
		s.Faults = append(s.Faults, Fault{At: 100, Kind: Crash, Node: 3, For: 77})
		fails := func(s *Schedule) bool {
			return slices.ContainsFunc(s.Faults, func(f Fault) bool { return f.For == 77 && f.Node == 3 })
		}
		small := Shrink(s, fails)
		if len(small.Faults) != 1 || len(small.Liars) != 0 || small.Loss+small.Twice+small.Slow != 0 || !fails(small) {
			t.Fatalf("seed %d: shrunk to %s", seed+1, small)
		}
	}
}

// The queue gives events by time, and those of one time in order.
func TestEventsHappenInOrder(t *testing.T) {
	var q queue
	src := newSource(1, 0)
	for range 2_000 {
		q.push(event{at: src.until(50)})
	}
	last := event{at: -1}
	for len(q.heap) > 0 {
		e := q.pop()
		if !earlier(&last, &e) {
			t.Fatalf("%d/%d after %d/%d", e.at, e.seq, last.at, last.seq)
		}
		last = e
	}
}

func BenchmarkSchedule(b *testing.B) {
	for _, sc := range Scenarios() {
		b.Run(sc.Name, func(b *testing.B) {
			b.ReportAllocs()
			seed := uint64(0)
			for b.Loop() {
				seed++
				Run(Settle(sc, seed), nil, false)
			}
		})
	}
}
