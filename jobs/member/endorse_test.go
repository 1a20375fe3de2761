package member

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/tree"
)

// left is a value that another member left, whose blocks are here.
func (b *bench) left(stdout string) (consensus.Value, consensus.Hash) {
	b.t.Helper()
	written, err := tree.WriteResult(context.Background(), b, tree.Result{Stdout: []byte(stdout), Out: []tree.File{{Path: "a/b", Data: []byte("c")}}})
	if err != nil {
		b.t.Fatal(err)
	}
	link := dagcbor.LinkTo(written.Root)
	return consensus.Value{Kind: consensus.Result, Tree: &link}, consensus.Hash{byte(len(stdout))}
}

// verdicts are what agreement was told.
func (b *bench) verdicts() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return strings.Join(slices.DeleteFunc(slices.Clone(b.done), func(s string) bool { return s != "endorses" && s != "rejects" }), ", ")
}

func TestWhatACheckEndsInIsItsVerdict(t *testing.T) {
	for _, test := range []struct {
		end  exec.Result
		says string
	}{
		{exec.Result{Kind: exec.Exited}, "endorses"},
		{exec.Result{Kind: exec.Exited, Code: 1}, "rejects"},
		{exec.Result{Kind: exec.Trapped, Code: 0}, "rejects"},
		{exec.Result{Kind: exec.Limited, Code: exec.LimitMemory}, "rejects"},
		{exec.Result{Kind: exec.TimedOut}, "rejects"},
		{exec.Result{Kind: exec.Broken, Reason: "no worker"}, ""},
	} {
		play(t, func(t *testing.T, b *bench) {
			b.check = "check"
			b.run = func(context.Context) (exec.Result, error) { return test.end, nil }
			j := b.accepted("first")
			v, hash := b.left("42")
			for times := 1; times <= 2; times++ {
				b.done = nil
				b.m.Check(j.ID, v, hash)
				pass(time.Second)
				if got := b.verdicts(); got != test.says {
					t.Errorf("%s %d, asked for %d times: %q", test.end.Kind, test.end.Code, times, got)
				}
			}
			b.wantLoad(t, 1, 0, 0)
		})
	}
}

func TestACheckFindsTheResultAndHowItEnded(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.check = "check"
		j := b.accepted("first")
		if b.opened[0].Check != j.Timeout {
			t.Errorf("agreement waits for %d ms", b.opened[0].Check)
		}
		v, hash := b.left("42")
		b.m.Check(j.ID, v, hash)
		pass(time.Second)
		if len(b.requests) != 1 {
			t.Fatalf("%d runs", len(b.requests))
		}
		r := b.requests[0]
		var files []string
		for _, f := range r.Inputs {
			files = append(files, f.Path+" "+string(f.Data))
		}
		if got := strings.Join(files, ", "); got != "result/exit 0\n, result/out/a/b c, result/stderr , result/stdout 42" {
			t.Errorf("it finds %q", got)
		}
		if string(r.Module) != "check" || !slices.Equal(r.Args, []string{"check.wasm", "strictly"}) || !slices.Equal(r.Env, []string{"MUSTER_END=result"}) ||
			r.Timeout != time.Duration(j.Timeout)*time.Millisecond || r.Task == [32]byte{} {
			t.Errorf("%s %q %q for %s", r.Module, r.Args, r.Env, r.Timeout)
		}
	})
}

// A check takes what a run takes, and waits for it, beside the run of its own job.
func TestACheckWaitsForItsResourcesAndIsStoppedWithItsJob(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.check = "check"
		finish := crowded(b)
		j := b.accepted("first")
		b.m.Execute(j.ID, 1)
		pass(0)
		first, firstHash := b.left("1")
		second, secondHash := b.left("22")
		for range 2 { // asking again changes nothing
			b.m.Check(j.ID, first, firstHash)
			b.m.Check(j.ID, second, secondHash)
		}
		pass(time.Second)
		b.wantLoad(t, 1, 2, 1)
		finish <- exec.Result{Kind: exec.Exited}
		pass(0)
		b.m.Check(j.ID, first, firstHash)
		pass(0)
		b.wantLoad(t, 1, 1, 1)
		open, _ := b.m.job(j.ID)
		b.m.stopRuns(open)
		pass(0)
		b.wantLoad(t, 1, 0, 0)
		b.m.Check(j.ID, first, firstHash)
		pass(0)
		b.wantLoad(t, 1, 0, 0)
		if got := b.verdicts(); got != "" {
			t.Errorf("says %q", got)
		}
	})
}

func TestAJobWhoseCheckCannotBeIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*jobs.Task)
		why   string
	}{
		"inputs of its own":   {spoil: func(c *jobs.Task) { l := consensustest.Link("in"); c.Inputs = &l }, why: "invalid: a check has no inputs"},
		"more memory":         {spoil: func(c *jobs.Task) { c.Limits.Memory = 1 << 39 }, why: "invalid: the limits of the check"},
		"more output":         {spoil: func(c *jobs.Task) { c.Limits.Stream = 1 << 30 }, why: "invalid: the check writes more"},
		"a module that is no": {spoil: func(c *jobs.Task) { c.Module = consensustest.Link("nowhere") }, why: "missing: module"},
	} {
		play(t, func(t *testing.T, b *bench) {
			b.check, b.spoil = "check", test.spoil
			b.offer(b.job(as, as), nil)
			if got := b.refusals(); len(got) != 1 || !strings.HasPrefix(got[0], test.why) {
				t.Errorf("%s: %q", name, got)
			}
		})
	}
}
