package member

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/storetest"
	"github.com/muster-network/muster/store/tree"
)

// accepted is a job that is open here, one of several.
func (b *bench) accepted(request string) consensustest.Job {
	b.t.Helper()
	j := b.job(func(c *consensus.Charter) {
		id, err := consensus.NewRequestID(b.n.ID, c.Owner, request)
		if err != nil {
			b.t.Fatal(err)
		}
		c.Request = id
	}, as)
	b.offer(j, nil)
	if _, open := b.m.Job(j.ID); !open {
		b.t.Fatalf("refused: %q", b.refused)
	}
	return j
}

// pass lets time pass, and waits until nothing is left to do at its end.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// crowded has room for one run at a time, which lasts until the test ends it.
func crowded(b *bench) (finish chan exec.Result) {
	finish = make(chan exec.Result)
	b.total.CPU = jobs.DefaultCPU
	b.run = func(ctx context.Context) (exec.Result, error) {
		select {
		case r := <-finish:
			return r, nil
		case <-ctx.Done():
			return exec.Result{}, ctx.Err()
		}
	}
	b.end()
	b.start()
	return finish
}

func (b *bench) wantLoad(t *testing.T, open, queued, running int) {
	t.Helper()
	l := b.m.Load()
	if l.Open != open || l.Queued != queued || l.Running != running || (l.Free == l.Total) != (running == 0) {
		t.Errorf("%d open, %d queued, %d running, want %d, %d, %d; %+v free of %+v", l.Open, l.Queued, l.Running, open, queued, running, l.Free, l.Total)
	}
}

func TestARunWaitsForItsResourcesAndStartsWhenAnotherGivesThemBack(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		finish := crowded(b)
		first, second := b.accepted("first"), b.accepted("second")
		b.done = nil
		b.m.Execute(first.ID, 1)
		pass(0)
		b.m.Execute(second.ID, 1)
		pass(time.Second)
		b.wantLoad(t, 2, 1, 1)
		if wait := b.m.Load().OldestWait; wait != 1000 {
			t.Errorf("the queue has waited for %d ms", wait)
		}
		if got := strings.Join(b.done, ", "); got != "runs, waits" {
			t.Errorf("did %s", got)
		}
		b.done = nil
		finish <- exec.Result{Kind: exec.Exited, Code: 3}
		pass(0)
		b.wantLoad(t, 2, 0, 1)
		if ran := slices.DeleteFunc(b.done, func(s string) bool { return s == "put" || s == "sync" }); len(ran) != 2 || !strings.HasPrefix(ran[0], "ran failed") || ran[1] != "runs" {
			t.Errorf("did %q", ran)
		}
		finish <- exec.Result{Kind: exec.Exited}
		pass(0)
		b.wantLoad(t, 2, 0, 0)
	})
}

func TestAJobWithItsOutcomeLeavesTheQueueAndItsRunIsStopped(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		crowded(b)
		running, queued := b.accepted("running"), b.accepted("queued")
		b.m.Execute(running.ID, 1)
		pass(0)
		b.m.Execute(queued.ID, 1)
		pass(0)
		b.done = nil
		for i, j := range []consensustest.Job{queued, running} {
			b.m.Decided(j.ID, consensus.Conclusion{Outcome: b.n.Decide(j, consensus.Value{Kind: consensus.Cancelled})}, Standing{}, nil)
			pass(0)
			b.wantLoad(t, 1-i, 0, 1-i)
		}
		if got := strings.Join(b.done, ", "); got != "append, append" {
			t.Errorf("did %s: nothing is left to report", got)
		}
	})
}

func TestARunThatEndsWithTheNodeOrItsJobWhileItIsPreparedIsNotReported(t *testing.T) {
	for name, stop := range map[string]func(*bench, consensustest.Job){
		"the node goes down": func(b *bench, _ consensustest.Job) { b.end() },
		"the job has its outcome": func(b *bench, j consensustest.Job) {
			open, _ := b.m.job(j.ID)
			b.m.stopRuns(open)
			pass(0)
		},
	} {
		play(t, func(t *testing.T, b *bench) {
			j := b.accepted("job")
			b.m.modules, b.slow, b.done = newModuleCache(), time.Hour, nil // the module is to be fetched again
			b.m.Execute(j.ID, 1)
			pass(time.Second)
			if stop(b, j); !slices.Equal(b.done, []string{"runs"}) {
				t.Errorf("%s: did %q", name, b.done)
			}
		})
	}
}

