// Command sim plays schedules of consensus/sim for as long as it is told to, says
// how many broke an invariant, and counts what they showed.
//
//	go run ./cmd/sim -seeds 1000000                    every scenario in turn
//	go run ./cmd/sim -scenario 1 -replay 4711          one schedule, with its trace
//	go run ./cmd/sim -twins 100000                     all twins of n = 4, so many of n = 7
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"github.com/muster-network/muster/consensus/sim"
)

// heap is how much memory is used before garbage is collected, in bytes: no more
// than caches hold.
const heap = 64 << 20

func main() {
	scenario := flag.Int("scenario", -1, "number of the scenario; -1: all in turn")
	seeds := flag.Uint64("seeds", 20_000, "schedules in all")
	from := flag.Uint64("from", 1, "the first seed")
	only := flag.String("only", "", "of these schedules play those of some kinds of jobs: replicated, single, majority-equal, endorsed, once, at-least-once, array")
	replay := flag.Uint64("replay", 0, "play this one seed, and print its trace")
	twins := flag.Uint64("twins", 0, "play all scenarios of one twin with n = 4, and so many of two with n = 7")
	every := flag.Duration("every", time.Minute, "how often to say how far it is")
	flag.Parse()
	debug.SetGCPercent(-1) // what a schedule leaves behind is garbage, and nothing else is held
	debug.SetMemoryLimit(heap)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *twins != 0 {
		os.Exit(playTwins(ctx, *twins))
	}
	chosen := sim.Scenarios()
	if *scenario >= 0 {
		chosen = chosen[*scenario : *scenario+1]
	}
	if *replay != 0 {
		os.Exit(show(chosen[0], *replay))
	}
	os.Exit(play(ctx, chosen, *only, *from, *seeds, *every))
}

// playTwins plays scenarios in which two processes have one key.
func playTwins(ctx context.Context, seven uint64) int {
	begun, failures, four := time.Now(), 0, 0
	try := func(s sim.Twins) {
		if err := s.Play(); err != nil {
			failures++
			fmt.Printf("FAILED: %+v: %v\n", s, err)
		}
	}
	for ; four < sim.AllTwinsOfFour && ctx.Err() == nil; four++ {
		try(sim.TwinsOfFour(four))
	}
	played := uint64(0)
	for ; played < seven && ctx.Err() == nil; played++ {
		try(sim.TwinsOfSeven(played))
	}
	fmt.Printf("%d of %d scenarios with n = 4, %d with n = 7, in %s, %d failed\n", four, sim.AllTwinsOfFour, played,
		time.Since(begun).Round(time.Second), failures)
	if failures > 0 {
		return 1
	}
	return 0
}

// show plays one schedule with its trace.
func show(sc sim.Scenario, seed uint64) int {
	r := sim.Run(sim.Settle(sc, seed), nil, true)
	fmt.Printf("%s\n\n%s", r.Schedule, r.Trace)
	if r.Failure != nil {
		fmt.Println(r.Failure)
		return 1
	}
	return 0
}
