package bft

import (
	"testing"

	"github.com/muster-network/muster/consensus"
)

func equivocations(effects []Effect) []Equivocation {
	var list []Equivocation
	for _, e := range effects {
		if e, ok := e.(Equivocation); ok {
			list = append(list, e)
		}
	}
	return list
}

func disagreements(effects []Effect) []Disagreement {
	var list []Disagreement
	for _, e := range effects {
		if e, ok := e.(Disagreement); ok {
			list = append(list, e)
		}
	}
	return list
}

func voteFor(kind consensus.Kind, seat int, round uint32, name string) Message {
	v := named(name)
	return Message{From: seat, Kind: kind, Round: round, Value: mustHash(v), Proof: consensus.Proof{Count: 9, Index: uint64(len(name))},
		Payload: &consensus.Payload{Value: &v}}
}

func TestTwoStatementsInOneSlotAreToldOnce(t *testing.T) {
	for _, kind := range []consensus.Kind{consensus.KindPropose, consensus.KindPrepare, consensus.KindCommit, consensus.KindRoundChange} {
		m := started(t, consensus.Byzantine, 1)
		first, second := voteFor(kind, m.leader(1), 1, "a"), voteFor(kind, m.leader(1), 1, "exit")
		if kind == consensus.KindRoundChange {
			first.Payload, second.Payload = nil, nil
		}
		again := first
		again.Proof.Count++ // signed anew after a crash: the same leaf
		m.Step(1_000, first)
		if r := m.Step(1_000, again); len(equivocations(r.Do)) != 0 {
			t.Errorf("%s: said again, and called equivocation", kind)
		}
		told := equivocations(m.Step(1_000, second).Do)
		if len(told) != 1 {
			t.Fatalf("%s: told %d times", kind, len(told))
		}
		e := told[0]
		seat := m.cfg.Charter.Roster[m.leader(1)]
		if e.Seat != m.leader(1) || e.First.Statement.Kind != kind || e.First.Statement.Round != 1 || e.First.Statement.Sender != seat.Peer ||
			e.First.Statement.Incarnation != seat.Incarnation || e.First.Statement.Job != m.cfg.Job {
			t.Errorf("%s: tells %+v", kind, e)
		}
		if e.First.Statement.Value != first.Value || e.Second.Statement.Value != second.Value ||
			e.First.Proof.Index != first.Proof.Index || e.Second.Proof.Index != second.Proof.Index {
			t.Errorf("%s: tells %+v of %+v and %+v", kind, e, first, second)
		}
		third := voteFor(kind, m.leader(1), 1, "timeout")
		third.Payload = second.Payload
		if r := m.Step(1_000, third); len(equivocations(r.Do)) != 0 {
			t.Errorf("%s: told again", kind)
		}
	}
}

// A sender that says one thing to some and another to others is found out when
// they show each other certificates.
func TestASenderIsFoundOutByTheCertificatesThatOthersShow(t *testing.T) {
	shownIn := map[string]func(*Machine, *certificate) Message{
		"a round change": func(_ *Machine, c *certificate) Message {
			return Message{From: 2, Kind: consensus.KindRoundChange, Round: 1, Payload: c.payload()}
		},
		"a proposal": func(m *Machine, c *certificate) Message {
			return Message{From: m.leader(1), Kind: consensus.KindPropose, Round: 1, Value: c.set.Value, Payload: c.payload()}
		},
		"a hint": func(_ *Machine, c *certificate) Message {
			return Message{From: 2, Note: consensus.NoteHighest, Payload: c.payload()}
		},
	}
	for name, show := range shownIn {
		m := started(t, consensus.Byzantine, 1)
		certificate := certificateFor("a", 0, m.t.Quorum)
		m.Step(1_000, voteFor(consensus.KindPrepare, 1, 0, "b"))
		told := equivocations(m.Step(1_000, show(m, certificate)).Do)
		if len(told) != 1 || told[0].Seat != 1 || told[0].Second.Statement.Value != certificate.set.Value {
			t.Errorf("%s, after the vote: told %+v", name, told)
		}

		m = started(t, consensus.Byzantine, 1)
		m.Step(1_000, show(m, certificate))
		told = equivocations(m.Step(1_000, voteFor(consensus.KindPrepare, 1, 0, "b")).Do)
		if len(told) != 1 || told[0].Seat != 1 {
			t.Errorf("%s, before the vote: told %+v", name, told)
		}
	}
}

func TestTheVotesOfADecisionCountAgainstTheirSendersToo(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	m.Step(1_000, voteFor(consensus.KindCommit, 1, 0, "b"))
	commits := certificateFor("a", 0, m.t.Quorum).set
	decided := Message{From: 2, Note: consensus.NoteDecided, Payload: &consensus.Payload{Decision: &consensus.Decision{Value: named("a"), Commits: commits}}}
	if told := equivocations(m.Step(1_000, decided).Do); len(told) != 1 || told[0].Seat != 1 {
		t.Errorf("told %+v", told)
	}
	if !m.Done() {
		t.Fatal("not decided")
	}
	// What is said after the decision counts no more, but it is evidence.
	if told := equivocations(m.Step(1_000, voteFor(consensus.KindCommit, 2, 0, "b")).Do); len(told) != 1 || told[0].Seat != 2 {
		t.Errorf("after the decision: told %+v", told)
	}
	if m.decision.Commits.Value != commits.Value {
		t.Error("a late vote changed the decision")
	}
}

func TestReportsThatTheOutcomeContradictsAreTold(t *testing.T) {
	for _, test := range []struct {
		why     string
		reports []string // of seats 1, 2, 3
		outcome string
		single  bool
		accused []uint64
	}{
		{why: "a lie", reports: []string{"b", "a", "a"}, outcome: "a", accused: []uint64{1}},
		{why: "two lies", reports: []string{"b", "exit", "a"}, outcome: "a", accused: []uint64{1, 2}},
		{why: "a result where the program fails", reports: []string{"a", "exit", "exit"}, outcome: "exit", accused: []uint64{1}},
		{why: "a host's fault", reports: []string{"host", "timeout", "a"}, outcome: "a"},
		{why: "cancelled", reports: []string{"a", "b"}, outcome: "cancelled"},
		{why: "nobody is right", reports: []string{"a", "b", "c"}, outcome: "disagreement"},
		{why: "runs may differ", reports: []string{"b", "a", "a"}, outcome: "a", single: true},
	} {
		m := started(t, consensus.Byzantine, 1)
		m.cfg.Charter.Assurance = consensus.Replicated
		if test.single {
			m.cfg.Charter.Assurance = consensus.Single
		}
		for i, name := range test.reports {
			m.Step(1_000, reportMessage(i+1, named(name)))
		}
		set := certificateFor(test.outcome, 0, m.t.Quorum).set
		r := m.Step(1_000, Message{From: 2, Note: consensus.NoteDecided,
			Payload: &consensus.Payload{Decision: &consensus.Decision{Value: named(test.outcome), Commits: set}}})
		told := disagreements(r.Do)
		if len(told) != len(test.accused) {
			t.Errorf("%s: told %+v", test.why, told)
			continue
		}
		for i, d := range told {
			if d.Report.Seat != test.accused[i] || !d.Report.Report.Value.Contradicts(named(test.outcome)) {
				t.Errorf("%s: told %+v", test.why, d)
			}
		}
		if _, last := r.Do[len(r.Do)-1].(Decided); !last {
			t.Errorf("%s: told after Decided, when the job may be gone", test.why)
		}
	}
}
