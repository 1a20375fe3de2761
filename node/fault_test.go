package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
	"github.com/muster-network/muster/node"
)

// lab is a network of nodes in this process, with faults of a test's choice.
type lab struct {
	t     *testing.T
	ctx   context.Context
	dir   string
	nodes []*node.Node
	ends  []func()
}

func newLab(t *testing.T, size int, policy admission.Policy, faults func(i int) node.Faults) *lab {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	t.Cleanup(cancel)
	l := &lab{t: t, ctx: ctx, dir: t.TempDir()}
	for i := range size {
		home := l.home(i)
		if i == 0 {
			_, err := node.CreateNetwork(home, node.CreateOptions{Name: "lab", Testnet: true, Policy: policy})
			l.must(err)
		} else {
			ticket, err := l.nodes[0].Invite(ctx, api.InviteRequest{})
			l.must(err)
			_, err = node.Join(ctx, home, ticket.Ticket)
			l.must(err)
		}
		l.start(home, faults(i))
	}
	meet(t, l.nodes)
	return l
}

func (l *lab) home(i int) string { return filepath.Join(l.dir, fmt.Sprint(i)) }

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) start(home string, f node.Faults) {
	l.t.Helper()
	ready := make(chan node.Ready, 1)
	n, err := node.OpenWith(node.Config{Home: home, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, CPU: 8_000,
		Log: slog.New(slog.DiscardHandler), Ready: func(r node.Ready) { ready <- r }}, f)
	l.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	end := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("run: %v", err)
		}
	})
	l.t.Cleanup(end)
	l.nodes, l.ends = append(l.nodes, n), append(l.ends, end)
	select {
	case <-ready:
	case err := <-done:
		l.t.Fatalf("node ended: %v", err)
	case <-l.ctx.Done():
		l.t.Fatal("not ready")
	}
}

// await polls until done.
func (l *lab) await(what string, done func() bool) {
	l.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-l.ctx.Done():
			l.t.Fatalf("in vain waited until %s", what)
		}
	}
}

// all reports whether every node but the first is as wanted.
func (l *lab) all(wanted func(api.Node) bool) bool {
	return !slices.ContainsFunc(l.nodes[1:], func(n *node.Node) bool {
		info, err := n.Node(l.ctx)
		l.must(err)
		return !wanted(info)
	})
}

// ended waits on a node for the end of a job.
func (l *lab) ended(n *node.Node, id string) jobs.Job {
	l.t.Helper()
	j, err := n.Wait(l.ctx, id)
	l.must(err)
	if !j.State.Terminal() {
		l.t.Fatalf("the job is %s: %+v", j.State, j)
	}
	return j
}

func TestMembersThatAcceptTowardsADyingSubmitterOnlyKeepAndRunNothing(t *testing.T) {
	p := testPolicy()
	p.NoSubmitter, p.Accept, p.Start = true, 5_000, 5_000
	var submitter atomic.Pointer[admission.Key]
	l := newLab(t, 5, p, func(i int) node.Faults {
		return node.Faults{Lose: func(to admission.Key) bool { return i > 0 && submitter.Load() != nil && to != *submitter.Load() }}
	})
	key := l.nodes[0].Key()
	submitter.Store(&key)
	file := hello("Ada", 4)
	l.must(file.Run.Timeout.UnmarshalText([]byte("1s")))
	l.must(file.Deadline.UnmarshalText([]byte("7s")))
	answer := make(chan error, 1)
	go func() {
		_, err := l.nodes[0].Submit(l.ctx, file, server.SubmitOptions{Key: "key"})
		answer <- err
	}()
	l.await("all members have accepted", func() bool { return l.all(func(n api.Node) bool { return n.Queue.Open == 1 }) })
	l.ends[0]()
	if err := <-answer; err == nil {
		t.Error("it was acknowledged")
	}
	l.await("all have given up their place", func() bool { return l.all(func(n api.Node) bool { return n.Queue.Open == 0 }) })
	if !l.all(func(n api.Node) bool { return n.Queue.Running+n.Queue.Queued == 0 }) {
		t.Error("something runs")
	}
	l.await("nothing of it is kept", func() bool {
		left := 0
		for _, n := range l.nodes[1:] {
			count, err := n.OpenRecords()
			l.must(err)
			left += count
		}
		return left == 0
	})
	for _, n := range l.nodes[1:] {
		list, _, err := n.List(l.ctx, server.ListQuery{Limit: 10})
		l.must(err)
		if len(list) != 0 {
			t.Errorf("a job is left: %+v", list)
		}
	}
}

func TestAProgramThatDiffersFromNodeToNodeFailsByDisagreement(t *testing.T) {
	l := newLab(t, 4, testPolicy(), func(i int) node.Faults {
		return node.Faults{Run: func(r *exec.Result) {
			if string(r.Stdout) == "Hello, Ada\n" {
				r.Stdout = append(r.Stdout, byte('0'+i))
			}
		}}
	})
	j := certified(t, l.nodes[0], hello("Ada", 4))
	if j.State != jobs.Failed || j.Outcome.Class != "disagreement" || j.Outcome.Result != "" {
		t.Fatalf("job: %+v, outcome %+v", j, j.Outcome)
	}
	verify(t, l.nodes[1], j)
	if j := certified(t, l.nodes[2], hello("Bob", 4)); j.State != jobs.Succeeded {
		t.Errorf("afterwards: %+v", j)
	}
}

