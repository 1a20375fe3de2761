package submitter

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
	"github.com/muster-network/muster/store/storetest"
)

// records is a journal in which an append waits for a gate, if there is one, until
// it opens.
type records struct {
	storetest.Records
	gate chan struct{}
}

func (r *records) Append(ctx context.Context, entries ...journal.Entry) error {
	if r.gate != nil {
		select {
		case <-r.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return r.Records.Append(ctx, entries...)
}

func remembering(t *testing.T, request consensus.RequestID, charter string) (*Submitter, *records, consensus.JobID) {
	t.Helper()
	j := &records{}
	s := &Submitter{cfg: Config{Journal: j}, pending: map[consensus.RequestID]*submission{}, forgets: map[consensus.RequestID]chan struct{}{}}
	r := record{Offer: consensus.Offer{Charter: consensus.SignedCharter{Bytes: []byte(charter)}}, Acknowledged: true, Started: []consensus.Vote{}}
	entry, err := r.entry(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	return s, j, consensus.JobID(dagcbor.Sum([]byte(charter)))
}

func TestOnlyTheRecordOfTheJobThatEndedIsForgotten(t *testing.T) {
	request := consensus.RequestID{1}
	s, j, job := remembering(t, request, "a charter")
	if err := s.Forget(t.Context(), request, consensus.JobID{9}); err != nil || len(j.Held) != 1 {
		t.Errorf("the job that this one superseded ended: %d records, %v", len(j.Held), err)
	}
	for range 2 {
		if err := s.Forget(t.Context(), request, job); err != nil || len(j.Held) != 0 {
			t.Errorf("the job ended: %d records, %v", len(j.Held), err)
		}
	}
	if len(s.forgets) != 0 {
		t.Error("the request stays closed")
	}
}

// A retry at once may write its record while that of the old job goes: neither
// may see the other half done.
func TestASubmissionAndTheEndOfARecordExcludeEachOther(t *testing.T) {
	request := consensus.RequestID{1}
	synctest.Test(t, func(t *testing.T) {
		s, j, job := remembering(t, request, "a charter")
		j.gate = make(chan struct{})
		forgotten, entered := make(chan error, 1), make(chan error, 1)
		go func() { forgotten <- s.Forget(t.Context(), request, job) }()
		synctest.Wait()
		sub := &submission{request: request, done: make(chan struct{})}
		go func() {
			_, err := s.enter(t.Context(), sub)
			entered <- err
		}()
		synctest.Wait()
		if len(entered) != 0 || s.pending[request] != nil {
			t.Fatal("a submission entered while the record went")
		}
		close(j.gate)
		synctest.Wait()
		if err := errors.Join(<-forgotten, <-entered); err != nil || s.pending[request] != sub || len(j.Held) != 0 {
			t.Fatalf("%d records, %v", len(j.Held), err)
		}

		go func() { forgotten <- s.Forget(t.Context(), request, job) }()
		synctest.Wait()
		if len(forgotten) != 0 {
			t.Fatal("a record goes under a submission that is under way")
		}
		s.settle(sub, Acknowledged{}, nil)
		if err := <-forgotten; err != nil {
			t.Fatal(err)
		}
	})
}

func TestAfterACrashTheSameBytesAreOffered(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		go func() { _, _ = st.s.Submit(t.Context(), st.request("key", "Ada")) }()
		settle(time.Second)
		if _, err := st.s.Submit(t.Context(), st.request("key", "Bob")); code(err) != jobs.CodeConflict {
			t.Errorf("another job under the key of one on its way: %v", err)
		}
		before := st.offers[0]
		st.answers = func(string, int) *Heard { return says(consensus.KindStarted) }
		st.restart()
		settle(time.Second)
		if len(st.offers) != 4 || st.offers[0].job != before.job || !bytes.Equal(st.offers[0].bytes, before.bytes) {
			t.Fatalf("%d offers, the first of %s, before it was %s", len(st.offers), st.offers[0].job, before.job)
		}
		if a, err := st.s.Submit(t.Context(), st.request("key", "Ada")); err != nil || a.Job != before.job {
			t.Errorf("the caller asks again: %v, %v", a.Job, err)
		}
		// And once more: what was acknowledged is listened for, and not offered to all.
		st.restart()
		settle(time.Second)
		if len(st.offers) != 0 || st.listening() != 1 {
			t.Errorf("%d offers, listens to %d", len(st.offers), st.listening())
		}
	})
}

// A submitter without a seat is told once how its job ended. Whatever became of that
// word, it asks one member after the other until it is archived.
func TestTheEndOfAnAcknowledgedJobIsAskedForUntilItIsKnown(t *testing.T) {
	for _, crashes := range []bool{false, true} {
		play(t, func(t *testing.T, st *stage) {
			st.answers = func(string, int) *Heard { return says(consensus.KindStarted) }
			a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
			if err != nil {
				t.Fatal(err)
			}
			first := time.Duration(inquireAfter) * time.Millisecond
			if crashes {
				st.restart()
				first = inquireResumed * time.Millisecond
			}
			settle(first / 2)
			asked := map[string]bool{}
			st.mutex.Lock()
			st.offers = nil
			st.answers = func(_ string, seat int) *Heard {
				if asked[a.Charter.Roster[seat].Peer.String()] = true; seat == 3 {
					return &Heard{Ended: &consensus.Conclusion{}} // the others do not say
				}
				return nil
			}
			st.mutex.Unlock()
			settle(20 * first)
			if len(asked) != 4 || len(st.offers) < 4 || len(st.offers) > 5 || !slices.Equal(st.decided, []consensus.JobID{a.Job}) || st.listening() != 0 {
				t.Errorf("crashes %t: asked %d of them, %d times, told of %v", crashes, len(asked), len(st.offers), st.decided)
			}
			if err := st.s.Forget(t.Context(), a.Request, a.Job); err != nil { // it is archived
				t.Fatal(err)
			}
			st.offers = nil
			if settle(time.Hour); len(st.offers) != 0 {
				t.Errorf("crashes %t: asked %d times more", crashes, len(st.offers))
			}
		})
	}
}

func TestARecordWhoseJobIsArchivedGoesAtARestart(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(string, int) *Heard { return says(consensus.KindStarted) }
		a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
		if err != nil {
			t.Fatal(err)
		}
		st.known[a.Request] = a // and then the node went down
		st.restart()
		if settle(time.Hour); len(st.stored()) != 0 || len(st.offers) != 0 || st.listening() != 0 {
			t.Errorf("%d records, asked %d times, listens to %d", len(st.stored()), len(st.offers), st.listening())
		}
	})
}

func TestAWithdrawalIsTakenUpAfterACrashAndNotTakenBack(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(_ string, seat int) *Heard {
			if seat < 2 {
				return &Heard{Kind: consensus.KindRefuse, Reason: "busy"}
			}
			return nil
		}
		go func() { _, _ = st.s.Submit(t.Context(), st.request("key", "Ada")) }()
		settle(20 * time.Millisecond) // it has begun to withdraw
		if all := st.stored(); len(all) != 1 || !all[0].Void {
			t.Fatalf("on disk: %+v", all)
		}
		st.answers = func(string, int) *Heard { return says(consensus.KindVoided) }
		st.restart()
		settle(time.Second)
		if len(st.offers) != 0 || len(st.voids) != 1 {
			t.Errorf("%d offers, voids of %d jobs", len(st.offers), len(st.voids))
		}
	})
}
