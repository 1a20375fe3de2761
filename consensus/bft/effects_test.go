package bft

import (
	"fmt"
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
)

// world is a quorum whose task acts: it sees which runs begin, and holds each
// against the rules.
type world struct {
	*quorum
	t    *testing.T
	runs []began
	seen []int // by party: of its effects
}

// began is a run that began somewhere.
type began struct {
	party int
	run   uint64
}

func newWorld(t *testing.T, effects consensus.Effects, fault consensus.Fault, f uint64, reserves int) *world {
	q := newReplaceable(fault, f, reserves)
	charter := *q.charter
	charter.Effects, charter.Assurance = effects, consensus.Single
	q.begin(&charter)
	return &world{quorum: q, t: t, seen: make([]int, charter.Parties())}
}

// begin accepts everywhere.
func (w *world) start() {
	for seat := range w.charter.Roster {
		w.input(seat, AcceptJob{})
	}
	w.settle()
	w.look()
}

func (w *world) passOn(ms int64) {
	for end := w.now + ms; w.now < end; {
		w.pass(500)
		w.look()
		w.resend()
		w.settle()
		w.look()
	}
}

// look notes the runs that began since the last time: each with q grants of one
// height on disk, of a higher number than all before, and under once when all of
// those are over.
func (w *world) look() {
	w.t.Helper()
	for party, effects := range w.effects {
		for ; w.seen[party] < len(effects); w.seen[party]++ {
			if e, ok := effects[w.seen[party]].(Execute); ok {
				w.begins(party, e.Run)
			}
		}
	}
}

func (w *world) begins(party int, run uint64) {
	w.t.Helper()
	if !slices.ContainsFunc(w.journals[party], func(r Record) bool {
		b, ok := readBegun(w.t, r)
		return ok && uint64(b.Run) == run && len(b.Grants) == w.charter.Thresholds().Quorum
	}) {
		w.t.Errorf("party %d begins run %d without q grants on disk", party, run)
	}
	for _, before := range w.runs {
		if before.run == run {
			w.t.Errorf("run %d begins twice: at party %d, then at %d", run, before.party, party)
		}
		if w.charter.Effects == consensus.Once && !w.isOver(before) {
			w.t.Errorf("run %d begins at party %d, and run %d of %d is not over", run, party, before.run, before.party)
		}
	}
	w.runs = append(w.runs, began{party, run})
}

func (w *world) isOver(b began) bool {
	return slices.ContainsFunc(w.journals[b.party], func(r Record) bool {
		var run uint32
		return r.Kind == RecordEnded && decode(w.t, r, &run) && uint64(run) >= b.run
	})
}

func TestOneMemberRunsWhatActsAndTheOthersGrantIt(t *testing.T) {
	for _, effects := range []consensus.Effects{consensus.Once, consensus.AtLeastOnce} {
		for _, fault := range []consensus.Fault{consensus.Byzantine, consensus.Crash} {
			for f := range uint64(3) {
				w := newWorld(t, effects, fault, f, 0)
				w.start()
				if len(w.runs) != 1 || w.runs[0] != (began{w.machines[0].cfg.Runners[0], 1}) {
					t.Errorf("%s, %s, f = %d: runs %v", effects, fault, f, w.runs)
				}
				for seat, m := range w.machines {
					if !m.Done() {
						t.Errorf("%s, %s, f = %d: seat %d: %+v", effects, fault, f, seat, m.View())
					}
				}
			}
		}
	}
}

func TestNoRunBeginsWithoutQGrants(t *testing.T) {
	w := newWorld(t, consensus.AtLeastOnce, consensus.Byzantine, 1, 0)
	granted := 0
	w.lost = func(from, to int, out Outgoing) bool {
		if out.Kind == consensus.KindGrant && to == 0 && from != 0 {
			granted++
			return from != 1
		}
		return false
	}
	for seat := range w.machines {
		w.input(seat, AcceptJob{})
	}
	w.settle()
	w.look()
	if granted == 0 || len(w.runs) != 0 {
		t.Errorf("%d grants to seat 0, of which one arrived besides its own: runs %v", granted, w.runs)
	}
}

