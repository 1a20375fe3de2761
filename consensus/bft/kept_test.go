package bft

import (
	"testing"

	"github.com/muster-network/muster/consensus"
)

func TestWhateverAPartySaysABoundedPartOfItIsKept(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	values := []string{"a", "b", "c", "d", "exit"}
	for _, name := range values {
		m.Step(1_000, reportMessage(1, named(name)))
	}
	for i := range byte(5) {
		m.Step(1_000, Message{From: 1, Kind: consensus.KindAccept})
		m.Step(1_000, Message{From: 1, Kind: consensus.KindReportCommit, Value: consensus.Hash{i}})
	}
	most := 0
	for round := range uint32(40) {
		m.Step(1_000, change1(1, round+1))
		m.Step(1_000, change1(2, round)) // this one follows
		for _, name := range values {
			c := m.choice(named(name))
			for _, kind := range []consensus.Kind{consensus.KindPropose, consensus.KindPrepare, consensus.KindCommit} {
				m.Step(1_000, Message{From: 1, Kind: kind, Round: round + 1, Value: c.hash, Payload: &consensus.Payload{Value: &c.value}})
			}
		}
		for ahead := range uint32(20) { // votes of rounds that nobody has reached
			m.Step(1_000, Message{From: 1, Kind: consensus.KindPrepare, Round: round + 2 + ahead, Value: consensus.Hash{1}})
		}
		most = max(most, m.Kept(1))
	}
	// Two reports and what binds it to one, an accept, a round change, of three
	// rounds a prepare and a commit, and a proposal in the one that it leads.
	if want := 2 + 1 + 1 + 1 + 3*2 + 1; most != want || most > MaxKept {
		t.Errorf("of one party %d statements are kept, want %d", most, want)
	}
	if kept := m.KeptValues(); kept > 2 {
		t.Errorf("%d values are kept, of two reports", kept)
	}
}