// large is a program that prints more than rides along with a message.
func large(t *testing.T, n *node.Node) *jobs.File {
	t.Helper()
	const iovec, size, written = 16, 100_000, 24
	program := asm.Program{Imports: []asm.Import{asm.WASI("fd_write", 4)}, Pages: 3, Code: asm.Join(
		asm.Const(iovec), asm.Const(64), asm.Store(0),
		asm.Const(iovec), asm.Const(size), asm.Store(4),
		asm.Const(1), asm.Const(iovec), asm.Const(1), asm.Const(written), asm.Call(0), asm.Drop)}
	blob, err := n.PutFile(context.Background(), bytes.NewReader(program.Module()))
	if err != nil {
		t.Fatal(err)
	}
	f := jobs.FileFor("cid:"+blob.CID, nil)
	f.Run.Quorum.Size = 4
	return f
}

func TestRoundsDoNotRunAwayWhileAMemberFetchesTheResult(t *testing.T) {
	p := testPolicy()
	p.NoSubmitter, p.Round, p.Beat = true, 50, 30_000 // no executor seems silent: nobody else runs
	var submitter atomic.Pointer[admission.Key]
	released := make(chan struct{})
	l := newLab(t, 5, p, func(int) node.Faults {
		return node.Faults{Fetch: func(ctx context.Context, from []admission.Key) error {
			if submitter.Load() == nil || slices.Equal(from, []admission.Key{*submitter.Load()}) {
				return nil // module and inputs
			}
			select {
			case <-released:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
	})
	key := l.nodes[0].Key()
	submitter.Store(&key)
	file := large(t, l.nodes[0])
	begun := time.Now()
	j, err := l.nodes[0].Submit(l.ctx, file, server.SubmitOptions{})
	l.must(err)
	// Two executors hold the result, and the other two have to fetch it first.
	reached := 0
	l.await("members have passed ten rounds in vain", func() bool {
		now, err := l.nodes[0].Job(l.ctx, j.ID)
		l.must(err)
		if now.State.Terminal() {
			t.Fatalf("decided by members that do not hold the result: %+v", now)
		}
		reached = now.Round
		return reached >= 10
	})
	// Rounds last 50 ms * 1.5^r at least, so that many take so long.
	if most := math.Log(1+time.Since(begun).Seconds()/0.1)/math.Log(1.5) + 1; float64(reached) > most {
		t.Errorf("round %d after %s: %.1f at most", reached, time.Since(begun), most)
	}
	close(released)
	end := l.ended(l.nodes[0], j.ID)
	if end.State != jobs.Succeeded {
		t.Fatalf("job: %+v", end)
	}
	// Whatever lay between them, all four are in step within a few rounds.
	if end.Round > reached+5 {
		t.Errorf("decided in round %d, %d rounds after the result could be fetched", end.Round, end.Round-reached)
	}
}

// A submitter that is drawn, and whose own member could not accept, has a seat and
// no machine for the job: it keeps the outcome as one that was not drawn would.
func TestASubmitterWithAnEmptySeatKeepsTheOutcome(t *testing.T) {
	l := newLab(t, 4, testPolicy(), func(i int) node.Faults {
		if i > 0 {
			return node.Faults{}
		}
		return node.Faults{Fetch: func(context.Context, []admission.Key) error { return errors.New("nothing comes") }}
	})
	j, err := l.nodes[0].Submit(l.ctx, large(t, l.nodes[0]), server.SubmitOptions{})
	l.must(err)
	if end := l.ended(l.nodes[0], j.ID); end.State != jobs.Succeeded {
		t.Fatalf("%+v", end)
	}
	l.await("the outcome is kept, and the submission forgotten", func() bool {
		id, forgotten, err := l.nodes[0].Keeps(j.Request)
		l.must(err)
		return id == j.ID && forgotten
	})
	told, err := l.nodes[0].Job(l.ctx, j.Request)
	l.must(err)
	for _, m := range told.Members {
		if self := m.Peer == l.nodes[0].Key().String(); self == (m.Started || m.Prepared) {
			t.Errorf("%s: %+v", m.Name, m)
		}
	}
	if told.ID != j.ID || len(told.Members) != 4 {
		t.Errorf("its request id names %+v", told)
	}
}

// Members tell a submitter without a seat once how its job ended. One that was down
// then asks, and has the certificate when the members are gone.
func TestASubmitterThatWasDownWhenItsJobEndedAsksForTheOutcome(t *testing.T) {
	p := testPolicy()
	p.NoSubmitter = true
	down := make(chan struct{})
	l := newLab(t, 5, p, func(int) node.Faults {
		return node.Faults{Run: func(*exec.Result) { <-down }}
	})
	j, err := l.nodes[0].Submit(l.ctx, hello("Ada", 4), server.SubmitOptions{})
	l.must(err)
	l.ends[0]()
	close(down)
	for _, n := range l.nodes[1:] {
		if end := l.ended(n, j.ID); end.State != jobs.Succeeded {
			t.Fatalf("%+v", end)
		}
	}
	l.start(l.home(0), node.Faults{})
	again := l.nodes[5]
	l.await("the outcome is kept, and the submission forgotten", func() bool {
		id, forgotten, err := again.Keeps(j.Request)
		l.must(err)
		return id == j.ID && forgotten
	})
	for i := range 4 {
		l.ends[i+1]()
	}
	if _, err := again.Certificate(l.ctx, j.ID); err != nil {
		t.Errorf("alone it has no certificate: %v", err)
	}
}
