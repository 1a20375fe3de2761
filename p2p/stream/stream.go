// Package stream carries frames between members over long-lived streams, one
// for each pair of peers and purpose, and answers single questions.
//
// Frames are hints to a state machine that asks again: they arrive in order
// while a connection lasts, and those under way when it breaks may be lost. Up
// and Down say when to send again. On the wire a frame is its length as an
// unsigned varint and its bytes; the empty frame is a greeting, with which both
// sides begin.
package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Errors of Send. The frame was not taken; sending it again later may help.
var (
	ErrUnreachable = errors.New("stream: peer is not reachable now")
	ErrQueueFull   = errors.New("stream: too much waits for this peer")
	ErrFrameSize   = errors.New("stream: frame is empty or too large")
	ErrNotRunning  = errors.New("stream: not running")
)

// Config bounds what waits and what is accepted. Zero values take the defaults.
type Config struct {
	MaxFrame   int // bytes of one frame; 1 MiB
	Queue      int // frames waiting for one peer; 4096
	QueueBytes int // bytes waiting for one peer; 16 MiB
	Log        *slog.Logger
}

// Streams sends and receives the frames of one purpose. Safe for concurrent use
// once Run has begun.
type Streams struct {
	host     host.Host
	protocol protocol.ID
	cfg      Config
	handle   func(from peer.ID, frame []byte)
	up, down func(peer.ID)
	self     *local

	mu      sync.Mutex
	running bool
	links   map[peer.ID]*link
	dials   []*link       // asked for, not begun
	asked   chan struct{} // capacity 1: dials is not empty
	work    sync.WaitGroup
}

// New prepares streams under one of the network's protocol ids. Nothing is sent
// or received before Run.
func New(h host.Host, id protocol.ID, cfg Config) *Streams {
	if cfg.MaxFrame == 0 {
		cfg.MaxFrame = 1 << 20
	}
	if cfg.Queue == 0 {
		cfg.Queue = 4096
	}
	if cfg.QueueBytes == 0 {
		cfg.QueueBytes = 16 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	nothing := func(peer.ID) {}
	return &Streams{
		host: h, protocol: id, cfg: cfg,
		handle: func(peer.ID, []byte) {}, up: nothing, down: nothing,
		self:  newLocal(cfg),
		links: map[peer.ID]*link{}, asked: make(chan struct{}, 1),
	}
}

// Handle sets who gets the frames, before Run. It is called by one goroutine at
// a time for each peer, and owns the frame; while it blocks, that peer waits.
func (s *Streams) Handle(f func(from peer.ID, frame []byte)) { s.handle = f }

// OnUp sets who is told, before Run, that frames to a peer arrive from now on.
// It is not called for the node itself.
func (s *Streams) OnUp(f func(peer.ID)) { s.up = f }

// OnDown sets who is told, before Run, that frames to a peer no longer arrive,
// and that some may be lost. Up and Down of one peer alternate.
func (s *Streams) OnDown(f func(peer.ID)) { s.down = f }

// Send queues a frame for a peer and returns at once; the frame must not be
// changed afterwards. A stream is opened in the background when there is none,
// with a back-off during which ErrUnreachable is returned. Frames to the node
// itself go to the handler without touching the network.
func (s *Streams) Send(to peer.ID, frame []byte) error {
	if len(frame) == 0 || len(frame) > s.cfg.MaxFrame {
		return ErrFrameSize
	}
	if to == s.host.ID() {
		return s.self.send(frame)
	}
	l := s.linkTo(to)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.used = now
	if l.out == nil && !l.dialling && now.Before(l.retryAt) {
		return ErrUnreachable
	}
	if len(l.queue) >= s.cfg.Queue || l.bytes+len(frame) > s.cfg.QueueBytes {
		return ErrQueueFull
	}
	if l.out == nil && !l.dialling {
		if !s.ask(l) {
			return ErrNotRunning
		}
		l.dialling = true
	}
	l.queue = append(l.queue, frame)
	l.bytes += len(frame)
	if l.out != nil {
		l.out.signal()
	}
	return nil
}

// Reachable reports whether frames to a peer arrive now, as far as is known.
func (s *Streams) Reachable(id peer.ID) bool {
	if id == s.host.ID() {
		return true
	}
	s.mu.Lock()
	l := s.links[id]
	s.mu.Unlock()
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isUp
}

// Run accepts and opens streams until ctx ends, then closes them and waits for
// its goroutines. It is called once.
func (s *Streams) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	notifiee := &network.NotifyBundle{ConnectedF: func(_ network.Network, c network.Conn) { s.connected(c.RemotePeer()) }}
	s.host.Network().Notify(notifiee)
	s.host.SetStreamHandler(s.protocol, func(st network.Stream) { s.accept(ctx, st) })
	s.work.Go(func() { s.self.run(ctx, s.host.ID(), s.handle) })
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-s.asked:
			for _, l := range s.takeDials() {
				s.work.Go(func() { s.dial(ctx, l) })
			}
		}
	}
	s.host.RemoveStreamHandler(s.protocol)
	s.host.Network().StopNotify(notifiee)
	s.mu.Lock()
	s.running = false
	links := s.links
	s.links = map[peer.ID]*link{}
	s.mu.Unlock()
	for _, l := range links {
		l.close()
	}
	s.work.Wait()
	return nil
}

