package bft

import (
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
)

func TestAResultIsTakenBeforeAHandover(t *testing.T) {
	m := lostSeat(t, 3)
	if v, ok := m.best(); !ok || v.value.Kind != consensus.Handover {
		t.Fatalf("holds %v", m.valid)
	}
	for seat := 1; seat <= 2; seat++ {
		m.Step(m.now, Message{From: seat, Kind: consensus.KindReport, Payload: &consensus.Payload{
			Report: &consensus.Report{Run: 1, Value: failed(consensus.FailedTimeout)}}})
	}
	if v, ok := m.best(); !ok || v.value.Class != consensus.FailedTimeout {
		t.Errorf("prefers %s", v.value)
	}
}

// A handover that is valid ends nothing: a run that is lost meanwhile is made up
// for as ever.
func TestABackupIsCalledWhileAHandoverIsValid(t *testing.T) {
	m := lostSeat(t, 3)
	if v, ok := m.best(); !ok || v.value.Kind != consensus.Handover || m.isActive(2) {
		t.Fatalf("holds %v, and %d were called", m.valid, m.runs.active)
	}
	if v := m.View(); v.Phase != PhaseRunning || !slices.Equal(v.Waiting, []int{0, 1}) {
		t.Errorf("%s, waiting for %v, want it to run and to wait for the executors", v.Phase, v.Waiting)
	}
	for range patience { // seat 1 falls silent as an executor
		m.Step(m.now+m.cfg.Timing.Beat, Message{From: 1, Note: consensus.NoteAlive})
	}
	if !m.isActive(2) {
		t.Errorf("no backup runs for an executor that fell silent, while %s is valid", m.valid[0].value)
	}
}

// Who takes an executor's seat has as long to begin as one that is called.
func TestAReserveInAnExecutorsSeatIsAwaitedBeforeABackupIsCalled(t *testing.T) {
	m := lostSeat(t, 1)
	if !m.isActive(2) || m.isActive(3) {
		t.Fatalf("%d were called, want the executors and one backup", m.runs.active)
	}
	beat := m.cfg.Timing.Beat
	m.Step(m.now+(patience-1)*beat, Tick{})
	move := consensus.Value{Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: 1, Reserve: 0}}}
	m.conclude(consensus.Decision{Value: move, Commits: consensus.VoteSet{Value: mustHash(move)}})
	for range patience - 1 { // meanwhile the backup falls silent
		if m.Step(m.now+beat, Tick{}); m.isActive(3) {
			t.Fatal("another backup is called before the reserve could begin")
		}
	}
	if m.Step(m.now+beat, Tick{}); !m.isActive(3) {
		t.Error("a reserve that does not begin is awaited for ever")
	}
}

// lostSeat is the machine of seat 0, alone, for which a seat is lost and the first
// of two reserves willing, while executors run.
func lostSeat(t *testing.T, seat int) *Machine {
	t.Helper()
	q := newReplaceable(consensus.Byzantine, 1, 2)
	m := q.machines[0]
	m.Step(q.now, AcceptJob{})
	for party := range 3 {
		m.Step(q.now, Message{From: party, Kind: consensus.KindAccept})
	}
	for now := q.now; now < q.now+2*testPatience; now += 500 {
		for party := 1; party < 4; party++ {
			switch {
			case party == seat:
			case m.isActive(party):
				m.Step(now, Message{From: party, Note: consensus.NoteRunning, Payload: &consensus.Payload{Beat: &consensus.Beat{Run: 1, Running: true}}})
			default:
				m.Step(now, Message{From: party, Note: consensus.NoteAlive})
			}
		}
		m.Step(now, Tick{})
	}
	for party := range 3 {
		if party != seat {
			m.Step(m.now, Message{From: party, Kind: consensus.KindSuspect, Value: m.nameOf(seat)})
		}
	}
	m.Step(m.now, Message{From: 4, Kind: consensus.KindAccept, Height: 1})
	return m
}

