package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	format "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
	"pgregory.net/rapid"

	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/storetest"
)

func plenty() Limits { return Limits{Bytes: 1 << 30, Blocks: 1 << 20} }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// boxo is the reference: its own store, importer and readers.
type boxo struct {
	store   blockstore.Blockstore
	service format.DAGService
}

func newBoxo() boxo {
	bs := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	return boxo{bs, merkledag.NewDAGService(blockservice.New(bs, offline.Exchange(bs)))}
}

func builder() cid.Builder { return cid.V1Builder{Codec: cid.DagProtobuf, MhType: multihash.SHA2_256} }

func (b boxo) file(t testing.TB, data []byte) format.Node {
	t.Helper()
	params := helpers.DagBuilderParams{Dagserv: b.service, Maxlinks: MaxLinks, RawLeaves: true, CidBuilder: builder()}
	db, err := params.New(chunk.NewSizeSplitter(bytes.NewReader(data), ChunkSize))
	must(t, err)
	n, err := balanced.Layout(db)
	must(t, err)
	return n
}

// directory stores files, and an empty directory at each path of empty.
func (b boxo) directory(t testing.TB, files []File, empty ...string) format.Node {
	t.Helper()
	dir, err := uio.NewBasicDirectory(b.service, uio.WithCidBuilder(builder()))
	must(t, err)
	below := map[string][]File{}
	for _, f := range files {
		if name, rest, nested := strings.Cut(f.Path, "/"); nested {
			below[name] = append(below[name], File{rest, f.Data})
		} else {
			must(t, dir.AddChild(t.Context(), f.Path, b.file(t, f.Data)))
		}
	}
	for name, files := range below {
		must(t, dir.AddChild(t.Context(), name, b.directory(t, files)))
	}
	for _, name := range empty {
		must(t, dir.AddChild(t.Context(), name, b.directory(t, nil)))
	}
	n, err := dir.GetNode()
	must(t, err)
	must(t, b.service.Add(t.Context(), n))
	return n
}

// same checks that boxo made the same root and has the same bytes for every
// block of tree.
func (b boxo) same(t testing.TB, ours store.Blocks, tree Tree, want format.Node) {
	t.Helper()
	if tree.Root != want.Cid() {
		t.Errorf("root %s, boxo's %s", tree.Root, want.Cid())
		return
	}
	total := int64(0)
	for _, c := range tree.Blocks {
		data, err := ours.Get(t.Context(), c)
		must(t, err)
		total += int64(len(data))
		theirs, err := b.store.Get(t.Context(), c)
		if err != nil || !bytes.Equal(data, theirs.RawData()) {
			t.Errorf("block %s differs from boxo's: %v", c, err)
		}
	}
	if total != tree.Bytes {
		t.Errorf("Bytes = %d, the blocks have %d", tree.Bytes, total)
	}
}

func TestFilesAreThoseOfTheKuboProfile(t *testing.T) {
	sizes := []int{0, 1, 1000, ChunkSize - 1, ChunkSize, ChunkSize + 1, 5*ChunkSize + 5}
	data := make([]byte, sizes[len(sizes)-1])
	for i := 0; i+1 < len(data); i += 4096 {
		data[i], data[i+1] = byte(i>>12), byte(i>>20) // no two leaves are alike
	}
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			blocks, reference := &storetest.Memory{}, newBoxo()
			tree, err := WriteFile(t.Context(), blocks, bytes.NewReader(data[:size]))
			must(t, err)
			reference.same(t, blocks, tree, reference.file(t, data[:size]))

			r, err := OpenFile(t.Context(), blocks, tree.Root)
			must(t, err)
			if r.Size() != int64(size) {
				t.Errorf("Size = %d", r.Size())
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, data[:size]) {
				t.Errorf("read %d bytes back, %v", len(got), err)
			}
		})
	}
}

