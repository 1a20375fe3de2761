package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimEnv); dir != "" {
		runVictim(dir)
		return
	}
	os.Exit(m.Run())
}

func mustOpen(t testing.TB, dir string, opts Options) *Journal {
	t.Helper()
	j, err := Open(dir, opts)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil && !errors.Is(err, ErrFailed) {
			t.Errorf("Close: %v", err)
		}
	})
	return j
}

func put(key, value string) Entry { return Entry{Key: []byte(key), Value: []byte(value)} }

func mustAppend(t testing.TB, j *Journal, entries ...Entry) {
	t.Helper()
	if err := j.Append(t.Context(), entries...); err != nil {
		t.Fatalf("Append: %v", err)
	}
}

// dump returns what Scan sees, as "key=value ..." in its order.
func dump(t testing.TB, j *Journal, prefix, after string) string {
	t.Helper()
	var got []string
	err := j.Scan([]byte(prefix), []byte(after), func(key, value []byte) (bool, error) {
		got = append(got, fmt.Sprintf("%s=%s", key, value))
		return true, nil
	})
	if err != nil {
		t.Fatalf("Scan: %v", err)
	}
	return strings.Join(got, " ")
}

func TestEntriesComeBackInOrderAfterARestart(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := filepath.Join(t.TempDir(), "journal")
	j := mustOpen(t, dir, Options{})
	mustAppend(t, j, put("b/2", "two"), put("a", "1"), put("b/1", "one"), put("c", "3"))
	mustAppend(t, j, put("a", "1!"), Entry{Key: []byte("c"), Delete: true})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(t.Context(), put("x", "")); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close: %v, want ErrClosed", err)
	}

	again := mustOpen(t, dir, Options{})
	for _, tc := range []struct{ prefix, after, want string }{
		{"", "", "a=1! b/1=one b/2=two"},
		{"b/", "", "b/1=one b/2=two"},
		{"b/", "b/1", "b/2=two"},
		{"", "a", "b/1=one b/2=two"},
		{"b/", "b/2", ""},
		{"d", "", ""},
	} {
		if got := dump(t, again, tc.prefix, tc.after); got != tc.want {
			t.Errorf("Scan(%q, %q) = %q, want %q", tc.prefix, tc.after, got, tc.want)
		}
	}
	if _, err := again.Get([]byte("c")); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of a deleted key: %v, want ErrNotFound", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDeletingAPrefixLeavesItsNeighbours(t *testing.T) {
	j := mustOpen(t, "j", Options{FS: vfs.NewMem()})
	mustAppend(t, j, put("j", "0"), put("j/1", "a"), put("j/1/x", "b"), put("j/1\xff\xff", "c"), put("j/2", "d"))
	mustAppend(t, j, Entry{Key: []byte("j/1"), Delete: true, Prefix: true}, put("j/1/new", "e"))
	if got, want := dump(t, j, "", ""), "j=0 j/1/new=e j/2=d"; got != want {
		t.Errorf("after the deletion: %q, want %q", got, want)
	}
}

func TestScanStopsWhenToldAndPassesErrorsOn(t *testing.T) {
	j := mustOpen(t, "j", Options{FS: vfs.NewMem()})
	mustAppend(t, j, put("a", ""), put("b", ""), put("c", ""))
	n, boom := 0, errors.New("boom")
	err := j.Scan(nil, nil, func(_, _ []byte) (bool, error) { n++; return n < 2, nil })
	if err != nil || n != 2 {
		t.Errorf("stopped after %d keys with %v, want 2 and nil", n, err)
	}
	if err := j.Scan(nil, nil, func(_, _ []byte) (bool, error) { return true, boom }); !errors.Is(err, boom) {
		t.Errorf("Scan returned %v, want the callback's error", err)
	}
}

func TestReservedKeysAreRefusedWhole(t *testing.T) {
	j := mustOpen(t, "j", Options{FS: vfs.NewMem()})
	for _, key := range []string{"", "\x00format", "\xff"} {
		if err := j.Append(t.Context(), put("good", ""), put(key, "v")); !errors.Is(err, ErrKey) {
			t.Errorf("Append of key %q: %v, want ErrKey", key, err)
		}
	}
	if got := dump(t, j, "", ""); got != "" {
		t.Errorf("a refused call left %q", got)
	}
	if err := j.Err(); err != nil {
		t.Errorf("a refused call failed the journal: %v", err)
	}
}

