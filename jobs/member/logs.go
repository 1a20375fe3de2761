package member

import (
	"context"
	"io"
	"sync"
)

// Logs is what the runs of one open job have written on this node, as they
// wrote it: stdout and stderr interleaved, up to a limit each, and as many chunks
// as come to that in memory. Readers follow it
// at their own pace; nobody waits for them.
type Logs struct {
	mutex   sync.Mutex
	chunks  []LogChunk
	left    [2]allowance
	shown   int // chunks that were handed out, which do not change any more
	changed chan struct{}
	closed  bool
}

// allowance is what may still come of one stream.
type allowance struct{ bytes, chunks int }

// LogChunk is a piece of one stream.
type LogChunk struct {
	_      struct{} `cbor:",toarray"`
	Stream string   // stdout or stderr
	Data   []byte
}

// MaxLogChunk bounds the data in one chunk, in bytes.
const MaxLogChunk = 64 << 10

// Bounds of chunks. A program that writes byte by byte gets few: what they take
// besides their data is no more than that may.
const (
	chunkCost = 64 // bytes that one takes besides
	minChunks = 64 // of a stream, however little it may write
)

func newLogs(limit int) *Logs {
	each := allowance{limit, minChunks + limit/chunkCost}
	return &Logs{left: [2]allowance{each, each}, changed: make(chan struct{})}
}

// writer returns where a run writes its stream: 0 is stdout, 1 stderr.
func (l *Logs) writer(stream int) io.Writer { return logWriter{l, stream} }

type logWriter struct {
	logs   *Logs
	stream int
}

func (w logWriter) Write(p []byte) (int, error) {
	l := w.logs
	l.mutex.Lock()
	defer l.mutex.Unlock()
	left := &l.left[w.stream]
	rest := p[:min(len(p), left.bytes)]
	if l.closed {
		rest = nil
	}
	for len(rest) > 0 {
		to := l.open(w.stream)
		if to == nil {
			break
		}
		n := min(len(rest), MaxLogChunk-len(to.Data))
		to.Data = append(to.Data, rest[:n]...)
		left.bytes -= n
		rest = rest[n:]
		l.wake()
	}
	return len(p), nil
}

// open returns the chunk that what comes of a stream goes into: the last one, while
// nobody was shown it, or else another; nil when there were enough. The caller holds
// the mutex.
func (l *Logs) open(stream int) *LogChunk {
	name, n := [...]string{"stdout", "stderr"}[stream], len(l.chunks)
	if n > l.shown && l.chunks[n-1].Stream == name && len(l.chunks[n-1].Data) < MaxLogChunk {
		return &l.chunks[n-1]
	}
	if l.left[stream].chunks == 0 {
		return nil
	}
	l.left[stream].chunks--
	l.chunks = append(l.chunks, LogChunk{Stream: name})
	return &l.chunks[n]
}

func (l *Logs) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Close ends the logs: the job has its outcome.
func (l *Logs) Close() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if !l.closed {
		l.closed = true
		close(l.changed)
	}
}

// Holds reports whether there are chunks before position at that come to a length of
// each stream, and fixes those: whoever was shown so much of a run, maybe of another
// process, can go on here. Equal runs are cut into chunks by when they were read.
func (l *Logs) Holds(at int, length LogLength) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	var held LogLength
	for _, c := range l.chunks[:min(at, len(l.chunks))] {
		held.Add(c)
	}
	if at > len(l.chunks) || held != length {
		return false
	}
	l.shown = max(l.shown, at)
	return true
}

// LogLength is how many bytes chunks hold of each stream.
type LogLength struct{ Stdout, Stderr uint64 }

// Add counts a chunk.
func (l *LogLength) Add(c LogChunk) {
	if c.Stream == "stderr" {
		l.Stderr += uint64(len(c.Data))
	} else {
		l.Stdout += uint64(len(c.Data))
	}
}

// Next returns the chunks from position at, waiting for some if wait is set,
// and whether the logs have ended.
func (l *Logs) Next(ctx context.Context, at int, wait bool) ([]LogChunk, bool, error) {
	for {
		l.mutex.Lock()
		if at < len(l.chunks) || l.closed || !wait {
			var chunks []LogChunk
			if at < len(l.chunks) {
				chunks = l.chunks[at:len(l.chunks):len(l.chunks)]
				l.shown = len(l.chunks)
			}
			defer l.mutex.Unlock()
			return chunks, l.closed, nil
		}
		changed := l.changed
		l.mutex.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}