func TestARunThatCameToNothingIsReportedWithWhetherItsProgramMayHaveBegun(t *testing.T) {
	for _, c := range []struct {
		what   string
		result exec.Result
		err    error
		want   string
		class  consensus.Failure
	}{
		{what: "no word", err: errors.New("no worker"), want: "began, and ran ", class: consensus.FailedHost},
		{what: "no worker", result: exec.Result{Kind: exec.Broken}, want: "ran ", class: consensus.FailedHost},
		{what: "a worker that died", result: exec.Result{Kind: exec.Broken, Begun: true}, want: "began, and ran ", class: consensus.FailedHost},
		{what: "its time over", result: exec.Result{Kind: exec.TimedOut, Begun: true}, want: "began, and ran ", class: consensus.FailedTimeout},
	} {
		play(t, func(t *testing.T, b *bench) {
			b.run = func(context.Context) (exec.Result, error) { return c.result, c.err }
			j := b.accepted("job")
			b.m.Execute(j.ID, 1)
			pass(0)
			if last, want := b.done[len(b.done)-1], c.want+(consensus.Value{Kind: consensus.Failed, Class: c.class}).String(); last != want {
				t.Errorf("%s: %s, want %s", c.what, last, want)
			}
			b.wantLoad(t, 1, 0, 0)
		})
	}
}

// What would be written over a job that is open would go with it.
func TestOfAJobThatIsOpenNoOthersWordOfItsEndIsKept(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.accepted("job")
		cancelled := consensus.Value{Kind: consensus.Cancelled}
		certificate, err := dagcbor.Marshal(b.n.Certify(j, b.n.Decide(j, cancelled)))
		if err != nil {
			t.Fatal(err)
		}
		keep := func() error {
			return b.m.Keep(t.Context(), consensus.Verdict{Job: j.ID, Charter: j.Charter, Value: cancelled}, Closed{Certificate: certificate, Seats: []Seat{}})
		}
		if err := keep(); !errors.Is(err, ErrOpen) {
			t.Errorf("open: %v", err)
		}
		b.m.Abandoned(j.ID)
		if err := keep(); !errors.Is(err, ErrOpen) {
			t.Errorf("open, without its place: %v", err)
		}
		b.m.Expired(j.ID, nil)
		pass(0)
		if err := keep(); err != nil {
			t.Errorf("put away: %v", err)
		}
		if archived, err := b.m.Archived(j.ID); !archived || err != nil {
			t.Errorf("kept: %t, %v", archived, err)
		}
	})
}

func TestNothingIsKeptOfAJobThatNeverStartedOnceItsDeadlineHasPassed(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.accepted("job")
		record := []byte("r/one")
		b.records.Held[string(record)] = []byte{1}
		b.m.Abandoned(j.ID)
		b.wantLoad(t, 0, 0, 0) // its place is given up
		if _, shown := b.m.Job(j.ID); shown || len(b.records.Held[string(keyOf(prefixOpen, j.ID))]) == 0 {
			t.Fatalf("shown: %t, or a late witness could not start it any more", shown)
		}
		pass(time.Duration(b.n.Genesis.Policy.Deadline+1) * time.Millisecond)
		b.told, b.fail = nil, errors.New("disk full")
		b.m.Expired(j.ID, [][]byte{record})
		pass(0)
		if _, open := b.m.job(j.ID); !open || len(b.told) != 0 {
			t.Errorf("open: %t, told %q, though its records are on disk", open, b.told)
		}
		b.fail, b.done = nil, nil
		b.m.Expired(j.ID, [][]byte{record})
		b.m.Expired(j.ID, [][]byte{record})
		pass(0)
		if _, open := b.m.job(j.ID); open || !slices.Equal(b.told, []string{"expired"}) || !slices.Equal(b.done, []string{"append"}) {
			t.Errorf("open: %t, told %q, did %q", open, b.told, b.done)
		}
		for key := range b.records.Held {
			if !strings.HasPrefix(key, "n/") {
				t.Errorf("%q is left", key)
			}
		}
		b.offer(j, nil)
		if len(b.opened) != 1 || len(b.refused) != 1 || !strings.HasPrefix(b.refused[0], RefusePast) {
			t.Errorf("offered again: opened %d, refused %q", len(b.opened), b.refused)
		}
	})
}

