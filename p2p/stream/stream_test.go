package stream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"go.uber.org/goleak"

	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/p2ptest"
	"github.com/muster-network/muster/p2p/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// end is one node with streams of one purpose, and what they told.
type end struct {
	*p2p.Node
	*stream.Streams
	frames   chan string // "from: frame"
	up, down chan peer.ID
	stop     func()
}

func newEnd(t testing.TB, net *p2ptest.Network, cfg p2p.Config, c stream.Config) *end {
	t.Helper()
	node, stopNode := p2ptest.StartStop(t, cfg)
	e := &end{
		Node: node, Streams: stream.New(node.Host, p2p.Protocol(net.ID, "test"), c),
		frames: make(chan string, 1<<16), up: make(chan peer.ID, 1024), down: make(chan peer.ID, 1024),
	}
	e.Handle(func(from peer.ID, frame []byte) { e.frames <- string(frame) })
	e.OnUp(func(id peer.ID) { e.up <- id })
	e.OnDown(func(id peer.ID) { e.down <- id })
	stopStreams := p2ptest.Go(t, e.Streams.Run)
	e.stop = func() { stopStreams(); stopNode() }
	return e
}

func next[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited for %s", what)
		panic("unreachable")
	}
}

// until asks again until it holds; what is waited for has no event of its own.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("waited for: %s", what)
		case <-tick.C:
		}
	}
}

