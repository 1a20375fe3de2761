package bft

import (
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
)

// The word that a run is over makes two things possible at once: another run, and
// a replacement of members. Who grants the run prepares no handover, not even one
// that was valid a moment before.
func TestUnderOnceWhoGrantsTheNextRunPreparesNoHandover(t *testing.T) {
	m := lostSeat(t, 3)
	charter := *m.cfg.Charter
	charter.Effects, charter.Assurance = consensus.Once, consensus.Single
	m.cfg.Charter = &charter
	m.runs = runs{tracks: m.runs.tracks, active: 4}
	m.turns.granted, m.rounds.own, m.evidence.news = grant{Run: 2, Party: 1}, nil, true
	m.Step(m.now, Message{From: 2, Note: consensus.NoteRunning, Payload: &consensus.Payload{Beat: &consensus.Beat{Run: 3}}})
	r := m.Step(m.now, Message{From: 1, Kind: consensus.KindEnded, Round: 2})
	if m.turns.granted.Run != 3 {
		t.Fatalf("it has granted %+v", m.turns.granted)
	}
	if slices.ContainsFunc(r.Say, func(out Outgoing) bool { return out.Kind == consensus.KindPrepare }) {
		t.Error("it prepares a handover while the run that it just granted is open")
	}
}

// Where reports are not committed to, who commits is not awaited for its report.
func TestACommitWhereNobodyCommitsKeepsNoBackupFromRunning(t *testing.T) {
	q := newQuorum(consensus.Byzantine, 1)
	charter := testCharter(consensus.Byzantine, 1, q.now)
	charter.Assurance = consensus.Single
	q.begin(charter)
	liar := q.machines[1].cfg.Runners[0]
	q.value = func(seat int) consensus.Value {
		if seat == liar {
			return consensus.Value{}
		}
		return result("truth")
	}
	q.lost = func(from, _ int, out Outgoing) bool { return from == liar && out.Note == consensus.NoteRunning }
	q.inputAll(AcceptJob{})
	q.settle()
	for seat := range q.machines {
		q.input(seat, Message{From: liar, Kind: consensus.KindReportCommit, Value: consensus.Hash{1}})
	}
	q.live(30_000)
	for seat, m := range q.machines {
		if seat != liar && !m.Done() {
			t.Errorf("seat %d waits for a report: %+v", seat, m.View())
		}
	}
}

// Of three that live one gave the job up, and grants nothing: no run can begin, and
// nothing is valid for the others. It is cancelled, though the submitter told only one.
func TestAJobThatActsAndWasWithdrawnIsCancelledWhereNoRunCanBegin(t *testing.T) {
	for _, effects := range []consensus.Effects{consensus.Once, consensus.AtLeastOnce} {
		w := newWorld(t, effects, consensus.Byzantine, 1, 0)
		for seat := range w.machines {
			w.input(seat, AcceptJob{})
		}
		w.input(2, SubmitterVoid{}) // no accept has reached it yet
		w.kill(3)
		w.settle()
		w.passOn(30_000)
		if len(w.runs) != 0 {
			t.Errorf("%s: runs %v", effects, w.runs)
		}
		for seat, m := range w.machines[:3] {
			if !m.Done() || m.decision.Value.Kind != consensus.Cancelled {
				t.Errorf("%s: seat %d: %+v", effects, seat, m.View())
			}
		}
	}
}

