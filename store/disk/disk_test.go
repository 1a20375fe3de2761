package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"go.uber.org/goleak"

	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/internal/lsm"
	"github.com/muster-network/muster/store/storetest"
)

var seedFlag = flag.Uint64("disk.seed", 0, "seed of the crash tests; 0: a random one")

func mustOpen(t testing.TB, dir string, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open(dir, Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrFailed) {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStoreMeetsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Blocks {
		return mustOpen(t, filepath.Join(t.TempDir(), "blocks"), nil)
	})
}

func TestBlocksAreThereAfterARestart(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := filepath.Join(t.TempDir(), "blocks")
	b := storetest.Block(t, cid.Raw, storetest.Noise(1, 300_000))
	s, err := Open(dir, Options{})
	must(t, err)
	must(t, s.Put(t.Context(), b))
	must(t, s.Close())
	s, err = Open(dir, Options{})
	must(t, err)
	if n, err := s.Size(t.Context(), b.Cid()); err != nil || n != 300_000 {
		t.Errorf("Size after the restart = %d, %v", n, err)
	}
	must(t, s.Close())
}

// After a crash at any moment, with any part of the unsynced bytes kept, every
// block whose Put had returned before a finished Sync is there.
func TestACrashLosesNothingThatWasSynced(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed: -disk.seed=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	fs := vfs.NewCrashableMem()
	s := mustOpen(t, "d/blocks", fs)
	var durable, open []blocks.Block
	for i := range uint64(40) {
		size := []int{10, 5000, 200_000}[rng.IntN(3)]
		b := storetest.Block(t, cid.Raw, storetest.Noise(i, size))
		must(t, s.Put(t.Context(), b))
		open = append(open, b)
		if rng.IntN(2) == 0 {
			must(t, s.Sync(t.Context()))
			durable, open = append(durable, open...), nil
		}
		if rng.IntN(4) == 0 {
			disk := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			after, err := Open("d/blocks", Options{FS: disk})
			must(t, err)
			for _, b := range durable {
				if _, err := after.Get(t.Context(), b.Cid()); err != nil {
					t.Errorf("a synced block of %d bytes: %v", len(b.RawData()), err)
				}
			}
			must(t, after.Close())
		}
	}
}

func TestCallersShareSyncsAndAnIdleSyncCostsNone(t *testing.T) {
	var syncs atomic.Int64
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo {
			syncs.Add(1)
		}
		return nil
	}))
	s := mustOpen(t, "blocks", fs)
	must(t, s.Put(t.Context(), storetest.Block(t, cid.Raw, []byte("one"))))
	before := syncs.Load()
	must(t, s.Sync(t.Context()))
	if n := syncs.Load() - before; n != 1 {
		t.Errorf("a sync of one block took %d, want 1", n)
	}
	for range 3 {
		must(t, s.Sync(t.Context()))
		must(t, s.Put(t.Context(), storetest.Block(t, cid.Raw, []byte("one")))) // here already
	}
	if n := syncs.Load() - before; n != 1 {
		t.Errorf("syncs with nothing to do took %d", n-1)
	}

	before = syncs.Load()
	const callers = 50
	for i := range uint64(callers) {
		must(t, s.Put(t.Context(), storetest.Block(t, cid.Raw, storetest.Noise(i, 100))))
	}
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			if err := s.Sync(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := syncs.Load() - before; n != 1 {
		t.Errorf("%d callers took %d syncs, want 1", callers, n)
	}
}

// Who finds a block here that another is putting relies on it as on its own: a Sync
// after that makes it durable, whether or not the Put has returned.
func TestASyncCoversABlockThatWasSeenBeforeItsPutReturned(t *testing.T) {
	var syncs atomic.Int64
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo {
			syncs.Add(1)
		}
		return nil
	}))
	s := mustOpen(t, "blocks", fs)
	for i := range uint64(1_000) {
		b := storetest.Block(t, cid.Raw, storetest.Noise(i, 100))
		before := syncs.Load()
		var put sync.WaitGroup
		put.Go(func() {
			if err := s.Put(t.Context(), b); err != nil {
				t.Error(err)
			}
		})
		for seen := false; !seen; {
			var err error
			seen, err = s.Has(t.Context(), b.Cid())
			must(t, err)
		}
		must(t, s.Sync(t.Context()))
		covered := syncs.Load() > before
		put.Wait()
		if !covered {
			t.Fatalf("block %d was seen, and no sync came after it", i)
		}
	}
}

func TestALostWriteIsFinal(t *testing.T) {
	boom := errors.New("disk is gone")
	var broken atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return boom
		}
		return nil
	}))
	s := mustOpen(t, "blocks", fs)
	before, after := storetest.Block(t, cid.Raw, []byte("before")), storetest.Block(t, cid.Raw, []byte("after"))
	must(t, s.Put(t.Context(), before))
	broken.Store(true)
	if err := s.Sync(t.Context()); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), boom.Error()) {
		t.Errorf("Sync: %v, want ErrFailed with the cause", err)
	}
	<-s.Failed()
	broken.Store(false)
	if err := s.Put(t.Context(), after); !errors.Is(err, ErrFailed) {
		t.Errorf("Put after the failure: %v, want ErrFailed", err)
	}
	if err := s.Sync(t.Context()); !errors.Is(err, ErrFailed) {
		t.Errorf("Sync after the failure: %v, want ErrFailed", err)
	}
	if err := s.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("Close after the failure: %v, want ErrFailed", err)
	}
}

