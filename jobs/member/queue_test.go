package member

import (
	"slices"
	"testing"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
)

// A job that this node took when it had more, or that others had started, may take more
// than it has.
func TestWhatANodeCouldNeverRunIsReportedAndNothingWaitsForIt(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.check = "check"
		b.cpu = 2 * jobs.DefaultCPU
		large := b.accepted("large")
		b.cpu = 0
		small := b.accepted("small")
		finish := crowded(b)
		if n, err := b.m.Recover(t.Context()); n != 2 || err != nil {
			t.Fatalf("%d resumed: %v", n, err)
		}
		v, hash := b.left("42")
		b.done = nil
		b.m.Check(large.ID, v, hash)
		b.m.Execute(large.ID, 1)
		pass(11 * time.Second) // longer than the queue has patience
		failed := "ran " + (consensus.Value{Kind: consensus.Failed, Class: consensus.FailedHost}).String()
		if !slices.Equal(b.done, []string{failed}) {
			t.Errorf("did %q, want %q and nothing waiting", b.done, failed)
		}
		b.m.Execute(small.ID, 1)
		pass(0)
		if b.wantLoad(t, 2, 0, 1); b.done[len(b.done)-1] != "runs" {
			t.Errorf("did %q", b.done)
		}
		if t.Failed() {
			return
		}
		finish <- exec.Result{Kind: exec.Exited}
		pass(0)
		b.wantLoad(t, 2, 0, 0)
	})
}

func TestAJobThatTakesMoreThanTheNodeHasIsRefusedUnlessItHasStarted(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.total.CPU = jobs.DefaultCPU // the roll says four cores
		b.end()
		b.start()
		b.cpu = 2 * jobs.DefaultCPU
		j := b.job(as, as)
		b.offer(j, nil)
		want := []string{"draw: the roll gives this node more than it has: a run takes 2 of CPU, this node has 1 in all"}
		if len(b.opened) != 0 || !slices.Equal(b.refused, want) {
			t.Errorf("opened %d, refused %q", len(b.opened), b.refused)
		}
		b.offer(j, nil, b.accepts(j, 0, 1, 2)...)
		if len(b.opened) != 1 || len(b.refused) != 1 {
			t.Errorf("shown its start: opened %d, refused %q", len(b.opened), b.refused)
		}
	})
}
