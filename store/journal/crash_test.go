package journal

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var seedFlag = flag.Uint64("journal.seed", 0, "seed of the crash tests; 0: a random one")

func seeded(t *testing.T) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed: -journal.seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// syncFS counts syncs of files and can hold or fail them.
type syncFS struct {
	vfs.FS
	syncs atomic.Int64
	gate  sync.RWMutex // held by hold; every sync passes through it
	fault atomic.Pointer[error]
}

func newSyncFS(fs vfs.FS) *syncFS { return &syncFS{FS: fs} }

func (fs *syncFS) hold() (release func()) { fs.gate.Lock(); return fs.gate.Unlock }

func (fs *syncFS) sync(do func() error) error {
	fs.gate.RLock()
	defer fs.gate.RUnlock()
	fs.syncs.Add(1)
	if err := fs.fault.Load(); err != nil {
		return *err
	}
	return do()
}

func (fs *syncFS) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &syncFile{File: f, fs: fs}, nil
}

func (fs *syncFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.wrap(fs.FS.Create(name, c))
}

func (fs *syncFS) ReuseForWrite(a, b string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.wrap(fs.FS.ReuseForWrite(a, b, c))
}

type syncFile struct {
	vfs.File
	fs *syncFS
}

func (f *syncFile) Sync() error     { return f.fs.sync(f.File.Sync) }
func (f *syncFile) SyncData() error { return f.fs.sync(f.File.SyncData) }
func (f *syncFile) SyncTo(n int64) (full bool, err error) {
	err = f.fs.sync(func() error { full, err = f.File.SyncTo(n); return err })
	return full, err
}

// After a crash at any append, with any part of the unsynced bytes kept, every
// acknowledged append is there, and every other one wholly or not at all.
func TestACrashLosesNothingAcknowledgedAndSplitsNoAppend(t *testing.T) {
	rng := seeded(t)
	for _, kept := range []int{0, 30, 100} {
		fs := vfs.NewCrashableMem()
		j := mustOpen(t, "d/journal", Options{FS: fs})
		incarnation := j.Incarnation()
		var acked atomic.Int64
		for i := range 40 {
			pair := strings.Repeat("v", rng.IntN(9000))
			entries := []Entry{put(fmt.Sprintf("a/%03d", i), pair), put(fmt.Sprintf("b/%03d", i), pair)}
			wait := make(chan struct{})
			j.AppendAsync(entries, func(err error) {
				if err != nil {
					t.Error(err)
				}
				acked.Add(1)
				close(wait)
			})
			if rng.IntN(3) > 0 {
				<-wait // else crash somewhere inside this append
			}
			want := acked.Load()
			disk := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rng})
			checkSurvivors(t, disk, incarnation, want)
			<-wait
		}
	}
}

