package member

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/backlog"
	"github.com/muster-network/muster/jobs/sched"
)

// memberAt is a member with a journal and a job or none, and nothing else.
func memberAt(t *testing.T, n *consensustest.Network) *Member {
	t.Helper()
	return &Member{cfg: Config{Network: n.ID, Genesis: n.Genesis, Journal: openJournal(t), Clock: func() int64 { return consensustest.Now }},
		work: backlog.New[func(context.Context)](), tasks: backlog.New[func(context.Context)](), open: map[consensus.JobID]*job{}, offers: newOffers(), intake: map[consensus.JobID]*look{},
		queue: sched.NewQueue(sched.Limits{}), pool: sched.New(jobs.Resources{}), waiters: map[consensus.JobID][]chan struct{}{}}
}

// ends archives a job's outcome as finish does.
func (m *Member) ends(t *testing.T, n *consensustest.Network, j consensustest.Job, v consensus.Value) {
	t.Helper()
	certificate, err := n.Certify(j, n.Decide(j, v)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := (&Closed{Certificate: certificate, Seats: []Seat{}}).entries(j.ID, j.Charter, jobs.StateOf(v))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cfg.Journal.Append(context.Background(), entries...); err != nil {
		t.Fatal(err)
	}
	m.mutex.Lock()
	delete(m.open, j.ID)
	m.mutex.Unlock()
	m.ended(j.ID)
}

func codeOf(err error) string {
	var r *refusal
	if errors.As(err, &r) {
		return r.code
	}
	return ""
}

func TestOnlyAJobThatEndedWithoutAResultIsSuperseded(t *testing.T) {
	n := consensustest.New(4)
	old := n.Job(consensus.Byzantine, 1)
	next := *old.Charter
	next.Supersedes = &old.ID
	stranger := next
	stranger.Request[0]++
	thief := next
	thief.Owner = n.Nodes[1].Key()
	failed := consensus.Value{Kind: consensus.Failed, Class: consensus.FailedTimeout}

	m := memberAt(t, n)
	if err := m.checkSuperseded(&next); err != nil {
		t.Errorf("a job that is not known here: %v", err)
	}
	m.open[old.ID] = &job{id: old.ID, charter: old.Charter, idle: true}
	if err := m.checkSuperseded(&next); err != nil {
		t.Errorf("a job that never started here: %v", err)
	}
	m.open[old.ID].idle = false
	if err := m.checkSuperseded(&next); codeOf(err) != RefuseLive {
		t.Errorf("a job that has not ended: %v", err)
	}
	if err := m.checkSuperseded(&stranger); codeOf(err) != RefuseInvalid {
		t.Errorf("an open job of another request: %v", err)
	}
	if err := m.checkSuperseded(&thief); codeOf(err) != RefuseInvalid {
		t.Errorf("an open job of another owner: %v", err)
	}
	m.ends(t, n, old, failed)
	if err := m.checkSuperseded(&next); err != nil {
		t.Errorf("a job that failed: %v", err)
	}
	if err := m.checkSuperseded(&thief); codeOf(err) != RefuseInvalid {
		t.Errorf("another owner's job that failed: %v", err)
	}
	if err := m.checkSuperseded(&stranger); codeOf(err) != RefuseInvalid {
		t.Errorf("an ended job of another request: %v", err)
	}

	m = memberAt(t, n)
	m.ends(t, n, old, consensustest.Result("out"))
	if err := m.checkSuperseded(&next); codeOf(err) != RefuseInvalid {
		t.Errorf("a job that has its result: %v", err)
	}
}

// The submitter may know the outcome a moment before a member does: the member
// considers the offer again when it does, or when accept_by has passed.
func TestAnOfferWaitsForTheEndOfTheJobThatItSupersedes(t *testing.T) {
	for _, ends := range []bool{true, false} {
		n := consensustest.New(4)
		old := n.Job(consensus.Byzantine, 1)
		m := memberAt(t, n)
		synctest.Test(t, func(t *testing.T) {
			m.offers = newOffers() // its channels are the bubble's
			id, from := consensus.JobID{7}, n.Nodes[0].Key()
			m.open[old.ID] = &job{id: old.ID, charter: old.Charter}
			m.begin(id, from)
			if m.waitFor(id, offered{from: from}, errors.New("another reason")) {
				t.Fatal("waits for nothing")
			}
			if !m.waitFor(id, offered{from: from}, &refusal{RefuseLive, &liveError{old.ID, consensustest.Now + 5_000}}) {
				t.Fatal("does not wait")
			}
			wait, err := m.tasks.Take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			considered := make(chan offered)
			go wait(t.Context())
			go func() {
				o, err := m.offers.take(t.Context())
				if err != nil {
					t.Error(err)
				}
				considered <- o
			}()
			synctest.Wait()
			select {
			case <-considered:
				t.Fatal("considered before the job has ended")
			default:
			}
			if ends {
				m.mutex.Lock()
				delete(m.open, old.ID)
				m.mutex.Unlock()
				m.ended(old.ID)
			}
			begun := time.Now()
			if o := <-considered; o.from != from || !o.waited || time.Since(begun) > 0 == ends {
				t.Errorf("considered %+v after %s", o, time.Since(begun))
			}
			synctest.Wait()
			if m.intake[id] != nil || m.offers.held != 0 {
				t.Error("the offer is still held")
			}
			for range maxHeldPeer {
				m.offers.hold(from)
			}
			if m.waitFor(id, offered{from: from}, &refusal{RefuseLive, &liveError{old.ID, consensustest.Now + 5_000}}) {
				t.Error("more offers of one peer wait than may")
			}
		})
	}
}
