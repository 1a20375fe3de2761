package stream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// ErrBusy is returned by Ask when the peer answers too many questions already.
var ErrBusy = errors.New("stream: the peer is busy")

// AnswerError is returned by Ask when the peer answered with an error.
type AnswerError struct {
	Peer    peer.ID
	Message string
}

// Error says who answered, and what.
func (e *AnswerError) Error() string { return fmt.Sprintf("%s answered: %s", e.Peer, e.Message) }

// First byte of an answer.
const (
	statusOK    = 0
	statusError = 1
	statusBusy  = 2
)

const (
	askTimeout      = 10 * time.Second
	maxErrorMessage = 512 // bytes
)

// Ask sends one request on a stream of its own and waits for the answer, of at
// most max bytes, until ctx ends, or 10 s when it has no deadline. It dials when
// the peer is not connected. Errors of the peer are *AnswerError or ErrBusy.
func Ask(ctx context.Context, h host.Host, to peer.ID, id protocol.ID, request []byte, max int) ([]byte, error) {
	ctx, cancel := withDefaultTimeout(ctx, askTimeout)
	defer cancel()
	s, err := h.NewStream(ctx, to, id)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", to, err)
	}
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	answer, err := ask(s, to, request, max)
	if err != nil {
		s.Reset()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("ask %s: %w", to, err)
	}
	s.Close()
	return answer, nil
}

func ask(s network.Stream, to peer.ID, request []byte, max int) ([]byte, error) {
	w := bufio.NewWriterSize(s, min(len(request)+16, writeBuffer))
	if err := writeFrame(w, request); err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(s, readBuffer)
	status, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	switch status {
	case statusOK:
		return readFrame(r, max)
	case statusBusy:
		return nil, ErrBusy
	default:
		message, err := readFrame(r, maxErrorMessage)
		if err != nil {
			return nil, err
		}
		return nil, &AnswerError{Peer: to, Message: string(message)}
	}
}

func withDefaultTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

// Limits bounds what answering may cost. Zero values take the defaults.
type Limits struct {
	Request int           // bytes of a request; 64 KiB
	PerPeer int           // requests of one peer at once; 8
	Total   int           // requests at once; 128
	Timeout time.Duration // for reading, answering and writing; 10 s
	// Bytes of answers that are being written to one peer, but that one answer always
	// may be, and to all; 8 MiB and 128 MiB. Who does not read is told that we are busy.
	Unread, AllUnread int
}

// Serve answers requests under a protocol id until ctx ends, then waits for the
// answers under way. The error that answer returns is sent to the peer as text.
func Serve(ctx context.Context, h host.Host, id protocol.ID, limits Limits, answer func(ctx context.Context, from peer.ID, request []byte) ([]byte, error)) error {
	if limits.Request == 0 {
		limits.Request = 64 << 10
	}
	if limits.PerPeer == 0 {
		limits.PerPeer = 8
	}
	if limits.Total == 0 {
		limits.Total = 128
	}
	if limits.Timeout == 0 {
		limits.Timeout = askTimeout
	}
	if limits.Unread == 0 {
		limits.Unread = 8 << 20
	}
	if limits.AllUnread == 0 {
		limits.AllUnread = 128 << 20
	}
	v := &server{limits: limits, answer: answer, byPeer: map[peer.ID]*load{}}
	h.SetStreamHandler(id, func(s network.Stream) { v.serve(ctx, s) })
	<-ctx.Done()
	h.RemoveStreamHandler(id)
	v.wait()
	return nil
}

type server struct {
	limits Limits
	answer func(context.Context, peer.ID, []byte) ([]byte, error)

	mu     sync.Mutex
	ended  bool
	all    load
	byPeer map[peer.ID]*load
	work   sync.WaitGroup
}

// load is what answering costs at the moment.
type load struct {
	requests int
	unread   int // bytes of answers that are being written
}

func (v *server) serve(ctx context.Context, s network.Stream) {
	from := s.Conn().RemotePeer()
	if !v.begin(from) {
		_ = s.SetDeadline(time.Now().Add(v.limits.Timeout))
		if _, err := s.Write([]byte{statusBusy}); err != nil {
			s.Reset()
			return
		}
		s.Close()
		return
	}
	defer v.work.Done()
	ctx, cancel := context.WithTimeout(ctx, v.limits.Timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	request, err := readFrame(bufio.NewReaderSize(s, readBuffer), v.limits.Request)
	if err != nil {
		v.end(from, 0)
		s.Reset()
		return
	}
	status := byte(statusOK)
	reply, err := v.answer(ctx, from, request)
	if err != nil {
		status, reply = statusError, []byte(err.Error())
		reply = reply[:min(len(reply), maxErrorMessage)]
	}
	// Before the answer arrives, or the next question would come too early.
	if size := 1 + len(reply); v.end(from, size) {
		defer v.written(from, size)
	} else {
		status, reply = statusBusy, nil
	}
	w := bufio.NewWriterSize(s, min(len(reply)+16, writeBuffer))
	_ = w.WriteByte(status) // a bufio.Writer keeps its error for Flush
	if status != statusBusy {
		_ = writeFrame(w, reply)
	}
	if err := w.Flush(); err != nil {
		s.Reset()
		return
	}
	s.Close()
}

// begin takes a place, which end gives back.
func (v *server) begin(from peer.ID) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.byPeer[from]
	if v.ended || v.all.requests >= v.limits.Total || p != nil && p.requests >= v.limits.PerPeer {
		return false
	}
	if p == nil {
		p = &load{}
		v.byPeer[from] = p
	}
	v.all.requests++
	p.requests++
	v.work.Add(1)
	return true
}

// end gives the place back and reports whether an answer of so many bytes may be
// written. Then written is to be called when it was.
func (v *server) end(from peer.ID, answer int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.byPeer[from]
	v.all.requests--
	p.requests--
	fits := (p.unread == 0 || p.unread+answer <= v.limits.Unread) && v.all.unread+answer <= v.limits.AllUnread
	if fits {
		v.all.unread += answer
		p.unread += answer
	}
	v.drop(from, p)
	return fits
}

func (v *server) written(from peer.ID, answer int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.byPeer[from]
	v.all.unread -= answer
	p.unread -= answer
	v.drop(from, p)
}

// drop forgets a peer that costs nothing. v.mu is held.
func (v *server) drop(from peer.ID, p *load) {
	if p.requests == 0 && p.unread == 0 {
		delete(v.byPeer, from)
	}
}

func (v *server) wait() {
	v.mu.Lock()
	v.ended = true
	v.mu.Unlock()
	v.work.Wait()
}
