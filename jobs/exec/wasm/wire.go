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
const wireVersion = 4

// maxFrame bounds a frame, in bytes. Files travel in pieces of chunk; the text of a
// job, which is at most maxText, travels in one frame with little else.
const (
	maxFrame = 4 << 20
	chunk    = 1 << 20
)

// kinds of frames. A frame is its length (4 bytes, big endian, of what
// follows), its kind and one dag-cbor value.
const (
	frameHello  byte = iota + 1 // both ways: hello
	frameJob                    // to the worker: jobFrame, then the inputs
	frameCode                   // to the worker: codeFrame, then the module's data
	frameData                   // both ways: a piece of a file
	frameFiles                  // both ways: entries of the files whose data follow
	frameWant                   // to the executor: the job's module is not held
	frameStdout                 // to the executor: a piece of the stream
	frameStderr                 // to the executor: a piece of the stream
	frameDone                   // to the executor: doneFrame, then the outputs
)

type hello struct {
	_       struct{} `cbor:",toarray"`
	Version int
	Compile bool   // the worker compiles one module and runs nothing
	Data    int64  // bytes of data that one which compiles may hold beside what it starts with
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
	Inputs     int // files
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
	Begun  bool  // the program was entered
	CPU    int64 // ns that the worker has used since it started
	Peak   int64 // bytes
	Out    int   // files
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
	if len(body)+1 > maxFrame {
		return fmt.Errorf("frame of %d bytes, at most %d are taken", len(body)+1, maxFrame)
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

// entriesBytes is how many bytes of paths one frame of entries holds, and
// entryBytes what else an entry takes there at most.
const (
	entriesBytes = 1 << 20
	entryBytes   = 16
)

// sendFiles writes files whose number has been announced: their entries, in as
// many frames as they need, then their data.
func (c *wire) sendFiles(files []exec.File) error {
	var entries []entry
	size := 0
	for i, f := range files {
		entries = append(entries, entry{Path: f.Path, Size: int64(len(f.Data))})
		if size += len(f.Path) + entryBytes; size < entriesBytes && i < len(files)-1 {
			continue
		}
		if err := c.send(frameFiles, entries); err != nil {
			return err
		}
		entries, size = entries[:0], 0
	}
	for _, f := range files {
		if err := c.sendData(f.Data); err != nil {
			return err
		}
	}
	return nil
}

// bounds of files that are read: their number, the bytes of their paths and those
// of their data.
type bounds struct {
	files       int
	paths, data int64
}

// readFiles reads n files.
func (c *wire) readFiles(n int, most bounds) ([]exec.File, error) {
	if n == 0 {
		return nil, nil
	}
	if n < 0 || n > most.files {
		return nil, fmt.Errorf("%d files, at most %d are taken", n, most.files)
	}
	var all []entry
	for len(all) < n {
		var entries []entry
		if err := c.expect(frameFiles, &entries); err != nil {
			return nil, err
		}
		if len(entries) == 0 || len(all)+len(entries) > n {
			return nil, errors.New("entries do not fit their announcement")
		}
		for _, e := range entries {
			if most.paths -= int64(len(e.Path)); most.paths < 0 {
				return nil, errors.New("paths are over the limit")
			}
		}
		all = append(all, entries...)
	}
	files := make([]exec.File, n)
	for i, e := range all {
		if e.Size < 0 || e.Size > most.data {
			return nil, fmt.Errorf("file %q of %d bytes is over the limit", e.Path, e.Size)
		}
		most.data -= e.Size
		data, err := c.readData(e.Size)
		if err != nil {
			return nil, err
		}
		files[i] = exec.File{Path: e.Path, Data: data}
	}
	return files, nil
}
