package bft

import (
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
)

func kinds(records []Record) []RecordKind {
	var list []RecordKind
	for _, r := range records {
		list = append(list, r.Kind)
	}
	return list
}

func TestNothingIsAcceptedAfterAcceptBy(t *testing.T) {
	charter := testCharter(consensus.Byzantine, 1, 1_000)
	m := New(testConfig(charter, 0))
	if r := m.Step(charter.AcceptBy, AcceptJob{}); !slices.Equal(kinds(r.Records), []RecordKind{RecordAccept}) || len(r.Say) != 1 || !r.Say[0].Submitter {
		t.Errorf("at accept_by: %+v", r)
	}
	m = New(testConfig(charter, 0))
	if r := m.Step(charter.AcceptBy+1, AcceptJob{}); len(r.Records)+len(r.Say) != 0 {
		t.Errorf("after accept_by: %+v", r)
	}
}

func TestNobodyActsBeforeQAcceptsAreDurable(t *testing.T) {
	m := New(testConfig(testCharter(consensus.Byzantine, 1, 1_000), 0))
	m.Step(1_000, AcceptJob{})
	m.Step(1_000, CancelWish{})
	for seat := 1; seat <= 2; seat++ {
		if r := m.Step(1_000, Message{From: seat, Kind: consensus.KindAccept}); len(r.Records)+len(r.Say)+len(r.Do) != 0 {
			t.Fatalf("acts on %d accepts: %+v", seat, r)
		}
	}
	if r := m.Step(1_000, change1(1, 3)); len(r.Say) != 0 {
		t.Errorf("says %v before the start", r.Say)
	}
	// Its own accept counts when it comes back durable.
	r := m.Step(1_000, Message{From: 0, Kind: consensus.KindAccept})
	if len(r.Records) == 0 || r.Records[0].Kind != RecordStarted || r.Say[0].Kind != consensus.KindStarted || !r.Say[0].Submitter {
		t.Errorf("q accepts: %+v", r)
	}
}

func TestAJobWithdrawnBeforeItsAcceptIsNotAccepted(t *testing.T) {
	m := New(testConfig(testCharter(consensus.Byzantine, 1, 1_000), 0))
	r := m.Step(1_000, SubmitterVoid{})
	if !slices.Equal(kinds(r.Records), []RecordKind{RecordVoid}) || len(r.Say) != 1 || r.Say[0].Kind != consensus.KindVoided || !r.Say[0].Submitter || r.Say[0].To == nil {
		t.Errorf("answers Void with %+v", r)
	}
	if r = m.Step(1_000, AcceptJob{}); len(r.Records)+len(r.Say) != 0 {
		t.Errorf("accepts what it gave up: %+v", r)
	}
	if r = m.Step(1_000, SubmitterVoid{}); len(r.Records) != 0 || len(r.Say) != 1 {
		t.Errorf("answers a second Void with %+v", r)
	}
}

func TestAWitnessShowsItsAcceptsToWhoHasNotStarted(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	shows := func(seat int) bool {
		return slices.ContainsFunc(m.Current(seat), func(o Outgoing) bool {
			return o.Note == consensus.NoteAccepts && len(o.Payload.Accepts) >= m.t.Quorum
		})
	}
	if !shows(3) {
		t.Error("a member that has shown nothing is not shown q accepts")
	}
	m.Step(1_000, Message{From: 3, Kind: consensus.KindStarted})
	if shows(3) {
		t.Error("a member that said Started is shown q accepts")
	}
	if len(m.Current(0)) != 0 || len(m.Current(-1)) != 0 || len(m.Current(4)) != 0 {
		t.Error("something is said to nobody")
	}
}

func TestAnAcceptSentAgainIsAnsweredWithAllAccepts(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	r := m.Step(1_000, Message{From: 1, Kind: consensus.KindAccept})
	if len(r.Say) != 1 || r.Say[0].Note != consensus.NoteAccepts || !slices.Equal(r.Say[0].To, []int{1}) || len(r.Say[0].Payload.Accepts) != 3 {
		t.Errorf("answers %+v", r.Say)
	}
}