func TestARunThatIsCutOffIsFollowedByAnotherAtLeastOnceAndNeverOnce(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		for _, effects := range []consensus.Effects{consensus.Once, consensus.AtLeastOnce} {
			w := newWorld(t, effects, consensus.Byzantine, 1, 0)
			value := w.value
			w.value = func(int) consensus.Value { return consensus.Value{} }
			w.start()
			w.value = value
			w.machines[0] = nil
			if restarts {
				w.restart(t, 0)
			}
			w.passOn(60_000)
			why := fmt.Sprintf("%s, restarts %v", effects, restarts)
			if effects == consensus.AtLeastOnce {
				if len(w.runs) != 2 || w.runs[1].run <= 1 || !w.machines[1].Done() {
					t.Errorf("%s: runs %v, seat 1: %+v", why, w.runs, w.machines[1].View())
				}
				continue
			}
			if len(w.runs) != 1 || w.machines[1].Done() {
				t.Errorf("%s: runs %v, seat 1: %+v", why, w.runs, w.machines[1].View())
			}
			if s := w.machines[1].View().Stuck; s == nil || s.Seat != 0 || s.Run != 1 || s.Why == "" {
				t.Errorf("%s: it shows %+v", why, s)
			}
			w.now = w.charter.Deadline
			w.passOn(10_000)
			if m := w.machines[1]; !m.Done() || m.decision.Value.Class != consensus.FailedDeadline {
				t.Errorf("%s: after its deadline: %+v", why, m.View())
			}
		}
	}
}

func TestARunIsOverWhenItsExecutorSignsThatItIs(t *testing.T) {
	w := newWorld(t, consensus.Once, consensus.Byzantine, 1, 0)
	w.value = func(seat int) consensus.Value {
		if seat == 0 {
			return failed(consensus.FailedHost)
		}
		return result("truth")
	}
	w.start()
	w.passOn(5_000)
	if want := []began{{0, 1}, {1, 2}}; !slices.Equal(w.runs, want) || !w.machines[2].Done() {
		t.Errorf("runs %v, want %v; %+v", w.runs, want, w.machines[2].View())
	}
}

// What a program did before its host failed, or its time was over, is known to nobody:
// under once no other run follows, also after a restart.
func TestARunThatBeganAndCameToNothingIsFollowedByAnotherAtLeastOnceAndNeverOnce(t *testing.T) {
	for _, class := range []consensus.Failure{consensus.FailedHost, consensus.FailedTimeout} {
		for _, effects := range []consensus.Effects{consensus.Once, consensus.AtLeastOnce} {
			for _, restarts := range []bool{false, true} {
				w := newWorld(t, effects, consensus.Byzantine, 1, 0)
				w.began = true
				w.value = func(seat int) consensus.Value {
					if seat == 0 {
						return failed(class)
					}
					return result("truth")
				}
				w.start()
				if restarts {
					w.restart(t, 0)
				}
				w.passOn(60_000)
				why := fmt.Sprintf("%s, %s, restarts %v", class, effects, restarts)
				if effects == consensus.AtLeastOnce {
					if len(w.runs) != 2 || !w.machines[1].Done() {
						t.Errorf("%s: runs %v; %+v", why, w.runs, w.machines[1].View())
					}
					continue
				}
				if len(w.runs) != 1 || w.machines[1].Done() {
					t.Errorf("%s: runs %v; %+v", why, w.runs, w.machines[1].View())
				}
				for _, seat := range []int{0, 1} {
					if s := w.machines[seat].View().Stuck; s == nil || s.Seat != 0 || s.Run != 1 || s.Why == "" {
						t.Errorf("%s: seat %d shows %+v", why, seat, s)
					}
				}
				w.now = w.charter.Deadline
				w.passOn(10_000)
				if m := w.machines[1]; !m.Done() || m.decision.Value.Class != consensus.FailedDeadline {
					t.Errorf("%s: after its deadline: %+v", why, m.View())
				}
			}
		}
	}
}

// What a run that came to an outcome did is done: under once its blocks are waited
// for, and no other run begins.
func TestUnderOnceAFinishedRunIsNotFollowedByAnother(t *testing.T) {
	for effects, want := range map[consensus.Effects]int{consensus.Once: 1, consensus.AtLeastOnce: 2} {
		w := newWorld(t, effects, consensus.Byzantine, 1, 0)
		w.value = func(seat int) consensus.Value { return result([]string{"a", "b", "c", "d"}[seat]) }
		w.withheld = mustHash(result("a"))
		w.lost = func(from, _ int, out Outgoing) bool { return from == 0 && out.Kind.Slot() }
		w.start()
		w.passOn(60_000)
		if len(w.runs) != want {
			t.Errorf("%s: runs %v", effects, w.runs)
		}
	}
}

