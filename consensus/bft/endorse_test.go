package bft

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/muster-network/muster/consensus"
)

// verdictOn reads "2+a", seat 2 finds a good, and "3-b", seat 3 finds b bad.
func verdictOn(word string) Message {
	kind := consensus.KindEndorse
	if word[1] == '-' {
		kind = consensus.KindReject
	}
	return Message{From: int(word[0] - '0'), Kind: kind, Value: mustHash(named(word[2:]))}
}

// told steps a machine by words: verdicts, and reports as "1 a".
func told(m *Machine, words ...string) (all Ready) {
	for _, word := range words {
		msg := verdictOn(word)
		if word[1] == ' ' {
			msg = reportMessage(int(word[0]-'0'), named(word[2:]))
		}
		r := m.Step(m.now, msg)
		all.Do, all.Say, all.Records = append(all.Do, r.Do...), append(all.Say, r.Say...), append(all.Records, r.Records...)
	}
	return all
}

// checksOf are the values that effects ask to check.
func checksOf(effects []Effect) (values []consensus.Hash) {
	for _, e := range effects {
		if c, ok := e.(Check); ok {
			values = append(values, c.Hash)
		}
	}
	return values
}

// endorsedQuorum is a quorum of a job with a check. Its first executor is seat 0.
func endorsedQuorum(f uint64) *quorum {
	q := newQuorum(consensus.Byzantine, f)
	charter := testCharter(consensus.Byzantine, f, q.now)
	charter.Assurance = consensus.Endorsed
	q.begin(charter)
	return q
}

func TestAValueIsValidThatOthersFoundGood(t *testing.T) {
	for _, test := range []struct{ why, said, valid string }{
		{"found good by f+1 others", "1 a, 2+a, 3+a", "a"},
		{"verdicts that come before the report", "2+a, 3+a, 1 a", "a"},
		{"a failure found good", "1 exit, 2+exit, 3+exit", "exit"},
		{"found good by f", "1 a, 2+a", ""},
		{"found good by the executor and f others", "1 a, 1+a, 2+a", ""},
		{"reported by two, each of whom found the other's good", "1 a, 2 a, 1+a, 2+a", ""},
		{"reported by two, one of whom and another found it good", "1 a, 2 a, 1+a, 3+a", "a"},
		{"found good twice by one", "1 a, 2+a, 2+a", ""},
		{"found bad, and good, by one: the first counts", "1 a, 2-a, 2+a, 3+a", ""},
		{"found bad by f+1", "1 a, 2-a, 3-a", ""},
		{"not reported", "2+a, 3+a", ""},
		{"another is good", "1 a, 2+b, 3+b", ""},
		{"reports alone", "1 a, 2 a, 3 a", ""},
		{"what two executors left was found bad", "1 a, 2-a, 3-a, 2 b, 1-b, 3-b", "rejected"},
		{"both left the same, and it is bad", "1 a, 2 a, 1-a, 2-a, 3-a", "rejected"},
		{"both left the same, and not enough others found it bad", "1 a, 2 a, 2-a, 3-a", ""},
		{"one of two was found bad by f", "1 a, 2-a, 3-a, 2 b, 3-b", ""},
		{"one executor's two values were found bad", "1 a, 1 b, 2-a, 3-a, 2-b, 3-b", ""},
		{"one bad, two broken", "1 a, 2-a, 3-a, 2 host, 3 host", "host"},
		{"one unchecked, two broken", "1 a, 2 host, 3 host", ""},
		{"two out of time", "1 timeout, 2 timeout", "timeout"},
	} {
		m := startedUnder(t, consensus.Endorsed)
		told(m, strings.Split(test.said, ", ")...)
		if got := names(m); got != test.valid {
			t.Errorf("%s: valid are %q, want %q", test.why, got, test.valid)
		}
		for _, c := range m.valid {
			other := startedUnder(t, consensus.Endorsed) // what is shown to prove it, proves it
			reports := m.proof(c)
			other.learnEvidence(&consensus.Payload{Reports: reports, Verdicts: m.verdicts(c, reports)})
			if !other.isValid(c) {
				t.Errorf("%s: %s is not proven by %d reports and %d verdicts", test.why, c.value, len(reports), len(m.verdicts(c, reports)))
			}
			if p := (&proposal{choice: c, reports: other.carried(reports), verdicts: other.carriedVerdicts(m.verdicts(c, reports))}); !startedUnder(t, consensus.Endorsed).provesItself(p) {
				t.Errorf("%s: a proposal of %s does not prove itself", test.why, c.value)
			}
		}
	}
}