// A member waits for blocks as long as they are of use: of an offer, until its
// submitter waits no more; of a job that has started, even after its deadline, for
// its end is still to be voted on.
func TestBlocksAreWaitedForAsLongAsTheyAreOfUse(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		policy := b.n.Genesis.Policy
		j := b.job(as, as)
		b.slow = time.Hour
		b.offer(j, nil)
		pass(time.Duration(policy.Accept-100) * time.Millisecond)
		if early := b.refusals(); len(early) != 0 {
			t.Errorf("refused before accept_by: %q", early)
		}
		pass(200 * time.Millisecond)
		if len(b.refused) != 1 || !strings.HasPrefix(b.refused[0], RefuseMissing) {
			t.Errorf("after accept_by, refused: %q", b.refused)
		}
	})
	play(t, func(t *testing.T, b *bench) {
		policy := b.n.Genesis.Policy
		j := b.job(as, as)
		pass(time.Duration(policy.Deadline+1) * time.Millisecond)
		b.slow = skew * time.Millisecond / 8 // roll, spec, task and module, one after the other
		b.offer(j, nil, b.accepts(j, 0, 1, 2)...)
		pass(skew * time.Millisecond)
		if len(b.opened) != 1 || len(b.refused) != 0 {
			t.Errorf("opened %d, refused %q", len(b.opened), b.refused)
		}
	})
}

// value is a result whose tree is at a place, and what rides along with it.
func (b *bench) value(stdout string, at store.Blocks) (consensus.Value, []consensus.Block) {
	b.t.Helper()
	written, err := tree.WriteResult(b.t.Context(), at, tree.Result{Stdout: []byte(stdout)})
	if err != nil {
		b.t.Fatal(err)
	}
	link := dagcbor.LinkTo(written.Root)
	v := consensus.Value{Kind: consensus.Result, Tree: &link}
	from := &Member{cfg: Config{Store: at}}
	return v, from.Inline(b.t.Context(), v)
}

func (b *bench) holds(v consensus.Value) bool {
	err := tree.Walk(b.t.Context(), &b.Memory, v.Tree.Cid, tree.Limits{Bytes: 1 << 20, Blocks: 100}, func(cid.Cid, []byte) error { return nil })
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		b.t.Error(err)
	}
	return err == nil
}

func TestAValueIsHeldWhenItsTreeIsSyncedWhereverItComesFrom(t *testing.T) {
	from := []admission.Key{{}}
	play(t, func(t *testing.T, b *bench) {
		j := b.accepted("job")
		along, blocks := b.value("rode along", new(storetest.Memory))
		b.m.Blocks(j.ID, blocks)
		if b.holds(along) {
			t.Error("what nobody votes for is stored")
		}
		fetched, _ := b.value("is with the others", &b.others)
		for _, v := range []consensus.Value{along, fetched, fetched} { // at last it is here already
			b.done = nil
			b.m.Fetch(j.ID, v, consensus.Hash{1}, nil, from)
			pass(time.Millisecond)
			if n := len(b.done); n < 2 || b.done[n-2] != "sync" || b.done[n-1] != "held" || !b.holds(v) {
				t.Errorf("%s: did %q, holds %t", v, b.done, b.holds(v))
			}
		}
	})
}

func TestAResultOfWhichOnlyAPartCameIsCompletedWhenItIsDecided(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.accepted("job")
		v, _ := b.value("is with the others", &b.others)
		root, err := b.others.Get(t.Context(), v.Tree.Cid)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.keep(t.Context(), v.Tree.Cid, root); err != nil { // a fetch ended here
			t.Fatal(err)
		}
		b.m.Decided(j.ID, consensus.Conclusion{Outcome: b.n.Decide(j, v)}, Standing{}, nil)
		pass(time.Second)
		if !b.holds(v) {
			t.Error("the rest was not fetched")
		}
	})
}

func TestAValueIsFetchedOnceAtATimeAndAgainWhenThatFailed(t *testing.T) {
	from := []admission.Key{{}}
	play(t, func(t *testing.T, b *bench) {
		j := b.accepted("job")
		v, _ := b.value("late", new(storetest.Memory))
		b.slow, b.done = time.Second, nil
		b.fetches.Store(0)
		for range 3 { // more members say that they hold it
			b.m.Fetch(j.ID, v, consensus.Hash{1}, nil, from)
			pass(100 * time.Millisecond)
		}
		if b.fetches.Load() != 1 {
			t.Errorf("%d fetches at a time", b.fetches.Load())
		}
		pass(2 * time.Second)
		if b.fetches.Load() != 2 || slices.Contains(b.done, "held") { // those are asked whom the first did not
			t.Errorf("%d fetches, did %q", b.fetches.Load(), b.done)
		}
		b.value("late", &b.others) // now somebody has it
		b.m.Fetch(j.ID, v, consensus.Hash{1}, nil, from)
		pass(2 * time.Second)
		if b.fetches.Load() != 3 || b.done[len(b.done)-1] != "held" {
			t.Errorf("%d fetches, did %q", b.fetches.Load(), b.done)
		}
	})
}

