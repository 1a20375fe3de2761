package member

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/disk"
	"github.com/muster-network/muster/store/journal"
)

// lives is an array job on a member that crashes and comes back: each life runs
// it on what the disk of the last one kept.
type lives struct {
	t     *testing.T
	count uint64
	cores uint64
	seed  uint64
	end   func(index string) exec.Result
	disk  *vfs.MemFS
	rng   *rand.Rand

	m    *Member
	j    *job
	told *told
	ran  []int // in this life, until the crash
}

func newLives(t *testing.T, seed, cores, count uint64, end func(string) exec.Result) *lives {
	return &lives{t: t, seed: seed, cores: cores, count: count, end: end, disk: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, 1))}
}

// begin opens what the disk holds and takes the job up.
func (l *lives) begin() {
	l.t.Helper()
	blocks, err := disk.Open("blocks", disk.Options{FS: l.disk})
	if err != nil {
		l.t.Fatal(err)
	}
	records, err := journal.Open("journal", journal.Options{FS: l.disk})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _, _ = blocks.Close(), records.Close() })
	l.m, l.j, l.told = arrayMember(l.t, l.cores, l.count, nil)
	l.m.cfg.Store, l.m.cfg.Journal = blocks, records
	l.j.id = consensus.JobID{9}
	if err := l.m.findCheckpoints(l.j); err != nil {
		l.t.Fatal(err)
	}
	l.ran = nil
}

// kept is which tasks have a result in the checkpoints, all of which can be read.
func (l *lives) kept() []int {
	l.t.Helper()
	var all []int
	for _, c := range l.j.checkpoints.list() {
		ends, err := l.m.openCheckpoint(l.t.Context(), l.j, c)
		if err != nil {
			l.t.Fatalf("seed %d: a record names what is not durable: %v", l.seed, err)
		}
		for _, e := range ends {
			all = append(all, int(e.Index))
		}
	}
	return all
}

// run runs the job until so many of its tasks have ended, when the machine
// loses power; with 0 to its end.
func (l *lives) run(tasks int) (consensus.Value, exec.Use, error) {
	ctx, cancel := context.WithCancel(l.t.Context())
	defer cancel()
	var turn sync.Mutex
	old := l.disk
	l.m.cfg.Executor = &lanes{seed: l.seed, end: func(index string) exec.Result {
		turn.Lock()
		defer turn.Unlock()
		at, err := strconv.Atoi(index)
		if err != nil {
			l.t.Error(err)
		}
		if l.disk != old {
			return l.end(index) // of a life that is over
		}
		l.ran = append(l.ran, at)
		if len(l.ran) == tasks {
			l.disk = old.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: l.rng.IntN(2) * l.rng.IntN(101), RNG: l.rng})
			cancel()
		}
		return l.end(index)
	}}
	if !l.m.pool.Reserve(l.j.spec.Resources) {
		l.t.Fatal("no room for the run")
	}
	return l.m.runArray(ctx, l.j, 1, exec.Request{})
}

// lasting ends tasks as greeting does, after a second each; some say much.
func lasting(index string) exec.Result {
	r := greeting(index)
	r.Use.Wall = time.Second
	if len(index) > 2 && index[len(index)-2:] == "51" {
		r.Out = []exec.File{{Path: "much/noise", Data: bytes.Repeat([]byte(index), 50_000)}, {Path: "none", Data: []byte{}}}
	}
	return r
}

func TestAnArrayRunGoesOnFromWhatACrashLeft(t *testing.T) {
	seed := rand.Uint64()
	for cores := uint64(1); cores <= 4; cores += 3 {
		const count = 1_200
		whole := newLives(t, seed, cores, count, lasting)
		whole.begin()
		want, use, err := whole.run(0)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		l := newLives(t, seed, cores, count, lasting)
		for life := 0; ; life++ {
			l.begin()
			kept := l.kept()
			if life > 0 && len(kept) == 0 {
				t.Fatalf("seed %d: nothing was kept in %d lives", seed, life)
			}
			stop := 0
			if life < 4 {
				stop = 100 + l.rng.IntN(150)
			}
			got, used, err := l.run(stop)
			for _, at := range l.ran {
				if slices.Contains(kept, at) {
					t.Fatalf("seed %d: task %d runs again in life %d, though its result was kept", seed, at, life)
				}
			}
			if stop > 0 {
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("seed %d: a run that is cut off ends with %v", seed, err)
				}
				continue
			}
			if err != nil || got.Tree.Cid != want.Tree.Cid || got.Code != want.Code {
				t.Fatalf("seed %d, %d cores: %s after crashes, %s without, %v", seed, cores, got, want, err)
			}
			if used.CPU != use.CPU || used.MemoryPeak != use.MemoryPeak {
				t.Errorf("seed %d: used %+v, %+v without crashes", seed, used, use)
			}
			if len(l.ran)+len(kept) != count {
				t.Errorf("seed %d: %d tasks ran and %d were kept, of %d", seed, len(l.ran), len(kept), count)
			}
			if first := l.told.done[0]; first == 0 {
				t.Errorf("seed %d: told to begin at %d", seed, first)
			}
			break
		}
	}
}