func TestVerdictsWhereNothingIsCheckedCountForNothing(t *testing.T) {
	m := startedUnder(t, consensus.Single)
	told(m, "2-a", "3-a", "1 a")
	if names(m) != "a" {
		t.Errorf("valid: %q", names(m))
	}
}

func TestOneMemberRunsAndTheOthersCheck(t *testing.T) {
	for f := range uint64(3) {
		q := endorsedQuorum(f + 1)
		runs := 0
		q.value = func(int) consensus.Value { runs++; return result("truth") }
		q.inputAll(AcceptJob{})
		q.settle()
		for seat, m := range q.machines {
			if !m.Done() || !m.decision.Value.Equal(result("truth")) || m.decision.Commits.Round != 0 {
				t.Errorf("seat %d: %+v", seat, m.View())
			}
			if want := min(seat, 1); q.checks[seat] != want {
				t.Errorf("seat %d checked %d times", seat, q.checks[seat])
			}
			if s := m.View().Seats[0]; seat == 0 && (s.Disagrees || s.Endorsed != int(f)+2 || s.Rejected != 0) {
				t.Errorf("shown as %+v", s)
			}
		}
		if runs != 1 {
			t.Errorf("%d members ran it", runs)
		}
	}
}

// A first executor that lies: its result is found bad, another runs, and what
// that leaves is certified, whatever the liar says of it.
func TestAFalseResultIsRejectedAndABackupsIsCertified(t *testing.T) {
	for _, likes := range []bool{false, true} {
		q := endorsedQuorum(1)
		q.value = func(seat int) consensus.Value { return result([]string{"lie", "truth", "other", "more"}[seat]) }
		q.finds = func(seat int, value consensus.Hash) (bool, bool) {
			if seat == 0 {
				return likes, true
			}
			return value != mustHash(result("lie")), true
		}
		q.inputAll(AcceptJob{})
		q.settle()
		for seat, m := range q.machines {
			if !m.Done() || !m.decision.Value.Equal(result("truth")) {
				t.Fatalf("likes %v: seat %d: %+v", likes, seat, m.View())
			}
			v := m.View()
			if !v.Seats[0].Disagrees || v.Seats[0].Rejected != 2 || v.Seats[1].Disagrees || v.Seats[1].Why != "the check rejected what an executor left" || v.Seats[2].Activated {
				t.Errorf("likes %v: seat %d sees %+v", likes, seat, v.Seats)
			}
			if len(disagreements(q.effects[seat])) != 0 {
				t.Errorf("seat %d accuses somebody", seat)
			}
		}
	}
}

// A voter that finds everything good, or everything bad, changes nothing.
func TestALiarsVerdictsChangeNothing(t *testing.T) {
	for _, likes := range []bool{false, true} {
		for _, first := range []string{"truth", "lie"} {
			q := endorsedQuorum(1)
			q.value = func(seat int) consensus.Value { return result([]string{first, "truth"}[min(seat, 1)]) }
			q.finds = func(seat int, value consensus.Hash) (bool, bool) {
				if seat == 3 {
					return likes, true
				}
				return value != mustHash(result("lie")), true
			}
			q.inputAll(AcceptJob{})
			q.settle()
			for seat, m := range q.machines {
				if !m.Done() || !m.decision.Value.Equal(result("truth")) {
					t.Errorf("likes %v, first %s: seat %d: %+v", likes, first, seat, m.View())
				}
			}
		}
	}
}