// Leaves of three bytes stand for leaves of 1 MiB.
func TestFilesOfManyLeavesAreThoseOfTheKuboProfile(t *testing.T) {
	const deep = MaxLinks * MaxLinks
	for _, leaves := range []int{2, MaxLinks - 1, MaxLinks, MaxLinks + 1, 2*MaxLinks + 1, deep, deep + 1, deep + MaxLinks + 1} {
		data := make([]byte, 0, 3*leaves)
		for i := range leaves {
			data = append(data, byte(i), byte(i>>8), byte(i>>16))
		}
		blocks := &storetest.Memory{}
		w := newWriter(blocks)
		next := 0
		root, err := w.file(t.Context(), func() ([]byte, error) {
			if next == len(data) {
				return nil, io.EOF
			}
			next += 3
			return data[next-3 : next], nil
		})
		must(t, err)

		reference := newBoxo()
		params := helpers.DagBuilderParams{Dagserv: reference.service, Maxlinks: MaxLinks, RawLeaves: true, CidBuilder: builder()}
		db, err := params.New(chunk.NewSizeSplitter(bytes.NewReader(data), 3))
		must(t, err)
		want, err := balanced.Layout(db)
		must(t, err)
		if root.cid != want.Cid() {
			t.Errorf("%d leaves: root %s, boxo's %s", leaves, root.cid, want.Cid())
		}
		_, err = w.finish(t.Context())
		must(t, err)
		r, err := OpenFile(t.Context(), blocks, root.cid)
		must(t, err)
		tail := data[max(0, len(data)-1000):]
		_, err = r.Seek(-int64(len(tail)), io.SeekEnd)
		must(t, err)
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, tail) {
			t.Errorf("%d leaves: the end reads as %d bytes, %v", leaves, len(got), err)
		}
	}
}

func TestDirectoriesAreThoseOfBoxoInAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.StringMatching(`[a-c.\-é]{1,3}`).Filter(func(s string) bool { return s != "." && s != ".." })
		byPath := map[string][]byte{}
		for range rapid.IntRange(0, 12).Draw(rt, "files") {
			path := strings.Join(rapid.SliceOfN(name, 1, 3).Draw(rt, "path"), "/")
			byPath[path] = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(rt, "data")
		}
		var files []File
		for path, data := range byPath {
			clash := false
			for other := range byPath {
				clash = clash || strings.HasPrefix(other, path+"/")
			}
			if !clash {
				files = append(files, File{path, data})
			}
		}
		blocks, reference := &storetest.Memory{}, newBoxo()
		tree, err := Write(t.Context(), blocks, files)
		must(t, err)
		reference.same(t, blocks, tree, reference.directory(t, files))

		slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
		got, err := Read(t.Context(), blocks, tree.Root, plenty())
		must(t, err)
		slices.SortFunc(got, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
		if fmt.Sprint(got) != fmt.Sprint(files) {
			rt.Fatalf("read %v, wrote %v", got, files)
		}
	})
}

func TestResultTreesAreDirectoriesWithFourEntries(t *testing.T) {
	for _, want := range []Result{
		{},
		{Out: []File{{"a/b.txt", []byte("b")}, {"c", nil}}, Stdout: []byte("hello\n"), Stderr: []byte("oh"), Code: 3},
		{Stdout: bytes.Repeat([]byte("x"), 2*ChunkSize+1), Code: -2147483648},
	} {
		blocks, reference := &storetest.Memory{}, newBoxo()
		tree, err := WriteResult(t.Context(), blocks, want)
		must(t, err)

		files := []File{{"stdout", want.Stdout}, {"stderr", want.Stderr}, {"exit", fmt.Appendf(nil, "%d\n", want.Code)}}
		for _, f := range want.Out {
			files = append(files, File{"out/" + f.Path, f.Data})
		}
		var empty []string
		if len(want.Out) == 0 {
			empty = append(empty, "out")
		}
		reference.same(t, blocks, tree, reference.directory(t, files, empty...))

		got, err := ReadResult(t.Context(), blocks, tree.Root, plenty())
		must(t, err)
		same := got.Code == want.Code && bytes.Equal(got.Stdout, want.Stdout) && bytes.Equal(got.Stderr, want.Stderr)
		if !same || fmt.Sprint(got.Out) != fmt.Sprint(want.Out) {
			t.Errorf("read %.200v, wrote %.200v", got, want)
		}
		if _, code, err := NewSurveyor(blocks, plenty()).Result(t.Context(), tree.Root); err != nil || code != want.Code {
			t.Errorf("the survey finds exit code %d, %v", code, err)
		}
	}
}

