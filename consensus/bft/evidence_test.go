package bft

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/muster-network/muster/consensus"
)

// started returns the machine of seat 0 of a job that has started, alone.
func started(t *testing.T, fault consensus.Fault, f uint64) *Machine {
	t.Helper()
	m := New(testConfig(testCharter(fault, f, 1_000), 0))
	m.Step(1_000, AcceptJob{})
	for seat := range m.t.Quorum {
		m.Step(1_000, Message{From: seat, Kind: consensus.KindAccept})
	}
	if m.entry.started == nil {
		t.Fatal("q accepts did not start the job")
	}
	return m
}

func reportMessage(seat int, v consensus.Value) Message {
	r := consensus.Report{Run: 1, Value: v}
	return Message{From: seat, Kind: consensus.KindReport, Payload: &consensus.Payload{Report: &r}}
}

// named reads the values of the tables: a, b, ... are results, exit is a
// deterministic failure, timeout and host are what they say.
func named(name string) consensus.Value {
	switch name {
	case "exit":
		return consensus.Value{Kind: consensus.Failed, Class: consensus.FailedExit, Code: 2, Tree: tree("exit")}
	case "timeout":
		return failed(consensus.FailedTimeout)
	case "host":
		return failed(consensus.FailedHost)
	case "disagreement":
		return failed(consensus.FailedDisagreement)
	case "deadline":
		return failed(consensus.FailedDeadline)
	case "rejected":
		return failed(consensus.FailedRejected)
	case "cancelled":
		return consensus.Value{Kind: consensus.Cancelled}
	}
	return result(name)
}

func names(m *Machine) string {
	var list []string
	for _, c := range m.valid {
		name := c.value.String()
		for _, short := range []string{"a", "b", "c", "exit", "timeout", "host", "disagreement", "rejected", "deadline", "cancelled"} {
			if mustHash(named(short)) == c.hash {
				name = short
			}
		}
		list = append(list, name)
	}
	return strings.Join(list, " ")
}

func TestWhichReportsMakeWhichValuesValid(t *testing.T) {
	for _, test := range []struct {
		fault   consensus.Fault
		f       uint64
		reports string // seat:value, in order of arrival
		want    string // valid values, best first
	}{
		{consensus.Byzantine, 1, "", ""},
		{consensus.Byzantine, 1, "0:a", ""},
		{consensus.Byzantine, 1, "0:a 0:a", ""},
		{consensus.Byzantine, 1, "0:a 1:a", "a"},
		{consensus.Byzantine, 1, "0:exit 3:exit", "exit"},
		{consensus.Byzantine, 1, "0:a 1:b", ""},
		{consensus.Byzantine, 1, "0:a 1:b 2:c", "disagreement"},
		{consensus.Byzantine, 1, "0:a 1:b 2:a", "a"},
		{consensus.Byzantine, 1, "0:a 1:b 2:c 3:a", "a disagreement"},
		{consensus.Byzantine, 1, "0:timeout", ""},
		{consensus.Byzantine, 1, "0:timeout 1:timeout", "timeout"},
		{consensus.Byzantine, 1, "0:timeout 1:timeout 2:timeout", "timeout host"},
		{consensus.Byzantine, 1, "0:host 1:host", ""},
		{consensus.Byzantine, 1, "0:host 1:host 2:host", "host"},
		{consensus.Byzantine, 1, "0:host 1:a 2:b", "host"},
		{consensus.Byzantine, 1, "0:host 1:a 2:a", "a"},
		{consensus.Byzantine, 1, "0:host 1:timeout 2:a", "host"},
		{consensus.Byzantine, 1, "0:a 1:b 1:a", "a"},                    // both reports of one executor are kept
		{consensus.Byzantine, 1, "0:a 1:b 1:c 1:a", ""},                 // and no third one
		{consensus.Byzantine, 1, "0:a 1:a 2:exit 3:exit", "a exit"},     // results come first
		{consensus.Byzantine, 2, "0:a 1:a", ""},                         // f+1 = 3
		{consensus.Byzantine, 2, "0:a 1:a 2:b 3:b 4:c", "disagreement"}, // none reaches f+1
		{consensus.Byzantine, 2, "0:a 1:a 2:a 3:b 4:c", "a"},
		{consensus.Byzantine, 0, "0:a", "a"},
		{consensus.Byzantine, 0, "0:host", "host"},
		{consensus.Byzantine, 0, "0:timeout", "timeout host"},
		{consensus.Crash, 1, "1:a", "a"},
		{consensus.Crash, 1, "1:host", ""},
		{consensus.Crash, 1, "1:host 2:host", "host"},
		{consensus.Crash, 1, "1:timeout 2:host", "host"},
		{consensus.Crash, 1, "1:timeout 2:timeout", "timeout host"},
		{consensus.Crash, 1, "1:host 2:a", "a"},
	} {
		m := started(t, test.fault, test.f)
		for _, field := range strings.Fields(test.reports) {
			var seat int
			var name string
			if _, err := fmt.Sscanf(strings.Replace(field, ":", " ", 1), "%d %s", &seat, &name); err != nil {
				t.Fatal(err)
			}
			m.Step(1_000, reportMessage(seat, named(name)))
		}
		if got := names(m); got != test.want {
			t.Errorf("%s f=%d, reports %q: valid are %q, want %q", test.fault, test.f, test.reports, got, test.want)
		}
		for _, c := range m.valid {
			reports := m.proof(c)
			other := started(t, test.fault, test.f)
			other.Step(1_000, Message{From: -1, Note: consensus.NoteEvidence, Payload: &consensus.Payload{Reports: reports}})
			if !slices.ContainsFunc(other.valid, func(d choice) bool { return d.hash == c.hash }) {
				t.Errorf("%s f=%d, reports %q: %s is not valid where only its evidence is known", test.fault, test.f, test.reports, c.value)
			}
		}
	}
}

