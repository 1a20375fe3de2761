package journal

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/muster-network/muster/store/internal/lsm"
)

func closed(t *testing.T, dir string, opts Options, entries ...Entry) [16]byte {
	t.Helper()
	j, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, entries...)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return j.Incarnation()
}

func TestIncarnationIsKeptByAnIntactRestartOnly(t *testing.T) {
	here := Options{Host: Host{MachineID: "here"}}
	tests := []struct {
		name   string
		change func(t *testing.T, dir string)
		opts   Options
		fresh  bool
		reason string
		kept   bool // the record is still there
	}{
		{name: "an intact restart", opts: here, kept: true},
		{name: "another machine", opts: Options{Host: Host{MachineID: "there"}}, fresh: true, reason: "another machine", kept: true},
		{name: "a copied directory", opts: here, fresh: true, reason: "copy", kept: true, change: func(t *testing.T, dir string) {
			aside := dir + ".old"
			must(t, os.Rename(dir, aside))
			must(t, os.CopyFS(dir, os.DirFS(aside)))
		}},
		{name: "a missing journal", opts: here, fresh: true, reason: "no journal", change: func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir))
		}},
		{name: "an emptied journal", opts: here, fresh: true, reason: "no journal", change: func(t *testing.T, dir string) {
			for _, name := range list(t, dir) {
				must(t, os.Remove(filepath.Join(dir, name)))
			}
		}},
		{name: "lost logs", opts: here, fresh: true, reason: "damaged", change: func(t *testing.T, dir string) {
			closed(t, dir, here) // the first records are in a table now, and the journal opens without its logs
			for _, name := range list(t, dir) {
				if strings.HasSuffix(name, ".log") {
					must(t, os.Remove(filepath.Join(dir, name)))
				}
			}
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "journal")
			before := closed(t, dir, here, put("k", "v"))
			if tc.change != nil {
				tc.change(t, dir)
			}
			j := mustOpen(t, dir, tc.opts)
			if opened := j.Opened(); opened.Fresh != tc.fresh || !strings.Contains(opened.Reason, tc.reason) {
				t.Errorf("Opened() = %+v, want fresh %v because of %q", opened, tc.fresh, tc.reason)
			}
			if same := j.Incarnation() == before; same == tc.fresh {
				t.Errorf("incarnation kept: %v, want %v", same, !tc.fresh)
			}
			if got := dump(t, j, "", "") == "k=v"; got != tc.kept {
				t.Errorf("records kept: %v, want %v", got, tc.kept)
			}
			now := j.Incarnation()
			must(t, j.Close())
			again := mustOpen(t, dir, tc.opts)
			if again.Opened().Fresh || again.Incarnation() != now {
				t.Errorf("the restart after that changed the incarnation: %+v", again.Opened())
			}
		})
	}
}

// Whatever file is damaged, a journal either is whole or has a new incarnation
// and lies aside for the operator.
func TestDamageIsNeverTakenForAWholeJournal(t *testing.T) {
	damages := map[string]func(data []byte) []byte{
		"cut in half":   func(data []byte) []byte { return data[:len(data)/2] },
		"emptied":       func([]byte) []byte { return nil },
		"bytes flipped": func(data []byte) []byte { return flip(slices.Clone(data)) },
		"removed":       nil,
	}
	probe := filepath.Join(t.TempDir(), "journal")
	fill(t, probe)
	for _, name := range list(t, probe) {
		for damage, apply := range damages {
			if strings.HasSuffix(name, ".log") && damage != "bytes flipped" {
				continue // the end of a log may be missing after any crash: nobody can tell
			}
			t.Run(name+" "+damage, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "journal")
				before := fill(t, dir)
				path := filepath.Join(dir, name)
				if apply == nil {
					must(t, os.Remove(path))
				} else {
					data, err := os.ReadFile(path)
					must(t, err)
					must(t, os.WriteFile(path, apply(data), 0o600))
				}
				j := mustOpen(t, dir, Options{})
				records, readErr := count(j)
				if readErr != nil {
					<-j.Failed() // found late: the node stops, and starts anew
					j = mustOpenNext(t, dir)
					records, readErr = count(j)
					must(t, readErr)
				}
				if j.Incarnation() == before && records != 300 {
					t.Errorf("same incarnation with %d of 300 records", records)
				}
				if j.Opened().Fresh != (j.Incarnation() != before) {
					t.Errorf("Opened() = %+v is not what happened", j.Opened())
				}
			})
		}
	}
}

// mustOpenNext opens the journal as the next process would, while this one
// still holds the lock of the failed journal.
func mustOpenNext(t *testing.T, dir string) *Journal {
	t.Helper()
	must(t, os.Remove(filepath.Join(dir, "LOCK")))
	next := dir + ".next"
	must(t, os.Rename(dir, next))
	return mustOpen(t, next, Options{})
}

func count(j *Journal) (n int, err error) {
	err = j.Scan(nil, nil, func(_, _ []byte) (bool, error) { n++; return true, nil })
	return n, err
}

// fill makes a journal with tables and a log, 300 records in all.
func fill(t *testing.T, dir string) [16]byte {
	t.Helper()
	var entries []Entry
	for i := range 100 {
		entries = append(entries, put(string([]byte{'a', byte(i)}), strings.Repeat("v", 100)))
	}
	for _, first := range []byte("abc") {
		for i := range entries {
			entries[i].Key[0] = first
		}
		closed(t, dir, Options{}, entries...)
	}
	return closed(t, dir, Options{})
}

func flip(data []byte) []byte {
	for i := len(data) / 3; i < len(data) && i < len(data)/3+8; i++ {
		data[i] ^= 0x5a
	}
	return data
}

func TestAnotherFormatVersionIsRefusedAndLeftAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	closed(t, dir, Options{}, put("k", "v"))
	db, err := lsm.Open(dir, lsm.Config{})
	must(t, err)
	must(t, db.Set(formatKey(), []byte("muster/journal/9"), pebble.Sync))
	must(t, db.Delete(hostKey(), pebble.Sync)) // the version comes first: nothing else is looked at
	must(t, db.Close())
	for range 2 {
		if _, err := Open(dir, Options{}); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "muster/journal/9") {
			t.Fatalf("Open: %v, want ErrFormat naming the version", err)
		}
	}
}

func TestAJournalInUseIsNotTakenForDamaged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	mustOpen(t, dir, Options{})
	if j, err := Open(dir, Options{}); err == nil {
		_ = j.Close()
		t.Error("opened twice")
	}
	if names := list(t, filepath.Dir(dir)); len(names) != 1 {
		t.Errorf("the journal in use was moved: %v", names)
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
