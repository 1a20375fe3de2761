package bft

import (
	"fmt"
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

const testPatience = 4_000

// newReplaceable is a quorum of which f members may be replaced, by as many
// reserves as are wanted.
func newReplaceable(fault consensus.Fault, f uint64, reserves int) *quorum {
	q := newQuorum(fault, f)
	q.patience = testPatience
	c := testCharter(fault, f, q.now)
	c.Replace = f
	for i := range reserves {
		c.Reserves = append(c.Reserves, consensus.Seat{Peer: admission.Key{byte(100 + i)}})
	}
	q.begin(c)
	return q
}

// cut keeps parties from hearing and being heard, for good.
func (q *quorum) cut(parties ...int) {
	before := q.lost
	q.lost = func(from, to int, out Outgoing) bool {
		return before(from, to, out) || slices.Contains(parties, from) || slices.Contains(parties, to)
	}
}

func (q *quorum) kill(party int) {
	q.cut(party)
	q.machines[party] = nil
	q.journals[party] = []Record{{}} // it does not come to life again
}

// conclusions are how the job ended at each living machine.
func (q *quorum) conclusions() map[int]consensus.Conclusion {
	ended := map[int]consensus.Conclusion{}
	for party, effects := range q.effects {
		for _, e := range effects {
			if d, ok := e.(Decided); ok && q.machines[party] != nil {
				ended[party] = d.Conclusion
			}
		}
	}
	return ended
}

// checkEnded wants every party to have ended the job in a result, after the same
// handovers.
func (q *quorum) checkEnded(t *testing.T, heights int, parties ...int) {
	t.Helper()
	ended := q.conclusions()
	for _, party := range parties {
		c, ok := ended[party]
		if !ok {
			t.Errorf("party %d has not ended the job: %s", party, q.stand())
			continue
		}
		if len(c.Chain) != heights || c.Outcome.Height != uint64(heights) || c.Outcome.Value.Kind != consensus.Result {
			t.Errorf("party %d ended with %s at height %d after %d handovers, want a result after %d",
				party, c.Outcome.Value, c.Outcome.Height, len(c.Chain), heights)
		}
		for h, d := range c.Chain {
			if d.Value.String() != ended[parties[0]].Chain[h].Value.String() {
				t.Errorf("party %d: %s at height %d, another %s", party, d.Value, h, ended[parties[0]].Chain[h].Value)
			}
		}
	}
}

func (q *quorum) stand() string {
	text := ""
	for party, m := range q.machines {
		if m != nil {
			v := m.View()
			text += fmt.Sprintf("\n  %d: %s, height %d, members %v, round %d, waiting for %v", party, v.Phase, v.Height.Number, v.Height.Members, v.Round, v.Waiting)
		}
	}
	return text
}

// slow lets runs go on until done is called.
func (q *quorum) slow() (done func()) {
	running := true
	q.value = func(int) consensus.Value {
		if running {
			return consensus.Value{}
		}
		return result("truth")
	}
	return func() {
		running = false
		for party, m := range q.machines {
			if m != nil && m.isRunning() {
				q.input(party, Ran{Run: m.runs.run, Value: result("truth")})
			}
		}
		q.settle()
	}
}

func (q *quorum) countSaid(is func(Outgoing) bool) int { return count(q.said, is) }

func TestAMemberLostInALongRunIsReplacedAndTheJobEndsWithAChain(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault consensus.Fault
		f     uint64
		lost  int
	}{
		{"a voter", consensus.Byzantine, 1, 3},
		{"an executor", consensus.Byzantine, 1, 0},
		{"a voter of seven", consensus.Byzantine, 2, 6},
		{"crash-only", consensus.Crash, 1, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := newReplaceable(tc.fault, tc.f, 1)
			n := len(q.charter.Roster)
			done := q.slow()
			q.inputAll2(AcceptJob{})
			q.live(2_000)
			q.kill(tc.lost)
			q.live(4 * testPatience)
			var living []int
			for party, m := range q.machines {
				if m == nil {
					continue
				}
				living = append(living, party)
				if m.at.Number != 1 || m.at.Members[tc.lost] != n {
					t.Fatalf("not replaced: %s", q.stand())
				}
			}
			if tc.lost == 0 && !slices.ContainsFunc(q.effects[n], func(e Effect) bool { _, ok := e.(Execute); return ok }) {
				t.Error("the reserve does not execute in the place of an executor")
			}
			done()
			q.live(2_000)
			q.checkEnded(t, 1, living...)
		})
	}
}

