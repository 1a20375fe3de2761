package runner

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/consensustest"
)

func TestNothingLeavesBeforeItsRecordWhateverIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFleet(t, rapid.Uint64().Draw(rt, "seed"))
		f.loss = rapid.IntRange(0, 50).Draw(rt, "loss")
		f.begin()
		f.run()
		f.checkAllDecided()
	})
}

func TestAMemberThatComesBackGoesOnWithItsRecords(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFleet(t, rapid.Uint64().Draw(rt, "seed"))
		f.begin()
		for range rapid.IntRange(0, 60).Draw(rt, "steps before") {
			m := f.members[f.rng.IntN(len(f.members))]
			if len(m.queue) > 0 {
				first := m.queue[0]
				m.queue = m.queue[1:]
				first()
			}
			f.flush(m)
		}
		f.crash(rapid.IntRange(0, 3).Draw(rt, "who"))
		f.run()
		f.checkAllDecided()
	})
}

func TestTheSameInputsGiveTheSameOutputs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed, loss := rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(0, 50).Draw(rt, "loss")
		var traces [2][]byte
		for i := range traces {
			f := newFleet(t, seed)
			f.loss = loss
			f.begin()
			f.run()
			traces[i] = f.trace.Bytes()
		}
		if !bytes.Equal(traces[0], traces[1]) {
			rt.Fatal("two runs with one seed differ")
		}
	})
}

// alone is a fleet of which only seat 0 has the job open, its accept said.
func alone(t *testing.T) (*fleet, *Core) {
	t.Helper()
	f := newFleet(t, 1)
	c := f.members[0].core
	if err := c.Open(f.now, f.open(0)); err != nil {
		t.Fatal(err)
	}
	b := c.Flush()
	if len(b.Entries) != 1 || len(b.Says) != 1 || b.Says[0].Out.Kind != consensus.KindAccept || !b.Says[0].Own {
		t.Fatalf("a job that opens is accepted: %+v", b)
	}
	return f, c
}

// again ticks the core at its own time and returns the seats it spoke to.
func (f *fleet) again(c *Core) []int {
	f.now = c.Wake()
	c.Tick(f.now)
	seats := []int{}
	for _, s := range c.Flush().Says {
		if s.Out.Kind == consensus.KindAccept {
			seats = append(seats, s.To...)
		}
	}
	return seats
}

var accepted = SayKey{kind: consensus.KindAccept}

func TestWhatIsNotAcknowledgedIsSaidAgainLaterAndLater(t *testing.T) {
	f, c := alone(t)
	last, gap := f.now, int64(0)
	for range 4 {
		if seats := f.again(c); !slices.Equal(seats, []int{1, 2, 3}) {
			t.Fatalf("said again to %v", seats)
		}
		if f.now-last <= gap {
			t.Fatalf("said again after %d ms, before that after %d", f.now-last, gap)
		}
		gap, last = f.now-last, f.now
	}
	c.Acknowledged(f.job.ID, 2, accepted)
	if seats := f.again(c); !slices.Equal(seats, []int{1, 3}) {
		t.Errorf("seat 2 has it, and it was said again to %v", seats)
	}
	c.Acknowledged(f.job.ID, 1, accepted)
	c.Acknowledged(f.job.ID, 3, accepted)
	if seats := f.again(c); len(seats) != 0 {
		t.Errorf("all have it, and it was said again to %v", seats)
	}
}

// Whoever repeats itself is answered each time: a member that is made to speak
// so, more often than the back-off ends, forgets nothing over it.
func TestWhoIsMadeToSpeakOnAndOnSaysTheRestAgainAllTheSame(t *testing.T) {
	f, c := alone(t)
	begun := f.now
	for f.now < begun+2*resend {
		f.now += resend / 4
		c.Input(f.now, f.job.ID, bft.Message{From: 1, Kind: consensus.KindAccept})
		c.Tick(f.now)
		for _, s := range c.Flush().Says {
			if s.Out.Kind == consensus.KindAccept && !s.Own && slices.Contains(s.To, 2) {
				return
			}
		}
	}
	t.Errorf("after %d ms seat 2 has heard nothing again", f.now-begun)
}

func TestTheBackOffIsBounded(t *testing.T) {
	f, c := alone(t)
	for range 40 {
		before := f.now
		f.again(c)
		if f.now-before > maxBackoff+maxBackoff/4 {
			t.Fatalf("%d ms without a word", f.now-before)
		}
	}
}

