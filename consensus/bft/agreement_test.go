package bft

import (
	"math"
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
)

func certificateFor(name string, round uint32, q int) *certificate {
	set := consensus.VoteSet{Round: round, Value: mustHash(named(name))}
	for seat := range q {
		set.Votes = append(set.Votes, consensus.Vote{Seat: uint64(seat)})
	}
	return &certificate{named(name), set}
}

func TestTheLockRule(t *testing.T) {
	for _, test := range []struct {
		why      string
		lock     string
		lockedAt uint32
		cert     string // what the proposal carries
		certAt   uint32
		round    uint32
		proposal string
		valid    string // what evidence makes valid
		voided   bool
		want     bool
	}{
		{why: "no lock, valid", round: 1, proposal: "a", valid: "a", want: true},
		{why: "no lock, not valid", round: 1, proposal: "a", valid: "b"},
		{why: "no lock, a certificate replaces evidence", round: 1, proposal: "a", cert: "a", certAt: 0, want: true},
		{why: "locked on it", lock: "a", lockedAt: 1, round: 3, proposal: "a", want: true},
		{why: "locked on another, valid", lock: "b", lockedAt: 0, round: 1, proposal: "a", valid: "a"},
		{why: "locked on another, older certificate", lock: "b", lockedAt: 2, cert: "a", certAt: 1, round: 3, proposal: "a", valid: "a"},
		{why: "locked on another, certificate of the lock's round", lock: "b", lockedAt: 1, cert: "a", certAt: 1, round: 3, proposal: "a", want: true},
		{why: "locked on another, newer certificate", lock: "b", lockedAt: 1, cert: "a", certAt: 2, round: 3, proposal: "a", want: true},
		{why: "locked on another, certificate of this round", lock: "b", lockedAt: 1, cert: "a", certAt: 3, round: 3, proposal: "a", valid: "a"},
		{why: "locked on another, certificate for a third", lock: "b", lockedAt: 1, cert: "c", certAt: 2, round: 3, proposal: "a", valid: "a"},
		{why: "gave up, valid", voided: true, round: 1, proposal: "a", valid: "a"},
		{why: "gave up, certificate", voided: true, round: 1, proposal: "a", cert: "a", certAt: 0, want: true},
		{why: "gave up, cancelled", voided: true, round: 1, proposal: "cancelled", want: true},
	} {
		m := started(t, consensus.Byzantine, 1)
		if m.entry.voided = test.voided; test.voided {
			m.entry.void = new(consensus.Void)
		}
		if test.valid != "" {
			m.report(consensus.SignedReport{Seat: 1, Report: consensus.Report{Run: 1, Value: named(test.valid)}})
			m.report(consensus.SignedReport{Seat: 2, Report: consensus.Report{Run: 1, Value: named(test.valid)}})
		}
		m.rounds.round = test.round
		if test.lock != "" {
			m.rounds.lock = certificateFor(test.lock, test.lockedAt, m.t.Quorum)
			m.rounds.highest = m.rounds.lock
		}
		p := &proposal{choice: m.choice(named(test.proposal))}
		if test.cert != "" {
			p.cert = certificateFor(test.cert, test.certAt, m.t.Quorum)
			m.learn(p.cert)
		}
		if got := m.mayPrepare(p); got != test.want {
			t.Errorf("%s: prepares %v, want %v", test.why, got, test.want)
		}
	}
}

func TestADeadlineNeedsTimeButACertificateReplacesTheClock(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	m.rounds.round = 1
	p := &proposal{choice: m.choice(named("deadline"))}
	if m.mayPrepare(p) {
		t.Error("prepares deadline before the deadline")
	}
	p.cert = certificateFor("deadline", 0, m.t.Quorum)
	if !m.mayPrepare(p) {
		t.Error("refuses a certified deadline")
	}
}

func TestLeadersTakeTurnsInAnOrderThatTheJobGives(t *testing.T) {
	// Part of the protocol: members that differ here do not agree on who leads.
	for _, test := range []struct {
		job  byte
		want []int
	}{{1, []int{4, 3, 0, 6, 5, 1, 2}}, {2, []int{1, 3, 4, 6, 5, 0, 2}}} {
		if got := leaders(consensus.JobID{test.job}, 0, 7); !slices.Equal(got, test.want) {
			t.Errorf("job %d: %v, want %v", test.job, got, test.want)
		}
	}
	m := started(t, consensus.Byzantine, 2)
	if m.leader(3) != m.leader(10) || m.leader(math.MaxUint32) < 0 {
		t.Error("leaders do not repeat after n rounds")
	}
}