// inputAll2 steps the machines that there are.
func (q *quorum) inputAll2(in Input) {
	for party, m := range q.machines {
		if m != nil {
			q.input(party, in)
		}
	}
	q.settle()
}

func TestAJobThatRunsWellSaysNothingOfWhoIsThere(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 1, 1)
	q.inputAll2(AcceptJob{})
	q.live(100)
	q.checkEnded(t, 0, 0, 1, 2, 3)
	if n := q.countSaid(func(o Outgoing) bool { return o.Note == consensus.NoteAlive || o.Kind == consensus.KindSuspect }); n > 0 {
		t.Errorf("%d words of it", n)
	}
	// Nor does a long one whose members speak: nobody is suspected.
	q = newReplaceable(consensus.Byzantine, 1, 1)
	q.slow()
	q.inputAll2(AcceptJob{})
	q.live(10 * testPatience)
	if n := q.countSaid(func(o Outgoing) bool { return o.Kind == consensus.KindSuspect }); n > 0 {
		t.Errorf("%d suspicions of members that speak", n)
	}
	// In a network without reserves nobody could be replaced: no word at all.
	q = newReplaceable(consensus.Byzantine, 1, 0)
	q.slow()
	q.inputAll2(AcceptJob{})
	q.kill(3)
	q.live(10 * testPatience)
	if n := q.countSaid(func(o Outgoing) bool { return o.Note == consensus.NoteAlive || o.Kind == consensus.KindSuspect }); n > 0 {
		t.Errorf("%d words without a reserve", n)
	}
}

func TestAMemberWhoseCredentialWasRevokedIsReplacedThoughItSpeaks(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 1, 1)
	done := q.slow()
	q.inputAll2(AcceptJob{})
	q.live(1_000)
	for party := range 4 { // it is told so itself, and goes on
		q.input(party, Revoked{Party: 2})
	}
	q.live(testPatience)
	done()
	q.live(2_000)
	q.checkEnded(t, 1, 0, 1, 3, 4)
}

func TestARevocationThatAQuorumHasNotHeardOfReplacesNobody(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 1, 1)
	done := q.slow()
	q.inputAll2(AcceptJob{})
	q.live(1_000)
	for party := range 2 {
		q.input(party, Revoked{Party: 2})
	}
	q.live(4 * testPatience)
	done()
	q.live(20_000)
	q.checkEnded(t, 0, 0, 1, 2, 3)
}

func TestAMemberInAnotherIncarnationIsReplacedByItsOwnWord(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 1, 1)
	done := q.slow()
	q.inputAll2(AcceptJob{})
	q.live(1_000)
	q.kill(2)
	for _, party := range []int{0, 1, 3} {
		q.input(party, Message{From: 2, Kind: consensus.KindGone})
	}
	q.live(testPatience) // not two: nobody has to be silent first
	done()
	q.live(2_000)
	q.checkEnded(t, 1, 0, 1, 3, 4)
	if n := q.countSaid(func(o Outgoing) bool { return o.Kind == consensus.KindSuspect }); n > 0 {
		t.Errorf("%d suspicions", n)
	}
}

// A member's word that it is gone holds at every height: nobody has to suspect it
// when only the next handover has a reserve for its seat.
func TestWhoIsGoneIsGoneAtTheNextHeightToo(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 2, 2)
	done := q.slow()
	q.lost = func(from, _ int, out Outgoing) bool {
		return from == 8 && out.Kind == consensus.KindAccept && out.Height == 1
	}
	q.inputAll2(AcceptJob{})
	q.live(1_000)
	q.kill(5)
	q.kill(6)
	for party := range 5 {
		q.input(party, Message{From: 5, Kind: consensus.KindGone})
		q.input(party, Message{From: 6, Kind: consensus.KindGone})
	}
	q.live(2 * testPatience)
	done()
	q.live(2_000)
	q.checkEnded(t, 2, 0, 1, 2, 3, 4, 7, 8)
	if n := q.countSaid(func(o Outgoing) bool { return o.Kind == consensus.KindSuspect }); n > 0 {
		t.Errorf("%d suspicions", n)
	}
}

