package node_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
	"github.com/muster-network/muster/node"
)

// blocks, of blockSize bytes, are what the program talk says on each stream: more
// than one answer of another node holds.
const (
	blocks    = 16
	blockSize = 60_000
)

// talk returns a job, of one member, that writes blocks to stdout and to stderr.
func talk(t *testing.T, n *node.Node) *jobs.File {
	t.Helper()
	const iovec, written, text = 16, 24, 64
	write := func(stream int32) []byte {
		return asm.Join(asm.Const(stream), asm.Const(iovec), asm.Const(1), asm.Const(written), asm.Call(0), asm.Drop)
	}
	program := asm.Program{
		Imports: []asm.Import{asm.WASI("fd_write", 4)}, Locals: 1, Pages: 1,
		Code: asm.Join(
			asm.Const(iovec), asm.Const(text), asm.Store(0),
			asm.Const(iovec), asm.Const(blockSize), asm.Store(4),
			0x03, 0x40, // loop
			asm.Const(text), asm.Get(0), asm.Store(0), // no two blocks are the same
			write(1), write(2),
			asm.Get(0), asm.Const(1), asm.Add, asm.Set(0),
			asm.Get(0), asm.Const(blocks), 0x48, 0x0d, 0, // fewer than blocks: again
			0x0b),
	}
	blob, err := n.PutFile(t.Context(), bytes.NewReader(program.Module()))
	if err != nil {
		t.Fatal(err)
	}
	f := jobs.FileFor("cid:"+blob.CID, nil)
	f.Run.Quorum.Size = 1
	return f
}

// said is what talk writes to each stream.
func said() (all []byte) {
	for i := range blocks {
		all = append(binary.LittleEndian.AppendUint32(all, uint32(i)), make([]byte, blockSize-4)...)
	}
	return all
}

// follower follows a job's logs, and keeps the first chunk waiting.
type follower struct {
	first chan api.LogChunk // what it was shown first
	wait  chan struct{}     // closed: it goes on
	ended chan error

	out, err bytes.Buffer
}

func follow(ctx context.Context, n *node.Node, id, member string) *follower {
	f := &follower{first: make(chan api.LogChunk, 1), wait: make(chan struct{}), ended: make(chan error, 1)}
	go func() {
		f.ended <- n.Logs(ctx, id, server.LogOptions{Follow: true, Member: member}, func(c api.LogChunk) error {
			if f.out.Len()+f.err.Len() == 0 {
				f.first <- c
				<-f.wait
			}
			if c.Stream == "stderr" {
				f.err.Write(c.Data)
			} else {
				f.out.Write(c.Data)
			}
			return nil
		})
	}()
	return f
}

func TestWhoFollowsSlowlyIsShownAllThatWasWritten(t *testing.T) {
	seen := make(chan struct{})
	l := newLab(t, 2, testPolicy(), func(int) node.Faults {
		return node.Faults{Run: func(*exec.Result) { <-seen }} // the job is open until it was looked at
	})
	j, err := l.nodes[0].Submit(l.ctx, talk(t, l.nodes[0]), server.SubmitOptions{})
	l.must(err)
	var followers []*follower
	for _, n := range l.nodes { // one runs the job, the other asks it
		f := follow(l.ctx, n, j.ID, "")
		followers = append(followers, f)
		select {
		case c := <-f.first:
			if c.Member == "" {
				t.Error("shown as certified, and the job is open")
			}
		case <-l.ctx.Done():
			t.Fatal("nothing is shown")
		}
	}
	close(seen)
	for i, n := range l.nodes {
		if j := l.ended(n, j.ID); j.State != jobs.Succeeded {
			t.Fatalf("%+v", j)
		}
		close(followers[i].wait)
	}
	want := said()
	for i, f := range followers {
		if err := <-f.ended; err != nil || !bytes.Equal(f.out.Bytes(), want) || !bytes.Equal(f.err.Bytes(), want) {
			t.Errorf("node %d shows %d bytes of stdout and %d of stderr, want the %d of each: %v", i, f.out.Len(), f.err.Len(), len(want), err)
		}
	}
}

func TestAllThatWasWrittenSoFarIsShownOnAnyNode(t *testing.T) {
	ran, seen := make(chan struct{}, blocks), make(chan struct{})
	l := newLab(t, 2, testPolicy(), func(int) node.Faults {
		return node.Faults{Run: func(*exec.Result) { ran <- struct{}{}; <-seen }}
	})
	end := sync.OnceFunc(func() { close(seen) })
	t.Cleanup(end)
	j, err := l.nodes[0].Submit(l.ctx, talk(t, l.nodes[0]), server.SubmitOptions{})
	l.must(err)
	select {
	case <-ran:
	case <-l.ctx.Done():
		t.Fatal("it does not run")
	}
	want := said()
	for i, n := range l.nodes { // one runs the job, the other asks it
		l.await("its run is known", func() bool {
			told, err := n.Job(l.ctx, j.ID)
			l.must(err)
			return told.Members[0].Run == "running"
		})
		out, errs, err := shown(l.ctx, n, j.ID, func() {})
		if err != nil || !bytes.Equal(out, want) || !bytes.Equal(errs, want) {
			t.Errorf("node %d shows %d bytes of stdout and %d of stderr, want the %d of each: %v", i, len(out), len(errs), len(want), err)
		}
	}
	asks := slices.IndexFunc(l.nodes, func(n *node.Node) bool { return n.Key().String() != j.Members[0].Peer })
	out, errs, err := shown(l.ctx, l.nodes[asks], j.ID, func() { // it ends before the rest is asked for
		end()
		l.ended(l.nodes[0], j.ID)
		l.ended(l.nodes[1], j.ID)
	})
	if err == nil && (!bytes.Equal(out, want) || !bytes.Equal(errs, want)) {
		t.Errorf("of a job that ends meanwhile %d bytes of stdout and %d of stderr are shown, want the %d of each, or an error", len(out), len(errs), len(want))
	}
}