func TestWhatMakesAHandoverValid(t *testing.T) {
	handover := func(seat uint64) consensus.Value {
		return consensus.Value{Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: seat, Reserve: 0}}}
	}
	for _, tc := range []struct {
		why   string
		then  func(m *Machine)
		value consensus.Value
		want  bool
	}{
		{"f+1 suspicions, and a willing reserve", func(*Machine) {}, handover(3), true},
		{"of another seat", func(*Machine) {}, handover(2), false},
		{"of its own seat", func(*Machine) {}, handover(0), false},
		{"the target was heard", func(m *Machine) { m.Step(m.now, Message{From: 3, Note: consensus.NoteAlive}) }, handover(3), false},
		{"suspicions lapse", func(m *Machine) {
			m.now += 2 * testPatience
			m.Step(m.now, Message{From: 4, Kind: consensus.KindAccept, Height: 1})
		}, handover(3), false},
		{"one of f+1 lapses", func(m *Machine) {
			m.now += 2 * testPatience
			m.Step(m.now, Message{From: 4, Kind: consensus.KindAccept, Height: 1})
			m.Step(m.now, Message{From: 1, Kind: consensus.KindSuspect, Value: m.nameOf(3)})
		}, handover(3), false},
		{"the reserve's accept lapses", func(m *Machine) {
			m.now += 2 * testPatience
			for party := range 3 {
				m.Step(m.now, Message{From: party, Kind: consensus.KindSuspect, Value: m.nameOf(3)})
			}
		}, handover(3), false},
		{"a reserve's accept of another height", func(m *Machine) {
			m.watch.parties[4].accepted = 0
			m.Step(m.now, Message{From: 4, Kind: consensus.KindAccept, Height: 2})
		}, handover(3), false},
		{"a suspicion by who has no seat", func(m *Machine) {
			m.watch.parties[3].suspects = nil
			m.Step(m.now, Message{From: 0, Kind: consensus.KindSuspect, Value: m.nameOf(3)})
			m.Step(m.now, Message{From: 4, Kind: consensus.KindSuspect, Value: m.nameOf(3)})
		}, handover(3), false},
		{"a member's word that it is gone", func(m *Machine) {
			m.Step(m.now, Message{From: 2, Kind: consensus.KindGone})
		}, handover(2), true},
		{"two seats where f = 1", func(*Machine) {}, consensus.Value{Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: 2}, {Seat: 3, Reserve: 1}}}, false},
	} {
		m := lostSeat(t, 3)
		tc.then(m)
		if got := m.mayHandOver(tc.value); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.why, got, tc.want)
		}
	}
}

func TestReservesAreTakenInOrderButForThosePassedOver(t *testing.T) {
	suspectedBy := func(members ...int) func(m *Machine) {
		return func(m *Machine) {
			for _, party := range members {
				m.Step(m.now, Message{From: party, Kind: consensus.KindSuspect, Value: m.nameOf(4)})
			}
		}
	}
	refuses := func(m *Machine) {
		m.Step(m.now, Message{From: 4, Kind: consensus.KindRefuse, Payload: &consensus.Payload{Reason: "busy"}})
	}
	accepts := func(m *Machine) { m.Step(m.now, Message{From: 4, Kind: consensus.KindAccept, Height: 1}) }
	for _, tc := range []struct {
		why  string // of the first reserve, when the second is willing
		then func(m *Machine)
		want bool
	}{
		{"it has said nothing", func(*Machine) {}, false},
		{"it is willing, too", accepts, false},
		{"it refuses", refuses, true},
		{"it refuses, and is willing after all", func(m *Machine) { refuses(m); accepts(m) }, false},
		{"f members suspect it", suspectedBy(2), false},
		{"f+1 members suspect it", suspectedBy(1, 2), true},
		{"it lives in another incarnation", func(m *Machine) { m.Step(m.now, Message{From: 4, Kind: consensus.KindGone}) }, true},
	} {
		m := lostSeat(t, 3)
		m.watch.parties[4].accepted = 0
		m.Step(m.now, Message{From: 5, Kind: consensus.KindAccept, Height: 1})
		tc.then(m)
		second := consensus.Value{Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: 3, Reserve: 1}}}
		if got := m.mayHandOver(second); got != tc.want {
			t.Errorf("%s: a seat for the second is valid: %v, want %v", tc.why, got, tc.want)
		}
		if v, ok := m.handover(); tc.want != (ok && v.Pairs[0].Reserve == 1) {
			t.Errorf("%s: it would take %s", tc.why, v)
		}
	}
}