// A disk that is full when tables are written fails the store: Pebble would try
// again for ever, and every writer would wait for it.
func TestAFullDiskIsFinalAndHoldsNobodyUp(t *testing.T) {
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, ".sst") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	}))
	s := mustOpen(t, "blocks", fs)
	var err error
	for i := uint64(0); err == nil; i++ {
		if err = s.Put(t.Context(), storetest.Block(t, cid.Raw, storetest.Noise(i, 1<<20))); i == 200 {
			t.Fatal("it takes blocks that it cannot write down")
		}
	}
	<-s.Failed()
	if !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.ENOSPC) || !errors.Is(s.Sync(t.Context()), ErrFailed) {
		t.Errorf("Put: %v; Sync: %v", err, s.Sync(t.Context()))
	}
	if said := err.Error(); !strings.HasPrefix(said, "block store: failed: creating object") || !strings.HasSuffix(said, ": no space left on device") {
		t.Errorf("it says %q", said)
	}
}

// A disk that is full when Close waits for tables to be written.
func TestAStoreThatFailsWhileItClosesSaysSo(t *testing.T) {
	writes, full := make(chan struct{}, 1), make(chan struct{})
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, ".sst") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			select {
			case writes <- struct{}{}:
			default:
			}
			<-full
			return syscall.ENOSPC
		}
		return nil
	}))
	s := mustOpen(t, "blocks", fs)
	must(t, s.Put(t.Context(), storetest.Block(t, cid.Raw, []byte("block"))))
	_, err := s.db.AsyncFlush()
	must(t, err)
	<-writes
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	for !isClosing(s) {
		runtime.Gosched()
	}
	close(full)
	if err := <-closed; !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close: %v, want ErrFailed with the cause", err)
	}
}

// isClosing reports whether the database refuses to be read.
func isClosing(s *Store) (closing bool) {
	defer func() { closing = recover() != nil }()
	_, err := s.read(formatKey())
	return err != nil
}

func TestAnotherFormatVersionIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	db, err := lsm.Open("blocks", lsm.Config{FS: fs})
	must(t, err)
	must(t, db.Set(formatKey(), []byte("muster/blocks/9"), pebble.Sync))
	must(t, db.Close())
	for range 2 {
		if _, err := Open("blocks", Options{FS: fs}); !errors.Is(err, ErrFormat) {
			t.Fatalf("Open: %v, want ErrFormat", err)
		}
	}
}

func BenchmarkPutAndSyncOfASmallTree(b *testing.B) {
	s := mustOpen(b, filepath.Join(b.TempDir(), "blocks"), nil)
	for i := range uint64(b.N) {
		for part := range uint64(5) {
			must(b, s.Put(b.Context(), storetest.Block(b, cid.Raw, storetest.Noise(i*5+part, 100))))
		}
		must(b, s.Sync(b.Context()))
	}
}

// An index entry, and the data that it may name, are what the disk gives. A block is
// there in one length, or not at all.
func FuzzIndexEntry(f *testing.F) {
	s := mustOpen(f, "blocks", vfs.NewMem())
	f.Add([]byte{inlined}, []byte{})
	f.Add([]byte("\x00block"), []byte{})
	f.Add([]byte{apart, 5}, []byte("block"))
	f.Add([]byte{apart, 6}, []byte("block"))
	f.Add([]byte{apart, 0x85, 0}, []byte("block"))                                             // not in its shortest form
	f.Add([]byte{apart, 5, 5}, []byte("block"))                                                // more follows
	f.Add([]byte{apart}, []byte("block"))                                                      // no length
	f.Add(binary.AppendUvarint([]byte{apart}, store.MaxBlock+1), []byte("block"))              // too long
	f.Add([]byte{apart, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, []byte("block")) // no number
	f.Add([]byte{2, 5}, []byte("block"))                                                       // of no kind
	f.Add([]byte{}, []byte("block"))
	c := storetest.Block(f, cid.Raw, []byte("name")).Cid()
	digest, err := store.Digest(c)
	must(f, err)
	f.Fuzz(func(t *testing.T, entry, data []byte) {
		must(t, s.db.Set(key(indexPrefix, digest), entry, pebble.NoSync))
		must(t, s.db.Set(key(dataPrefix, digest), data, pebble.NoSync))
		size, err := s.Size(t.Context(), c)
		if has, failed := s.Has(t.Context(), c); has != (err == nil) || (failed == nil) != (err == nil) {
			t.Errorf("has %v, %v, and its length is %v", has, failed, err)
		}
		got, failed := s.Get(t.Context(), c)
		switch {
		case failed != nil:
			return
		case err != nil || len(got) != size || size > store.MaxBlock:
			t.Errorf("%d bytes are read of %d, %v", len(got), size, err)
		case len(entry) > 0 && entry[0] == inlined && !bytes.Equal(got, entry[1:]), len(entry) > 0 && entry[0] != inlined && !bytes.Equal(got, data):
			t.Errorf("other bytes are read: %x", got)
		}
	})
}