func TestRequestsAreCommittedInTheOrderOfTheCalls(t *testing.T) {
	j := mustOpen(t, "j", Options{FS: vfs.NewMem()})
	var order []int
	var all sync.WaitGroup
	for i := range 200 {
		all.Add(1)
		j.AppendAsync([]Entry{put("last", fmt.Sprint(i))}, func(err error) {
			if err != nil {
				t.Error(err)
			}
			order = append(order, i)
			all.Done()
		})
	}
	all.Wait()
	for i, got := range order {
		if i != got {
			t.Fatalf("acknowledgement %d is for call %d", i, got)
		}
	}
	if got := dump(t, j, "", ""); got != "last=199" {
		t.Errorf("the journal holds %q, want the last call's value", got)
	}
}

func TestConcurrentAppendsShareSyncs(t *testing.T) {
	fs := newSyncFS(vfs.NewMem())
	j := mustOpen(t, "j", Options{FS: fs})
	const callers = 100
	before := fs.syncs.Load()
	release := fs.hold() // the first sync waits until every call is in
	var all sync.WaitGroup
	for i := range callers {
		all.Add(1)
		j.AppendAsync([]Entry{put(fmt.Sprintf("k%03d", i), "v")}, func(err error) {
			if err != nil {
				t.Error(err)
			}
			all.Done()
		})
	}
	release()
	all.Wait()
	if n := fs.syncs.Load() - before; n > 4 {
		t.Errorf("%d appends took %d syncs, want at most 4", callers, n)
	}
	if got := strings.Count(dump(t, j, "", ""), "="); got != callers {
		t.Errorf("%d records, want %d", got, callers)
	}
}

// The journal behaves as a sorted map, whatever the calls.
func TestJournalIsASortedMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		j, err := Open("j", Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = j.Close() }()
		want := map[string][]byte{}
		key := rapid.StringMatching(`[ab\xfe]{1,3}`)
		for range rapid.IntRange(1, 30).Draw(t, "calls") {
			var entries []Entry
			for range rapid.IntRange(0, 4).Draw(t, "entries") {
				e := Entry{
					Key:    []byte(key.Draw(t, "key")),
					Value:  rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "value"),
					Delete: rapid.IntRange(0, 3).Draw(t, "delete") == 0,
					Prefix: rapid.Bool().Draw(t, "prefix"),
				}
				entries = append(entries, e)
				switch {
				case e.Delete && e.Prefix:
					for k := range want {
						if strings.HasPrefix(k, string(e.Key)) {
							delete(want, k)
						}
					}
				case e.Delete:
					delete(want, string(e.Key))
				default:
					want[string(e.Key)] = e.Value
				}
			}
			done := make(chan error, 1)
			j.AppendAsync(entries, func(err error) { done <- err })
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		seen, last := 0, []byte(nil)
		err = j.Scan(nil, nil, func(k, v []byte) (bool, error) {
			if bytes.Compare(last, k) >= 0 || !bytes.Equal(want[string(k)], v) {
				t.Fatalf("%q=%x after %q, want %x", k, v, last, want[string(k)])
			}
			seen, last = seen+1, bytes.Clone(k)
			return true, nil
		})
		if err != nil || seen != len(want) {
			t.Fatalf("scanned %d of %d keys: %v", seen, len(want), err)
		}
	})
}

func BenchmarkAppendByManyCallers(b *testing.B) {
	j := mustOpen(b, filepath.Join(b.TempDir(), "journal"), Options{})
	value := strings.Repeat("v", 500)
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			mustAppend(b, j, put("slot", value))
		}
	})
}

func TestACallThatMeetsTheEndOfAGroupIsNotForgotten(t *testing.T) {
	j := mustOpen(t, "j", Options{FS: vfs.NewMem()})
	j.mu.Lock()
	j.committing = true // the committer found no more, and is about to end
	j.mu.Unlock()
	if group := j.nextGroup(); group != nil {
		t.Fatalf("%d requests out of nothing", len(group))
	}
	mustAppend(t, j, put("k", "v"))
	if got, want := dump(t, j, "", ""), "k=v"; got != want {
		t.Errorf("after the append: %q, want %q", got, want)
	}
}
