package member

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/sched"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/storetest"
	"github.com/muster-network/muster/store/tree"
)

// lanes is an executor whose lanes go on in an order of chance: each takes some
// tasks ahead and hands their results on when it gets its turn.
type lanes struct {
	exec.Executor
	seed    uint64
	started atomic.Uint64
	end     func(index string) exec.Result
	turn    sync.Mutex
}

func (l *lanes) RunEach(ctx context.Context, _ exec.Request, next func() (exec.Task, bool, error), done func(exec.Result) error) error {
	r := rand.New(rand.NewPCG(l.seed, l.started.Add(1)))
	for {
		var indexes []string
		for range 1 + r.IntN(50) {
			t, ok, err := next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			for _, e := range t.Env {
				if at, is := strings.CutPrefix(e, "MUSTER_TASK_INDEX="); is {
					indexes = append(indexes, at)
				}
			}
		}
		if len(indexes) == 0 || ctx.Err() != nil {
			return ctx.Err()
		}
		for _, at := range indexes {
			l.turn.Lock() // lets others in between
			res := l.end(at)
			l.turn.Unlock()
			if err := done(res); err != nil {
				return err
			}
		}
	}
}

// told is agreement that remembers how far it was told a run is.
type told struct {
	Agreement
	mutex sync.Mutex
	done  []uint64
}

func (a *told) State(_ context.Context, _ consensus.JobID, s RunState) error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.done = append(a.done, s.Done)
	return nil
}

func greeting(index string) exec.Result {
	r := exec.Result{Kind: exec.Exited, Stdout: []byte("task " + index + "\n"), Use: exec.Use{CPU: time.Millisecond, MemoryPeak: 5}}
	switch {
	case strings.HasSuffix(index, "7"):
		r.Code = 3
	case strings.HasSuffix(index, "99"):
		r = exec.Result{Kind: exec.TimedOut}
	}
	return r
}

// arrayMember is a member with so many cores, and an open array job.
func arrayMember(t testing.TB, cores uint64, count uint64, e exec.Executor) (*Member, *job, *told) {
	t.Helper()
	a := &told{}
	var now atomic.Int64
	m := &Member{cfg: Config{Network: admission.Network{1}, Policy: admission.DefaultPolicy(), Agreement: a, Executor: e,
		Store: &storetest.Memory{}, Clock: func() int64 { return now.Add(100) }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))},
		queue: sched.NewQueue(sched.DefaultLimits()), waiting: map[place]waiting{},
		pool: sched.New(jobs.Resources{CPU: 1000 * cores, Memory: 1 << 30, Disk: 1 << 30})}
	j := &job{charter: &consensus.Charter{Limits: consensus.Limits{Output: 64 << 20, Input: 1 << 20}}, logs: newLogs(1 << 10),
		spec: &jobs.Spec{Resources: jobs.Resources{CPU: 100, Memory: 1 << 20}}, task: &jobs.Task{Array: &jobs.Array{Count: count}}}
	return m, j, a
}

func TestAnArrayResultDoesNotDependOnTheOrderInWhichTasksEnd(t *testing.T) {
	const count = 9_000 // more than may wait for an earlier one, on three pages
	var want string
	for cores := uint64(1); cores <= 8; cores += 7 {
		seed := rand.Uint64()
		m, j, told := arrayMember(t, cores, count, &lanes{seed: seed, end: greeting})
		if !m.pool.Reserve(j.spec.Resources) {
			t.Fatal("no room for the run")
		}
		v, use, err := m.runArray(t.Context(), j, 1, exec.Request{})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if want == "" {
			want = v.Tree.String()
		}
		if v.Tree.String() != want || v.Class != consensus.FailedTasks || v.Code != 990 {
			t.Errorf("seed %d, %d cores: %s of %s, want 990 failed of %s", seed, cores, v, v.Tree, want)
		}
		if use.CPU != (count-90)*time.Millisecond || use.MemoryPeak != 5 {
			t.Errorf("use %+v", use)
		}
		if err := m.checkArray(t.Context(), m.cfg.Store, j, v); err != nil {
			t.Error(err)
		}
		if free := m.pool.Free().CPU; free != 1000*cores-100 {
			t.Errorf("%d of %d are free after the run", free, 1000*cores)
		}
		for i, done := range told.done {
			if (done == 0) != (i == 0) || done > count || i > 0 && cores == 1 && told.done[i-1] >= done {
				t.Fatalf("told %v", told.done)
			}
		}
		chunks, _, err := j.logs.Next(t.Context(), 0, false)
		if err != nil || len(chunks) == 0 || !strings.HasPrefix(string(chunks[0].Data), "task 0\ntask 1\n") {
			t.Errorf("logs begin with %q, %v", chunks, err)
		}
	}
}

