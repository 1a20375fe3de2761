package node

import (
	"testing"

	"github.com/muster-network/muster/consensus"
)

func TestARollServesWhileItIsYoungAndNotWhenItIsOfTheFuture(t *testing.T) {
	const made, life, state = 1_000_000, 60_000, 7
	r := rolls{state: state}
	if r.serve(made, state, life) {
		t.Error("there is none")
	}
	r.roll = &consensus.Roll{Made: made}
	for _, c := range []struct {
		what        string
		age         int64
		same, other bool // nodes, or not
	}{
		{"just made", 0, true, true},
		{"young", rollPause - 1, true, true},
		{"not so young", rollPause, true, false},
		{"before half its life", life/2 - 1, true, false},
		{"at half its life", life / 2, false, false},
		{"the clock was set back a little", -1, false, false},
		{"the clock was set back", -10_000, false, false},
	} {
		if same, other := r.serve(made+c.age, state, life), r.serve(made+c.age, state+1, life); same != c.same || other != c.other {
			t.Errorf("%s: serves %v, and %v when a node came", c.what, same, other)
		}
	}
}