func TestAReportThatDoesNotOpenItsCommitDoesNotCount(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	r := consensus.Report{Run: 1, Salt: [16]byte{1}, Value: result("a")}
	hash, err := r.CommitHash(m.cfg.Network, m.cfg.Job, m.peer(1))
	if err != nil {
		t.Fatal(err)
	}
	m.Step(1_000, Message{From: 1, Kind: consensus.KindReportCommit, Value: hash})
	m.Step(1_000, Message{From: 1, Kind: consensus.KindReportCommit, Value: consensus.Hash{9}}) // only the first counts
	m.Step(1_000, reportMessage(1, result("b")))
	m.Step(1_000, reportMessage(0, result("b")))
	if got := names(m); got != "" {
		t.Errorf("valid are %q: a report counted that does not open its commit", got)
	}
	m.Step(1_000, Message{From: 1, Kind: consensus.KindReport, Payload: &consensus.Payload{Report: &r}})
	m.Step(1_000, reportMessage(2, result("a")))
	if got := names(m); got != "a" {
		t.Errorf("valid are %q, want a: a report that opens its commit counts", got)
	}
}

func TestAnExecutorShowsItsReportOnlyWhenOthersAreBound(t *testing.T) {
	q := newQuorum(consensus.Byzantine, 1)
	q.lost = func(from, to int, out Outgoing) bool {
		return from == 1 && to != 1 && (out.Kind == consensus.KindReportCommit || out.Kind == consensus.KindReport)
	}
	q.inputAll(AcceptJob{})
	q.settle()
	for i, out := range q.said {
		if out.Kind == consensus.KindReport && q.speaker[i] == 0 {
			t.Fatal("seat 0 shows its report when only its own commit is in")
		}
	}
	if m := q.machines[0]; m.runs.report == nil || m.runs.revealed {
		t.Fatal("seat 0 should be bound and waiting")
	}
	q.lost = func(int, int, Outgoing) bool { return false }
	q.resend()
	q.settle()
	if !q.machines[0].Done() {
		t.Error("the job does not end when the commit arrives after all")
	}
}

// Who has shown a report can show no other: it is bound, though its ReportCommit
// was lost, and the member's disk with it.
func TestAShownReportBindsAsACommitDoes(t *testing.T) {
	q := newQuorum(consensus.Byzantine, 1)
	q.lost = func(from, to int, out Outgoing) bool {
		return from == 1 && to != 1 && out.Kind == consensus.KindReportCommit
	}
	q.inputAll(AcceptJob{})
	q.settle()
	for seat, m := range q.machines {
		if !m.Done() {
			t.Errorf("seat %d waits for a commit that never comes, with the report at hand", seat)
		}
	}
}