func TestLanesAreOneForEachCoreWhileNobodyWaits(t *testing.T) {
	m, j, _ := arrayMember(t, 4, 1, nil)
	if !m.pool.Reserve(j.spec.Resources) || m.spare(j.spec.Resources) != 3 || m.pool.Free().CPU != 3600 {
		t.Errorf("free after three lanes more: %+v", m.pool.Free())
	}
	if err := m.queue.Push(sched.Item{ID: consensus.JobID{1}}); err != nil {
		t.Fatal(err)
	}
	if m.spare(j.spec.Resources) != 0 || m.nobodyWaits() {
		t.Error("an array takes what another run waits for")
	}
}

func TestAFaultOfTheMachineFailsTheRunAndNoTask(t *testing.T) {
	end := func(index string) exec.Result {
		if index == "70" {
			return exec.Result{Kind: exec.Broken, Reason: "no memory"}
		}
		return greeting(index)
	}
	m, j, _ := arrayMember(t, 4, 100, &lanes{end: end})
	if _, _, err := m.runArray(t.Context(), j, 1, exec.Request{}); !errors.Is(err, errHost) {
		t.Errorf("a run on a broken machine: %v", err)
	}
	if m.pool.Free().CPU != 4000 {
		t.Errorf("not all was given back: %+v", m.pool.Free())
	}
	m, j, _ = arrayMember(t, 1, 5_000, &lanes{end: greeting})
	j.charter.Limits.Output = 100_000
	if _, _, err := m.runArray(t.Context(), j, 1, exec.Request{}); !errors.Is(err, errOutput) {
		t.Errorf("a result over the limit: %v", err)
	}
}