// When what f+1 members left is bad, no more are called.
func TestAJobOfWhichNothingIsGoodEndsAsRejected(t *testing.T) {
	q := endorsedQuorum(1)
	q.value = func(int) consensus.Value { return result("lie") }
	q.inputAll(AcceptJob{})
	q.settle()
	for seat, m := range q.machines {
		if !m.Done() || !m.decision.Value.Equal(failed(consensus.FailedRejected)) || m.runs.active != 2 {
			t.Errorf("seat %d: %+v", seat, m.View())
		}
	}
}

// An executor falls silent, keeps what it left to itself, or its check comes to
// no end: another is called.
func TestABackupIsCalledForAnExecutorThatIsNeitherEndorsedNorRejected(t *testing.T) {
	for _, why := range []string{"an executor fell silent", "the blocks do not come", "the check does not come to an end"} {
		q := endorsedQuorum(1)
		q.value = func(seat int) consensus.Value {
			if seat == 0 && why == "an executor fell silent" {
				return consensus.Value{}
			}
			return result([]string{"first", "truth", "other", "more"}[seat])
		}
		q.finds = func(_ int, value consensus.Hash) (bool, bool) {
			return true, why != "the check does not come to an end" || value != mustHash(result("first"))
		}
		if why == "the blocks do not come" {
			q.withheld = mustHash(result("first"))
		}
		q.lost = func(from, to int, out Outgoing) bool { return from == 0 && out.Note == consensus.NoteRunning }
		q.inputAll(AcceptJob{})
		q.settle()
		for range 120 {
			q.pass(500)
		}
		for seat, m := range q.machines {
			if seat == 0 && why == "the blocks do not come" {
				continue // it holds them, and no word that somebody else misses them
			}
			if !m.Done() || !m.decision.Value.Equal(result("truth")) || seat > 0 && m.View().Seats[1].Why != why {
				t.Errorf("%s: seat %d: %+v", why, seat, m.View())
			}
		}
	}
}

func TestNobodyChecksButTheFirstWordOfACalledExecutor(t *testing.T) {
	m := startedUnder(t, consensus.Endorsed)
	ready := told(m, "1 a", "2 b")
	if len(ready.Do) != 0 {
		t.Errorf("not called, and leads to %+v", ready.Do)
	}
	m.cfg.Runners = []int{1, 2, 3, 0} // seat 1 is called
	m.runs.active = 1
	ready = told(m, "1 c")
	if fetches := ready.Do; len(fetches) != 1 || fetches[0].(Fetch).Hash != mustHash(named("a")) {
		t.Fatalf("fetches %+v", fetches)
	}
	if r := m.Step(m.now, Held{Value: mustHash(named("a"))}); !slices.Equal(checksOf(r.Do), []consensus.Hash{mustHash(named("a"))}) {
		t.Fatalf("checks %+v", r.Do)
	}
	r := m.Step(m.now, Checked{Value: mustHash(named("a")), Endorses: true})
	if len(r.Records) != 1 || r.Records[0].Kind != RecordFound || len(r.Say) != 1 || r.Say[0].Kind != consensus.KindEndorse || r.Say[0].Value != mustHash(named("a")) {
		t.Errorf("records %+v, says %+v", r.Records, r.Say)
	}
	for _, in := range []Input{Checked{Value: mustHash(named("a"))}, Checked{Value: mustHash(named("b")), Endorses: true}, Tick{}} {
		if r := m.Step(m.now, in); len(r.Records)+len(r.Say)+len(r.Do) != 0 {
			t.Errorf("%+v leads to %+v", in, r)
		}
	}
}

// Whoever found a value good or bad holds it, and can be asked for its blocks.
func TestBlocksAreAskedOfWhoJudgedThem(t *testing.T) {
	m := startedUnder(t, consensus.Endorsed)
	r := told(m, "1 a", "2+a", "3+a")
	for _, e := range r.Do {
		if f, ok := e.(Fetch); ok && slices.Equal(f.From, []int{1, 2, 3}) {
			return
		}
	}
	t.Errorf("asks for %+v", r.Do)
}