// A liar shows more than two reports, and members keep different ones: what one
// proposes is valid for all by the reports that it carries.
func TestAProposalIsJudgedByTheReportsItCarries(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	shown := func(seat int, name string) consensus.SignedReport {
		return consensus.SignedReport{Seat: uint64(seat), Report: consensus.Report{Run: 1, Value: result(name)}}
	}
	for _, name := range []string{"one", "another"} {
		m.Step(1_000, reportMessage(3, result(name)))
	}
	round := uint32(1)
	for m.leader(round) != 2 {
		round++
	}
	for seat := 2; seat <= 3; seat++ {
		m.Step(1_000, Message{From: seat, Kind: consensus.KindRoundChange, Round: round})
	}
	third := result("a third")
	propose := func(round uint32, reports ...consensus.SignedReport) Ready {
		return m.Step(1_000, Message{From: 2, Kind: consensus.KindPropose, Round: round, Value: mustHash(third), Payload: &consensus.Payload{Value: &third, Reports: reports}})
	}
	r := propose(round, shown(2, "a third"), shown(3, "a third"))
	if got := names(m); got != "" {
		t.Fatalf("by what it holds %q is valid", got)
	}
	if !slices.ContainsFunc(r.Do, func(e Effect) bool {
		f, ok := e.(Fetch)
		return ok && f.Hash == mustHash(third) && slices.Equal(f.From, []int{2, 3})
	}) {
		t.Fatalf("the blocks are not fetched: %+v", r.Do)
	}
	r = m.Step(1_001, Held{Value: mustHash(third)})
	if !slices.ContainsFunc(r.Say, func(o Outgoing) bool { return o.Kind == consensus.KindPrepare && o.Value == mustHash(third) }) {
		t.Error("it does not prepare what the proposal proves")
	}
}

// What is valid for a leader by a liar's report may be valid for nobody else.
func TestALeaderProposesAnotherOfItsValuesWhenLeadersHaveFailed(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	for seat, name := range []string{"", "a", "b", "host"} {
		if seat > 0 {
			m.Step(1_000, reportMessage(seat, named(name)))
		}
	}
	m.Step(1_000, Ran{Run: m.runs.run, Value: named("c")})
	m.Step(1_000, Message{From: 0, Kind: consensus.KindReport, Payload: m.runs.payload})
	if got := names(m); got != "disagreement host" {
		t.Fatalf("valid are %q", got)
	}
	now, proposed := int64(2_000), []consensus.Hash{}
	for round := uint32(1); round <= 12; round++ {
		for seat := 1; seat < 4; seat++ {
			m.Step(now, Message{From: seat, Kind: consensus.KindRoundChange, Round: round})
		}
		for range 4 {
			now += 500
			for _, o := range m.Step(now, Tick{}).Say {
				if o.Kind == consensus.KindPropose {
					proposed = append(proposed, o.Value)
				}
			}
		}
	}
	want := []consensus.Hash{mustHash(named("disagreement")), mustHash(named("host")), mustHash(named("disagreement"))}
	if !slices.Equal(proposed, want) {
		t.Errorf("proposes %d times, not disagreement, host, disagreement: %v", len(proposed), proposed)
	}
}

// Whoever the liars are, an honest leader proposes each of the values that all
// honest members know.
func TestEachValueIsProposedByMoreLeadersThanLie(t *testing.T) {
	for f := uint64(1); f <= 10; f++ {
		th, err := consensus.Byzantine.For(f)
		if err != nil {
			t.Fatal(err)
		}
		for round := uint32(1); round <= uint32(f)+1; round++ {
			if got := turn(th, round); got != 0 {
				t.Errorf("f = %d, round %d: value %d, want the first", f, round, got)
			}
		}
		for values := 2; values <= th.N; values++ {
			proposers := make([]map[uint32]bool, values)
			for i := range proposers {
				proposers[i] = map[uint32]bool{}
			}
			last := uint32(values * th.N)
			if values <= 3 {
				last = uint32(int(f) + 1 + (values+1)/2*th.N) // the usual case
			}
			for round := uint32(1); round <= last; round++ {
				proposers[turn(th, round)%values][round%uint32(th.N)] = true
			}
			for i, p := range proposers {
				if len(p) <= int(f) {
					t.Errorf("f = %d: of %d values number %d is proposed by %d leaders up to round %d", f, values, i, len(p), last)
				}
			}
		}
	}
}

func TestOnlyAMembersOwnClockMakesTheDeadlineValid(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	deadline := m.cfg.Charter.Deadline
	m.Step(deadline, Tick{})
	if got := names(m); got != "" {
		t.Errorf("at the deadline valid are %q", got)
	}
	r := m.Step(deadline+1, Tick{})
	if got := names(m); got != "deadline" {
		t.Errorf("past the deadline valid are %q", got)
	}
	if !slices.ContainsFunc(r.Say, func(o Outgoing) bool { return o.Kind == consensus.KindPrepare }) {
		t.Error("it does not prepare the failure")
	}
}