func checkSurvivors(t *testing.T, disk vfs.FS, incarnation [16]byte, acked int64) {
	t.Helper()
	j, err := Open("d/journal", Options{FS: disk})
	if err != nil {
		t.Fatalf("open after the crash: %v", err)
	}
	defer func() { _ = j.Close() }()
	if j.Opened().Fresh || j.Incarnation() != incarnation {
		t.Fatalf("the crash cost the incarnation: %+v", j.Opened())
	}
	var keys [2][]string
	for n, prefix := range []string{"a/", "b/"} {
		err := j.Scan([]byte(prefix), nil, func(key, _ []byte) (bool, error) {
			keys[n] = append(keys[n], strings.TrimPrefix(string(key), prefix))
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(keys[0]) != fmt.Sprint(keys[1]) {
		t.Errorf("an append was split: %v and %v", keys[0], keys[1])
	}
	if int64(len(keys[0])) < acked {
		t.Errorf("%d appends survived, %d were acknowledged", len(keys[0]), acked)
	}
}

func TestACrashWhileTheJournalIsMadeLeavesNoneOrAWholeOne(t *testing.T) {
	rng := seeded(t)
	for crashAt := range 60 {
		fs := vfs.NewCrashableMem()
		var disk *vfs.MemFS
		n := 0
		counting := newSyncFS(fs)
		hooked := &hookFS{syncFS: counting, before: func() {
			if n++; n == crashAt {
				disk = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			}
		}}
		j, err := Open("d/journal", Options{FS: hooked})
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if disk == nil {
			continue
		}
		again, err := Open("d/journal", Options{FS: disk})
		if err != nil {
			t.Fatalf("crash at operation %d: %v", crashAt, err)
		}
		mustAppend(t, again, put("k", "v"))
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// hookFS calls before at every operation that changes the disk's names.
type hookFS struct {
	*syncFS
	before func()
}

func (fs *hookFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	fs.before()
	return fs.syncFS.Create(name, c)
}

func (fs *hookFS) Rename(a, b string) error { fs.before(); return fs.syncFS.Rename(a, b) }
func (fs *hookFS) Remove(name string) error { fs.before(); return fs.syncFS.Remove(name) }
func (fs *hookFS) OpenDir(name string) (vfs.File, error) {
	fs.before()
	return fs.syncFS.OpenDir(name)
}

func TestAFailedSyncIsFinalAndNothingIsAcknowledged(t *testing.T) {
	mem := vfs.NewCrashableMem()
	fs := newSyncFS(mem)
	j := mustOpen(t, "j", Options{FS: fs})
	mustAppend(t, j, put("before", "v"))

	boom := errors.New("disk is gone")
	fs.fault.Store(&boom)
	release := fs.hold()
	const calls = 20
	results := make(chan error, calls)
	for i := range calls {
		j.AppendAsync([]Entry{put(fmt.Sprintf("lost%d", i), "v")}, func(err error) { results <- err })
	}
	release()
	for range calls {
		if err := <-results; !errors.Is(err, ErrFailed) {
			t.Errorf("append over a failed sync: %v, want ErrFailed", err)
		}
	}
	<-j.Failed()
	if err := j.Err(); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), boom.Error()) {
		t.Errorf("Err() = %v, want ErrFailed with the cause", err)
	}

	fs.fault.Store(nil) // the disk is well again: too late
	if err := j.Append(t.Context(), put("after", "v")); !errors.Is(err, ErrFailed) {
		t.Errorf("append after the failure: %v, want ErrFailed", err)
	}
	if err := j.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("Close of a failed journal: %v, want ErrFailed", err)
	}
	disk := mem.CrashClone(vfs.CrashCloneCfg{})
	if got := dump(t, mustOpen(t, "j", Options{FS: disk}), "", ""); got != "before=v" {
		t.Errorf("on disk: %q, want only what was acknowledged", got)
	}
}

// An append fails while Close waits for it: the database is lost, and not closed.
func TestAJournalThatFailsWhileItClosesSaysSo(t *testing.T) {
	fs := newSyncFS(vfs.NewMem())
	j := mustOpen(t, "j", Options{FS: fs})
	boom := errors.New("disk is gone")
	fs.fault.Store(&boom)
	release := fs.hold()
	j.AppendAsync([]Entry{put("lost", "v")}, func(error) {})
	closed := make(chan error, 1)
	go func() { closed <- j.Close() }()
	for !errors.Is(j.Err(), ErrClosed) { // it waits
		runtime.Gosched()
	}
	release()
	if err := <-closed; !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), boom.Error()) {
		t.Errorf("Close: %v, want ErrFailed with the cause", err)
	}
}

func TestAppendGivesUpWithItsContext(t *testing.T) {
	fs := newSyncFS(vfs.NewMem())
	j := mustOpen(t, "j", Options{FS: fs})
	release := fs.hold()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Append(ctx, put("k", "v")); !errors.Is(err, context.Canceled) {
		t.Errorf("Append: %v, want context.Canceled", err)
	}
	release()
}

const victimEnv = "MUSTER_JOURNAL_VICTIM"

// runVictim appends for ever and prints each acknowledged number.
func runVictim(dir string) {
	j, err := Open(dir, Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		if err := j.Append(context.Background(), put(fmt.Sprintf("k/%08d", i), strings.Repeat("v", 3000))); err != nil {
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

func TestKillingTheProcessLosesNothingAcknowledged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	next := 0
	var incarnation [16]byte
	for round := range 3 {
		acked := killVictim(t, dir, 200)
		j, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if round > 0 && (j.Opened().Fresh || j.Incarnation() != incarnation) {
			t.Errorf("the kill cost the incarnation: %+v", j.Opened())
		}
		incarnation = j.Incarnation()
		if got := strings.Count(dump(t, j, "k/", ""), "="); got < acked || got < next {
			t.Errorf("%d records after the kill, %d were acknowledged", got, acked)
		} else {
			next = got
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killVictim runs this test binary as a victim, kills it with signal 9 after n
// acknowledgements, and returns how many it made.
func killVictim(t *testing.T, dir string, n int) int {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() != fmt.Sprint(acked) {
			t.Fatalf("the victim said %q, want %d", lines.Text(), acked)
		}
		if acked++; acked == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as meant
	if acked < n {
		t.Fatalf("the victim ended by itself after %d", acked)
	}
	return acked
}