func TestAMemberThatRestartsInItsCheckGoesOn(t *testing.T) {
	for _, found := range []bool{false, true} {
		q := endorsedQuorum(1)
		q.finds = func(seat int, _ consensus.Hash) (bool, bool) { return true, found && seat == 2 }
		q.inputAll(AcceptJob{})
		q.settle()
		if q.checks[2] != 1 || q.machines[2].Done() {
			t.Fatal("not in its check")
		}
		said := len(q.said)
		q.restart(t, 2)
		q.resend()
		q.settle()
		if again := q.checks[2] == 2; again == found {
			t.Errorf("found %v: it was asked for %d checks", found, q.checks[2])
		}
		again := slices.ContainsFunc(q.said[said:], func(out Outgoing) bool { return out.Kind == consensus.KindEndorse })
		if again != found {
			t.Errorf("found %v: its verdict is said again: %v", found, again)
		}
		q.finds = func(int, consensus.Hash) (bool, bool) { return true, true }
		for range 60 {
			q.pass(1_000)
			q.resend()
			q.settle()
		}
		for seat, m := range q.machines {
			if !m.Done() || m.decision.Value.Kind != consensus.Result {
				t.Errorf("found %v: seat %d: %+v", found, seat, m.View())
			}
		}
	}
}

func TestAMemberKeepsOneVerdictForEachPartyAtMost(t *testing.T) {
	m := startedUnder(t, consensus.Endorsed)
	for i := range 100 {
		m.Step(m.now, Message{From: 3, Kind: consensus.KindReject, Value: mustHash(result(fmt.Sprint(i)))})
	}
	if kept := len(m.evidence.verdicts[3]); kept != m.cfg.Charter.Parties() {
		t.Errorf("keeps %d verdicts of one party", kept)
	}
}

// Who lost its seat has nothing to check any more, nor a verdict to give.
func TestWhoHasNoSeatChecksNothing(t *testing.T) {
	m := startedUnder(t, consensus.Endorsed)
	m.cfg.Runners, m.runs.active = []int{1, 2, 3, 0}, 1
	told(m, "1 a")
	if r := m.Step(m.now, Held{Value: mustHash(named("a"))}); len(checksOf(r.Do)) != 1 {
		t.Fatalf("checks %+v", r.Do)
	}
	m.seat = -1
	if r := m.Step(m.now, Checked{Value: mustHash(named("a")), Endorses: true}); len(r.Say)+len(r.Records) != 0 {
		t.Errorf("says %+v", r.Say)
	}
	if r := m.Step(m.now+1_000_000, Tick{}); len(r.Do) != 0 {
		t.Errorf("wants %+v", r.Do)
	}
}

// Who gave the job up before it started takes no result of it. Others may need its
// word for one all the same, whichever executor they called.
func TestWhoGaveTheJobUpChecksForTheOthers(t *testing.T) {
	charter := testCharter(consensus.Byzantine, 1, 1_000)
	charter.Assurance = consensus.Endorsed
	m := New(testConfig(charter, 0))
	m.Step(1_000, AcceptJob{})
	m.Step(1_000, SubmitterVoid{})
	for seat := range m.t.Quorum {
		m.Step(1_000, Message{From: seat, Kind: consensus.KindAccept})
	}
	if !m.entry.voided || !m.acts() || m.isActive(2) {
		t.Fatalf("%+v", m.View())
	}
	told(m, "2 a")
	if r := m.Step(m.now, Held{Value: mustHash(named("a"))}); len(checksOf(r.Do)) != 1 {
		t.Errorf("does %+v", r.Do)
	}
	if r := m.Step(m.now, Checked{Value: mustHash(named("a")), Endorses: true}); len(r.Say) != 1 {
		t.Errorf("says %+v", r.Say)
	}
}