// A reserve's accept lasts for a while; it ends when the reserve says that it is gone.
func TestAReserveThatIsGoneIsNotSeatedWhileItsAcceptLasts(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 2, 2)
	done := q.slow()
	q.inputAll2(AcceptJob{})
	q.live(1_000)
	q.kill(6)
	for party := range 6 {
		q.input(party, Message{From: 7, Kind: consensus.KindAccept, Height: 1, Round: 0})
	}
	q.kill(7)
	for party := range 6 {
		q.input(party, Message{From: 7, Kind: consensus.KindGone})
		q.input(party, Message{From: 6, Kind: consensus.KindGone})
	}
	q.live(3 * testPatience)
	done()
	q.live(2_000)
	q.checkEnded(t, 1, 0, 1, 2, 3, 4, 5, 8)
}

func TestAReserveThatRefusesIsPassedOver(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 2, 2)
	done := q.slow()
	q.inputAll2(AcceptJob{})
	q.kill(7) // the first reserve
	q.kill(6)
	for party := range 6 {
		q.input(party, Message{From: 7, Kind: consensus.KindRefuse, Payload: &consensus.Payload{Reason: "busy"}})
	}
	q.live(5 * testPatience)
	done()
	q.live(2_000)
	q.checkEnded(t, 1, 0, 1, 2, 3, 4, 5, 8)
}

func TestAReserveThatIsSilentIsPassedOver(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 2, 2)
	done := q.slow()
	q.inputAll2(AcceptJob{})
	q.kill(7)
	q.kill(6)
	q.live(8 * testPatience)
	done()
	q.live(2_000)
	q.checkEnded(t, 1, 0, 1, 2, 3, 4, 5, 8)
}

func TestMembersAreReplacedOneAfterTheOther(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 2, 2)
	done := q.slow()
	q.inputAll2(AcceptJob{})
	q.kill(1)
	q.live(5 * testPatience)
	q.kill(7) // the reserve that took its seat
	q.live(5 * testPatience)
	done()
	q.live(2_000)
	q.checkEnded(t, 2, 0, 2, 3, 4, 5, 6, 8)
	if at := q.machines[0].at; !slices.Equal(at.Members, []int{0, 8, 2, 3, 4, 5, 6}) {
		t.Errorf("members %v", at.Members)
	}
	// The bound is reached: the next loss is borne, not replaced.
	q = newReplaceable(consensus.Byzantine, 1, 1)
	done = q.slow()
	q.inputAll2(AcceptJob{})
	q.kill(1)
	q.live(5 * testPatience)
	q.kill(4)
	q.live(5 * testPatience)
	done()
	q.live(2_000)
	q.checkEnded(t, 1, 0, 2, 3)
}

func TestARestartAtAnyRecordOfAHandoverGoesOnWhereItWas(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 1, 1)
	done := q.slow()
	q.inputAll2(AcceptJob{})
	q.kill(1)
	q.live(5 * testPatience)
	done()
	q.live(2_000)
	q.checkEnded(t, 1, 0, 2, 3, 4)
	for _, party := range []int{0, 4} {
		journal := q.journals[party]
		height, seen := uint64(0), false
		for cut := range len(journal) + 1 {
			if cut > 0 && journal[cut-1].Kind == RecordHandover {
				height, seen = 1, true
			}
			m, ready, err := Restore(q.config(party), journal[:cut], q.now)
			if err != nil {
				t.Fatalf("party %d after %d records: %v", party, cut, err)
			}
			if m.at.Number != height {
				t.Errorf("party %d after %d records is at height %d, want %d", party, cut, m.at.Number, height)
			}
			at := slices.IndexFunc(ready.Do, func(e Effect) bool { r, ok := e.(Reached); return ok && r.Height.Number == height })
			ended := slices.IndexFunc(ready.Do, func(e Effect) bool { _, ok := e.(Decided); return ok })
			if (at < 0) != (height == 0) || ended >= 0 && at > ended {
				t.Errorf("party %d after %d records tells of height %d as its %d. and of the end as its %d. effect", party, cut, height, at, ended)
			}
			for _, out := range ready.Say {
				if out.Kind.Slot() && out.Height != height {
					t.Errorf("party %d after %d records says %s of height %d", party, cut, out.Kind, out.Height)
				}
			}
		}
		if !seen {
			t.Errorf("party %d has no record of the handover", party)
		}
	}
}

