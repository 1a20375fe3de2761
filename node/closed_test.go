package node

import (
	"fmt"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/consensustest"
)

func TestAnUndecidedReplacementIsTheReasonWhyNoRunIsGranted(t *testing.T) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1)
	at := consensus.FirstHeight(n.ID, job.ID, job.Charter)
	s := standing(bft.View{Phase: bft.PhaseRunning, Closed: &bft.ClosedSeats{Seats: []int{1, 2}, Since: 7}})
	if s.Closed == nil {
		t.Fatal("not told")
	}
	stalled := closing(at, *s.Closed)
	want := fmt.Sprintf("%s and %s prepared to replace a member, which was not decided, and grant no run while it may be: a cancellation ends the job, or its deadline",
		at.Holder(1).Peer.Name(), at.Holder(2).Peer.Name())
	if stalled.Reason != want || stalled.Since != 7 || stalled.Waiting == nil || len(stalled.Waiting) > 0 {
		t.Errorf("%+v, want %s", stalled, want)
	}
}