// Two heights' votes never mix, and nobody acts at the next height before this
// one's decision.
func TestVotesCountAtTheirHeightOnly(t *testing.T) {
	m := lostSeat(t, 3)
	move, _ := m.best()
	for party := 1; party < 3; party++ {
		m.Step(m.now, Message{From: party, Kind: consensus.KindPrepare, Height: 1, Value: move.hash})
		m.Step(m.now, Message{From: party, Kind: consensus.KindCommit, Height: 1, Value: move.hash})
	}
	if m.Step(m.now, Message{From: 0, Kind: consensus.KindPrepare, Value: move.hash}); m.rounds.highest != nil {
		t.Error("votes of height 1 make a certificate at height 0")
	}
	for party := 1; party < 3; party++ {
		m.Step(m.now, Message{From: party, Kind: consensus.KindPrepare, Value: move.hash})
		m.Step(m.now, Message{From: party, Kind: consensus.KindCommit, Value: move.hash})
	}
	m.Step(m.now, Message{From: 0, Kind: consensus.KindCommit, Value: move.hash})
	if m.at.Number != 1 || !slices.Equal(m.at.Members, []int{0, 1, 2, 4}) {
		t.Fatalf("height %d, members %v", m.at.Number, m.at.Members)
	}
	// The removed member's vote, and those of the height before, count no more.
	value := result("truth")
	m.runs.report = nil
	for _, msg := range []Message{
		{From: 3, Kind: consensus.KindPrepare, Height: 1, Value: mustHash(value)},
		{From: 1, Kind: consensus.KindPrepare, Height: 0, Value: mustHash(value)},
		{From: 2, Kind: consensus.KindPrepare, Height: 2, Value: mustHash(value)},
	} {
		m.Step(m.now, msg)
	}
	for seat, v := range m.rounds.ballot(0).prepares {
		if v != nil {
			t.Errorf("a vote counts for seat %d", seat)
		}
	}
	// A vote for the older height is answered with its decision.
	m.now += 2_000
	r := m.Step(m.now, Message{From: 1, Kind: consensus.KindPrepare, Height: 0, Value: mustHash(value)})
	if !slices.ContainsFunc(r.Say, func(o Outgoing) bool {
		return o.Note == consensus.NoteHandover && slices.Equal(o.To, []int{1}) && len(o.Payload.Chain) == 1
	}) {
		t.Errorf("answers %+v", r.Say)
	}
}

// Reports of two heights: a remaining member's stays good, a removed one's does
// not add up with its successor's.
func TestReportsOfRemovedMembersDoNotCount(t *testing.T) {
	m := lostSeat(t, 3)
	m.Step(m.now, reportMessage(3, result("lie")))
	m.Step(m.now, reportMessage(1, result("truth")))
	move := consensus.Value{Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: 3, Reserve: 0}}}
	m.conclude(consensus.Decision{Value: move, Commits: consensus.VoteSet{Value: mustHash(move)}})
	m.Step(m.now, reportMessage(4, result("lie")))
	if m.hasOutcome() {
		t.Errorf("the reports of a seat's two holders make %s valid", m.valid[0].value)
	}
	m.Step(m.now, reportMessage(2, result("truth")))
	if !m.hasOutcome() || m.valid[0].hash != mustHash(result("truth")) {
		t.Error("a remaining member's report is lost")
	}
}

