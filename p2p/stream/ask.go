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
	v := &server{limits: limits, answer: answer, byPeer: map[peer.ID]int{}}
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
	total  int
	byPeer map[peer.ID]int
	work   sync.WaitGroup
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
		v.end(from)
		s.Reset()
		return
	}
	status := byte(statusOK)
	reply, err := v.answer(ctx, from, request)
	if err != nil {
		status, reply = statusError, []byte(err.Error())
		reply = reply[:min(len(reply), maxErrorMessage)]
	}
	v.end(from) // before the answer arrives, or the next question would come too early
	w := bufio.NewWriterSize(s, min(len(reply)+16, writeBuffer))
	_ = w.WriteByte(status) // a bufio.Writer keeps its error for Flush
	_ = writeFrame(w, reply)
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
	if v.ended || v.total >= v.limits.Total || v.byPeer[from] >= v.limits.PerPeer {
		return false
	}
	v.total++
	v.byPeer[from]++
	v.work.Add(1)
	return true
}

func (v *server) end(from peer.ID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.total--
	if v.byPeer[from]--; v.byPeer[from] == 0 {
		delete(v.byPeer, from)
	}
}

func (v *server) wait() {
	v.mu.Lock()
	v.ended = true
	v.mu.Unlock()
	v.work.Wait()
}