func TestARunThatLeftNoReportIsFollowedByTheNext(t *testing.T) {
	q := newQuorum(consensus.Byzantine, 1)
	q.value = func(int) consensus.Value { return consensus.Value{} }
	q.inputAll(AcceptJob{})
	q.settle()
	for run := uint64(2); run < 4; run++ {
		q.effects[0] = nil
		q.restart(t, 0)
		if !slices.Contains(q.effects[0], Effect(Execute{Run: run})) {
			t.Errorf("does %v, want run %d", q.effects[0], run)
		}
	}
	if r := q.machines[0].Step(q.now, Ran{Run: 2, Value: result("old")}); len(r.Records) != 0 {
		t.Error("an earlier run's result counts")
	}
}

func TestARestartAtAnyRecordNeverContradictsWhatWasSaid(t *testing.T) {
	q := newQuorum(consensus.Byzantine, 1)
	q.lost = func(from, to int, out Outgoing) bool { return from != to && out.Kind == consensus.KindCommit }
	q.inputAll(AcceptJob{})
	q.settle()
	q.pass(1_000)
	q.pass(200)
	journal := q.journals[2]
	for cut := range len(journal) + 1 {
		m, ready, err := Restore(q.config(2), journal[:cut], q.now)
		if err != nil {
			t.Fatalf("after %d records: %v", cut, err)
		}
		again, readyAgain, err := Restore(q.config(2), append(slices.Clone(journal[:cut]), ready.Records...), q.now)
		if err != nil {
			t.Fatalf("after %d records and a restart: %v", cut, err)
		}
		for _, out := range readyAgain.Say {
			same := func(o Outgoing) bool { return o.Kind == out.Kind && o.Round == out.Round && o.Value == out.Value }
			if out.Kind.Slot() && !slices.ContainsFunc(ready.Say, same) {
				t.Errorf("after %d records a second restart says something new: %+v", cut, out)
			}
		}
		if m.rounds.round != again.rounds.round || (m.rounds.lock == nil) != (again.rounds.lock == nil) {
			t.Errorf("after %d records two restarts differ", cut)
		}
	}
}