func TestTimeThatGoesBackCountsAsStanding(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	m.Step(m.cfg.Charter.Deadline+1, Tick{})
	m.Step(5, Tick{})
	if got := names(m); got != "deadline" {
		t.Errorf("a clock set back makes valid %q", got)
	}
}

func TestNobodyPreparesBlocksItDoesNotHold(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	m.Step(1_000, reportMessage(1, result("a")))
	r := m.Step(1_000, reportMessage(2, result("a")))
	hash := mustHash(result("a"))
	if len(r.Say) != 0 || len(r.Do) != 1 {
		t.Fatalf("says %v and does %v, want one fetch and no word", r.Say, r.Do)
	}
	fetch, ok := r.Do[0].(Fetch)
	if !ok || fetch.Hash != hash || !slices.Equal(fetch.From, []int{1, 2}) {
		t.Fatalf("does %+v, want a fetch from 1 and 2", r.Do[0])
	}
	r = m.Step(1_000, Held{Value: hash})
	if len(r.Records) != 2 || r.Records[0].Kind != RecordHeld || len(r.Say) != 1 || r.Say[0].Kind != consensus.KindPrepare {
		t.Errorf("records %v, says %v: want the blocks and the prepare", r.Records, r.Say)
	}
}

func TestABlockFetchThatStallsAsksNewClaimers(t *testing.T) {
	m := started(t, consensus.Crash, 1)
	r := m.Step(1_000, reportMessage(1, result("a")))
	if len(r.Do) != 1 {
		t.Fatalf("does %v, want a fetch", r.Do)
	}
	m.Step(2_000, reportMessage(2, result("a")))
	r = m.Step(1_000+stalled*1_000, Tick{})
	i := slices.IndexFunc(r.Do, func(e Effect) bool { _, ok := e.(Fetch); return ok })
	if i < 0 || !slices.Equal(r.Do[i].(Fetch).From, []int{1, 2}) {
		t.Errorf("does %v, want a fetch from 1 and 2", r.Do)
	}
}

// A result is in the network as long as one member has it: that nobody could be
// reached for a while is no reason to stop asking.
func TestABlockFetchThatStallsIsAskedForAgainWhoeverClaimsIt(t *testing.T) {
	m := started(t, consensus.Crash, 1)
	m.Step(1_000, reportMessage(1, result("a")))
	for again := range int64(3) {
		due := 1_000 + (again+1)*stalled*1_000
		early := m.Step(due-1, Tick{})
		if slices.ContainsFunc(early.Do, func(e Effect) bool { _, ok := e.(Fetch); return ok }) {
			t.Errorf("asked again before it stalls: %v", early.Do)
		}
		if wake := early.Wake; wake == 0 || wake > due {
			t.Errorf("wakes at %d, and has to ask again at %d", wake, due)
		}
		r := m.Step(due, Tick{})
		i := slices.IndexFunc(r.Do, func(e Effect) bool { _, ok := e.(Fetch); return ok })
		if i < 0 || !slices.Equal(r.Do[i].(Fetch).From, []int{1}) {
			t.Fatalf("time %d: does %v, want a fetch from 1", again, r.Do)
		}
	}
}

// Values are judged anew in the place of those before them, and whoever was shown
// the job then keeps what it was shown.
func TestAViewStaysAsItWas(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	v := failed(consensus.FailedTimeout)
	for _, party := range []int{1, 2} {
		m.Step(2_000, reportMessage(party, v))
	}
	before := m.View()
	m.Step(3_000, CancelWish{Cancel: consensus.Cancel{Job: m.cfg.Job}})
	if got := m.View(); got.Valid.Kind != consensus.Cancelled || !before.Valid.Equal(v) {
		t.Errorf("a timeout was valid, now %s is, and the view of before says %s", got.Valid, before.Valid)
	}
}

// What a member stands for is put together once for all who are told, and anew
// after every step.
func TestWhatIsSaidAgainFollowsEveryStep(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	said := func() []string {
		var list []string
		for _, out := range m.Current(1) {
			list = append(list, title(out))
		}
		return list
	}
	first := said()
	v := failed(consensus.FailedTimeout)
	for _, party := range []int{1, 2} {
		m.Step(2_000, reportMessage(party, v))
	}
	second := said()
	if len(second) <= len(first) || !slices.Equal(second, said()) {
		t.Errorf("first it says %v, then with a value to vote for %v, and once more %v", first, second, said())
	}
	for _, out := range m.Current(2) {
		if out.To != nil || out.Submitter {
			t.Errorf("%s is for %v, submitter %v", title(out), out.To, out.Submitter)
		}
	}
}