func TestAnExecutorThatIsLostBeforeItWasGrantedARunHoldsNothingUp(t *testing.T) {
	w := newWorld(t, consensus.Once, consensus.Byzantine, 1, 0)
	w.lost = func(from, to int, _ Outgoing) bool { return (from == 0) != (to == 0) }
	w.start()
	w.passOn(20_000)
	if len(w.runs) != 1 || w.runs[0].party == 0 || !w.machines[1].Done() {
		t.Errorf("runs %v; %+v", w.runs, w.machines[1].View())
	}
}

// Two ask at once, and each is granted by some, of three that live: neither has q,
// until one gives way.
func TestOfTwoThatAskAtOnceOneGivesWay(t *testing.T) {
	w := newWorld(t, consensus.Once, consensus.Byzantine, 1, 0)
	split := true
	w.lost = func(from, to int, out Outgoing) bool {
		asks := out.Note == consensus.NoteRunning && from != to
		return from == 2 || to == 2 || split && asks && (from == 0 && to == 1 || from == 1)
	}
	w.start() // seat 1 does not hear seat 0 ask, and asks itself
	for w.machines[1].turns.granted.Run == 0 {
		w.passOn(500)
	}
	split = false
	if w.machines[1].turns.granted.Party != 1 || w.machines[3].turns.granted.Party != 0 || len(w.runs) != 0 {
		t.Fatalf("they are not of two minds: %+v, %+v", w.machines[1].turns, w.machines[3].turns)
	}
	w.passOn(30_000)
	if len(w.runs) != 1 || !w.machines[3].Done() {
		t.Errorf("runs %v; %+v", w.runs, w.machines[3].View())
	}
}

// Grants of two heights do not add up.
func TestGrantsOfTheHeightBeforeAreNone(t *testing.T) {
	m := lostSeat(t, 3)
	charter := *m.cfg.Charter
	charter.Effects, charter.Assurance = consensus.AtLeastOnce, consensus.Single
	m.cfg.Charter, m.runs.run, m.turns.begun = &charter, 1, 0
	grant := func(from int, height uint64) {
		m.Step(m.now, Message{From: from, Kind: consensus.KindGrant, Height: height, Round: 1, Value: m.nameOf(0)})
	}
	grant(1, 0)
	grant(2, 0)
	move := consensus.Value{Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: 3, Reserve: 0}}}
	m.conclude(consensus.Decision{Value: move, Commits: consensus.VoteSet{Value: mustHash(move)}})
	if grant(4, 1); m.turns.begun != 0 {
		t.Errorf("with two grants of height 0 and one of height 1 it begins: %+v", m.turns)
	}
	grant(1, 1)
	if grant(2, 1); m.turns.begun != 1 {
		t.Errorf("q grants of height 1, and it does not begin: %+v", m.turns)
	}
}

func TestAMemberGrantsARunToOneOnly(t *testing.T) {
	w := newWorld(t, consensus.Once, consensus.Byzantine, 1, 0)
	w.lost = func(from, to int, _ Outgoing) bool { return from == 3 || to == 3 }
	w.value = func(int) consensus.Value { return consensus.Value{} }
	for seat := range w.machines {
		w.input(seat, AcceptJob{})
	}
	w.settle()
	ask := func(from int, run uint64) []Record {
		m := w.machines[2]
		return m.Step(m.now, Message{From: from, Note: consensus.NoteRunning, Payload: &consensus.Payload{Beat: &consensus.Beat{Run: run}}}).Records
	}
	w.machines[2].runs.active = 4
	for _, restarted := range []bool{false, true} {
		if restarted {
			w.restart(t, 2)
			w.machines[2].runs.active = 4
		}
		for _, asks := range []began{{1, 1}, {1, 2}, {0, 1}, {0, 5}, {3, 4}} {
			if records := ask(asks.party, asks.run); slices.ContainsFunc(records, func(r Record) bool { return r.Kind == RecordGrant }) {
				t.Errorf("restarted %v: run %d is granted to %d, and run 1 of 0 is not over", restarted, asks.run, asks.party)
			}
		}
	}
	m := w.machines[2]
	m.Step(m.now, Message{From: 0, Kind: consensus.KindEnded, Round: 1})
	if m.turns.granted.Run != 2 || m.turns.granted.Party != 1 {
		t.Errorf("run 1 is over, and granted is %+v", m.turns.granted)
	}
}

