package bft

import (
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
)

// comes is a report of a value that comes to a normal form.
func comes(seat int, value string, form byte) Message {
	r := consensus.Report{Run: 1, Value: named(value), Normal: &consensus.Hash{form}}
	if form == 0 {
		r.Normal = nil
	}
	return Message{From: seat, Kind: consensus.KindReport, Payload: &consensus.Payload{Report: &r}}
}

func startedUnder(t *testing.T, a consensus.Assurance) *Machine {
	t.Helper()
	charter := testCharter(consensus.Byzantine, 1, 1_000)
	charter.Assurance = a
	m := New(testConfig(charter, 0))
	m.Step(1_000, AcceptJob{})
	for seat := range m.t.Quorum {
		m.Step(1_000, Message{From: seat, Kind: consensus.KindAccept})
	}
	return m
}

func TestValuesAreEqualThatComeToTheSame(t *testing.T) {
	for _, test := range []struct {
		why     string
		reports []Message
		valid   []string // whatever their order
	}{
		{why: "two that come to the same", reports: []Message{comes(1, "a", 7), comes(2, "b", 7)}, valid: []string{"a", "b"}},
		{why: "two that do not", reports: []Message{comes(1, "a", 7), comes(2, "a", 8)}},
		{why: "the same from one", reports: []Message{comes(1, "a", 7), comes(1, "b", 7)}},
		{why: "two of three", reports: []Message{comes(1, "a", 7), comes(2, "b", 8), comes(3, "c", 7)}, valid: []string{"a", "c"}},
		{why: "no form, where forms are compared", reports: []Message{comes(1, "a", 0), comes(2, "a", 0)}},
		{why: "failures that come to the same", reports: []Message{comes(1, "exit", 7), comes(2, "exit", 7)}, valid: []string{"exit"}},
		{why: "nobody comes to the same", reports: []Message{comes(1, "a", 1), comes(2, "b", 2), comes(3, "c", 3)}, valid: []string{"disagreement"}},
		{why: "timeouts have none", reports: []Message{comes(1, "timeout", 0), comes(2, "timeout", 0)}, valid: []string{"timeout"}},
		{why: "a timeout with a form", reports: []Message{comes(1, "timeout", 7), comes(2, "timeout", 7)}},
	} {
		m := startedUnder(t, consensus.MajorityEqual)
		for _, r := range test.reports {
			m.Step(1_000, r)
		}
		var got []string
		for _, c := range m.valid {
			for _, name := range []string{"a", "b", "c", "exit", "timeout", "disagreement"} {
				if mustHash(named(name)) == c.hash {
					got = append(got, name)
				}
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, test.valid) {
			t.Errorf("%s: valid are %v, want %v", test.why, got, test.valid)
		}
		for _, c := range m.valid {
			other := startedUnder(t, consensus.MajorityEqual) // what is shown to prove it, proves it
			for _, r := range m.proof(c) {
				other.report(r)
			}
			if !other.isValid(c) {
				t.Errorf("%s: %s is not proven by %d reports", test.why, c.value, len(m.proof(c)))
			}
		}
	}
}

func TestAFormWhereNoneIsComparedCountsForNothing(t *testing.T) {
	m := startedUnder(t, consensus.Replicated)
	m.Step(1_000, comes(1, "a", 7))
	m.Step(1_000, comes(2, "a", 7))
	if len(m.valid) != 0 {
		t.Errorf("valid: %v", m.valid)
	}
}

// A liar may say that another result comes to the same. It does not, and whoever
// looks for its blocks is told what it must come to.
func TestAValueIsFetchedWithTheFormsThatMakeItValid(t *testing.T) {
	m := startedUnder(t, consensus.MajorityEqual)
	m.Step(1_000, comes(3, "a", 8)) // alone with that
	m.Step(1_000, comes(1, "a", 7))
	r := m.Step(1_000, comes(2, "b", 7))
	forms := map[consensus.Hash][]consensus.Hash{}
	for _, e := range r.Do {
		if f, ok := e.(Fetch); ok {
			forms[f.Hash] = f.Normals
		}
	}
	for _, name := range []string{"a", "b"} {
		if got := forms[mustHash(named(name))]; len(got) != 1 || got[0] != (consensus.Hash{7}) {
			t.Errorf("%s is to come to %v", name, got)
		}
	}
	// With a certificate no form is asked for: correct members have held it.
	certificate := certificateFor("c", 0, m.t.Quorum)
	r = m.Step(1_000, Message{From: 2, Note: consensus.NoteHighest, Payload: certificate.payload()})
	if len(r.Do) == 0 || r.Do[0].(Fetch).Normals != nil {
		t.Errorf("certified, and asks for %+v", r.Do)
	}
	// So it is where it was asked for before, and came to no form that liars had named.
	certificate = certificateFor("a", 0, m.t.Quorum)
	certificate.set.Round = 1
	m.Step(1_000, Message{From: 2, Note: consensus.NoteHighest, Payload: certificate.payload()})
	r = m.Step(1_000+stalled*1_000, Tick{})
	if !slices.ContainsFunc(r.Do, func(e Effect) bool {
		f, ok := e.(Fetch)
		return ok && f.Hash == certificate.set.Value && f.Normals == nil
	}) {
		t.Errorf("certified since it was asked for, and asks for %+v", r.Do)
	}
	// A certificate frees no other value from its form.
	if !slices.ContainsFunc(r.Do, func(e Effect) bool {
		f, ok := e.(Fetch)
		return ok && f.Hash == mustHash(named("b")) && slices.Equal(f.Normals, []consensus.Hash{{7}})
	}) {
		t.Errorf("another value is certified, and b is asked for with %+v", r.Do)
	}
}

func TestMembersPrepareTheSameOfTheValuesThatAreEqual(t *testing.T) {
	q := newQuorum(consensus.Byzantine, 1)
	for _, m := range q.machines {
		m.cfg.Charter.Assurance = consensus.MajorityEqual
	}
	q.value = func(seat int) consensus.Value { return result([]string{"a", "b", "c", "d"}[seat]) }
	q.normal = &consensus.Hash{7}
	q.inputAll(AcceptJob{})
	q.settle()
	for _, out := range q.said {
		if out.Kind == consensus.KindPrepare && out.Value != q.machines[0].decision.Commits.Value {
			t.Error("a member prepares its own of the values that are equal")
		}
	}
	for seat, m := range q.machines {
		if !m.Done() || m.decision.Commits.Round != 0 {
			t.Fatalf("seat %d: %+v", seat, m.View())
		}
		if m.decision.Commits.Value != q.machines[0].decision.Commits.Value {
			t.Error("two decisions")
		}
		for _, s := range m.View().Seats {
			if s.Disagrees {
				t.Errorf("seat %d sees disagreement where all is equal", seat)
			}
		}
		if len(disagreements(q.effects[seat])) != 0 {
			t.Errorf("seat %d accuses somebody", seat)
		}
	}
}

func TestUnderAssuranceSingleOneReportIsEnough(t *testing.T) {
	q := newQuorum(consensus.Byzantine, 1)
	charter := testCharter(consensus.Byzantine, 1, 1_000)
	charter.Assurance = consensus.Single
	for seat := range q.machines {
		q.machines[seat] = New(testConfig(charter, seat))
	}
	runs := 0
	q.value = func(int) consensus.Value { runs++; return result("one") }
	q.inputAll(AcceptJob{})
	q.settle()
	if runs != 1 {
		t.Errorf("%d members ran it", runs)
	}
	for seat, m := range q.machines {
		if !m.Done() || len(m.decision.Commits.Votes) != m.t.Quorum {
			t.Errorf("seat %d: %+v", seat, m.View())
		}
	}
}

// The one executor falls silent, or keeps what it reported to itself: another is
// called, and the members still agree on one value.
func TestUnderAssuranceSingleASilentExecutorIsReplaced(t *testing.T) {
	for _, withholds := range []bool{false, true} {
		q := newQuorum(consensus.Byzantine, 1)
		charter := testCharter(consensus.Byzantine, 1, 1_000)
		charter.Assurance = consensus.Single
		for seat := range q.machines {
			q.machines[seat] = New(testConfig(charter, seat))
		}
		first := q.machines[0].cfg.Runners[0]
		q.value = func(seat int) consensus.Value {
			if seat == first && !withholds {
				return consensus.Value{}
			}
			return result([]string{"a", "b", "c", "d"}[seat])
		}
		if withholds {
			q.withheld = mustHash(q.value(first))
		}
		q.lost = func(from, _ int, out Outgoing) bool { return from == first && (!withholds || out.Kind.Slot()) }
		q.inputAll(AcceptJob{})
		q.settle()
		for range 60 {
			q.pass(1_000)
			q.resend()
			q.settle()
		}
		for seat, m := range q.machines {
			if seat != first && (!m.Done() || m.decision.Commits.Value == mustHash(result([]string{"a", "b", "c", "d"}[first]))) {
				t.Errorf("withholds %v: seat %d: %+v", withholds, seat, m.View())
			}
		}
	}
}

// What only a proposal's own reports make valid must come to the form in them: a
// liar's value beside an honest member's form is what it says it is, or not held.
func TestWhatAProposalProvesIsHeldToTheFormThatItShows(t *testing.T) {
	m := startedUnder(t, consensus.MajorityEqual)
	m.Step(1_000, comes(3, "a", 1))
	m.Step(1_000, comes(3, "b", 2)) // no more of its reports are kept
	round := uint32(1)
	for m.leader(round) != 3 {
		round++
	}
	for seat := 2; seat <= 3; seat++ {
		m.Step(1_000, Message{From: seat, Kind: consensus.KindRoundChange, Round: round})
	}
	lie, honest := comes(3, "c", 7), comes(2, "exit", 7)
	honest.Payload.Report.Value = result("honest")
	shown := func(msg Message) consensus.SignedReport {
		return consensus.SignedReport{Seat: uint64(msg.From), Report: *msg.Payload.Report}
	}
	v := named("c")
	r := m.Step(1_000, Message{From: 3, Kind: consensus.KindPropose, Round: round, Value: mustHash(v),
		Payload: &consensus.Payload{Value: &v, Reports: []consensus.SignedReport{shown(lie), shown(honest)}}})
	for _, e := range r.Do {
		if f, ok := e.(Fetch); ok && f.Hash == mustHash(v) {
			if !slices.Equal(f.Normals, []consensus.Hash{{7}}) || !slices.Equal(f.From, []int{3}) {
				t.Errorf("fetched from %v, and held whatever it comes to but %v", f.From, f.Normals)
			}
			return
		}
	}
	t.Errorf("not fetched: %+v", r.Do)
}

// A removed member's form counts no more, and neither does what was held for it: a
// liar may show the same value with another form.
func TestWhatWasHeldForARemovedMembersFormIsAskedForAgain(t *testing.T) {
	m := lostSeat(t, 3)
	charter := *m.cfg.Charter
	charter.Assurance = consensus.MajorityEqual
	m.cfg.Charter = &charter
	m.Step(m.now, comes(3, "a", 7))
	m.Step(m.now, comes(2, "b", 7))
	v, a := named("a"), mustHash(named("a"))
	old := Held{Value: a, Normals: []consensus.Hash{{7}}}
	if m.Step(m.now, old); !m.holds(choice{v, a}) {
		t.Fatal("it does not hold what it was to fetch")
	}
	move := consensus.Value{Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: 3, Reserve: 0}}}
	m.conclude(consensus.Decision{Value: move, Commits: consensus.VoteSet{Value: mustHash(move)}})
	m.Step(m.now, Tick{})
	round := uint32(1)
	for m.leader(round) != 2 {
		round++
	}
	for party := 1; party <= 2; party++ {
		m.Step(m.now, Message{From: party, Kind: consensus.KindRoundChange, Height: 1, Round: round})
	}
	p := &consensus.Payload{Value: &v}
	for _, msg := range []Message{comes(2, "a", 8), comes(1, "c", 8)} {
		p.Reports = append(p.Reports, consensus.SignedReport{Seat: uint64(msg.From), Report: *msg.Payload.Report})
	}
	r := m.Step(m.now, Message{From: 2, Kind: consensus.KindPropose, Height: 1, Round: round, Value: a, Payload: p})
	if slices.ContainsFunc(r.Say, func(out Outgoing) bool { return out.Kind == consensus.KindPrepare }) {
		t.Error("it prepares what came to a form that no member of this height reported")
	}
	if !slices.ContainsFunc(r.Do, func(e Effect) bool {
		f, ok := e.(Fetch)
		return ok && f.Hash == a && slices.Equal(f.Normals, []consensus.Hash{{8}})
	}) {
		t.Errorf("it does not ask for it again: %+v", r.Do)
	}
	if m.Step(m.now, old); m.holds(choice{v, a}) || m.rounds.said(consensus.KindPrepare) {
		t.Error("an answer to what was asked before counts for another form")
	}
	m.Step(m.now, Held{Value: a, Normals: []consensus.Hash{{8}}})
	if !m.rounds.said(consensus.KindPrepare) {
		t.Error("it comes to that form, too, and is not prepared")
	}
}