func TestRoundsGrowLongerUpToABound(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	for round, want := range map[uint32]int64{0: 1_000, 1: 1_500, 2: 2_250, 10: 57_654, 11: 57_654, math.MaxUint32: 57_654} {
		if got := m.duration(round); got != want {
			t.Errorf("round %d lasts %d ms, want %d", round, got, want)
		}
	}
	m.cfg.Timing.RoundMax = 1_200
	if got := m.duration(5); got != 1_200 {
		t.Errorf("a round lasts %d ms, at most 1200", got)
	}
}

func change1(seat int, round uint32) Message {
	return Message{From: seat, Kind: consensus.KindRoundChange, Round: round}
}

func TestNoTimerRunsBeforeAValueIsValid(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	m.Step(500_000, Tick{})
	if m.rounds.round != 0 || m.rounds.endsAt != 0 {
		t.Fatalf("round %d, which ends at %d", m.rounds.round, m.rounds.endsAt)
	}
	m.Step(500_000, reportMessage(1, failed(consensus.FailedTimeout)))
	r := m.Step(500_000, reportMessage(2, failed(consensus.FailedTimeout)))
	if m.rounds.endsAt != 501_000 || r.Wake != 501_000 {
		t.Errorf("round 0 ends at %d, wakes at %d, want 501000", m.rounds.endsAt, r.Wake)
	}
	m.Step(501_000, Tick{})
	if m.rounds.round != 1 {
		t.Errorf("round %d after the end of round 0", m.rounds.round)
	}
}

func TestALaterRoundsTimerWaitsForAQuorumInIt(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	m.Step(1_000, reportMessage(1, failed(consensus.FailedTimeout)))
	m.Step(1_000, reportMessage(2, failed(consensus.FailedTimeout)))
	m.Step(2_000, Tick{})
	m.Step(2_000, change1(1, 1))
	m.Step(2_000, change1(2, 5)) // a later round counts, too
	if m.rounds.endsAt != 0 {
		t.Fatal("the timer runs without this member's own round change, which is not durable yet")
	}
	m.Step(2_500, change1(0, 1))
	if m.rounds.endsAt != 4_000 {
		t.Errorf("round 1 ends at %d, want 4000", m.rounds.endsAt)
	}
}

func TestAMemberJumpsToTheRoundThatManyReached(t *testing.T) {
	for _, test := range []struct {
		fault   consensus.Fault
		f       uint64
		changes []uint32 // of seats 1, 2, ...
		want    uint32
	}{
		{consensus.Byzantine, 1, []uint32{7}, 0},
		{consensus.Byzantine, 1, []uint32{7, 3}, 3},
		{consensus.Byzantine, 1, []uint32{7, 3, 4}, 4},
		{consensus.Byzantine, 2, []uint32{7, 7}, 0},
		{consensus.Byzantine, 2, []uint32{7, 2, 5, 4}, 4},
		{consensus.Crash, 1, []uint32{7}, 7},
	} {
		m := started(t, test.fault, test.f)
		for i, round := range test.changes {
			m.Step(1_000, change1(i+1, round))
		}
		if m.rounds.round != test.want {
			t.Errorf("%s f=%d, round changes %v: round %d, want %d", test.fault, test.f, test.changes, m.rounds.round, test.want)
		}
	}
}

func TestAMemberMayCommitWithoutHavingPreparedAndWithoutTheBlocks(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	m.Step(1_000, reportMessage(1, result("a"))) // known, but not valid
	hash := mustHash(result("a"))
	m.Step(1_000, Message{From: 1, Kind: consensus.KindPrepare, Value: hash})
	m.Step(1_000, Message{From: 2, Kind: consensus.KindPrepare, Value: hash})
	r := m.Step(1_000, Message{From: 3, Kind: consensus.KindPrepare, Value: hash})
	if len(r.Records) != 2 || r.Records[0].Kind != RecordLock || r.Records[1].Kind != RecordSlot {
		t.Fatalf("records %v, want lock and slot", r.Records)
	}
	if len(r.Say) != 1 || r.Say[0].Kind != consensus.KindCommit || r.Say[0].Value != hash {
		t.Errorf("says %v, want a commit", r.Say)
	}
}

