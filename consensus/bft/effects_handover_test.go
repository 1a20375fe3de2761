package bft

import (
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
)

func TestUnderOnceNobodyIsReplacedWhileARunIsOpen(t *testing.T) {
	for effects, moves := range map[consensus.Effects]bool{consensus.Once: false, consensus.AtLeastOnce: true} {
		w := newWorld(t, effects, consensus.Byzantine, 1, 1)
		w.value = func(int) consensus.Value { return consensus.Value{} }
		w.start()
		w.machines[0] = nil
		w.value = func(int) consensus.Value { return result("truth") }
		w.lost = func(_, _ int, out Outgoing) bool {
			return out.Kind == consensus.KindReport && w.machines[1].at.Number == 0
		}
		w.passOn(8 * testPatience)
		m := w.machines[1]
		if moved := m.at.Number > 0; moved != moves {
			t.Errorf("%s: height %d, runs %v", effects, m.at.Number, w.runs)
		}
		if moves && !m.Done() {
			t.Errorf("%s: %+v", effects, m.View())
		}
	}
}

// Who prepared a handover grants no run at its height, also after a restart.
func TestUnderOnceWhoPreparedAHandoverGrantsNothingAtItsHeight(t *testing.T) {
	w := newWorld(t, consensus.Once, consensus.Byzantine, 1, 1)
	w.lost = func(from, to int, out Outgoing) bool {
		return from == 3 || to == 3 || out.Note == consensus.NoteRunning && from != to || out.Kind == consensus.KindCommit || out.Kind == consensus.KindRoundChange
	}
	w.start()
	for range 40 { // seat 3 is lost, and nobody hears an executor ask
		w.passOn(500)
		for from := range 3 {
			for to := range 3 {
				if from != to {
					w.input(to, Message{From: from, Note: consensus.NoteAlive})
				}
			}
		}
		w.settle()
	}
	for _, restarted := range []bool{false, true} {
		if restarted {
			w.restart(t, 2)
		}
		m := w.machines[2]
		if !m.turns.closed || m.turns.granted.Run != 0 {
			t.Fatalf("restarted %v: it prepared no handover: %+v", restarted, m.View())
		}
		m.runs.active = 4
		m.Step(m.now, Message{From: 0, Note: consensus.NoteRunning, Payload: &consensus.Payload{Beat: &consensus.Beat{Run: 1}}})
		if m.turns.granted.Run != 0 {
			t.Errorf("restarted %v: it grants %+v", restarted, m.turns.granted)
		}
	}
}

// Two of four prepare the replacement of a member that the third hears, and then
// all hear it again: nobody can grant what takes three. Every member says so, also
// after a restart, and the job ends when it is cancelled.
func TestUnderOnceAJobSaysWhoPreparedAHandoverThatIsNotDecided(t *testing.T) {
	w := newWorld(t, consensus.Once, consensus.Byzantine, 1, 1)
	for _, m := range w.machines[:4] { // who asks for a run itself grants one, and prepares no handover
		m.cfg.Runners = m.cfg.Runners[:1]
	}
	apart := true
	w.lost = func(from, to int, out Outgoing) bool {
		return apart && (out.Note == consensus.NoteRunning && from != to || from == 3 && (to == 1 || to == 2))
	}
	w.start()
	prepared := func(seat int) bool {
		return slices.ContainsFunc(w.journals[seat], func(r Record) bool { return r.Kind == RecordClosed })
	}
	for !prepared(1) || !prepared(2) {
		for from := range 4 {
			for to := range 3 {
				if from != to && (from != 3 || to == 0) {
					w.input(to, Message{From: from, Note: consensus.NoteAlive})
				}
			}
		}
		w.passOn(500)
		if w.now > 100*testPatience {
			t.Fatalf("no handover is prepared: %+v", w.machines[1].View())
		}
	}
	for seat := range 4 {
		if c := w.machines[seat].View().Closed; c != nil {
			t.Errorf("seat %d says at once that it is stuck: %+v", seat, c)
		}
	}
	apart = false
	w.passOn(4 * testPatience)
	w.restart(t, 1)
	w.passOn(4 * testPatience)
	for seat, want := range [][]int{{1, 2}, {1}, {1, 2}, {1, 2}} { // who was restarted knows of itself
		v := w.machines[seat].View()
		if v.Closed == nil || !slices.Equal(v.Closed.Seats, want) || v.Closed.Since == 0 || v.Closed.Since >= w.now || v.Stuck != nil {
			t.Errorf("seat %d: held up by %+v, run %+v; want %v", seat, v.Closed, v.Stuck, want)
		}
	}
	if len(w.runs) > 0 || w.machines[0].at.Number > 0 {
		t.Errorf("height %d, runs %v", w.machines[0].at.Number, w.runs)
	}
	w.input(0, CancelWish{})
	w.passOn(4 * testPatience)
	for seat := range 4 {
		if m := w.machines[seat]; !m.Done() || m.View().Decision.Value.Kind != consensus.Cancelled || m.View().Closed != nil {
			t.Errorf("seat %d after the cancellation: %+v", seat, m.View())
		}
	}
}
