package runner

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/consensustest"
)

func decidedNote(d consensus.Decision) bft.Message {
	return bft.Message{From: -1, Note: consensus.NoteDecided, Payload: &consensus.Payload{Decision: &d}}
}

func TestAJobThatNeverStartsIsGivenUpThenForgottenWithAllItsRecords(t *testing.T) {
	f, c := alone(t)
	records, abandoned := uint64(1), false // the accept
	for range 10_000 {
		if c.Wake() == 0 {
			break
		}
		f.now = c.Wake()
		c.Tick(f.now)
		b := c.Flush()
		records += uint64(len(b.Entries))
		for _, do := range b.Dos {
			switch do.Effect.(type) {
			case bft.Abandon:
				if abandoned = true; f.now <= f.job.AcceptBy || len(c.Jobs()) != 1 {
					t.Errorf("given up at %d with %d jobs open, accept_by is %d", f.now, len(c.Jobs()), f.job.AcceptBy)
				}
			case bft.Expire:
				if do.Records != records || f.now <= f.job.Deadline || !abandoned {
					t.Errorf("forgotten at %d, %d of %d records, given up before: %t", f.now, do.Records, records, abandoned)
				}
			case dropped:
			default:
				t.Errorf("%T", do.Effect)
			}
		}
	}
	if len(c.Jobs()) != 0 || c.Len() != 0 || c.Pending() {
		t.Errorf("%d jobs are kept", len(c.Jobs()))
	}
	if now := f.now; now > f.job.Deadline+maxBackoff+maxBackoff/4 {
		t.Errorf("forgotten %d ms after the deadline", now-f.job.Deadline)
	}
}

// Expired implements Host.
func (n *wired) Expired(_ consensus.JobID, records [][]byte) {
	n.w.mutex.Lock()
	defer n.w.mutex.Unlock()
	n.expired = append(n.expired, records)
}

func TestTheHostIsToldOnceWhatAgreementKeptOfAJobThatNeverStarted(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		w := newWires(t, ctx, 1, 0)
		n := w.seat(1)
		n.start()
		w.open(1)
		w.settle(time.Duration(w.job.Deadline-w.now()+60_000) * time.Millisecond)
		w.mutex.Lock()
		if len(n.expired) != 1 || len(n.decided) != 0 {
			t.Fatalf("told %d times, decided %d times", len(n.expired), len(n.decided))
		}
		var held [][]byte
		for key := range n.records {
			held = append(held, []byte(key))
		}
		slices.SortFunc(held, bytes.Compare)
		if !slices.EqualFunc(n.expired[0], held, bytes.Equal) {
			t.Errorf("told of %q, the journal holds %q", n.expired[0], held)
		}
		w.mutex.Unlock()
		if _, known := n.runner.info(w.job.ID); known {
			t.Error("its messages are still checked")
		}
		cancel()
		w.tasks.Wait()
	})
}

func TestAJobWhoseDeadlinePassedWhileTheNodeWasDownIsForgottenWhenItComesBack(t *testing.T) {
	f := newFleet(t, 1)
	c := f.members[0].core
	if err := c.Open(f.now, f.open(0)); err != nil {
		t.Fatal(err)
	}
	accept := c.Flush().Entries[0].Record
	bubble(t, func(t *testing.T, ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		w := newWires(t, ctx, 1, 0)
		w.settle(time.Duration(w.job.Deadline-w.now()+1) * time.Millisecond)
		n := w.seat(1)
		n.records[string(RecordKey(w.job.ID, 0))] = EncodeRecord(accept)
		n.start()
		o := w.opening(1)
		o.First, o.Records = nil, []bft.Record{accept}
		if err := n.runner.Open(ctx, o); err != nil {
			t.Fatal(err)
		}
		w.settle(time.Second)
		w.mutex.Lock()
		if len(n.expired) != 1 || len(n.expired[0]) != 1 {
			t.Errorf("told of %q", n.expired)
		}
		w.mutex.Unlock()
		if _, known := n.runner.info(w.job.ID); known {
			t.Error("its messages are still checked")
		}
		cancel()
		w.tasks.Wait()
	})
}