// shown is what a node shows of a job's logs by now, which meanwhile is called in the middle of.
func shown(ctx context.Context, n *node.Node, id string, meanwhile func()) (out, errs []byte, err error) {
	meanwhile = sync.OnceFunc(meanwhile)
	err = n.Logs(ctx, id, server.LogOptions{}, func(c api.LogChunk) error {
		if meanwhile(); c.Stream == "stderr" {
			errs = append(errs, c.Data...)
		} else {
			out = append(out, c.Data...)
		}
		return nil
	})
	return out, errs, err
}

func TestTheLogsOfTheMemberThatWasChosenAreShown(t *testing.T) {
	seen := make(chan struct{})
	l := newLab(t, 4, testPolicy(), func(int) node.Faults {
		return node.Faults{Run: func(*exec.Result) { <-seen }}
	})
	file := hello("Ada", 4)
	j, err := l.nodes[0].Submit(l.ctx, file, server.SubmitOptions{})
	l.must(err)
	var executors []jobs.Member
	l.await("all executors have begun", func() bool {
		told, err := l.nodes[0].Job(l.ctx, j.ID)
		l.must(err)
		executors = slices.DeleteFunc(told.Members, func(m jobs.Member) bool { return m.Role != "executor" })
		return !slices.ContainsFunc(executors, func(m jobs.Member) bool { return m.Run != "running" })
	})
	if len(executors) < 2 {
		t.Fatalf("%d executors", len(executors))
	}
	var followers []*follower
	for _, m := range executors {
		f := follow(l.ctx, l.nodes[0], j.ID, m.Name)
		followers = append(followers, f)
		select {
		case c := <-f.first:
			if c.Member != m.Peer {
				t.Errorf("%s is shown, who wants %s", c.Name, m.Name)
			}
		case <-l.ctx.Done():
			t.Fatalf("nothing of %s is shown", m.Name)
		}
		close(f.wait)
		err := l.nodes[0].Logs(l.ctx, j.ID, server.LogOptions{Member: m.Peer[:len(m.Peer)-1]}, func(c api.LogChunk) error {
			if c.Member != m.Peer {
				t.Errorf("%s is shown, who wants %s", c.Name, m.Name)
			}
			return nil
		})
		l.must(err)
	}
	nobody := func(api.LogChunk) error { return errors.New("shown") }
	for _, who := range []string{"nobody-here", "12D3KooW"} {
		p := new(jobs.Problem)
		if err := l.nodes[0].Logs(l.ctx, j.ID, server.LogOptions{Follow: true, Member: who}, nobody); !errors.As(err, &p) {
			t.Errorf("%s: %v", who, err)
		}
	}
	close(seen)
	for i, f := range followers {
		if err := <-f.ended; err != nil || f.out.String() != "Hello, Ada\n" {
			t.Errorf("%s: %q, %v", executors[i].Name, f.out.String(), err)
		}
	}
}

func TestWhoWasShownALogThatIsCutOtherwiseIsTold(t *testing.T) {
	seen := make(chan struct{})
	l := newLab(t, 2, testPolicy(), func(int) node.Faults {
		return node.Faults{Run: func(*exec.Result) { <-seen }}
	})
	j, err := l.nodes[0].Submit(l.ctx, talk(t, l.nodes[0]), server.SubmitOptions{})
	l.must(err)
	runs := slices.IndexFunc(l.nodes, func(n *node.Node) bool { return n.Key().String() == j.Members[0].Peer })
	f := follow(l.ctx, l.nodes[1-runs], j.ID, "")
	first := uint64(len((<-f.first).Data)) // as much as was written by then
	close(f.wait)
	for name, test := range map[string]struct {
		known uint64 // bytes of the first chunk, which is of stdout
		shown bool
	}{"as it is": {first, true}, "of a process that was read earlier": {first - 1, false}} {
		if err := node.AskLogs(l.ctx, l.nodes[1-runs], l.nodes[runs], j.ID, 1, test.known); (err == nil) != test.shown {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := node.AskLogs(l.ctx, l.nodes[1-runs], l.nodes[runs], j.ID, 1000, 1000*blockSize); err == nil {
		t.Error("more is known than was written")
	}
	close(seen)
	if err := <-f.ended; err != nil {
		t.Error(err)
	}
}
