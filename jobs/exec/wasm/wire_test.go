package wasm

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/muster-network/muster/jobs/exec"
)

func TestFilesOfAnySizeCrossTheWire(t *testing.T) {
	var pipe bytes.Buffer
	w := newWire(&pipe, &pipe)
	files := []exec.File{
		{Path: "a", Data: []byte{}},
		{Path: "b", Data: []byte("b")},
		{Path: "c", Data: bytes.Repeat([]byte("c"), 2*chunk+1)},
	}
	if err := w.sendFiles(files); err != nil {
		t.Fatal(err)
	}
	if err := w.flush(); err != nil {
		t.Fatal(err)
	}
	sent := pipe.Bytes()
	most := bounds{files: 3, paths: 3, data: 3 * chunk}
	got, err := newWire(bytes.NewReader(sent), nil).readFiles(len(files), most)
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		if got[i].Path != files[i].Path || !bytes.Equal(got[i].Data, files[i].Data) {
			t.Errorf("%s came as %d bytes", files[i].Path, len(got[i].Data))
		}
	}
	for _, less := range []bounds{{2, 3, 3 * chunk}, {3, 2, 3 * chunk}, {3, 3, 2 * chunk}} {
		if _, err := newWire(bytes.NewReader(sent), nil).readFiles(len(files), less); err == nil {
			t.Errorf("more than %+v was taken", less)
		}
	}
	if _, err := newWire(bytes.NewReader(sent), nil).readFiles(2, most); err == nil {
		t.Error("more files were taken than had been announced")
	}
}

func TestAFrameThatNobodyWouldTakeIsNotSent(t *testing.T) {
	var pipe bytes.Buffer
	if err := newWire(nil, &pipe).send(frameData, make([]byte, maxFrame)); err == nil {
		t.Error("it was sent")
	}
}

func TestAStreamOverItsLimitIsNotTaken(t *testing.T) {
	l := &live{limit: 3}
	if err := l.receive([]byte("\x43abc")); err != nil || string(l.kept) != "abc" {
		t.Errorf("kept %q, error %v", l.kept, err)
	}
	if err := l.receive([]byte("\x41d")); err == nil {
		t.Error("a byte too many was taken")
	}
}

// FuzzFrames checks that no bytes from a worker make the executor panic or take
// more than it asked for.
func FuzzFrames(f *testing.F) {
	var frames bytes.Buffer
	w := newWire(nil, &frames)
	files := []exec.File{{Path: "x", Data: []byte("data")}}
	w.send(frameStdout, []byte("hello"))
	w.send(frameDone, doneFrame{Kind: int(exec.Exited), Out: len(files)})
	w.sendFiles(files)
	w.flush()
	f.Add(frames.Bytes())
	f.Add([]byte(strings.Repeat("\x00\x00\x00\x02\x01\x00", 3)))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &process{wire: newWire(bytes.NewReader(data), io.Discard)}
		out := &live{limit: 10}
		res, _, err := p.run(&exec.Request{Memory: 1, Disk: 10}, hash{}, out, out)
		if err != nil {
			return
		}
		var size int
		for _, f := range res.Out {
			size += len(f.Data)
		}
		if size > 10 || len(out.kept) > 10 {
			t.Errorf("took %d bytes of files and %d of output", size, len(out.kept))
		}
	})
}
