package tree

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"

	"github.com/muster-network/muster/store/storetest"
)

func discard(cid.Cid, []byte) error { return nil }

// sampleCAR returns the CAR file of a small tree in which a block occurs twice.
func sampleCAR(t testing.TB) ([]byte, Tree, *storetest.Memory) {
	t.Helper()
	blocks := &storetest.Memory{}
	same := []byte("same")
	tree, err := Write(t.Context(), blocks, []File{{"a", same}, {"d/b", same}, {"d/c", storetest.Noise(1, 2000)}, {"e", nil}})
	must(t, err)
	var file bytes.Buffer
	must(t, WriteCAR(t.Context(), &file, blocks, tree.Root, plenty()))
	return file.Bytes(), tree, blocks
}

func TestACARFileHoldsTheWholeTreeAndComesBack(t *testing.T) {
	file, tree, blocks := sampleCAR(t)
	// The header as the CARv1 specification has it.
	want := "3a" + "a2" + "65" + hex.EncodeToString([]byte("roots")) + "81" + "d82a582500" + hex.EncodeToString(tree.Root.Bytes()) +
		"67" + hex.EncodeToString([]byte("version")) + "01"
	if got := hex.EncodeToString(file); !strings.HasPrefix(got, want) {
		t.Errorf("header %.120s, want %s", got, want)
	}
	read := &storetest.Memory{}
	var order []cid.Cid
	root, err := ReadCAR(iotest.OneByteReader(bytes.NewReader(file)), plenty(), func(c cid.Cid, data []byte) error {
		order = append(order, c)
		return read.Put(t.Context(), mustBlock(t, c, data))
	})
	must(t, err)
	if root != tree.Root || order[0] != root || len(order) != len(tree.Blocks) {
		t.Errorf("root %s and %d blocks, want %s and %d", root, len(order), tree.Root, len(tree.Blocks))
	}
	files, err := Read(t.Context(), read, root, plenty())
	must(t, err)
	if len(files) != 4 {
		t.Errorf("%d files came back", len(files))
	}
	var again bytes.Buffer
	must(t, WriteCAR(t.Context(), &again, blocks, tree.Root, plenty()))
	if !bytes.Equal(file, again.Bytes()) {
		t.Error("the same tree gave two files")
	}
}

func TestAnyChangedOrMissingByteOfACARFileIsSeen(t *testing.T) {
	file, tree, _ := sampleCAR(t)
	rapid.Check(t, func(t *rapid.T) {
		bad := slices.Clone(file)
		i := rapid.IntRange(0, len(bad)-1).Draw(t, "byte")
		bad[i] ^= rapid.ByteRange(1, 255).Draw(t, "flip")
		if root, err := ReadCAR(bytes.NewReader(bad), plenty(), discard); !errors.Is(err, ErrInvalid) {
			t.Fatalf("byte %d changed: root %s, %v, want ErrInvalid", i, root, err)
		}
	})
	for n := range file {
		if _, err := ReadCAR(bytes.NewReader(file[:n]), plenty(), discard); !errors.Is(err, ErrInvalid) {
			t.Fatalf("cut to %d bytes: %v, want ErrInvalid", n, err)
		}
	}
	if _, err := ReadCAR(bytes.NewReader(append(slices.Clone(file), 0)), plenty(), discard); !errors.Is(err, ErrInvalid) {
		t.Errorf("a byte more: %v, want ErrInvalid", err)
	}
	long := append([]byte{file[0] | 0x80, 0}, file[1:]...) // the same length in two bytes
	if _, err := ReadCAR(bytes.NewReader(long), plenty(), discard); !errors.Is(err, ErrInvalid) {
		t.Errorf("a long length: %v, want ErrInvalid", err)
	}
	for _, limit := range []Limits{{}, {tree.Bytes - 1, 100}, {tree.Bytes, len(tree.Blocks) - 1}} {
		if _, err := ReadCAR(bytes.NewReader(file), limit, discard); !errors.Is(err, ErrLimit) {
			t.Errorf("within %+v: %v, want ErrLimit", limit, err)
		}
	}
}

func TestErrorsOfReaderWriterAndVisitorArePassedOn(t *testing.T) {
	file, tree, blocks := sampleCAR(t)
	boom := errors.New("boom")
	if _, err := ReadCAR(io.MultiReader(bytes.NewReader(file[:100]), iotest.ErrReader(boom)), plenty(), discard); !errors.Is(err, boom) {
		t.Errorf("reader: %v", err)
	}
	if _, err := ReadCAR(bytes.NewReader(file), plenty(), func(cid.Cid, []byte) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("visitor: %v", err)
	}
	r, w := io.Pipe()
	must(t, r.CloseWithError(boom))
	if err := WriteCAR(t.Context(), w, blocks, tree.Root, plenty()); !errors.Is(err, boom) {
		t.Errorf("writer: %v", err)
	}
}

func FuzzReadCAR(f *testing.F) {
	file, _, _ := sampleCAR(f)
	f.Add(file)
	f.Add(file[:60])
	f.Fuzz(func(t *testing.T, data []byte) {
		blocks := &storetest.Memory{}
		root, err := ReadCAR(bytes.NewReader(data), plenty(), func(c cid.Cid, data []byte) error {
			return blocks.Put(t.Context(), mustBlock(t, c, data))
		})
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := WriteCAR(t.Context(), &again, blocks, root, plenty()); err != nil || !bytes.Equal(again.Bytes(), data) {
			t.Errorf("accepted %x, which is the file of no tree: %v", data, err)
		}
	})
}
