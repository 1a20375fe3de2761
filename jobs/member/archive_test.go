package member

import (
	"path/filepath"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/journal"
)

// openJournal opens a journal for one test.
func openJournal(t *testing.T) *journal.Journal {
	t.Helper()
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Options{Host: journal.Host{MachineID: "m"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

// Which of a request's jobs is archived last says nothing: a peer may learn of
// the first only after the one that superseded it.
func TestARequestNamesTheJobThatWasIssuedLast(t *testing.T) {
	j := openJournal(t)
	archive := Archive{j}
	request, other := consensus.RequestID{1}, consensus.RequestID{1, 1}
	keep := func(request consensus.RequestID, issued int64, id consensus.JobID) {
		t.Helper()
		entries, err := (&Closed{Seats: []Seat{}}).entries(id, &consensus.Charter{Request: request, Issued: issued}, jobs.Failed)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Append(t.Context(), entries...); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, err := archive.Request(request); ok || err != nil {
		t.Fatalf("a request that nobody made: %v, %v", ok, err)
	}
	for _, step := range []struct {
		issued int64
		id     byte
		want   byte
	}{{100, 1, 1}, {300, 3, 3}, {200, 2, 3}, {100, 1, 3}, {400, 4, 4}} {
		keep(request, step.issued, consensus.JobID{step.id})
		if id, ok, err := archive.Request(request); err != nil || !ok || id != (consensus.JobID{step.want}) {
			t.Errorf("after job %d: %v, %v, %v", step.id, id[0], ok, err)
		}
	}
	keep(other, 900, consensus.JobID{9})
	if id, _, err := archive.Request(request); err != nil || id != (consensus.JobID{4}) {
		t.Errorf("another's job: %v, %v", id[0], err)
	}
}
