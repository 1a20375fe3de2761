package member

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
)

func replaceable(c *consensus.Charter) { c.Replace = c.F }

// standsBy makes this member the second reserve of a job that has started, and is shown it
// at its first height, or, late, when it has been seated already. It returns the job and what
// is told when members are replaced: by the first reserve, then by this one.
func standsBy(t *testing.T, b *bench, late bool) (consensustest.Job, []consensus.Height) {
	t.Helper()
	b.n, b.faults = consensustest.New(9), 2
	var j consensustest.Job
	for _, b.me = range b.n.Nodes[1:] {
		if j = b.job(replaceable, as); j.Reserves[1].Peer != j.Submitter {
			break
		}
	}
	b.me = b.n.Nodes[b.n.Index(j.Reserves[1].Peer)]
	b.end()
	b.start()
	moves := []consensus.Value{consensustest.Handover([2]uint64{0, 0}), consensustest.Handover([2]uint64{1, 1})}
	chain, second := b.n.Chain(j, moves...)
	_, first := b.n.Chain(j, moves[0])
	if !late {
		chain = nil
	}
	b.m.Offered(b.n.Nodes[0].Key(), b.offerOf(j), b.accepts(j, 0, 1, 2, 3, 4), chain)
	pass(time.Second)
	if len(b.opened) != 1 || len(b.refused) != 0 {
		t.Fatalf("opened %d, refused %q", len(b.opened), b.refused)
	}
	return j, []consensus.Height{first, second}
}

func TestAReserveThatWasPassedOverRunsOnceItIsSeated(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j, heights := standsBy(t, b, false)
		b.m.Reached(j.ID, heights[0])
		if b.wantLoad(t, 0, 0, 0); t.Failed() {
			t.Fatal("a reserve has a place")
		}
		b.m.Reached(j.ID, heights[1])
		b.m.Execute(j.ID, 1)
		pass(0)
		if !slices.ContainsFunc(b.done, func(s string) bool { return strings.HasPrefix(s, "ran result") }) {
			t.Errorf("seated, it did %q", b.done)
		}
		b.wantLoad(t, 1, 0, 0)
	})
}

// A reserve that comes when it is seated already is told of the heights before that, too:
// at those it had no seat to lose.
func TestAReserveThatComesLateIsNotStoppedByWhatWasBefore(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j, heights := standsBy(t, b, true)
		for _, at := range heights {
			b.m.Reached(j.ID, at)
		}
		b.m.Execute(j.ID, 1)
		pass(0)
		if !slices.ContainsFunc(b.done, func(s string) bool { return strings.HasPrefix(s, "ran result") }) {
			t.Errorf("seated, it did %q", b.done)
		}
	})
}

func TestWhoLosesItsSeatRunsNothingAnyMore(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.n, b.faults = consensustest.New(9), 2
		b.me = b.n.Nodes[1]
		crowded(b)
		j := b.job(replaceable, as)
		b.offer(j, nil)
		b.m.Execute(j.ID, 1)
		pass(0)
		b.wantLoad(t, 1, 0, 1)
		next, err := b.n.First(j).Next(consensustest.Handover([2]uint64{uint64(j.Place(b.me.Key())), 0}))
		if err != nil {
			t.Fatal(err)
		}
		b.done = nil
		b.m.Reached(j.ID, next)
		b.m.Execute(j.ID, 2) // told just before
		pass(0)
		if b.wantLoad(t, 0, 0, 0); slices.ContainsFunc(b.done, func(s string) bool { return s != "waits" }) {
			t.Errorf("it did %q", b.done)
		}
	})
}