// A liar can make a value valid for one member only. It gives its word for others
// as long as that is not agreed on, and calls executors when it is alone with it.
func TestWhoIsAloneWithAValidValueChecksAndCallsForTheOthers(t *testing.T) {
	m := startedUnder(t, consensus.Endorsed)
	m.cfg.Runners, m.runs.active = []int{1, 2, 3, 0}, 1
	told(m, "1 a", "2+a", "3+a", "2 b")
	m.Step(m.now, Held{Value: mustHash(named("a"))})
	if names(m) != "a" || m.isActive(2) {
		t.Fatalf("valid: %q", names(m))
	}
	for range 20 {
		r := m.Step(m.now+500, Tick{})
		for _, out := range r.Say {
			if out.Kind == consensus.KindRoundChange {
				m.Step(m.now, message(0, out))
			}
		}
	}
	if m.rounds.round == 0 || !m.isActive(2) {
		t.Fatalf("%+v", m.View())
	}
	if r := m.Step(m.now, Held{Value: mustHash(named("b"))}); len(checksOf(r.Do)) != 1 {
		t.Errorf("does %+v", r.Do)
	}
}

func TestARemovedMembersVerdictCountsNoMore(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 1, 1)
	q.charter.Assurance = consensus.Endorsed
	m := New(q.config(0))
	told(m, "2 a", "1+a", "3+a")
	c := m.choice(named("a"))
	if !m.isValid(c) {
		t.Fatal("not valid by the verdicts of two members")
	}
	for _, party := range []uint64{1, 4} { // a reserve's counts once it has the seat
		m.hearVerdict(4, verdict{value: c.hash, endorses: true})
		next, err := m.at.Next(consensus.Value{Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: 1, Reserve: 0}}})
		if err != nil {
			t.Fatal(err)
		}
		if party == 1 {
			m.evidence.verdicts[4] = nil
		}
		at := m.at
		m.begin(next)
		if got := m.isValid(c); got != (party == 4) {
			t.Errorf("the verdict of party %d counts: %v", party, got)
		}
		m.begin(at)
	}
}

// In random order, with f liars that report what is bad, to some or to all, and
// that find good and bad what they like, no bad value is certified, all come to
// one, and a good one where there is one.
func TestNoBadValueIsCertifiedWhateverFLiarsSay(t *testing.T) {
	for range 60 {
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 3))
		f := 1 + rng.Uint64N(2)
		q := endorsedQuorum(f)
		lies := map[int]bool{}
		for len(lies) < int(f) {
			lies[rng.IntN(len(q.machines))] = true
		}
		hopeless := rng.IntN(4) == 0
		deaf := rng.Uint64()
		bad := map[consensus.Hash]bool{}
		q.value = func(seat int) consensus.Value {
			v := result(fmt.Sprint("of ", seat))
			bad[mustHash(v)] = lies[seat] || hopeless
			return v
		}
		q.finds = func(seat int, value consensus.Hash) (bool, bool) {
			if lies[seat] {
				return rng.IntN(2) == 0, rng.IntN(3) > 0
			}
			return !bad[value], true
		}
		q.lost = func(from, to int, out Outgoing) bool { return lies[from] && deaf>>uint(to)&1 == 1 && !out.Kind.Slot() }
		q.inputAll(AcceptJob{})
		for range 200 {
			rng.Shuffle(len(q.queue), func(i, k int) { q.queue[i], q.queue[k] = q.queue[k], q.queue[i] })
			for range min(len(q.queue), 1+rng.IntN(40)) {
				d := q.queue[0]
				q.queue = q.queue[1:]
				q.input(d.to, d.in)
			}
			if len(q.queue) == 0 {
				q.pass(500)
				q.resend()
			}
		}
		for range 200 {
			q.pass(500)
			q.resend()
			q.settle()
		}
		var decided *consensus.Value
		for seat, m := range q.machines {
			if lies[seat] {
				continue
			}
			if !m.Done() {
				t.Fatalf("seed %d: seat %d has not decided: %+v", seed, seat, m.View())
			}
			v := m.decision.Value
			if decided == nil {
				decided = &v
			}
			if !v.Equal(*decided) || bad[mustHash(v)] || hopeless != (v.Class == consensus.FailedRejected) {
				t.Errorf("seed %d: seat %d decided %s, hopeless %v", seed, seat, v, hopeless)
			}
		}
	}
}
