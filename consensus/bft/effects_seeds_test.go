package bft

import (
	"flag"
	"math/rand/v2"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/store/dagcbor"
)

var effectSeeds = flag.Int("bft.effects", 600, "number of seeds for the runs that act")

// TestRunsThatActUnderLossAndRestarts plays long runs of jobs that act, in which
// messages are lost and change places, members restart, one may die for good, and
// runs come to nothing: whatever happens, look's rules hold. In the end
// at-least-once ends; and once, too, or it says which run holds it up, or whose
// handover.
func TestRunsThatActUnderLossAndRestarts(t *testing.T) {
	seeds := max(*effectSeeds/slowness, 30)
	ended, stuck, again, moved := 0, 0, 0, 0
	for seed := range seeds {
		effects := []consensus.Effects{consensus.Once, consensus.AtLeastOnce}[seed%2]
		w := newWorld(t, effects, consensus.Byzantine, 1, 1)
		switch seed / 2 % 3 {
		case 1:
			w = newWorld(t, effects, consensus.Crash, 1, 1)
		case 2:
			w = newWorld(t, effects, consensus.Byzantine, 2, 1)
		}
		w.play(uint64(seed))
		for party, m := range w.machines {
			switch {
			case m == nil || m.seat < 0:
			case m.Done():
				ended++
			case effects == consensus.Once && (m.View().Stuck != nil || m.View().Closed != nil):
				stuck++
			case effects == consensus.AtLeastOnce:
				t.Errorf("party %d has not ended: %+v", party, m.View())
			default:
				t.Errorf("party %d neither ended nor knows why: %+v, granted %+v", party, m.View(), m.turns)
			}
			if m != nil && m.at.Number > 0 {
				moved++
			}
		}
		if len(w.runs) > 1 {
			again++
		}
		if t.Failed() {
			t.Fatalf("seed %d: runs %v", seed, w.runs)
		}
	}
	t.Logf("%d seeds: ended at %d members, stuck at %d; %d jobs ran more than once, %d members saw a handover", seeds, ended, stuck, again, moved)
	if ended == 0 || stuck == 0 || again == 0 || moved == 0 {
		t.Error("this tests little")
	}
}

func (w *world) play(seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 11))
	chance := func(percent int) bool { return rng.IntN(100) < percent }
	calm, failing, running := false, 0, map[began]int64{}
	loss, longest := rng.IntN(40), 1+rng.IntN(30_000)
	w.lost = func(from, to int, _ Outgoing) bool { return from != to && !calm && chance(loss) }
	w.value = func(int) consensus.Value { return consensus.Value{} }
	n := len(w.charter.Roster)
	dead, killAt := rng.IntN(n), 1_000
	if chance(50) {
		killAt = rng.IntN(60)
	}
	for seat := range n {
		w.input(seat, AcceptJob{})
	}
	for step := range 700 {
		calm = step > 150
		if step == killAt && !calm {
			w.cut(dead)
			w.machines[dead] = nil
		}
		if party := rng.IntN(len(w.machines)); !calm && chance(3) && w.machines[party] != nil {
			w.restart(w.t, party)
		}
		if step%4 == 0 {
			w.resend()
		}
		rng.Shuffle(len(w.queue), func(i, j int) { w.queue[i], w.queue[j] = w.queue[j], w.queue[i] })
		w.pass(250)
		w.look()
		for _, b := range w.runs { // a run takes some time, and a restart ends it
			m := w.machines[b.party]
			if running[b] == 0 {
				running[b] = w.now + int64(rng.IntN(longest))
			}
			if m == nil || m.runs.report != nil || m.turns.cut || m.runs.run != b.run || w.now < running[b] {
				continue
			}
			v := result("truth")
			if failing < n-1 && chance(20) {
				failing++
				v = failed(consensus.FailedHost)
			}
			w.input(b.party, Ran{Run: b.run, Value: v})
		}
		w.settle()
	}
}

func readBegun(t *testing.T, r Record) (begun, bool) {
	var b begun
	return b, r.Kind == RecordBegun && decode(t, r, &b)
}

func decode(t *testing.T, r Record, out any) bool {
	if err := dagcbor.Unmarshal(r.Data, out); err != nil {
		t.Fatal(err)
	}
	return true
}