func TestRecordsThatContradictEachOtherAreRefused(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	record := func(kind RecordKind, body any) Record {
		m.ready = Ready{}
		m.record(kind, body)
		return m.ready.Records[0]
	}
	prepare := record(RecordSlot, slot{Kind: consensus.KindPrepare})
	lock := record(RecordLock, lockRecord{Value: result("a"), Set: certificateFor("a", 1, 3).set})
	for name, records := range map[string][]Record{
		"a slot twice":                  {prepare, prepare},
		"a slot of a round not entered": {record(RecordSlot, slot{Kind: consensus.KindPrepare, Round: 1})},
		"no slot":                       {record(RecordSlot, slot{Kind: consensus.KindAccept})},
		"a lock that stands still":      {lock, lock},
		"too few accepts":               {record(RecordStarted, []consensus.Vote{{Seat: 1}})},
		"an accept without a seat":      {record(RecordStarted, []consensus.Vote{{Seat: 1}, {Seat: 2}, {Seat: 9}})},
		"a report of nothing":           {record(RecordReport, consensus.Report{Run: 1})},
		"an unknown kind":               {{Kind: 99}},
		"bytes after the value":         {{Kind: RecordAccept, Data: []byte{0x80, 0x80}}},
		"no bytes":                      {{Kind: RecordHeld}},
	} {
		if _, _, err := Restore(m.cfg, records, 1_000); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
}

// FuzzRestore: whatever is on disk, Restore returns, and what it accepts it can
// live with.
func FuzzRestore(f *testing.F) {
	q := newQuorum(consensus.Byzantine, 1)
	q.lost = func(from, to int, out Outgoing) bool { return from != to && out.Kind == consensus.KindCommit }
	q.inputAll(AcceptJob{})
	q.settle()
	q.pass(1_000)
	q.inputAll(CancelWish{})
	q.inputAll(SubmitterVoid{})
	q.lost = func(int, int, Outgoing) bool { return false }
	q.pass(200)
	for _, r := range slices.Concat(q.journals...) {
		f.Add(byte(r.Kind), r.Data, byte(RecordAccept), []byte{0x80})
	}
	cfg := q.config(0)
	f.Fuzz(func(t *testing.T, kind1 byte, data1 []byte, kind2 byte, data2 []byte) {
		m, _, err := Restore(cfg, []Record{{RecordKind(kind1), data1}, {RecordKind(kind2), data2}}, 1_000)
		if err != nil {
			return
		}
		m.Step(2_000, Tick{})
		m.Step(2_000, Message{From: 1, Kind: consensus.KindPrepare, Value: consensus.Hash{1}})
		m.Current(1)
		m.View()
	})
}

// A job that never started is forgotten at its deadline: one that is shown q
// accepts after it has started, and is not.
func TestAWitnessAfterTheDeadlineStartsTheJob(t *testing.T) {
	charter := testCharter(consensus.Byzantine, 1, 1_000)
	m := New(testConfig(charter, 3))
	accepts := []consensus.Vote{{Seat: 0}, {Seat: 1}, {Seat: 2}}
	r := m.Step(charter.Deadline+1, Witnessed{Accepts: accepts})
	if !slices.Equal(kinds(r.Records)[:2], []RecordKind{RecordWitness, RecordStarted}) || r.Say[0].Kind != consensus.KindStarted {
		t.Errorf("it says %v and records %v", r.Say, kinds(r.Records))
	}
	if slices.Contains(r.Do, Effect(Expire{})) || slices.Contains(r.Do, Effect(Abandon{})) {
		t.Errorf("it starts and gives up: %v", r.Do)
	}
}

// The submitter's Void makes Cancelled valid for a member that has started only
// when another proposes it: until then the job goes on, and wants its reports.
func TestAVoidAfterTheStartKeepsNoBackupFromRunning(t *testing.T) {
	m := started(t, consensus.Crash, 1)
	m.Step(1_000, SubmitterVoid{})
	m.Step(2_000, Ran{Run: 1, Value: failed(consensus.FailedTimeout)})
	m.Step(2_000, reportMessage(0, failed(consensus.FailedTimeout)))
	if !m.View().Seats[1].Activated {
		t.Error("one timeout of two is shown, and no backup was called")
	}
}

// An accept that is sent again is small, and all accepts with the charter are not.
func TestAnAcceptThatIsSentOnAndOnIsAnsweredOnceInABeat(t *testing.T) {
	m := New(testConfig(testCharter(consensus.Byzantine, 1, 1_000), 0))
	m.Step(1_000, AcceptJob{})
	answers := func(at int64) int {
		said := 0
		for range 100 {
			r := m.Step(at, Message{From: 2, Kind: consensus.KindAccept})
			said += count(r.Say, func(o Outgoing) bool { return o.Note == consensus.NoteAccepts })
		}
		return said
	}
	if first, early, later := answers(1_000), answers(1_999), answers(2_000); first != 1 || early != 0 || later != 1 {
		t.Errorf("answered %d times at first, %d within a beat, %d after it", first, early, later)
	}
}

// One that gave the job up and was started by the others knows Cancelled as valid, and
// they nothing: their runs broke, and one member is lost. It runs for them in the end,
// also where one report is enough.
func TestWhoGaveTheJobUpRunsForOthersThatHaveNoOutcome(t *testing.T) {
	for _, fault := range []consensus.Fault{consensus.Byzantine, consensus.Crash} {
		q := newQuorum(fault, 1)
		charter := *q.charter
		charter.Assurance = consensus.Single
		if fault == consensus.Crash {
			charter.Assurance = consensus.Replicated
		}
		q.begin(&charter)
		q.value = func(int) consensus.Value { return failed(consensus.FailedHost) }
		dead, gaveUp := 1, len(charter.Roster)-1
		q.lost = func(from, to int, out Outgoing) bool {
			return to == gaveUp || (from == dead || to == dead) && out.Kind != consensus.KindAccept
		}
		for seat := range charter.Roster {
			q.input(seat, AcceptJob{})
		}
		q.settle()
		q.input(gaveUp, SubmitterVoid{})
		q.lost = func(from, to int, _ Outgoing) bool { return from == dead || to == dead }
		for range 60 {
			q.live(1_000)
			q.resend()
			q.settle()
		}
		for seat, m := range q.machines {
			if seat != dead && !m.Done() {
				t.Errorf("%s: seat %d: %s in round %d", fault, seat, m.View().Phase, m.rounds.round)
			}
		}
	}
}