func TestANodeWithoutASeatSaysNothingAndAReserveForgets(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 1, 1)
	q.slow()
	q.inputAll2(AcceptJob{})
	q.cut(3) // alive, and cut off
	q.live(5 * testPatience)
	if at := q.machines[0].at; at.Number != 1 || at.SeatOf(3) >= 0 {
		t.Fatalf("not replaced: %s", q.stand())
	}
	// It is told when it comes back, and says no more.
	q.lost = func(int, int, Outgoing) bool { return false }
	q.said, q.speaker = nil, nil
	q.resend()
	q.live((standby + 2) * testPatience)
	if m := q.machines[3]; m.at.Number != 1 || m.seat >= 0 {
		t.Fatalf("the removed member does not know: %s", q.stand())
	}
	if slices.Contains(q.effects[3], Effect(Expire{})) {
		t.Error("the removed member forgets what it voted")
	}
	for i, out := range q.said {
		if q.speaker[i] == 3 && out.Height == 1 {
			t.Errorf("the removed member says %s/%d", out.Kind, out.Note)
		}
	}
	// A reserve that nobody speaks to forgets the job: it never voted.
	q = newReplaceable(consensus.Byzantine, 1, 1)
	q.slow()
	q.lost = func(_, _ int, out Outgoing) bool { return out.Kind == consensus.KindAccept && out.Height > 0 }
	q.inputAll2(AcceptJob{})
	q.cut(3)
	q.live(2 * testPatience)
	if q.machines[4] == nil {
		t.Fatal("the reserve was not asked")
	}
	q.cut(4)
	q.live((standby - 1) * testPatience)
	if slices.Contains(q.effects[4], Effect(Expire{})) {
		t.Error("the reserve does not wait for members that it does not hear")
	}
	q.live(2 * testPatience)
	if !slices.Contains(q.effects[4], Effect(Expire{})) {
		t.Errorf("the reserve stands by for ever: %v", q.effects[4])
	}
}

func TestTimeInWhichAMemberSleptIsNobodysSilence(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 1, 1)
	q.slow()
	q.inputAll2(AcceptJob{})
	q.live(testPatience)
	q.now += 10 * testPatience // all processes were stopped
	q.live(testPatience)
	if n := q.countSaid(func(o Outgoing) bool { return o.Kind == consensus.KindSuspect }); n > 0 {
		t.Errorf("%d suspicions", n)
	}
}

// A second member too slow for the others, while one is dead for good: more than
// f are missing until it is back, and then the job goes on with a new member.
func TestADeadMemberIsReplacedWhenASlowOneIsHeard(t *testing.T) {
	q := newReplaceable(consensus.Byzantine, 1, 1)
	done := q.slow()
	q.inputAll2(AcceptJob{})
	q.live(1_000)
	q.kill(3)
	working := q.lost
	q.cut(2)
	q.live(6 * testPatience)
	if m := q.machines[0]; m.at.Number != 0 || m.decision != nil {
		t.Fatalf("decided without q members: %s", q.stand())
	}
	q.lost = working
	q.resend()
	q.live(20 * testPatience)
	done()
	q.live(testPatience)
	q.checkEnded(t, 1, 0, 1, 2, 4)
}

func TestARemovedMembersReportCountsNoMore(t *testing.T) {
	m := newReplaceable(consensus.Byzantine, 1, 1).machines[0]
	v := failed(consensus.FailedTimeout)
	for _, party := range []int{1, 2} {
		m.report(consensus.SignedReport{Seat: uint64(party), Report: consensus.Report{Run: 1, Value: v}})
	}
	if n := len(m.matching(nil, mustHash(v))); n != 2 {
		t.Fatalf("%d reports of two members count", n)
	}
	next, err := m.at.Next(consensus.Value{Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: 1, Reserve: 0}}})
	if err != nil {
		t.Fatal(err)
	}
	m.begin(next)
	if list := m.matching(nil, mustHash(v)); len(list) != 1 || list[0].Seat != 2 {
		t.Errorf("seat 1 has another holder, and what counts is %v", list)
	}
}