func TestACertificateOfAnOlderRoundOnlyRaisesTheHighest(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	m.Step(1_000, reportMessage(1, result("a")))
	m.Step(1_000, change1(1, 1))
	m.Step(1_000, change1(2, 1))
	for seat := 1; seat <= 3; seat++ {
		m.Step(1_000, Message{From: seat, Kind: consensus.KindPrepare, Value: mustHash(result("a"))})
	}
	if m.rounds.lock != nil || m.rounds.highest == nil || m.rounds.highest.set.Round != 0 {
		t.Errorf("lock %v, highest %v", m.rounds.lock, m.rounds.highest)
	}
}

func TestCommitsOfTwoRoundsDoNotAddUp(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	m.Step(1_000, reportMessage(1, result("a")))
	hash := mustHash(result("a"))
	m.Step(1_000, Message{From: 1, Kind: consensus.KindCommit, Value: hash})
	m.Step(1_000, Message{From: 2, Kind: consensus.KindCommit, Value: hash})
	m.Step(1_000, Message{From: 3, Kind: consensus.KindCommit, Round: 1, Value: hash})
	if m.Done() {
		t.Fatal("decides on commits of two rounds")
	}
	r := m.Step(1_000, Message{From: 3, Kind: consensus.KindCommit, Value: hash})
	if !m.Done() || len(r.Records) == 0 || r.Records[0].Kind != RecordDecided {
		t.Errorf("does not decide on q commits of one round: %v", r)
	}
}

func TestWhoComesFromFarBelowIsToldThisRoundAgain(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	m.Step(1_000, change1(1, 5))
	m.Step(1_000, change1(2, 5)) // seat 0 enters round 5
	r := m.Step(1_000, change1(3, 5))
	if len(r.Say) != 1 || r.Say[0].Kind != consensus.KindRoundChange || !slices.Equal(r.Say[0].To, []int{3}) {
		t.Errorf("says %v, want its slot to seat 3", r.Say)
	}
}

func TestVotesAreKeptForThreeRounds(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	for round := range uint32(50) {
		for seat := 1; seat < 4; seat++ {
			m.Step(1_000, change1(seat, round))
			m.Step(1_000, Message{From: seat, Kind: consensus.KindPrepare, Round: round + 7, Value: consensus.Hash{1}})
		}
	}
	if m.rounds.round != 49 || len(m.rounds.ballots) != 3 || m.rounds.ballots[0].round != 48 || len(m.rounds.own) != 1 {
		t.Errorf("round %d, %d ballots from %d, %d own slots", m.rounds.round, len(m.rounds.ballots), m.rounds.ballots[0].round, len(m.rounds.own))
	}
}

func TestWhoStillVotesIsToldTheDecision(t *testing.T) {
	q := newQuorum(consensus.Byzantine, 1)
	q.inputAll(AcceptJob{})
	q.settle()
	m := q.machines[0]
	if len(m.Current(1)) != 0 {
		t.Fatal("seat 1 has shown its decision, and is told again")
	}
	m.knows[1] = false // as after a restart
	if out := m.Current(1); len(out) != 1 || out[0].Note != consensus.NoteDecided {
		t.Fatalf("says %v, want the decision and nothing else", out)
	}
	at := q.now + 100_000
	r := m.Step(at, Message{From: 1, Kind: consensus.KindPrepare, Round: 1})
	if len(r.Say) != 1 || r.Say[0].Note != consensus.NoteDecided || len(r.Records) != 0 || r.Wake != 0 {
		t.Errorf("answers a vote with %+v", r)
	}
	if r = m.Step(at+1, Message{From: 1, Kind: consensus.KindPrepare, Round: 2}); len(r.Say) != 0 {
		t.Error("answers the same seat twice in a round's time")
	}
	if r = m.Step(at+1, Message{From: 1, Note: consensus.NoteAsk}); len(r.Say) != 1 {
		t.Error("does not answer a question")
	}
	if r = m.Step(at+2, CancelWish{}); len(r.Records)+len(r.Say)+len(r.Do) != 0 {
		t.Errorf("a cancellation after the decision does %+v", r)
	}
}