func TestAnAnswerToAnotherMessageSilencesNothing(t *testing.T) {
	f, c := alone(t)
	for _, key := range []SayKey{{kind: consensus.KindStarted}, {kind: consensus.KindAccept, round: 1}, {kind: consensus.KindAccept, value: consensus.Hash{1}}} {
		c.Acknowledged(f.job.ID, 1, key)
	}
	c.Acknowledged(consensus.JobID{9}, 1, accepted)
	if seats := f.again(c); !slices.Contains(seats, 1) {
		t.Errorf("said again to %v only", seats)
	}
}

func TestWhoAsksIsToldEverythingAgain(t *testing.T) {
	f, c := alone(t)
	for seat := 1; seat < 4; seat++ {
		c.Acknowledged(f.job.ID, seat, accepted)
	}
	c.Input(f.now, f.job.ID, bft.Message{From: 3, Note: consensus.NoteAsk})
	says := c.Flush().Says
	if len(says) != 1 || says[0].Out.Kind != consensus.KindAccept || !slices.Equal(says[0].To, []int{3}) || says[0].Own {
		t.Fatalf("seat 3 asked, and was told %+v", says)
	}
	if seats := f.again(c); !slices.Equal(seats, []int{3}) {
		t.Errorf("until seat 3 acknowledges, only it is told again, not %v", seats)
	}
}

// A question is small and what answers it is not: who asks on and on is told as
// often as the first back-off allows, and what it asked for last is not lost.
func TestWhoAsksOnAndOnIsToldOnceInABackOff(t *testing.T) {
	f, c := alone(t)
	ask := bft.Message{From: 3, Note: consensus.NoteAsk}
	for range 1_000 {
		c.Input(f.now, f.job.ID, ask)
	}
	if says := c.Flush().Says; len(says) != 1 {
		t.Errorf("a thousand questions are answered with %d messages", len(says))
	}
	c.Acknowledged(f.job.ID, 3, accepted)
	c.Input(f.now, f.job.ID, ask)
	if c.Pending() {
		t.Errorf("answered again at once: %+v", c.Flush().Says)
	}
	if c.Tick(f.now + resend); !slices.ContainsFunc(c.Flush().Says, func(s Say) bool { return slices.Contains(s.To, 3) }) {
		t.Error("the last question is not answered when the back-off is over")
	}
	c.Input(f.now+2*resend, f.job.ID, ask)
	if says := c.Flush().Says; len(says) != 1 {
		t.Errorf("a question after the back-off is answered with %d messages", len(says))
	}
}

// What a process has acknowledged lives in its memory, until the machine writes
// something down.
func TestWhatAnEarlierProcessAcknowledgedIsSaidAgain(t *testing.T) {
	f, c := alone(t)
	for seat := 1; seat < 4; seat++ {
		c.Acknowledged(f.job.ID, seat, accepted)
	}
	c.Renewed(f.job.Roster[2].Peer)
	if seats := f.again(c); !slices.Equal(seats, []int{2}) {
		t.Errorf("seat 2 is another process, and seats %v are told again", seats)
	}
	c.Renewed(consensustest.Key("a stranger").Key())
}

// A member that was shown the accepts may end before it has written down the
// charter. It is shown them until it says that it has started.
// Said again to each by itself, a statement would be signed as often.
func TestWhatIsSaidAgainToManyIsSaidOnce(t *testing.T) {
	f, c := alone(t)
	c.Acknowledged(f.job.ID, 2, accepted)
	f.now = c.Wake()
	c.Tick(f.now)
	says := c.Flush().Says
	if len(says) != 1 || says[0].Out.Kind != consensus.KindAccept || !slices.Equal(says[0].To, []int{1, 3}) || says[0].Own {
		t.Errorf("members 1 and 3 have not acknowledged the accept, and are told %+v", says)
	}
}

func TestAWitnessGoesOnUntilTheMemberHasStarted(t *testing.T) {
	f, c := alone(t)
	for seat := range 3 {
		c.Input(f.now, f.job.ID, bft.Message{From: seat, Kind: consensus.KindAccept})
	}
	c.Flush()
	shows := func() bool {
		shown := false
		for range 20 {
			f.now = c.Wake()
			c.Tick(f.now)
			shown = shown || slices.ContainsFunc(c.Flush().Says, func(s Say) bool {
				return s.Out.Note == consensus.NoteAccepts && slices.Contains(s.To, 3)
			})
		}
		return shown
	}
	for range 3 {
		c.Acknowledged(f.job.ID, 3, SayKey{note: consensus.NoteAccepts, round: 3})
		if !shows() {
			t.Fatal("an acknowledgement is taken for a start")
		}
	}
	c.Input(f.now, f.job.ID, bft.Message{From: 3, Kind: consensus.KindStarted})
	c.Flush()
	if shows() {
		t.Error("who has started is shown the accepts")
	}
}

