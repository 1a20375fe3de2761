package runner

import (
	"context"
	"testing"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
)

// Equivocated and Disagreed implement Host: what is told convicts somebody.

func (n *wired) Equivocated(job consensus.JobID, charter *consensus.Charter, first, second consensus.Signed) {
	n.w.mutex.Lock()
	defer n.w.mutex.Unlock()
	credential, _ := n.w.n.Credential(first.Statement.Sender)
	e, err := consensus.NewEquivocation(credential, first, second)
	if err != nil {
		n.w.t.Errorf("told of %v and %v: %v", first, second, err)
		return
	}
	f, err := e.Verify(n.w.n.Sealed)
	if err != nil || f.Job != job || charter.Place(f.Peer) < 0 {
		n.w.t.Errorf("what was told convicts nobody: %+v, %v", f, err)
	}
	n.accused = append(n.accused, f.Peer)
}

func (n *wired) Disagreed(_ consensus.JobID, report consensus.SignedReport) {
	n.w.mutex.Lock()
	defer n.w.mutex.Unlock()
	n.disagreed = append(n.disagreed, report)
}

// lies makes a seat of every quorum a liar before anything runs.
func (w *wires) lies(seat int, lie func(consensus.Statement) []consensus.Hash) {
	w.seat(seat).runner.cfg.Lie = lie
}

func TestADoubleVoterIsFoundOutByAllWhoHearBothVotes(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		w := newWires(t, ctx, 1, 0)
		w.lies(2, func(s consensus.Statement) []consensus.Hash {
			if s.Kind != consensus.KindPrepare && s.Kind != consensus.KindCommit {
				return []consensus.Hash{s.Value}
			}
			return []consensus.Hash{s.Value, {9}}
		})
		for _, n := range w.nodes {
			n.start()
		}
		for seat := range 4 {
			w.open(seat)
		}
		w.settle(time.Minute)
		w.checkDecided(0, 1, 3)
		w.mutex.Lock()
		for _, seat := range []int{0, 1, 3} {
			n := w.seat(seat)
			if len(n.accused) != 1 || n.accused[0] != w.job.Roster[2].Peer {
				t.Errorf("seat %d accuses %v", seat, n.accused)
			}
		}
		if n := w.seat(2); len(n.accused) != 0 {
			t.Errorf("the liar accuses %v", n.accused)
		}
		w.mutex.Unlock()
		cancel()
		w.tasks.Wait()
	})
}

func TestAReportThatTheOutcomeContradictsIsToldBeforeTheOutcome(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		w := newWires(t, ctx, 1, 0)
		liar := w.seat(0)
		liar.ends = consensustest.Result("a lie")
		for _, n := range w.nodes {
			n.start()
		}
		for seat := range 4 {
			w.open(seat)
		}
		w.settle(time.Minute)
		w.mutex.Lock()
		for _, seat := range []int{1, 2, 3} {
			n := w.seat(seat)
			if len(n.decided) != 1 || len(n.disagreed) != 1 || n.disagreed[0].Seat != 0 {
				t.Fatalf("seat %d: %d decided, told of %+v", seat, len(n.decided), n.disagreed)
			}
			signed := n.disagreed[0]
			hash, err := signed.Report.Hash(w.n.ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := signed.Proof.Check(w.n.Statement(w.job, 0, consensus.KindReport, 0, hash)); err != nil {
				t.Errorf("seat %d: %v", seat, err)
			}
		}
		w.mutex.Unlock()
		cancel()
		w.tasks.Wait()
	})
}

func (n *wired) outcome() consensus.Value {
	if n.ends.Kind != 0 {
		return n.ends
	}
	return consensustest.Result("hello")
}