func TestAFetchThatIsUnderWayAnswersTheFormsThatWereAskedForLast(t *testing.T) {
	from := []admission.Key{{}}
	play(t, func(t *testing.T, b *bench) {
		j := b.accepted("job")
		v, _ := b.value("late", &b.others)
		b.slow, b.done = time.Second, nil
		b.fetches.Store(0)
		b.m.Fetch(j.ID, v, consensus.Hash{1}, []consensus.Hash{{9}}, from) // which it does not come to
		pass(100 * time.Millisecond)
		b.m.Fetch(j.ID, v, consensus.Hash{1}, nil, from) // certified meanwhile
		pass(2 * time.Second)
		if b.fetches.Load() != 1 || b.done[len(b.done)-1] != "held" {
			t.Errorf("%d fetches, did %q", b.fetches.Load(), b.done)
		}
	})
}

// What a liar reports may take long to look at.
func TestALargeValueIsJudgedOnceAtATimeByNoWorkerAndNotPastTheEndOfItsJob(t *testing.T) {
	from := []admission.Key{{}}
	play(t, func(t *testing.T, b *bench) {
		j := b.accepted("job")
		r := tree.Result{Stdout: make([]byte, 2*consensus.MaxInline)}
		for i := range 20 {
			r.Out = append(r.Out, tree.File{Path: fmt.Sprintf("%d/file", i), Data: []byte{byte(i)}})
		}
		written, err := tree.WriteResult(t.Context(), &b.others, r)
		if err != nil {
			t.Fatal(err)
		}
		link := dagcbor.LinkTo(written.Root)
		lie := consensus.Value{Kind: consensus.Failed, Class: consensus.FailedExit, Code: 3, Tree: &link}
		along, blocks := b.value("rode along", new(storetest.Memory))
		b.m.Blocks(j.ID, blocks)
		judged := func() int { // at this moment
			b.m.mutex.Lock()
			defer b.m.mutex.Unlock()
			return len(b.m.open[j.ID].judging)
		}
		b.read, b.done = time.Second, nil
		b.fetches.Store(0)
		for range 2 * workers {
			b.m.Fetch(j.ID, lie, consensus.Hash{1}, nil, from)
			pass(100 * time.Millisecond)
		}
		b.m.Fetch(j.ID, along, consensus.Hash{2}, nil, from)
		pass(10 * time.Second)
		if judged() != 1 || !slices.Contains(b.done, "held") {
			t.Errorf("the large one keeps the small one waiting: did %q", b.done)
		}
		pass(time.Minute)
		if b.fetches.Load() != 1 || judged() != 0 {
			t.Errorf("fetched and judged %d times", b.fetches.Load())
		}
		b.m.Fetch(j.ID, lie, consensus.Hash{1}, nil, from)
		pass(5 * time.Second)
		b.m.Decided(j.ID, consensus.Conclusion{Outcome: b.n.Decide(j, consensus.Value{Kind: consensus.Cancelled})}, Standing{}, nil)
		pass(5 * time.Second)
		before := b.reads.Load()
		pass(time.Minute)
		if b.fetches.Load() != 2 || b.reads.Load() != before {
			t.Errorf("%d blocks read for a job that has ended, %d fetches", b.reads.Load()-before, b.fetches.Load())
		}
	})
}

func TestAValueWhoseTreeIsNoResultIsNotHeld(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.accepted("job")
		endless := endlessResult(t, &b.others, "")
		for name, root := range map[string]*dagcbor.Link{"the roll": &j.Roll, "an endless one": &endless} {
			b.done = nil
			v := consensus.Value{Kind: consensus.Result, Tree: root}
			b.m.Fetch(j.ID, v, consensus.Hash{1}, nil, []admission.Key{{}})
			pass(time.Second)
			if did := slices.Compact(b.done); !slices.Equal(did, []string{"put"}) {
				t.Errorf("%s: did %q, want it fetched and no more", name, did)
			}
		}
	})
}

// endlessResult is a result of few blocks, of which the folder out has two to the
// power of fifty files.
func endlessResult(t *testing.T, blocks store.Blocks, stdout string) dagcbor.Link {
	t.Helper()
	written := func(written tree.Tree, err error) cid.Cid {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return written.Root
	}
	file := func(text string) cid.Cid {
		return written(tree.WriteFile(t.Context(), blocks, strings.NewReader(text)))
	}
	out := file("x")
	for range 50 {
		out = written(tree.WriteDirectory(t.Context(), blocks, []tree.Node{{Name: "a", CID: out}, {Name: "b", CID: out}}))
	}
	return dagcbor.LinkTo(written(tree.WriteDirectory(t.Context(), blocks, []tree.Node{
		{Name: "exit", CID: file("0\n")}, {Name: "out", CID: out}, {Name: "stderr", CID: file("")}, {Name: "stdout", CID: file(stdout)},
	})))
}