func (s *Streams) linkTo(id peer.ID) *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[id]
	if l == nil {
		l = &link{peer: id}
		s.links[id] = l
	}
	return l
}

// ask has Run dial a link. It reports false when Run does not run.
func (s *Streams) ask(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return false
	}
	s.dials = append(s.dials, l)
	select {
	case s.asked <- struct{}{}:
	default:
	}
	return true
}

func (s *Streams) takeDials() []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	dials := s.dials
	s.dials = nil
	return dials
}

// begin counts a goroutine that libp2p started as ours, if Run still runs.
func (s *Streams) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		s.work.Add(1)
	}
	return s.running
}

// connected opens the stream again to a peer that came back and was sent to not
// long ago, so that Up is heard without waiting for the next frame.
func (s *Streams) connected(id peer.ID) {
	s.mu.Lock()
	l := s.links[id]
	s.mu.Unlock()
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.redial(l)
}

// redial dials a link that is wanted and has no stream. l.mu is held.
func (s *Streams) redial(l *link) {
	if l.out == nil && !l.dialling && time.Since(l.used) < linkWanted {
		l.dialling = s.ask(l)
	}
}

// dial opens a stream to a peer, once. When that fails, what waited is dropped:
// by the time the peer returns it will be stale, and Up asks for it again.
func (s *Streams) dial(ctx context.Context, l *link) {
	if l.hasLane() {
		return
	}
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	clearBackoff(s.host, l.peer)
	st, err := s.host.NewStream(opening, l.peer, s.protocol)
	if err == nil {
		err = s.open(ctx, l, st)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	s.cfg.Log.Debug("open stream", "peer", l.peer, "protocol", s.protocol, "error", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dialling = false
	if l.out != nil {
		return // the peer was faster
	}
	l.queue, l.bytes = nil, 0
	s.pause(l)
}

// pause sets when the link may be dialled again, and dials it then if it is
// still wanted. l.mu is held.
func (s *Streams) pause(l *link) {
	if l.closed {
		return
	}
	l.failed++
	pause := backoff(l.failed)
	l.retryAt = time.Now().Add(pause)
	l.stopRetry()
	l.retry = time.AfterFunc(pause, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		s.redial(l)
	})
}

func (s *Streams) open(ctx context.Context, l *link, st network.Stream) error {
	ln := newLane(st)
	// libp2p names the protocol with the first bytes written: without a greeting
	// the peer would not hear of a stream that nothing is sent on yet.
	if err := ln.greet(); err != nil {
		st.Reset()
		return err
	}
	if !l.attach(ln) {
		st.Reset()
		return fmt.Errorf("stream: more than %d streams to one peer", maxLanes)
	}
	ln.signal()
	s.host.ConnManager().TagPeer(l.peer, string(s.protocol), streamTag)
	s.work.Go(func() { l.write(ln) })
	s.work.Go(func() { s.serve(ctx, l, ln, false) })
	return nil
}

// accept serves a stream that a peer opened, in the goroutine that libp2p
// started for it.
func (s *Streams) accept(ctx context.Context, st network.Stream) {
	if !s.begin() {
		st.Reset()
		return
	}
	defer s.work.Done()
	l := s.linkTo(st.Conn().RemotePeer())
	ln := newLane(st)
	if ln.greet() != nil || !l.attach(ln) {
		st.Reset()
		return
	}
	s.host.ConnManager().TagPeer(l.peer, string(s.protocol), streamTag)
	s.work.Go(func() { l.write(ln) })
	s.serve(ctx, l, ln, true)
}

// serve reads a lane to its end, then lets another take its place.
func (s *Streams) serve(ctx context.Context, l *link, ln *lane, proven bool) {
	stop := context.AfterFunc(ctx, func() { ln.stream.Reset() })
	defer stop()
	if proven {
		s.rise(l)
	}
	err := ln.read(s.cfg.MaxFrame, func(frame []byte) {
		if len(frame) == 0 {
			s.rise(l)
			return
		}
		l.handling.Lock()
		defer l.handling.Unlock()
		s.handle(l.peer, frame)
	})
	s.cfg.Log.Debug("stream ended", "peer", l.peer, "protocol", s.protocol, "error", err)
	ln.stream.Reset()
	close(ln.ended)
	s.fall(l, ln)
}

// rise tells, once, that the peer is there.
func (s *Streams) rise(l *link) {
	l.handling.Lock()
	defer l.handling.Unlock()
	if l.rise() {
		s.up(l.peer)
	}
}

// fall takes away a lane that ended. When it was the last one, Down is told and
// the link is dialled again, at once the first time.
func (s *Streams) fall(l *link, ln *lane) {
	l.handling.Lock()
	defer l.handling.Unlock()
	l.mu.Lock()
	last, wasUp := l.detach(ln)
	if last {
		if wasUp {
			s.redial(l)
		} else if !l.dialling {
			l.queue, l.bytes = nil, 0
			s.pause(l) // the peer opens and shuts: do not hurry
		}
	}
	l.mu.Unlock()
	if !last {
		return
	}
	s.host.ConnManager().UntagPeer(l.peer, string(s.protocol))
	if wasUp {
		s.down(l.peer)
	}
}
