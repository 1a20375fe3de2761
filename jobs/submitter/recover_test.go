package submitter

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/muster-network/muster/consensus"
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