// A lane keeps its results every keepAfter, and later when what is not kept took
// a hundredth of the whole.
func TestWhatARestartCostsIsBounded(t *testing.T) {
	for crash, want := range map[int]int{ // while that task runs, the first of all being 1
		3: 0, 4: 3, 6: 3, 7: 6, 11: 9,
		12: 11,         // the eleventh took long, and was kept at once
		19: 11, 20: 19, // seven seconds are not a hundredth of 717, and eight are
	} {
		l := newLives(t, 1, 1, 100, func(index string) exec.Result {
			r := lasting(index)
			if index == "10" {
				r.Use.Wall = 700 * time.Second
			}
			return r
		})
		l.begin()
		if _, _, err := l.run(crash); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		l.begin()
		if kept := l.kept(); len(kept) != want {
			t.Errorf("cut off in task %d, it kept %d, want %d", crash, len(kept), want)
		}
		if _, _, err := l.run(0); err != nil || l.ran[0] != want || len(l.ran) != 100-want {
			t.Errorf("then it ran %v, %v, want those from %d", l.ran, err, want)
		}
	}
}

func TestTasksWhoseCheckpointIsOfNoUseRunAgain(t *testing.T) {
	for name, spoil := range map[string]func(*Member, *job) []byte{
		"gone": func(m *Member, j *job) []byte {
			if err := m.cfg.Store.Delete(t.Context(), j.checkpoints.blocks[2]); err != nil {
				t.Fatal(err)
			}
			return j.checkpoints.blocks[2].Bytes()
		},
		"damaged": func(m *Member, j *job) []byte {
			m.cfg.Store = damaged{m.cfg.Store, j.checkpoints.blocks[2]}
			return j.checkpoints.blocks[2].Bytes()
		},
		"of another job": func(m *Member, j *job) []byte {
			k := keeper{m: m, job: &job{id: consensus.JobID{8}}, ends: []kept{{6, lasting("6")}, {7, lasting("0")}, {8, lasting("8")}}}
			made, err := k.seal(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := m.cfg.Store.Put(t.Context(), made...); err != nil {
				t.Fatal(err)
			}
			return made[0].Cid().Bytes()
		},
	} {
		l := newLives(t, 1, 1, 40, lasting)
		l.begin()
		want, _, err := l.run(0) // nothing removes its checkpoints
		if err != nil {
			t.Fatal(err)
		}
		l.disk = l.disk.CrashClone(vfs.CrashCloneCfg{})
		l.begin()
		value := spoil(l.m, l.j)
		if err := l.m.cfg.Journal.Append(t.Context(), journal.Entry{Key: checkpointKey(l.j.id, 2), Value: value}); err != nil {
			t.Fatal(err)
		}
		l.j.checkpoints.blocks = nil
		if err := l.m.findCheckpoints(l.j); err != nil {
			t.Fatal(err)
		}
		got, _, err := l.run(0)
		if err != nil || got.Tree.Cid != want.Tree.Cid {
			t.Errorf("%s: %s after it, %s before, %v", name, got, want, err)
		}
		if !slices.Equal(l.ran, []int{6, 7, 8, 39}) { // the last one had not been kept
			t.Errorf("%s: ran %v", name, l.ran)
		}
	}
}

// damaged is a store that gives other bytes for one block than it was given.
type damaged struct {
	store.Blocks
	block cid.Cid
}

func (d damaged) Get(ctx context.Context, c cid.Cid) ([]byte, error) {
	data, err := d.Blocks.Get(ctx, c)
	if c == d.block {
		data[len(data)-1] ^= 1
	}
	return data, err
}

func TestResultsThatCannotBeTakenUpYetAreBounded(t *testing.T) {
	const count = maxEarly + 1_000
	l := newLives(t, 1, 1, count, lasting)
	l.begin()
	if _, _, err := l.run(0); err != nil {
		t.Fatal(err)
	}
	l.disk = l.disk.CrashClone(vfs.CrashCloneCfg{})
	l.begin()
	first := l.j.checkpoints.blocks[0]
	if err := l.m.cfg.Store.Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.run(0); err != nil || len(l.ran) < 900 || len(l.ran) > 1_100 {
		t.Errorf("%d tasks ran again, %v, want what is over the bound", len(l.ran), err)
	}
}

func TestCheckpointsGoWithTheirJob(t *testing.T) {
	for name, put := range map[string]func(b *bench, j consensustest.Job){
		"it has an outcome": func(b *bench, j consensustest.Job) {
			b.m.Decided(j.ID, consensus.Conclusion{Outcome: b.n.Decide(j, consensus.Value{Kind: consensus.Cancelled})}, Standing{}, nil)
		},
		"it went on without this node": func(b *bench, j consensustest.Job) { b.m.Expired(j.ID, nil) },
	} {
		t.Run(name, func(t *testing.T) { checkpointsGo(t, put) })
	}
}

func checkpointsGo(t *testing.T, put func(b *bench, j consensustest.Job)) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		b.offer(j, nil)
		open, _ := b.m.job(j.ID)
		k := keeper{m: b.m, job: open}
		results := func() {
			for i := range 6 {
				if err := k.add(t.Context(), i, lasting(strconv.Itoa(i))); err != nil {
					t.Fatal(err)
				}
			}
		}
		results()
		b.end()
		b.start()
		if _, err := b.m.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		open, _ = b.m.job(j.ID)
		k = keeper{m: b.m, job: open}
		made := open.checkpoints.list()
		for i, c := range made {
			if has, _ := b.Has(t.Context(), c); !has || !bytes.Equal(b.records.Held[string(checkpointKey(j.ID, i))], c.Bytes()) {
				t.Errorf("checkpoint %d is not there", i)
			}
		}
		put(b, j)
		pass(0)
		results() // of a run that has not stopped yet
		for i, c := range made {
			if has, _ := b.Has(t.Context(), c); has || b.records.Held[string(checkpointKey(j.ID, i))] != nil {
				t.Errorf("checkpoint %d is left", i)
			}
		}
		if len(made) != 2 || b.records.Held[string(checkpointKey(j.ID, 2))] != nil {
			t.Errorf("%d checkpoints before, or one after the outcome", len(made))
		}
	})
}