// All may have heard this member and have ended the job while it was cut off:
// then nobody has anything to say to it, nor it to them.
func TestWhoComesNoStepForwardForLongAsksWhatBecameOfTheJob(t *testing.T) {
	f, c := alone(t)
	for seat := 1; seat < 4; seat++ {
		c.Acknowledged(f.job.ID, seat, accepted)
	}
	asks := func() int64 {
		for range 1_000 {
			f.now = c.Wake()
			c.Tick(f.now)
			for _, s := range c.Flush().Says {
				if s.Out.Note == consensus.NoteAsk && len(s.To) == 4 {
					return f.now
				}
			}
		}
		t.Fatal("it never asks")
		return 0
	}
	begun := f.now
	first := asks()
	second := asks()
	if first < begun+silence || first > begun+silence+2*maxBackoff || second-first <= first-begun {
		t.Errorf("begun at %d, it asks at %d and at %d", begun, first, second)
	}
	// A step forward: the others' accepts start the job.
	for seat := range 3 {
		c.Input(f.now, f.job.ID, bft.Message{From: seat, Kind: consensus.KindAccept})
	}
	c.Flush()
	if again := asks(); again < second+silence || again > second+silence+2*maxBackoff {
		t.Errorf("a step forward at %d, and it asks at %d", second, again)
	}
}

func TestAJobThatIsOpenStaysAsItIsAndOneThatIsNotIsSilent(t *testing.T) {
	f, c := alone(t)
	if err := c.Open(f.now, f.open(0)); err != nil || c.Pending() {
		t.Errorf("opened twice: %v, pending %v", err, c.Pending())
	}
	c.Input(f.now, consensus.JobID{9}, bft.AcceptJob{})
	if _, ok := c.View(consensus.JobID{9}); ok || c.Pending() {
		t.Error("an input opened a job")
	}
	if v, ok := c.View(f.job.ID); !ok || v.Phase != bft.PhaseAccepting || c.Len() != 1 {
		t.Errorf("phase %s, %d jobs", v.Phase, c.Len())
	}
}

func TestRecordsOfTheOpenerAreDurableWithTheFirstOfTheMachine(t *testing.T) {
	f := newFleet(t, 1)
	o := f.open(0)
	o.Extra = []Record{{Key: []byte("charter"), Value: []byte("bytes")}}
	if err := f.members[0].core.Open(f.now, o); err != nil {
		t.Fatal(err)
	}
	if b := f.members[0].core.Flush(); len(b.Extra) != 1 || len(b.Entries) != 1 {
		t.Errorf("%d of the opener and %d of the machine in the first batch", len(b.Extra), len(b.Entries))
	}
}

// Between the look at accept_by and the first step lie syncs: the step may come late.
// A job that is neither accepted nor witnessed would stay open for ever.
func TestWhoWouldAcceptTooLateKeepsNothingUntilQAcceptsAreShown(t *testing.T) {
	f := newFleet(t, 1)
	c, o := f.members[0].core, f.open(0)
	o.Extra = []Record{{Key: []byte("charter"), Value: []byte("bytes")}}
	late := f.job.AcceptBy + 1
	if err := c.Open(late, o); !errors.Is(err, ErrLate) || c.Pending() || len(c.Jobs()) != 0 || c.Wake() != 0 {
		t.Errorf("opened after accept_by: %v, pending %t, jobs %v", err, c.Pending(), c.Jobs())
	}
	none := o
	none.First = nil // what a member has left of such a job
	if err := c.Open(late, none); !errors.Is(err, ErrLate) || c.Pending() || len(c.Jobs()) != 0 {
		t.Errorf("resumed without records: %v", err)
	}
	o.First = bft.Witnessed{Accepts: f.network.Votes(f.job, consensus.KindAccept, 0, consensus.Hash{}, 1, 2, 3).Votes}
	if err := c.Open(late, o); err != nil {
		t.Fatal(err)
	}
	if b := c.Flush(); len(b.Extra) != 1 || !slices.ContainsFunc(b.Dos, func(d Do) bool { return d.Effect == bft.StartedJob{} }) {
		t.Errorf("shown q accepts, it has %d entries and does %v", len(b.Extra), b.Dos)
	}
}