// What a member votes for must be whole, and an array result of this job.
func TestAnArrayResultThatIsNotOfTheJobIsNotHeld(t *testing.T) {
	m, j, _ := arrayMember(t, 1, 20, &lanes{end: greeting})
	v, _, err := m.runArray(t.Context(), j, 1, exec.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.checkTree(t.Context(), m.cfg.Store, j, v); err != nil {
		t.Fatal(err)
	}
	other := &job{charter: j.charter, task: &jobs.Task{Array: &jobs.Array{Count: 21}}}
	if m.checkTree(t.Context(), m.cfg.Store, other, v) == nil {
		t.Error("a result of 20 tasks is held for a job of 21")
	}
	other.task = &jobs.Task{}
	if m.checkTree(t.Context(), m.cfg.Store, other, v) == nil {
		t.Error("an array result is held for a plain job")
	}
	fewer := v
	fewer.Code--
	if m.checkTree(t.Context(), m.cfg.Store, j, fewer) == nil {
		t.Error("a value that counts fewer failures is held")
	}
	plain := consensus.Value{Kind: consensus.Result}
	link := dagcbor.LinkTo(cid.NewCidV1(cid.DagProtobuf, v.Tree.Hash()))
	plain.Tree = &link
	if m.checkTree(t.Context(), m.cfg.Store, j, plain) == nil {
		t.Error("a plain result is held for an array job")
	}
	data, err := m.cfg.Store.Get(t.Context(), v.Tree.Cid)
	if err != nil {
		t.Fatal(err)
	}
	a, err := consensus.OpenArray(m.cfg.Network, data, v)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cfg.Store.Delete(t.Context(), a.Pages[0].Cid); err != nil {
		t.Fatal(err)
	}
	if m.checkTree(t.Context(), m.cfg.Store, j, v) == nil {
		t.Error("an array result without its page is held")
	}
}

// What readers will make of each task's result is looked at, in packs and beside them.
func TestAnArrayResultWithATaskThatNobodyCanReadIsNotHeld(t *testing.T) {
	m, j, _ := arrayMember(t, 1, 3, nil)
	small, big := endlessResult(t, m.cfg.Store, ""), endlessResult(t, m.cfg.Store, strings.Repeat("x", tree.MaxPacked))
	written, err := tree.WriteResult(t.Context(), m.cfg.Store, tree.Result{Stdout: []byte("good")})
	if err != nil {
		t.Fatal(err)
	}
	good := dagcbor.LinkTo(written.Root)
	for name, c := range map[string]struct {
		third  dagcbor.Link
		packed bool
		good   bool
	}{
		"a result":                {good, true, true},
		"an endless one":          {small, true, false},
		"an endless, large one":   {big, true, false},
		"one that is in no block": {good, false, false},
	} {
		w := newArrayWriter(m.cfg.Network, m.cfg.Store, int64(j.charter.Limits.Output))
		for i := range 2 {
			if err := w.add(t.Context(), fmt.Sprint(i), exec.Result{Kind: exec.Exited, Stdout: []byte{byte(i)}}); err != nil {
				t.Fatal(err)
			}
		}
		if c.packed {
			err = w.packer.Tree(t.Context(), "2", m.cfg.Store, c.third.Cid, tree.Limits{Bytes: 1 << 20, Blocks: 100})
		} else {
			w.packer.Skip()
		}
		if err != nil {
			t.Fatal(err)
		}
		task := consensus.TaskOutcome{Index: 2, Name: "2", Outcome: consensus.Value{Kind: consensus.Result, Tree: &c.third}}
		w.outcomes, w.page = append(w.outcomes, task), append(w.page, consensus.PageTask(task))
		v, err := w.finish(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := m.checkTree(t.Context(), m.cfg.Store, j, v); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// array is the array result in which these are the trees of the tasks.
func (m *Member) array(t *testing.T, roots []cid.Cid, packs []consensus.ArrayPack, large []dagcbor.Link) consensus.Value {
	t.Helper()
	var page consensus.ArrayPage
	var outcomes []consensus.TaskOutcome
	for i, root := range roots {
		link := dagcbor.LinkTo(root)
		task := consensus.TaskOutcome{Index: uint64(i), Name: "task", Outcome: consensus.Value{Kind: consensus.Result, Tree: &link}}
		outcomes, page.Tasks = append(outcomes, task), append(page.Tasks, consensus.PageTask(task))
	}
	page.Packs, page.Large = packs, large
	put := func(data []byte, link dagcbor.Link, err error) dagcbor.Link {
		t.Helper()
		if err == nil {
			err = m.cfg.Store.Put(t.Context(), storetest.Block(t, cid.DagCBOR, data))
		}
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	leaves, err := consensus.NewArrayTree(m.cfg.Network, outcomes)
	if err != nil {
		t.Fatal(err)
	}
	a := consensus.ArrayResult{Count: uint64(len(roots)), Root: leaves.Root(), Pages: []dagcbor.Link{put(page.Seal(m.cfg.Network))}}
	return a.Value(put(a.Seal(m.cfg.Network)))
}

func TestWhatManyTasksNameIsReadOnce(t *testing.T) {
	const count, folders = 50, 100
	src := &storetest.Counted{Blocks: &storetest.Memory{}}
	m := &Member{cfg: Config{Network: admission.Network{1}, Store: src}}
	j := &job{charter: &consensus.Charter{Limits: consensus.Limits{Output: 64 << 20}}, task: &jobs.Task{Array: &jobs.Array{Count: count}}}
	r := tree.Result{Stdout: make([]byte, tree.MaxPacked)}
	for i := range folders {
		r.Out = append(r.Out, tree.File{Path: fmt.Sprintf("%d/file", i)})
	}
	written, err := tree.WriteResult(t.Context(), src, r)
	if err != nil {
		t.Fatal(err)
	}
	var one, many []cid.Cid
	var large []dagcbor.Link
	entries, err := tree.List(t.Context(), src, written.Root)
	if err != nil {
		t.Fatal(err)
	}
	for i := range count {
		stderr, err := tree.WriteFile(t.Context(), src, strings.NewReader(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		entries[2].CID = stderr.Root
		other, err := tree.WriteDirectory(t.Context(), src, entries)
		if err != nil {
			t.Fatal(err)
		}
		one, many = append(one, written.Root), append(many, other.Root)
		large = append(large, dagcbor.LinkTo(other.Root))
	}
	packer := tree.NewPacker(src)
	small, err := packer.Result(t.Context(), "task", tree.Result{})
	if err != nil {
		t.Fatal(err)
	}
	made, _, err := packer.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var packs []consensus.ArrayPack
	var packed []cid.Cid
	for range count {
		packs = append(packs, consensus.ArrayPack{Tasks: 1, File: dagcbor.LinkTo(made[0].File)})
		packed = append(packed, small.Root)
	}
	const head, shared = 2, 1 + folders + 1 // array and page; out, its folders, and the exit code
	for name, c := range map[string]struct {
		value consensus.Value
		most  int64
	}{
		"one tree":                {m.array(t, one, nil, []dagcbor.Link{dagcbor.LinkTo(written.Root)}), head + 1 + shared},
		"trees over one folder":   {m.array(t, many, nil, large), head + count + shared},
		"a pack, again and again": {m.array(t, packed, packs, nil), head + 1},
	} {
		src.Reads.Store(0)
		if err := m.checkTree(t.Context(), src, j, c.value); err != nil || src.Reads.Load() > c.most {
			t.Errorf("%s: %d blocks read, at most %d are there, %v", name, src.Reads.Load(), c.most, err)
		}
	}
}

// Many small files make many blocks of few bytes.
func TestAnArrayResultIsOfNoMoreBlocksThanOthersFetch(t *testing.T) {
	ends := func(task, files, size int) exec.Result {
		r := exec.Result{Kind: exec.Exited}
		for i := range files {
			r.Out = append(r.Out, exec.File{Path: fmt.Sprintf("%04d", i), Data: fmt.Appendf(nil, "%0*d", size, task*1_000+i)})
		}
		return r
	}
	const full, of = 65, 1_000         // tasks that leave so many files each
	const taken = full*(of+2) + 2 + 2  // each with root and out; exit code and nothing, page and array
	const left = maxBlocks - taken - 2 // files for the last
	for files, want := range map[int]error{left: nil, left + 1: errOutput} {
		src := &storetest.Memory{}
		m := &Member{cfg: Config{Network: admission.Network{1}, Store: src}}
		j := &job{charter: &consensus.Charter{Limits: consensus.Limits{Output: 64 << 20}}, task: &jobs.Task{Array: &jobs.Array{Count: full + 1}}}
		w := newArrayWriter(m.cfg.Network, src, int64(j.charter.Limits.Output))
		for i := range full {
			if err := w.add(t.Context(), fmt.Sprint(i), ends(i, of, 20)); err != nil {
				t.Fatal(err)
			}
		}
		err := w.add(t.Context(), "last", ends(full, files, 200))
		var v consensus.Value
		if err == nil {
			v, err = w.finish(t.Context())
		}
		if !errors.Is(err, want) {
			t.Fatalf("%d files at last: %v, want %v", files, err, want)
		}
		if want != nil {
			continue
		}
		blocks := 0
		err = tree.Walk(t.Context(), src, v.Tree.Cid, readable(j.charter.Limits.Output), func(cid.Cid, []byte) error { blocks++; return nil })
		if err != nil || blocks != maxBlocks {
			t.Errorf("%d blocks are fetched, %v", blocks, err)
		}
		if err := m.checkTree(t.Context(), src, j, v); err != nil {
			t.Error(err)
		}
	}
}

func TestATaskThatLeavesMoreThanReadersMayReadFailsTheRun(t *testing.T) {
	twice := make([]byte, tree.ChunkSize+1)
	end := func(string) exec.Result {
		return exec.Result{Kind: exec.Exited, Stdout: twice, Stderr: twice}
	}
	m, j, _ := arrayMember(t, 1, 1, &lanes{end: end})
	j.charter.Limits.Output = 2 << 20 // it takes half as much where blocks are counted once
	if _, _, err := m.runArray(t.Context(), j, 1, exec.Request{}); !errors.Is(err, errOutput) {
		t.Errorf("%v, want %v", err, errOutput)
	}
}