func TestALeaderProposesTheHighestCertificateItIsShown(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	round := uint32(2)
	for m.leader(round) != 0 {
		round++
	}
	m.Step(1_000, reportMessage(1, failed(consensus.FailedTimeout)))
	m.Step(1_000, reportMessage(2, failed(consensus.FailedTimeout)))
	for seat, name := range []string{1: "a", 2: "b"} {
		if name != "" {
			msg := change1(seat, round)
			msg.Payload = certificateFor(name, uint32(seat-1), m.t.Quorum).payload()
			m.Step(1_000, msg)
		}
	}
	r := m.Step(1_000, change1(0, round))
	if len(r.Say) != 0 || r.Wake != 1_000+1_000/8 {
		t.Fatalf("says %v at once and wakes at %d, want a moment's wait", r.Say, r.Wake)
	}
	r = m.Step(r.Wake, Tick{})
	if len(r.Say) != 1 || r.Say[0].Kind != consensus.KindPropose || r.Say[0].Value != mustHash(result("b")) || r.Say[0].Payload.Set == nil {
		t.Errorf("says %+v, want a proposal of the highest certificate's value", r.Say)
	}
}

func TestWhenLeadersFailForWantOfEvidenceEveryMemberRuns(t *testing.T) {
	runs := func(prepare func(m *Machine)) bool {
		m := New(testConfig(testCharter(consensus.Byzantine, 1, 1_000), 2))
		m.Step(1_000, AcceptJob{})
		for seat := range m.t.Quorum {
			m.Step(1_000, Message{From: seat, Kind: consensus.KindAccept})
		}
		prepare(m)
		m.Step(1_000, change1(0, 3))
		r := m.Step(1_000, change1(1, 3)) // enters round 3: f+1 leaders had their turn
		return slices.Contains(r.Do, Effect(Execute{Run: 1})) || m.Step(1_000, Tick{}).Do != nil
	}
	timeouts := func(m *Machine) {
		m.Step(1_000, reportMessage(0, failed(consensus.FailedTimeout)))
		m.Step(1_000, reportMessage(1, failed(consensus.FailedTimeout)))
	}
	if !runs(timeouts) {
		t.Error("a backup that holds a valid value does not run for those who do not")
	}
	if runs(func(m *Machine) { timeouts(m); m.learn(certificateFor("timeout", 0, m.t.Quorum)) }) {
		t.Error("a backup runs though a certificate replaces the evidence")
	}
	if runs(func(m *Machine) {
		m.Step(1_000, reportMessage(0, result("a")))
		m.Step(1_000, reportMessage(1, result("a")))
	}) {
		t.Error("a backup runs though only blocks are awaited")
	}
}

func TestOnlyTheLeadersProposalIsPrepared(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	m.Step(1_000, reportMessage(0, failed(consensus.FailedTimeout)))
	m.Step(1_000, reportMessage(1, failed(consensus.FailedTimeout)))
	m.Step(1_000, change1(1, 1))
	m.Step(1_000, change1(2, 1))
	v := failed(consensus.FailedTimeout)
	propose := func(seat int) bool {
		r := m.Step(1_000, Message{From: seat, Kind: consensus.KindPropose, Round: 1, Value: mustHash(v), Payload: &consensus.Payload{Value: &v}})
		return slices.ContainsFunc(r.Say, func(o Outgoing) bool { return o.Kind == consensus.KindPrepare })
	}
	for seat := range m.t.N {
		if seat != m.leader(1) && propose(seat) {
			t.Fatalf("seat %d does not lead round 1, and its proposal is prepared", seat)
		}
	}
	if !propose(m.leader(1)) {
		t.Error("the leader's proposal is not prepared")
	}
}