// A job that acts, on a network that loses, at members that crash: of a run that
// began there are the grants on disk (see do), no two have one number, and under
// once there is no second one after a crash.
func TestARunThatActsBeginsWithItsGrantsOnDiskAndOnceOnce(t *testing.T) {
	again, stuck := 0, 0
	for seed := range uint64(40) {
		effects := []consensus.Effects{consensus.Once, consensus.AtLeastOnce}[seed%2]
		f := newFleet(t, seed, func(c *consensus.Charter) { c.Assurance, c.Effects = consensus.Single, effects })
		f.loss = int(seed % 30)
		f.begin()
		crashed := map[int]bool{}
		for f.step() {
			seat := f.rng.IntN(4)
			if m := f.members[seat]; f.rng.IntN(60) == 0 && !crashed[seat] || len(m.runs) == 1 && !crashed[seat] && f.rng.IntN(2) == 0 {
				crashed[seat] = true
				f.crash(seat)
			}
		}
		var runs []uint64
		for _, m := range f.members {
			runs = append(runs, m.runs...)
			if len(m.decided) == 0 {
				t.Fatalf("seed %d: seat %d has not decided", seed, m.seat)
			} else if v := m.decided[0].Value; v.Kind != consensus.Result && (effects == consensus.AtLeastOnce || v.Class != consensus.FailedDeadline) {
				t.Errorf("seed %d: seat %d decided %s", seed, m.seat, v)
			}
		}
		if f.members[0].decided[0].Value.Kind != consensus.Result {
			stuck++
		}
		if len(runs) > 1 {
			again++
		}
		slices.Sort(runs)
		if effects == consensus.Once && len(runs) > 1 || len(slices.Compact(slices.Clone(runs))) != len(runs) {
			t.Errorf("seed %d: effects %s: runs %v", seed, effects, runs)
		}
	}
	if again == 0 || stuck == 0 {
		t.Errorf("%d jobs ran again, and %d were stuck until their deadline: this tests little", again, stuck)
	}
}

// decideAlone brings seat 0 to a decision that others made.
func decideAlone(t *testing.T) (*fleet, *Core) {
	t.Helper()
	f, c := alone(t)
	d := f.network.Decide(f.job, consensustest.Result("hello"))
	c.Input(f.now, f.job.ID, bft.Message{From: -1, Note: consensus.NoteDecided, Payload: &consensus.Payload{Decision: &d}})
	for range 10 { // what the machine does about it
		for _, do := range c.Flush().Dos {
			if e, ok := do.Effect.(bft.Fetch); ok {
				c.Input(f.now, f.job.ID, bft.Held{Value: e.Hash, Normals: e.Normals})
			}
		}
	}
	if c.Len() != 0 || len(c.Jobs()) != 1 {
		t.Fatalf("%d jobs without outcome, %d in all", c.Len(), len(c.Jobs()))
	}
	return f, c
}

func TestAJobThatEndedIsDroppedWhenAllHaveTheDecision(t *testing.T) {
	f, c := decideAlone(t)
	for seat := 1; seat < 4; seat++ {
		if len(c.Jobs()) != 1 {
			t.Fatalf("dropped before seat %d had the decision", seat)
		}
		c.Input(f.now, f.job.ID, bft.Message{From: seat, Note: consensus.NoteDecided})
	}
	b := c.Flush()
	if len(c.Jobs()) != 0 || c.Wake() != 0 || len(b.Dos) != 1 {
		t.Errorf("kept, or not said so: %d jobs, %+v", len(c.Jobs()), b.Dos)
	}
}

func TestADecisionIsSentWholeToWhoDoesNotSayThatItHasIt(t *testing.T) {
	f, c := decideAlone(t)
	c.Input(f.now, f.job.ID, bft.Message{From: 1, Note: consensus.NoteDecided})
	f.now = c.Wake()
	c.Tick(f.now)
	var to []int
	for _, s := range c.Flush().Says {
		if s.Out.Note == consensus.NoteDecided && s.Out.Payload != nil && s.Out.Payload.Decision != nil {
			to = append(to, s.To...)
		}
	}
	if !slices.Equal(to, []int{2, 3}) {
		t.Errorf("sent whole to %v", to)
	}
}

func TestAJobThatEndedIsDroppedAfterAWhileWhoeverIsSilent(t *testing.T) {
	f, c := decideAlone(t)
	end := f.now
	for len(c.Jobs()) > 0 {
		if f.now > end+linger+maxBackoff+maxBackoff/4 {
			t.Fatalf("kept for %d ms", f.now-end)
		}
		f.now = c.Wake()
		c.Tick(f.now)
	}
	if f.now < end+linger {
		t.Errorf("dropped after %d ms, while members were silent", f.now-end)
	}
}