// The executor gave the job up. Of the q that granted its run, which the others have
// heard, one is lost before the executor heard it.
func TestWhoGaveTheJobUpGivesUpARunThatItIsNotSeenToBeGranted(t *testing.T) {
	for _, effects := range []consensus.Effects{consensus.Once, consensus.AtLeastOnce} {
		w := newWorld(t, effects, consensus.Byzantine, 1, 0)
		executor := w.machines[0].cfg.Runners[0]
		lost := (executor + 1) % 4
		w.lost = func(from, to int, out Outgoing) bool {
			return from == lost && to == executor && out.Kind == consensus.KindGrant
		}
		for seat := range w.machines {
			w.input(seat, AcceptJob{})
		}
		w.input(executor, SubmitterVoid{})
		w.settle()
		if granted := w.machines[(executor+2)%4].isGranted(); !granted {
			t.Fatalf("%s: no run was granted", effects)
		}
		w.kill(lost)
		w.passOn(120_000)
		if len(w.runs) != 0 {
			t.Errorf("%s: runs %v", effects, w.runs)
		}
		for seat, m := range w.machines {
			if seat != lost && (!m.Done() || m.decision.Value.Kind != consensus.Cancelled) {
				t.Errorf("%s: seat %d: %+v", effects, seat, m.View())
			}
		}
	}
}

// Where q members can carry it, a job that acts and was withdrawn goes on: what a
// run does is not cut short.
func TestAJobThatActsAndWasWithdrawnGoesOnWhereARunWasGranted(t *testing.T) {
	w := newWorld(t, consensus.Once, consensus.Byzantine, 1, 0)
	w.value = func(int) consensus.Value { return consensus.Value{} }
	for seat := range w.machines {
		w.input(seat, AcceptJob{})
	}
	w.input(2, SubmitterVoid{})
	w.settle()
	w.look()
	w.passOn(30_000)
	if len(w.runs) != 1 || w.machines[0].Done() || w.machines[0].rounds.round > 0 {
		t.Fatalf("runs %v; %+v", w.runs, w.machines[0].View())
	}
	w.input(w.runs[0].party, Ran{Run: w.runs[0].run, Value: result("truth")})
	w.settle()
	w.passOn(30_000)
	for seat, m := range w.machines {
		if !m.Done() || m.decision.Value.Kind != consensus.Result {
			t.Errorf("seat %d: %+v", seat, m.View())
		}
	}
}

// An executor that reports a failure and never says that its run is over holds
// nobody up at-least-once. Under once only that word lets another run begin.
func TestAFailureThatWasReportedIsFollowedByARunAtLeastOnce(t *testing.T) {
	for effects, want := range map[consensus.Effects]int{consensus.Once: 1, consensus.AtLeastOnce: 2} {
		w := newWorld(t, effects, consensus.Byzantine, 1, 0)
		liar := w.machines[0].cfg.Runners[0]
		w.value = func(seat int) consensus.Value {
			if seat == liar {
				return failed(consensus.FailedHost)
			}
			return result("truth")
		}
		w.lost = func(from, to int, out Outgoing) bool {
			return from == liar && to != liar && out.Kind == consensus.KindEnded
		}
		w.start()
		w.passOn(60_000)
		if len(w.runs) != want || w.machines[1].Done() != (effects == consensus.AtLeastOnce) {
			t.Errorf("%s: runs %v; %+v", effects, w.runs, w.machines[1].View())
		}
	}
}

// Members that are out of step grant the same runs at different times: what one
// granted first counts when the others come to it.
func TestAGrantCountsThoughItsMemberHasGrantedAnotherSince(t *testing.T) {
	w := newWorld(t, consensus.AtLeastOnce, consensus.Byzantine, 1, 0)
	w.value = func(int) consensus.Value { return consensus.Value{} }
	w.start()
	m := w.machines[1]
	m.runs.active, m.runs.run, m.turns.since = 4, 2, m.now
	for _, g := range []struct {
		from  int
		run   uint32
		party int
	}{{3, 2, 1}, {3, 3, 2}, {2, 2, 1}, {1, 2, 1}} {
		if m.turns.begun != 0 {
			t.Fatalf("it begins run %d with too few grants", m.turns.begun)
		}
		m.Step(m.now, Message{From: g.from, Kind: consensus.KindGrant, Round: g.run, Value: m.nameOf(g.party)})
	}
	if m.turns.begun != 2 {
		t.Errorf("q members granted run 2, and it does not begin: %+v", m.turns)
	}
}
