package stream

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

const (
	writePatience = 20 * time.Second // for one write to be taken by the network
	writeBuffer   = 16 << 10         // bytes gathered into one write
	readBuffer    = 4 << 10
	trustedLength = 64 << 10 // bytes allocated on a peer's word; more grow as they come
)

// lane is one stream with a peer.
type lane struct {
	stream   network.Stream
	wake     chan struct{} // capacity 1: frames wait
	ended    chan struct{} // closed by the reader
	deadline time.Time     // of writes; the writer's
}

func newLane(s network.Stream) *lane {
	return &lane{stream: s, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

func (ln *lane) signal() {
	select {
	case ln.wake <- struct{}{}:
	default:
	}
}

// Write writes with a deadline. Setting one costs a timer, so it is only moved
// when half of it is gone.
func (ln *lane) Write(data []byte) (int, error) {
	if now := time.Now(); ln.deadline.Sub(now) < writePatience/2 {
		ln.deadline = now.Add(writePatience)
		if err := ln.stream.SetWriteDeadline(ln.deadline); err != nil {
			return 0, err
		}
	}
	return ln.stream.Write(data)
}

// writers are buffers of lanes that are writing; idle lanes hold none.
var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, writeBuffer) }}

// send writes frames, gathered into as few writes as they fit.
func (ln *lane) send(frames [][]byte) error {
	w := writers.Get().(*bufio.Writer)
	w.Reset(ln)
	defer func() {
		w.Reset(nil)
		writers.Put(w)
	}()
	for _, frame := range frames {
		if err := writeFrame(w, frame); err != nil {
			return err
		}
	}
	return w.Flush()
}

func writeFrame(w *bufio.Writer, frame []byte) error {
	var length [binary.MaxVarintLen64]byte
	if _, err := w.Write(length[:binary.PutUvarint(length[:], uint64(len(frame)))]); err != nil {
		return err
	}
	_, err := w.Write(frame)
	return err
}

// greet sends the empty frame: the opener's makes the stream known, the
// acceptor's says that it was accepted. To be called before anything else is
// sent.
func (ln *lane) greet() error {
	_, err := ln.Write([]byte{0})
	return err
}

// read hands frames to got until the stream ends. A frame above most is the
// peer's fault and ends it too.
func (ln *lane) read(most int, got func(frame []byte)) error {
	r := bufio.NewReaderSize(ln.stream, readBuffer)
	for {
		frame, err := readFrame(r, most)
		if err != nil {
			return err
		}
		got(frame)
	}
}

// byteReader is what frames are read from.
type byteReader interface {
	io.Reader
	io.ByteReader
}

func readFrame(r byteReader, most int) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > uint64(most) {
		return nil, fmt.Errorf("frame of %d bytes, at most %d", n, most)
	}
	frame := make([]byte, min(n, trustedLength))
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	for have := uint64(len(frame)); have < n; have = uint64(len(frame)) {
		more := min(n-have, have) // doubles what has been shown
		frame = append(frame, make([]byte, more)...)
		if _, err := io.ReadFull(r, frame[have:]); err != nil {
			return nil, err
		}
	}
	return frame, nil
}