// Who hears of grants, and of nobody who asks, grants itself: none of them holds
// q, and none outbids the others more often than once in a beat.
func TestNumbersAreNotOutbidFasterThanInBeats(t *testing.T) {
	w := newWorld(t, consensus.Once, consensus.Byzantine, 1, 0)
	w.lost = func(from, to int, out Outgoing) bool { return from != to && out.Note == consensus.NoteRunning }
	w.start()
	w.passOn(30_000)
	grants := 0
	for _, records := range w.journals {
		grants += len(slices.DeleteFunc(slices.Clone(records), func(r Record) bool { return r.Kind != RecordGrant }))
	}
	if most := 4 * 31; grants < 4 || grants > most {
		t.Errorf("%d grants in 30 beats of 4 members, at most %d", grants, most)
	}
}

// Whom a liar asks for a run far away, and who hears of one, stays within reach of
// what correct members granted.
func TestNobodyLeadsTheNumbersOfRunsAway(t *testing.T) {
	var m *Machine
	for far, granted := range map[uint64]bool{1 << 40: false, 4_000_000_000: false, 16: false, 12: false, 8: true, 4: true, 3: false, 0: false} {
		w := newWorld(t, consensus.AtLeastOnce, consensus.Byzantine, 1, 0)
		w.lost = func(from, to int, _ Outgoing) bool { return from == 3 || to == 3 }
		w.value = func(int) consensus.Value { return consensus.Value{} }
		w.start()
		m = w.machines[1]
		m.runs.active = 4
		m.runs.run, m.runs.tracks[1].run, m.turns.since = 0, 0, m.now+60_000 // it asks for none itself
		m.Step(m.now, Message{From: 3, Note: consensus.NoteRunning, Payload: &consensus.Payload{Beat: &consensus.Beat{Run: far}}})
		m.Step(m.now, Message{From: 0, Kind: consensus.KindEnded, Round: 1})
		if got := uint64(m.turns.granted.Run) == far; got != granted {
			t.Errorf("run %d is granted: %v; %+v", far, got, m.turns.granted)
		}
	}
	m.turns.since = 0
	m.Step(m.now, Message{From: 3, Kind: consensus.KindGrant, Round: 4_000_000_000, Value: m.nameOf(3)})
	for range 100 {
		m.Step(m.now+1_000, Tick{})
	}
	if m.runs.run > 20 {
		t.Errorf("it asks for run %d", m.runs.run)
	}
}

// An executor that hears the last of its grants past the deadline, or with the owner's
// cancel in its hands, begins nothing: what makes the job end is valid by then.
func TestNoRunBeginsPastTheDeadlineOrAfterACancel(t *testing.T) {
	for _, effects := range []consensus.Effects{consensus.Once, consensus.AtLeastOnce} {
		for _, cancelled := range []bool{false, true} {
			w := newWorld(t, effects, consensus.Byzantine, 1, 0)
			grants := false
			w.lost = func(from, to int, out Outgoing) bool {
				alone := from == 0 || to == 0
				return from == 3 || to == 3 || alone && (out.Kind.Slot() || out.Kind == consensus.KindGrant && from != 0 && !grants)
			}
			w.start()
			w.passOn(1_000)
			want := consensus.Value{Kind: consensus.Failed, Class: consensus.FailedDeadline}
			if cancelled {
				want = consensus.Value{Kind: consensus.Cancelled}
				w.input(0, CancelWish{Cancel: consensus.Cancel{Job: w.machines[0].cfg.Job}})
			} else {
				w.now = w.charter.Deadline + 1
			}
			grants = true
			w.passOn(5_000)
			w.lost = func(from, to int, _ Outgoing) bool { return from == 3 || to == 3 }
			w.passOn(60_000)
			if len(w.runs) != 0 {
				t.Errorf("%s, cancelled %t: runs %v", effects, cancelled, w.runs)
			}
			for seat, m := range w.machines[:3] {
				if !m.Done() || !m.decision.Value.Equal(want) {
					t.Errorf("%s, cancelled %t: seat %d: %+v", effects, cancelled, seat, m.View())
				}
			}
		}
	}
}
