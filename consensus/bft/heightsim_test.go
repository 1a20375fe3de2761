package bft

import (
	"flag"
	"math/rand/v2"
	"testing"

	"github.com/muster-network/muster/consensus"
)

var heightSeeds = flag.Int("bft.replacements", 600, "number of seeds for the runs with a replacement")

// TestReplacementsUnderLossAndRestartsDecideOnce plays a long run in which one
// member dies for good, messages are lost and change places, any may restart from
// its records, and a cancellation races with it all, until the network behaves:
// then every living member of the last height ends the job, and all in the same
// way, at every height.
func TestReplacementsUnderLossAndRestartsDecideOnce(t *testing.T) {
	seeds := max(*heightSeeds/slowness, 20)
	handovers := 0
	for seed := range seeds {
		q := newReplaceable(consensus.Byzantine, 1, 1)
		switch seed % 4 {
		case 1:
			q = newReplaceable(consensus.Crash, 1, 1)
		case 2:
			q = newReplaceable(consensus.Byzantine, 2, 2)
		}
		handovers += playReplacement(t, q, uint64(seed))
		if t.Failed() {
			t.Fatalf("seed %d: %s", seed, q.stand())
		}
	}
	if handovers < seeds/4 {
		t.Errorf("%d handovers in %d runs: this tests little", handovers, seeds)
	}
}

// playReplacement returns at how many heights members were replaced.
func playReplacement(t *testing.T, q *quorum, seed uint64) int {
	rng := rand.New(rand.NewPCG(seed, 7))
	chance := func(percent int) bool { return rng.IntN(100) < percent }
	done := q.slow()
	q.inputAll2(AcceptJob{})
	n := len(q.charter.Roster)
	dead := rng.IntN(n)
	calm := false
	q.lost = func(from, to int, out Outgoing) bool { return from != to && !calm && chance(20) }
	killAt, doneAt, cancelAt := rng.IntN(60), 20+rng.IntN(120), 1_000
	if chance(30) {
		cancelAt = 30 + rng.IntN(100)
	}
	for step := range 400 {
		calm = step > 140
		if step == killAt {
			q.kill(dead)
		}
		if step == doneAt {
			done()
		}
		if party := rng.IntN(n); step == cancelAt && q.machines[party] != nil {
			q.input(party, CancelWish{})
		}
		if party := rng.IntN(len(q.machines)); !calm && chance(5) && q.machines[party] != nil {
			q.restart(t, party)
		}
		if step%4 == 0 {
			q.resend()
		}
		rng.Shuffle(len(q.queue), func(i, j int) { q.queue[i], q.queue[j] = q.queue[j], q.queue[i] })
		q.pass(250)
	}
	q.checkOneChain(t, dead)
	for _, c := range q.conclusions() {
		return len(c.Chain)
	}
	return 0
}

// checkOneChain wants all living members of the last height to have ended the
// job, and nobody to have seen another decision at any height.
func (q *quorum) checkOneChain(t *testing.T, dead int) {
	t.Helper()
	ended := q.conclusions()
	decided := map[uint64]consensus.Hash{}
	see := func(party int, d consensus.Decision) {
		if first, ok := decided[d.Height]; ok && first != d.Commits.Value {
			t.Errorf("party %d: another decision at height %d", party, d.Height)
		}
		decided[d.Height] = d.Commits.Value
	}
	for party, m := range q.machines {
		if m == nil {
			continue
		}
		for _, d := range m.chain {
			see(party, d)
		}
		c, ok := ended[party]
		if ok {
			see(party, c.Outcome)
		}
		if !ok && party != dead && m.seat >= 0 {
			t.Errorf("party %d has not ended the job", party)
		}
	}
}
