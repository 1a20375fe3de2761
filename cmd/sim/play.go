package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/muster-network/muster/consensus/sim"
)

// tally is what the schedules of one scenario came to.
type tally struct {
	runs  uint64
	steps uint64
	cpu   time.Duration // of this process: what else the machine does is not in it
	trace uint64        // of all traces, in order: the same seeds give the same
}

func (t *tally) add(r *sim.Report, cpu time.Duration) {
	t.runs++
	t.steps += uint64(r.Steps)
	t.cpu += cpu
	t.trace = (t.trace ^ r.Hash) * 0x100000001b3
}

func (t *tally) String() string {
	return fmt.Sprintf("%12d  %7.0f a second of CPU, %5.0f steps each, traces %016x", t.runs, float64(t.runs)/t.cpu.Seconds(),
		float64(t.steps)/float64(t.runs), t.trace)
}

// play plays schedules, each scenario in turn, those of some kinds of jobs if only
// names any, and prints those that fail, shrunk.
func play(ctx context.Context, chosen []sim.Scenario, only string, from, seeds uint64, every time.Duration) int {
	var seen sim.Coverage
	tallies, failures := make([]tally, len(chosen)), 0
	begun, before := time.Now(), cpuTime()
	told, spent := begun, before
	for i := uint64(0); i < seeds && ctx.Err() == nil; i++ {
		at := int(i % uint64(len(chosen)))
		s := sim.Settle(chosen[at], from+i/uint64(len(chosen)))
		if only != "" && !slices.Contains(strings.Split(only, ","), s.Kind()) {
			continue
		}
		r := sim.Run(s, &seen, false)
		now := cpuTime()
		tallies[at].add(&r, now-spent)
		spent = now
		if r.Failure != nil {
			failures++
			small := sim.ShrinkFailure(s, r.Failure.Invariant)
			fmt.Printf("FAILED: %v\n%s\nshrunk to\n%s\n", r.Failure, s, small)
		}
		if seen.Runs%1_000 == 0 && sim.Run(s, nil, true).Hash != r.Hash {
			failures++
			fmt.Printf("FAILED: I12: played again with a trace, it goes another way\n%s\n", s)
		}
		if i%256 == 0 && time.Since(told) >= every {
			told = time.Now()
			fmt.Printf("%d schedules, %d failed, %.0f a second\n", seen.Runs, failures, float64(seen.Runs)/time.Since(begun).Seconds())
		}
	}
	took, cpu := time.Since(begun), spent-before
	fmt.Printf("%d schedules in %s (%.0f a second) and %s of CPU (%.0f a second), %d steps of machines, %d failed\n", seen.Runs,
		took.Round(time.Second), float64(seen.Runs)/took.Seconds(), cpu.Round(time.Second), float64(seen.Runs)/cpu.Seconds(), seen.Steps, failures)
	for i := range tallies {
		if tallies[i].runs == 0 {
			continue
		}
		fmt.Printf("%s  %s\n", &tallies[i], chosen[i].Name)
	}
	fmt.Print(seen.String())
	name, least := seen.Least()
	fmt.Printf("least often: %s, %d times\n", name, least)
	if failures > 0 {
		return 1
	}
	return 0
}

// cpuTime is the time that this process has had a processor.
func cpuTime() time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		panic(err) // there is always this process
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
