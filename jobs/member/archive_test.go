package member

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
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

func archived(t *testing.T, j *journal.Journal, id consensus.JobID, c *consensus.Charter) {
	t.Helper()
	entries, err := (&Closed{Seats: []Seat{}}).entries(id, c, jobs.Failed)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append(t.Context(), entries...); err != nil {
		t.Fatal(err)
	}
}

// Which of a request's jobs is archived last says nothing: a peer may learn of
// the first only after the one that superseded it.
func TestARequestNamesTheJobThatWasIssuedLast(t *testing.T) {
	j := openJournal(t)
	archive := Archive{j}
	request, other, owner := consensus.RequestID{1}, consensus.RequestID{1, 1}, admission.Key{7}
	keep := func(request consensus.RequestID, issued int64, id consensus.JobID) {
		archived(t, j, id, &consensus.Charter{Request: request, Owner: owner, Issued: issued})
	}
	if _, ok, err := archive.Request(request, owner); ok || err != nil {
		t.Fatalf("a request that nobody made: %v, %v", ok, err)
	}
	for _, step := range []struct {
		issued int64
		id     byte
		want   byte
	}{{100, 1, 1}, {300, 3, 3}, {200, 2, 3}, {100, 1, 3}, {400, 4, 4}} {
		keep(request, step.issued, consensus.JobID{step.id})
		if id, ok, err := archive.Request(request, owner); err != nil || !ok || id != (consensus.JobID{step.want}) {
			t.Errorf("after job %d: %v, %v, %v", step.id, id[0], ok, err)
		}
	}
	if ids, err := archive.Owned(request, owner); err != nil || !slices.Equal(ids, []consensus.JobID{{4}, {3}, {2}, {1}}) {
		t.Errorf("all of them: %v, %v", ids, err)
	}
	keep(other, 900, consensus.JobID{9})
	if id, _, err := archive.Request(request, owner); err != nil || id != (consensus.JobID{4}) {
		t.Errorf("another's job: %v, %v", id[0], err)
	}
}

func TestAnotherOwnersJobNeverStandsBeforeTheOwnersOwn(t *testing.T) {
	j := openJournal(t)
	archive := Archive{j}
	request := consensus.RequestID{1}
	low, owner, high, none := admission.Key{1}, admission.Key{5}, admission.Key{9}, admission.Key{6}
	for i, c := range []consensus.Charter{{Owner: low, Issued: 300}, {Owner: owner, Issued: 100}, {Owner: high, Issued: 200}} {
		c.Request = request
		archived(t, j, consensus.JobID{byte(i + 1)}, &c)
	}
	for who, want := range map[admission.Key]consensus.JobID{low: {1}, owner: {2}, high: {3}} {
		own, ok, err := archive.Own(request, who)
		first, known, err2 := archive.Request(request, who)
		if !ok || !known || own != want || first != want {
			t.Errorf("of owner %d: %d and %d, %v, %v", who[0], own[0], first[0], err, err2)
		}
	}
	if id, ok, err := archive.Own(request, none); ok || err != nil {
		t.Errorf("who made no such request has job %d, %v", id[0], err)
	}
	if _, ok, err := archive.Request(request, none); !ok || err != nil {
		t.Errorf("others' jobs are not found: %v", err)
	}
}
