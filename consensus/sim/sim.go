// Package sim runs whole quorums in virtual time: the very machines of
// consensus/bft and the very steps and checks of consensus/runner, on a network,
// disks and clocks that fail as a seed says, with members that lie. After every
// step the invariants of protocol section 17 are held against what was signed,
// stored and decided.
//
//	seed --Settle--> Schedule --Run--> Report
//
// A Schedule is all that goes wrong in one run, written down before it begins;
// the same schedule gives the same trace, byte for byte. One that breaks an
// invariant is made smaller by Shrink, and printed.
//
// The parts: schedule.go (what can go wrong), world.go (virtual time),
// network.go, disk.go, node.go (a party's process), hearing.go (what it makes of
// messages), host.go (its runs and blocks), submitter.go, ledger.go (who signed
// what), invariants.go, votes.go, heights.go, endings.go and validity.go (one
// function for each invariant), equal.go (ends that are compared by their normal
// forms), slips.go (machines that are slow or break), arrays.go (jobs of many
// tasks), effects.go (runs that act on the world), coverage.go (what was seen,
// counted), liar.go and liar_*.go (one file for each kind of lie), twins.go (two
// processes with one key), shrink.go, trace.go.
//
// It stands for no time, no randomness and no input but the schedule's, and
// starts no goroutine.
package sim

import (
	"fmt"

	"github.com/muster-network/muster/consensus"
)

// Scenario is a kind of quorum.
type Scenario struct {
	Name  string
	Fault consensus.Fault
	F     uint64
}

// Scenarios returns the kinds of quorums that are simulated.
func Scenarios() []Scenario {
	return []Scenario{
		{"n=1", consensus.Byzantine, 0},
		{"n=4", consensus.Byzantine, 1},
		{"n=7", consensus.Byzantine, 2},
		{"crash n=3", consensus.Crash, 1},
		{"crash n=5", consensus.Crash, 2},
	}
}

// Report is what a run came to.
type Report struct {
	Schedule *Schedule
	Failure  *Failure // nil: every invariant held
	Hash     uint64   // of the trace
	Trace    string   // if it was wanted
	Steps    int      // of machines
	Time     int64    // virtual, milliseconds
	Outcome  *consensus.Value
}

// Failure is a broken invariant.
type Failure struct {
	Invariant string // I1 to I12, or what else a member may never do
	At        int64  // virtual milliseconds since the start
	Words     string
}

// Error says what broke, and when.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s broken after %d ms: %s", f.Invariant, f.At, f.Words)
}

// Run plays a schedule, counts what is seen into coverage, which may be nil, and
// keeps a readable trace if one is wanted.
func Run(s *Schedule, coverage *Coverage, trace bool) Report {
	w := newWorld(s, coverage, trace)
	w.run()
	return Report{Schedule: s, Failure: w.failure, Hash: w.trace.hash, Trace: w.trace.text.String(), Steps: w.steps,
		Time: w.now - epoch, Outcome: w.outcome}
}
