package member

import (
	"context"
	"io"
	"sync"
)

// Logs is what the runs of one open job have written on this node, as they
// wrote it: stdout and stderr interleaved, up to a limit each. Readers follow it
// at their own pace; nobody waits for them.
type Logs struct {
	mutex   sync.Mutex
	chunks  []LogChunk
	left    [2]int
	changed chan struct{}
	closed  bool
}

// LogChunk is a piece of one stream.
type LogChunk struct {
	_      struct{} `cbor:",toarray"`
	Stream string   // stdout or stderr
	Data   []byte
}

func newLogs(limit int) *Logs {
	return &Logs{left: [2]int{limit, limit}, changed: make(chan struct{})}
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
	n := min(len(p), l.left[w.stream])
	if n > 0 && !l.closed {
		l.left[w.stream] -= n
		l.chunks = append(l.chunks, LogChunk{Stream: [...]string{"stdout", "stderr"}[w.stream], Data: append([]byte(nil), p[:n]...)})
		close(l.changed)
		l.changed = make(chan struct{})
	}
	return len(p), nil
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

// Next returns the chunks from position at, waiting for some if wait is set,
// and whether the logs have ended.
func (l *Logs) Next(ctx context.Context, at int, wait bool) ([]LogChunk, bool, error) {
	for {
		l.mutex.Lock()
		if at < len(l.chunks) || l.closed || !wait {
			var chunks []LogChunk
			if at < len(l.chunks) {
				chunks = l.chunks[at:len(l.chunks):len(l.chunks)]
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
