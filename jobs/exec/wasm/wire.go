package wasm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store/dagcbor"
)

// wireVersion is spoken in both hellos. Executor and worker are one binary, so
// another version only says that something else answered.
const wireVersion = 1

// maxFrame bounds a frame; files travel in pieces of chunk. Bytes.
const (
	maxFrame = 2 << 20
	chunk    = 1 << 20
)

// kinds of frames. A frame is its length (4 bytes, big endian, of what
// follows), its kind and one dag-cbor value.
const (
	frameHello  byte = iota + 1 // both ways: hello
	frameJob                    // to the worker: jobFrame, then the inputs' data
	frameCode                   // to the worker: codeFrame, then the module's data
	frameData                   // both ways: a piece of a file
	frameWant                   // to the executor: the job's module is not held
	frameStdout                 // to the executor: a piece of the stream
	frameStderr                 // to the executor: a piece of the stream
	frameDone                   // to the executor: doneFrame, then the outputs' data
)

type hello struct {
	_       struct{} `cbor:",toarray"`
	Version int
	Compile bool   // the worker compiles one module and runs nothing
	Cache   string // folder of compiled code
	CPU     int64  // ns that the worker has used to start
}

type entry struct {
	_    struct{} `cbor:",toarray"`
	Path string
	Size int64
}

type jobFrame struct {
	_          struct{} `cbor:",toarray"`
	Task       []byte
	Module     []byte
	Args       []string
	Env        []string
	Inputs     []entry
	Outputs    []string
	Everything bool
	Memory     int64
	Disk       int64
	Stream     int64
}

type codeFrame struct {
	_      struct{} `cbor:",toarray"`
	Module []byte
	Size   int64
}

type doneFrame struct {
	_      struct{} `cbor:",toarray"`
	Kind   int
	Code   int32
	Reason string
	CPU    int64 // ns that the worker has used since it started
	Peak   int64 // bytes
	Out    []entry
}

// wire frames values over a pair of pipes.
type wire struct {
	r   *bufio.Reader
	w   *bufio.Writer
	buf []byte // the last frame read
}

func newWire(r io.Reader, w io.Writer) *wire {
	return &wire{r: bufio.NewReaderSize(r, 16<<10), w: bufio.NewWriterSize(w, 16<<10)}
}

// send writes a frame; flush makes sure that it leaves.
func (c *wire) send(kind byte, v any) error {
	body, err := dagcbor.Marshal(v)
	if err != nil {
		return err
	}
	var head [5]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(body)+1))
	head[4] = kind
	if _, err := c.w.Write(head[:]); err != nil {
		return err
	}
	_, err = c.w.Write(body)
	return err
}

func (c *wire) flush() error { return c.w.Flush() }

// next reads a frame. The body is good until the next call.
func (c *wire) next() (kind byte, body []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 2 || size > maxFrame {
		return 0, nil, fmt.Errorf("frame of %d bytes", size)
	}
	if cap(c.buf) < int(size) {
		c.buf = make([]byte, size)
	}
	c.buf = c.buf[:size]
	if _, err := io.ReadFull(c.r, c.buf); err != nil {
		return 0, nil, err
	}
	return c.buf[0], c.buf[1:], nil
}

// expect reads a frame of one kind into v.
func (c *wire) expect(want byte, v any) error {
	kind, body, err := c.next()
	if err != nil {
		return err
	}
	if kind != want {
		return fmt.Errorf("frame of kind %d, want %d", kind, want)
	}
	return dagcbor.Unmarshal(body, v)
}

// sendData writes the bytes that an entry announced.
func (c *wire) sendData(data []byte) error {
	for len(data) > 0 {
		n := min(len(data), chunk)
		if err := c.send(frameData, data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// readData reads size bytes of data frames.
func (c *wire) readData(size int64) ([]byte, error) {
	data := make([]byte, 0, size)
	for int64(len(data)) < size {
		var piece []byte
		if err := c.expect(frameData, &piece); err != nil {
			return nil, err
		}
		if len(piece) == 0 || int64(len(data)+len(piece)) > size {
			return nil, errors.New("data does not fit its announcement")
		}
		data = append(data, piece...)
	}
	return data, nil
}

// sendFiles writes the data of files whose entries have been announced.
func (c *wire) sendFiles(files []exec.File) error {
	for _, f := range files {
		if err := c.sendData(f.Data); err != nil {
			return err
		}
	}
	return nil
}

// readFiles reads the files that entries announce, at most limit bytes in all.
func (c *wire) readFiles(entries []entry, limit int64) ([]exec.File, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	files := make([]exec.File, len(entries))
	for i, e := range entries {
		if e.Size < 0 || e.Size > limit {
			return nil, fmt.Errorf("file %q of %d bytes is over the limit", e.Path, e.Size)
		}
		limit -= e.Size
		data, err := c.readData(e.Size)
		if err != nil {
			return nil, err
		}
		files[i] = exec.File{Path: e.Path, Data: data}
	}
	return files, nil
}

func entriesOf(files []exec.File) []entry {
	entries := make([]entry, len(files))
	for i, f := range files {
		entries[i] = entry{Path: f.Path, Size: int64(len(f.Data))}
	}
	return entries
}