// A leader may propose what no job of this charter can end in: nobody prepares it,
// and nobody falls over it.
func TestAProposalOfWhatTheJobCannotEndInIsNotPrepared(t *testing.T) {
	for name, m := range map[string]*Machine{"rejected": started(t, consensus.Byzantine, 1), "disagreement": startedUnder(t, consensus.Single)} {
		m.Step(1_000, reportMessage(0, result("a")))
		m.Step(1_000, reportMessage(3, result("b")))
		m.Step(1_000, change1(1, 1))
		m.Step(1_000, change1(2, 1))
		v := named(name)
		for range 2 {
			r := m.Step(1_000, Message{From: m.leader(1), Kind: consensus.KindPropose, Round: 1, Value: mustHash(v), Payload: &consensus.Payload{Value: &v}})
			if slices.ContainsFunc(r.Say, func(o Outgoing) bool { return o.Kind == consensus.KindPrepare }) {
				t.Errorf("%s is prepared", name)
			}
		}
		m.Step(2_000, Tick{})
	}
}

// Timers wait for q members, and members without a valid value enter no round:
// one that a liar alone has convinced would wait for the others, and they for it.
func TestWhoIsAloneWithAValidValueRunsForTheOthers(t *testing.T) {
	m := New(testConfig(testCharter(consensus.Byzantine, 1, 1_000), 2))
	m.Step(1_000, AcceptJob{})
	for seat := range m.t.Quorum {
		m.Step(1_000, Message{From: seat, Kind: consensus.KindAccept})
	}
	m.Step(1_000, reportMessage(0, failed(consensus.FailedTimeout)))
	m.Step(1_000, reportMessage(1, failed(consensus.FailedTimeout)))
	r := m.Step(1_000+m.cfg.Timing.Round, Tick{})
	if m.rounds.round != 1 {
		t.Fatalf("in round %d", m.rounds.round)
	}
	entered := m.now
	for r.Wake != 0 && !slices.Contains(r.Do, Effect(Execute{Run: 1})) {
		r = m.Step(r.Wake, Tick{})
	}
	if ran := m.now; r.Wake == 0 || ran != entered+patience*m.cfg.Timing.Beat {
		t.Errorf("it entered round 1 at %d and runs at %d", entered, ran)
	}
}

func TestADecisionShownEndsTheJobAtAnyTime(t *testing.T) {
	m := New(testConfig(testCharter(consensus.Byzantine, 1, 1_000), 0))
	m.Step(1_000, AcceptJob{})
	for seat := range m.t.Quorum - 1 {
		m.Step(1_000, Message{From: seat, Kind: consensus.KindAccept})
	}
	m.entry.accepts[3] = &consensus.Proof{} // the next step would start the job
	d := consensus.Decision{Value: result("a"), Commits: certificateFor("a", 4, m.t.Quorum).set}
	r := m.Step(1_000, Message{From: 1, Note: consensus.NoteDecided, Payload: &consensus.Payload{Decision: &d}})
	if !m.Done() || !slices.Equal(kinds(r.Records), []RecordKind{RecordDecided}) || len(r.Do) != 1 || r.Wake != 0 {
		t.Fatalf("does %+v", r)
	}
	if len(r.Say) != 1 || r.Say[0].Note != consensus.NoteDecided || !slices.Equal(r.Say[0].To, []int{2, 3}) {
		t.Errorf("says %+v, want the decision to those who have not shown it", r.Say)
	}
}

func TestTheFirstVoteInASlotCounts(t *testing.T) {
	m := started(t, consensus.Byzantine, 1)
	first, second := consensus.Hash{1}, consensus.Hash{2}
	for _, kind := range []consensus.Kind{consensus.KindPrepare, consensus.KindCommit} {
		m.Step(1_000, Message{From: 1, Kind: kind, Value: first})
		m.Step(1_000, Message{From: 1, Kind: kind, Value: second})
	}
	b := m.rounds.ballot(0)
	if b.prepares[1].value != first || b.commits[1].value != first {
		t.Errorf("prepared %.4x, committed %.4x", b.prepares[1].value[:], b.commits[1].value[:])
	}
}

// The votes of the round after the last one are kept, too: it is the last number
// that a round can have.
func TestTheLastRoundHasNeighbours(t *testing.T) {
	ballots := window(lastRound, 4)
	if len(ballots) != 3 || ballots[0].round != lastRound-1 || ballots[1].round != lastRound || ballots[2].round != math.MaxUint32 {
		t.Errorf("around the last round: %+v", ballots)
	}
	if first := window(0, 4); len(first) != 2 || first[0].round != 0 || first[1].round != 1 {
		t.Errorf("around the first round: %+v", first)
	}
}