func TestOtherTreesAreNoResults(t *testing.T) {
	good := []File{{"exit", []byte("0\n")}, {"out/x", nil}, {"stderr", nil}, {"stdout", nil}}
	with := func(i int, f File) []File { files := slices.Clone(good); files[i] = f; return files }
	for name, files := range map[string][]File{
		"an entry missing":      good[:3],
		"an entry more":         append(slices.Clone(good), File{"zzz", nil}),
		"another name":          with(3, File{"stdin", nil}),
		"out a file":            with(1, File{"out", nil}),
		"stdout a directory":    with(3, File{"stdout/x", nil}),
		"exit a directory":      with(0, File{"exit/x", nil}),
		"exit empty":            with(0, File{"exit", nil}),
		"exit without newline":  with(0, File{"exit", []byte("0")}),
		"exit with zeros":       with(0, File{"exit", []byte("00\n")}),
		"exit with a sign":      with(0, File{"exit", []byte("+1\n")}),
		"exit out of range":     with(0, File{"exit", []byte("2147483648\n")}),
		"exit far out of range": with(0, File{"exit", []byte("999999999999\n")}),
	} {
		blocks := &storetest.Memory{}
		tree, err := Write(t.Context(), blocks, files)
		must(t, err)
		if _, err := ReadResult(t.Context(), blocks, tree.Root, plenty()); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
		if _, _, err := NewSurveyor(blocks, plenty()).Result(t.Context(), tree.Root); !errors.Is(err, ErrInvalid) {
			t.Errorf("survey of %s: %v, want ErrInvalid", name, err)
		}
	}
}

func TestBoxoReadsATree(t *testing.T) {
	data := storetest.Noise(1, 2*ChunkSize+77)
	blocks, reference := &storetest.Memory{}, newBoxo()
	tree, err := Write(t.Context(), blocks, []File{{"d/big", data}, {"small", []byte("s")}})
	must(t, err)
	for _, c := range tree.Blocks {
		block, err := blocks.Get(t.Context(), c)
		must(t, err)
		must(t, reference.store.Put(t.Context(), mustBlock(t, c, block)))
	}
	root, err := reference.service.Get(t.Context(), tree.Root)
	must(t, err)
	dir, err := uio.NewDirectoryFromNode(reference.service, root)
	must(t, err)
	sub, err := dir.Find(t.Context(), "d")
	must(t, err)
	dir, err = uio.NewDirectoryFromNode(reference.service, sub)
	must(t, err)
	file, err := dir.Find(t.Context(), "big")
	must(t, err)
	r, err := uio.NewDagReader(t.Context(), file, reference.service)
	must(t, err)
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Errorf("boxo read %d bytes, %v", len(got), err)
	}
}

func mustBlock(t testing.TB, c cid.Cid, data []byte) blocks.Block {
	t.Helper()
	b, err := blocks.NewBlockWithCid(data, c)
	must(t, err)
	return b
}

func TestPathsThatNoTreeMayHoldAreRefused(t *testing.T) {
	deep := strings.Repeat("d/", MaxDepth)
	for _, paths := range [][]string{
		{""}, {"/a"}, {"a/"}, {"a//b"}, {"."}, {"a/../b"}, {"../a"}, {"a/."}, {"a\x00"}, {"\xff"},
		{strings.Repeat("n", MaxName+1)}, {deep + "x"}, {"a", "a"}, {"a", "a/b"}, {"a/b", "a", "a-"},
	} {
		var files []File
		for _, p := range paths {
			files = append(files, File{Path: p})
		}
		if _, err := Write(t.Context(), &storetest.Memory{}, files); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", paths, err)
		}
	}
	blocks := &storetest.Memory{}
	tree, err := Write(t.Context(), blocks, []File{{Path: deep[:len(deep)-1]}})
	must(t, err)
	if _, err := Read(t.Context(), blocks, tree.Root, plenty()); err != nil {
		t.Errorf("the deepest path: %v", err)
	}
}

func TestReadErrorsOfTheContentArePassedOn(t *testing.T) {
	boom := errors.New("boom")
	r := io.MultiReader(bytes.NewReader(make([]byte, ChunkSize+1)), iotest.ErrReader(boom))
	if _, err := WriteFile(t.Context(), &storetest.Memory{}, r); !errors.Is(err, boom) {
		t.Errorf("WriteFile: %v, want the reader's error", err)
	}
}