// send sends until the frame is taken: Run begins in a goroutine of its own.
func (e *end) send(t testing.TB, to peer.ID, frame string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		err := e.Send(to, []byte(frame))
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("send: %v", err)
		}
		select {
		case <-e.up:
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestFramesArriveInOrderBothWays(t *testing.T) {
	for _, listen := range []string{p2ptest.TCP, p2ptest.QUIC} {
		t.Run(listen, func(t *testing.T) {
			net := p2ptest.New(t)
			a := newEnd(t, net, net.Config(t, listen), stream.Config{})
			b := newEnd(t, net, net.Config(t, listen), stream.Config{})
			p2ptest.Connect(t, a.Node, b.Node)
			var both sync.WaitGroup
			for _, d := range []struct{ from, to *end }{{a, b}, {b, a}} {
				both.Go(func() {
					for i := range 1000 {
						d.from.send(t, d.to.Host.ID(), fmt.Sprint(i))
					}
				})
			}
			both.Wait()
			for _, e := range []*end{a, b} {
				for i := range 1000 {
					if got := next(t, e.frames, "a frame"); got != fmt.Sprint(i) {
						t.Fatalf("frame %d is %q", i, got)
					}
				}
			}
		})
	}
}

func TestALargeFrameArrivesWhole(t *testing.T) {
	net := p2ptest.New(t)
	a, b := newEnd(t, net, net.Config(t), stream.Config{}), newEnd(t, net, net.Config(t), stream.Config{})
	p2ptest.Connect(t, a.Node, b.Node)
	want := string(bytes.Repeat([]byte("0123456789abcdef"), 1<<16))
	a.send(t, b.Host.ID(), want)
	if got := next(t, b.frames, "the frame"); got != want {
		t.Errorf("%d bytes arrived", len(got))
	}
}

func TestFramesToOneselfTakeTheShortcut(t *testing.T) {
	net := p2ptest.New(t)
	a := newEnd(t, net, net.Config(t), stream.Config{})
	for i := range 100 {
		a.send(t, a.Host.ID(), fmt.Sprint(i))
	}
	for i := range 100 {
		if got := next(t, a.frames, "a frame"); got != fmt.Sprint(i) {
			t.Fatalf("frame %d is %q", i, got)
		}
	}
	if !a.Reachable(a.Host.ID()) {
		t.Error("a node does not reach itself")
	}
}

// Both ends hear of each other when only one of them has something to say.
func TestUpIsToldOnBothSidesAndDownWhenThePeerDies(t *testing.T) {
	net := p2ptest.New(t)
	a, b := newEnd(t, net, net.Config(t), stream.Config{}), newEnd(t, net, net.Config(t), stream.Config{})
	p2ptest.Connect(t, a.Node, b.Node)
	if a.Reachable(b.Host.ID()) {
		t.Error("reachable before a stream was opened")
	}
	a.send(t, b.Host.ID(), "x")
	if got := next(t, a.up, "up"); got != b.Host.ID() {
		t.Errorf("up: %s", got)
	}
	if got := next(t, b.up, "up"); got != a.Host.ID() {
		t.Errorf("up: %s", got)
	}
	if !a.Reachable(b.Host.ID()) || !b.Reachable(a.Host.ID()) {
		t.Error("not reachable")
	}
	b.stop()
	if got := next(t, a.down, "down"); got != b.Host.ID() {
		t.Errorf("down: %s", got)
	}
	if a.Reachable(b.Host.ID()) {
		t.Error("a peer that died is reachable")
	}
}

// A peer that died comes back with its identity and its peers; nobody has to
// introduce it again, and the sender hears that it is up.
func TestStreamsReturnAfterAPeerRestarts(t *testing.T) {
	net := p2ptest.New(t)
	cfg := net.Config(t)
	cfg.PeersFile = t.TempDir() + "/peers"
	a, b := newEnd(t, net, net.Config(t), stream.Config{}), newEnd(t, net, cfg, stream.Config{})
	p2ptest.Connect(t, a.Node, b.Node)
	for range 3 {
		a.send(t, b.Host.ID(), "before")
		next(t, b.frames, "a frame")
		next(t, a.up, "up")
		until(t, "the other end to be remembered", func() bool { return len(b.Remembered()) == 1 })
		b.stop()
		next(t, a.down, "down")
		b = newEnd(t, net, cfg, stream.Config{}) // on another port
		if got := next(t, a.up, "up after the restart"); got != b.Host.ID() {
			t.Errorf("up: %s", got)
		}
		a.send(t, b.Host.ID(), "after")
		if got := next(t, b.frames, "a frame"); got != "after" {
			t.Errorf("got %q", got)
		}
		a.up <- b.Host.ID()
	}
}

func TestSendNeverBlocks(t *testing.T) {
	net := p2ptest.New(t)
	a := newEnd(t, net, net.Config(t), stream.Config{MaxFrame: 100, Queue: 4, QueueBytes: 100})
	b := newEnd(t, net, net.Config(t), stream.Config{})
	if err := a.Send(b.Host.ID(), nil); !errors.Is(err, stream.ErrFrameSize) {
		t.Errorf("empty frame: %v", err)
	}
	if err := a.Send(b.Host.ID(), make([]byte, 101)); !errors.Is(err, stream.ErrFrameSize) {
		t.Errorf("frame too large: %v", err)
	}
	stranger, err := p2p.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for seen := error(nil); !errors.Is(seen, stream.ErrUnreachable); { // no address: the first dial fails
		seen = a.Send(stranger.Peer, []byte("x"))
	}

	// b's handler is stuck: its windows fill, then the sender's queue.
	stuck := make(chan struct{})
	defer close(stuck)
	c := newEnd(t, net, net.Config(t), stream.Config{})
	d := stream.New(c.Host, p2p.Protocol(net.ID, "stuck"), stream.Config{})
	d.Handle(func(peer.ID, []byte) { <-stuck })
	s := stream.New(a.Host, p2p.Protocol(net.ID, "stuck"), stream.Config{Queue: 4})
	t.Cleanup(p2ptest.Go(t, d.Run))
	p2ptest.Go(t, s.Run)
	p2ptest.Connect(t, a.Node, c.Node)
	for seen := error(nil); !errors.Is(seen, stream.ErrQueueFull); {
		seen = s.Send(c.Host.ID(), make([]byte, 1<<20))
	}
}

// Whoever breaks the format loses the stream, not the node.
func TestAFrameTooLargeEndsTheStream(t *testing.T) {
	net := p2ptest.New(t)
	a := newEnd(t, net, net.Config(t), stream.Config{})
	b := newEnd(t, net, net.Config(t), stream.Config{MaxFrame: 1000})
	p2ptest.Connect(t, a.Node, b.Node)
	a.send(t, b.Host.ID(), "x")
	next(t, b.up, "up")
	until(t, "up", func() bool { return a.Reachable(b.Host.ID()) })
	if err := a.Send(b.Host.ID(), make([]byte, 1001)); err != nil {
		t.Fatal(err)
	}
	next(t, b.down, "down")
	next(t, a.down, "down")
	a.send(t, b.Host.ID(), "good again")
	for next(t, b.frames, "a frame") != "good again" {
	}
}

func TestNothingIsSentBeforeRun(t *testing.T) {
	net := p2ptest.New(t)
	node := p2ptest.Start(t, net.Config(t))
	s := stream.New(node.Host, p2p.Protocol(net.ID, "test"), stream.Config{})
	other, err := p2p.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(other.Peer, []byte("x")); !errors.Is(err, stream.ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

func TestQuestionsAreAnswered(t *testing.T) {
	net := p2ptest.New(t)
	a, b := p2ptest.Start(t, net.Config(t)), p2ptest.Start(t, net.Config(t))
	p2ptest.Connect(t, a, b)
	id := p2p.Protocol(net.ID, "echo")
	held, hold := make(chan struct{}, 2), make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	serve(t, b, id, stream.Limits{Request: 100, PerPeer: 2}, func(_ context.Context, from peer.ID, request []byte) ([]byte, error) {
		switch string(request) {
		case "fail":
			return nil, fmt.Errorf("no such thing, %s", from)
		case "hold":
			held <- struct{}{}
			<-hold
		}
		return bytes.Repeat(request, 10), nil
	})
	ask := func(request string, max int) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		answer, err := stream.Ask(ctx, a.Host, b.Host.ID(), id, []byte(request), max)
		return string(answer), err
	}
	if got, err := ask("ab", 100); err != nil || got != "abababababababababab" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := ask("", 100); err != nil || got != "" {
		t.Errorf("empty: got %q, %v", got, err)
	}
	if _, err := ask("abc", 29); err == nil {
		t.Error("an answer above the limit was taken")
	}
	if _, err := ask(string(make([]byte, 101)), 100); err == nil {
		t.Error("a request above the limit was answered")
	}
	var said *stream.AnswerError
	if _, err := ask("fail", 100); !errors.As(err, &said) || said.Message != "no such thing, "+a.Host.ID().String() {
		t.Errorf("error: %v", err)
	}
	var waiting sync.WaitGroup
	t.Cleanup(release)
	for range 2 {
		waiting.Go(func() {
			if _, err := ask("hold", 100); err != nil {
				t.Error(err)
			}
		})
		next(t, held, "a question to be held")
	}
	if _, err := ask("ab", 100); !errors.Is(err, stream.ErrBusy) {
		t.Errorf("third question: %v", err)
	}
	release()
	waiting.Wait()
}

// A peer that asks and does not read is told that we are busy, and keeps nobody
// else from being answered before all that may wait to be read does.
func TestAnswersThatNobodyReadsAreBounded(t *testing.T) {
	net := p2ptest.New(t)
	b := p2ptest.Start(t, net.Config(t))
	id := p2p.Protocol(net.ID, "large")
	const size = 2 << 20 // more than a stream takes unread
	serve(t, b, id, stream.Limits{Unread: 2*size + 2, AllUnread: 3*size + 3}, func(_ context.Context, _ peer.ID, request []byte) ([]byte, error) {
		if len(request) == 0 {
			return nil, nil
		}
		return make([]byte, size), nil
	})
	ask := func(n *p2p.Node, request string) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := stream.Ask(ctx, n.Host, b.Host.ID(), id, []byte(request), size)
		return err
	}
	// unread asks and reads the first byte of the answer only.
	unread := func(n *p2p.Node) network.Stream {
		t.Helper()
		s, err := n.Host.NewStream(t.Context(), b.Host.ID(), id)
		if err != nil {
			t.Fatal(err)
		}
		status := make([]byte, 1)
		if _, err := s.Write([]byte{1, 'x'}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, status); err != nil || status[0] != 0 {
			t.Fatalf("answered %d: %v", status[0], err)
		}
		return s
	}
	var nodes [3]*p2p.Node
	for i := range nodes {
		nodes[i] = p2ptest.Start(t, net.Config(t))
		p2ptest.Connect(t, nodes[i], b)
	}
	first, second := unread(nodes[0]), unread(nodes[0])
	if err := ask(nodes[0], "x"); !errors.Is(err, stream.ErrBusy) {
		t.Errorf("a third answer, with two unread: %v", err)
	}
	third := unread(nodes[1])
	if err := ask(nodes[2], ""); !errors.Is(err, stream.ErrBusy) {
		t.Errorf("with as much unread as may be of all: %v", err)
	}
	for _, s := range []network.Stream{first, second, third} {
		s.Reset()
	}
	for deadline := time.Now().Add(patience); ask(nodes[0], "x") != nil; {
		if time.Now().After(deadline) {
			t.Fatal("not answered when nothing is unread any more")
		}
	}
	if err := ask(nodes[2], "x"); err != nil {
		t.Errorf("nor another: %v", err)
	}
}

func serve(t testing.TB, n *p2p.Node, id protocol.ID, limits stream.Limits, answer func(context.Context, peer.ID, []byte) ([]byte, error)) {
	t.Helper()
	p2ptest.Go(t, func(ctx context.Context) error { return stream.Serve(ctx, n.Host, id, limits, answer) })
	for deadline := time.Now().Add(patience); ; {
		for _, p := range n.Host.Mux().Protocols() {
			if p == id {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the server did not begin")
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte{3, 'a', 'b', 'c'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add(append(binary.AppendUvarint(nil, 1<<20), "short"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 1 << 17
		frame, err := stream.ReadFrame(bytes.NewReader(data), most)
		if err != nil {
			return
		}
		n, width := binary.Uvarint(data)
		if uint64(len(frame)) != n || n > most || !bytes.Equal(frame, data[width:width+len(frame)]) {
			t.Errorf("frame of %d bytes, announced %d", len(frame), n)
		}
	})
}

// reportCPU measures what both ends together spend on one frame.
func reportCPU(b *testing.B, frames int) func() {
	used := func() int64 {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return r.Utime.Nano() + r.Stime.Nano()
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/float64(b.N*frames), "cpu-ns/frame") }
}

// One small frame each way: what a vote costs when nothing can be gathered.
func BenchmarkPingPong(b *testing.B) {
	net := p2ptest.New(b)
	x, y := newEnd(b, net, net.Config(b), stream.Config{}), newEnd(b, net, net.Config(b), stream.Config{})
	p2ptest.Connect(b, x.Node, y.Node)
	frame := string(make([]byte, 200))
	x.send(b, y.Host.ID(), frame)
	next(b, y.frames, "a frame")
	defer reportCPU(b, 2)()
	for b.Loop() {
		if err := x.Send(y.Host.ID(), []byte(frame)); err != nil {
			b.Fatal(err)
		}
		<-y.frames
		if err := y.Send(x.Host.ID(), []byte(frame)); err != nil {
			b.Fatal(err)
		}
		<-x.frames
	}
}

// Many small frames at once: what a vote costs in a burst.
func BenchmarkBurst(b *testing.B) {
	net := p2ptest.New(b)
	x, y := newEnd(b, net, net.Config(b), stream.Config{}), newEnd(b, net, net.Config(b), stream.Config{})
	p2ptest.Connect(b, x.Node, y.Node)
	frame := string(make([]byte, 200))
	x.send(b, y.Host.ID(), frame)
	next(b, y.frames, "a frame")
	defer reportCPU(b, 100)()
	for b.Loop() {
		for range 100 {
			if err := x.Send(y.Host.ID(), []byte(frame)); err != nil {
				b.Fatal(err)
			}
		}
		for range 100 {
			<-y.frames
		}
	}
}