// A report is its party's, whichever seat that held, or holds: who lied is told
// of, a reserve beyond the roster and a member that was replaced alike.
func TestReportsOfAllWhoHeldASeatAreToldWhereTheOutcomeContradictsThem(t *testing.T) {
	m := lostSeat(t, 3)
	m.cfg.Charter.Assurance = consensus.Replicated
	move := consensus.Value{Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: 3, Reserve: 0}}}
	m.conclude(consensus.Decision{Value: move, Commits: consensus.VoteSet{Value: mustHash(move)}})
	m.Step(m.now, reportMessage(3, result("lie")))
	m.Step(m.now, reportMessage(4, result("other lie")))
	m.Step(m.now, reportMessage(1, result("truth")))
	m.Step(m.now, reportMessage(2, result("truth")))
	truth := result("truth")
	if v := m.View(); v.Valid == nil || mustHash(*v.Valid) != mustHash(truth) || !v.Seats[3].Disagrees {
		t.Errorf("shows %+v of the seat that a reserve holds", v.Seats[3])
	}
	r := m.Step(m.now, Message{From: 2, Note: consensus.NoteDecided, Payload: &consensus.Payload{Chain: m.chain,
		Decision: &consensus.Decision{Height: 1, Value: truth, Commits: consensus.VoteSet{Value: mustHash(truth)}}}})
	var told []uint64
	for _, d := range disagreements(r.Do) {
		told = append(told, d.Report.Seat)
	}
	if !slices.Equal(told, []uint64{3, 4}) {
		t.Errorf("tells of the reports of parties %v, want 3 and 4", told)
	}
	if !m.Done() || !slices.ContainsFunc(r.Do, func(e Effect) bool { _, ok := e.(Decided); return ok }) {
		t.Error("the job has not ended")
	}
}

// When an earlier process last heard a member, this one cannot know: it may have
// been a moment ago, and who was heard within a patience is not replaced.
func TestWhoComesBackWaitsAPatienceBeforeItMissesAnybody(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 1, 1)
	q.slow()
	q.inputAll2(AcceptJob{})
	q.live(500)
	q.kill(3)
	q.cut(4) // or it would have the seat by now
	q.live(2 * testPatience)
	if !q.machines[0].isLost(3) {
		t.Fatal("nobody misses the member that died")
	}
	q.restart(t, 0)
	for member := 1; member <= 2; member++ {
		m := q.machines[0]
		q.input(0, Message{From: member, Kind: consensus.KindSuspect, Value: m.nameOf(3)})
	}
	if q.machines[0].isLost(3) {
		t.Error("who has just come back has not heard it for a patience, it says")
	}
	q.live(2 * testPatience)
	if !q.machines[0].isLost(3) {
		t.Error("it never misses the member that died")
	}
}

// Who held the blocks has lost its seat, and its successor holds them: as many as
// before, and others.
func TestBlocksThatDoNotComeAreAskedForWhereAnotherMemberHoldsThem(t *testing.T) {
	m := lostSeat(t, 3)
	m.Step(m.now, comes(3, "a", 0))
	asked := func(r Ready) [][]int {
		var from [][]int
		for _, e := range r.Do {
			if f, ok := e.(Fetch); ok && f.Hash == mustHash(named("a")) {
				from = append(from, f.From)
			}
		}
		return from
	}
	if got := asked(m.Step(m.now, comes(2, "a", 0))); len(got) != 1 || !slices.Equal(got[0], []int{2, 3}) {
		t.Fatalf("asked %v", got)
	}
	move := consensus.Value{Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: 3, Reserve: 0}}}
	m.conclude(consensus.Decision{Value: move, Commits: consensus.VoteSet{Value: mustHash(move)}})
	if got := asked(m.Step(m.now, comes(4, "a", 0))); len(got) != 0 {
		t.Errorf("asked %v while it is under way", got)
	}
	if got := asked(m.Step(m.now+stalled*m.cfg.Timing.Beat, Tick{})); len(got) != 1 || !slices.Equal(got[0], []int{2, 4}) {
		t.Errorf("asked %v", got)
	}
	if got := asked(m.Step(m.now+1, Tick{})); len(got) != 0 {
		t.Errorf("asked %v while it is under way", got)
	}
}