// forSubmitter is what a core says to a submitter that offers an open job again.
func forSubmitter(t *testing.T, f *fleet, c *Core) []Say {
	t.Helper()
	c.Flush()
	f.now += resend
	c.Repeat(f.now, f.job.ID)
	b := c.Flush()
	if len(b.Entries) != 0 || len(b.Dos) != 0 {
		t.Errorf("more than words: %+v", b)
	}
	for _, s := range b.Says {
		if !s.Out.Submitter || s.To == nil || len(s.To) != 0 || s.Own {
			t.Errorf("not to the submitter alone: %+v", s)
		}
	}
	return b.Says
}

func TestASubmitterThatOffersWhatIsOpenIsToldAgainHowItStands(t *testing.T) {
	f, c := alone(t)
	if says := forSubmitter(t, f, c); len(says) != 1 || says[0].Out.Kind != consensus.KindAccept {
		t.Fatalf("accepted here, and told %+v", says)
	}
	for seat := range 3 {
		c.Input(f.now, f.job.ID, bft.Message{From: seat, Kind: consensus.KindAccept})
	}
	if says := forSubmitter(t, f, c); len(says) != 2 || says[0].Out.Kind != consensus.KindAccept || says[1].Out.Kind != consensus.KindStarted {
		t.Errorf("started here, and told %+v", says)
	}
	c.Input(f.now, f.job.ID, decidedNote(f.network.Decide(f.job, consensustest.Result("hello"))))
	says := forSubmitter(t, f, c)
	if len(says) != 1 || says[0].Out.Note != consensus.NoteDecided || says[0].Out.Payload.Decision == nil {
		t.Errorf("decided here, and told %+v", says)
	}
	c.Repeat(f.now, consensus.JobID{9})
	if c.Pending() {
		t.Error("words about a job that is not open")
	}
}

// A submitter's word is small, and what answers it is not: one that repeats it on and on is
// answered as often as time allows, whatever it says, and the first time at once.
func TestASubmitterThatRepeatsItselfOnAndOnIsAnsweredOnceInABackOff(t *testing.T) {
	f, c := alone(t)
	for seat := range 3 {
		c.Input(f.now, f.job.ID, bft.Message{From: seat, Kind: consensus.KindAccept})
	}
	offer := func(now int64) { c.Repeat(now, f.job.ID) }
	heard := func() (n int) {
		for _, s := range c.Flush().Says {
			if s.Out.Submitter {
				n++
			}
		}
		return n
	}
	withdraw := func(now int64) { c.Input(now, f.job.ID, bft.SubmitterVoid{}) }
	for phase, ended := range []bool{false, true} {
		if ended {
			c.Input(f.now, f.job.ID, decidedNote(f.network.Decide(f.job, consensustest.Result("hello"))))
		}
		for word, say := range map[string]func(int64){"offers": offer, "withdraws": withdraw} {
			f.now += resend
			c.Flush()
			say(f.now)
			once := heard()
			for range 1_000 {
				say(f.now)
				say(f.now + resend/4)
			}
			if more := heard(); once == 0 || more != 0 {
				t.Errorf("phase %d, it %s once and hears %d, a thousand times and hears %d more", phase, word, once, more)
			}
			say(f.now + resend)
			if again := heard(); again != once {
				t.Errorf("phase %d, it %s after a back-off and hears %d, not %d", phase, word, again, once)
			}
			f.now += resend
			say(f.now - 10*resend)
			if again := heard(); again != once {
				t.Errorf("phase %d, it %s after the clock was set back and hears %d, not %d", phase, word, again, once)
			}
			f.now += 10 * resend
		}
	}
}

func TestOnlyTheSubmitterIsToldAgain(t *testing.T) {
	for _, by := range []string{"submitter", "another"} {
		d := newDesk(t)
		d.accept()
		clear(d.sent)
		from := d.f.job.Submitter
		if by == "another" {
			from = d.seat(2)
			if from == d.f.job.Submitter {
				from = d.seat(3)
			}
		}
		host := &offers{}
		d.r.cfg.Host = host
		d.r.offered(from, &note{Note: consensus.NoteOffer, Job: d.f.job.ID, Payload: &consensus.Payload{Offer: &consensus.Offer{}}})
		again := len(d.r.inbox) == 1
		if wanted := by == "submitter"; again != wanted || host.seen == wanted {
			t.Errorf("%s: told again %t, looked at as a new offer %t", by, again, host.seen)
		}
	}
}

// offers is a host that notes whether it was offered anything.
type offers struct {
	closedTo
	seen bool
}

func (o *offers) Offered(_ admission.Key, _ consensus.Offer, _ []consensus.Vote, _ []consensus.Decision) {
	o.seen = true
}
