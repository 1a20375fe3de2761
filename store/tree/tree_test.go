package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	ft "github.com/ipfs/boxo/ipld/unixfs"
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
	"github.com/muster-network/muster/store/dagcbor"
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
		w := newWriter(&storetest.Memory{})
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
		r, err := OpenFile(t.Context(), w.blocks, root.cid)
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
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("read %.200v, wrote %.200v", got, want)
		}
		if code, err := ReadExit(t.Context(), blocks, tree.Root); err != nil || code != want.Code {
			t.Errorf("ReadExit = %d, %v", code, err)
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

func TestReadKeepsToItsLimits(t *testing.T) {
	blocks := &storetest.Memory{}
	same := bytes.Repeat([]byte("x"), 1000)
	tree, err := Write(t.Context(), blocks, []File{{"a", same}, {"b", same}, {"c", same}, {"d/e", same}})
	must(t, err)
	root, err := blocks.Size(t.Context(), tree.Root)
	must(t, err)
	sub, err := Lookup(t.Context(), blocks, tree.Root, "d")
	must(t, err)
	dir, err := blocks.Size(t.Context(), sub.CID)
	must(t, err)
	exact := Limits{Bytes: int64(root + dir + 4*len(same)), Blocks: 6} // a shared block counts each time
	if _, err := Read(t.Context(), blocks, tree.Root, exact); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	for _, limit := range []Limits{{}, {exact.Bytes - 1, 6}, {exact.Bytes, 5}} {
		if _, err := Read(t.Context(), blocks, tree.Root, limit); !errors.Is(err, ErrLimit) {
			t.Errorf("within %+v: %v, want ErrLimit", limit, err)
		}
	}
}

func TestLookupAndListFindWhatWasWritten(t *testing.T) {
	blocks := &storetest.Memory{}
	big := make([]byte, ChunkSize+1)
	tree, err := Write(t.Context(), blocks, []File{{"a/b/c", []byte("xyz")}, {"a/big", big}})
	must(t, err)
	for _, tc := range []struct {
		path string
		dir  bool
		size int64
	}{{"", true, 0}, {"a", true, 0}, {"a/b", true, 0}, {"a/b/c", false, 3}, {"a/big", false, ChunkSize + 1}} {
		n, err := Lookup(t.Context(), blocks, tree.Root, tc.path)
		if err != nil || n.Dir != tc.dir || n.Size != tc.size || n.Name != tc.path[strings.LastIndex(tc.path, "/")+1:] {
			t.Errorf("Lookup(%q) = %+v, %v", tc.path, n, err)
		}
	}
	for _, path := range []string{"b", "a/c", "a/big/x", "a/b/c/d"} {
		if _, err := Lookup(t.Context(), blocks, tree.Root, path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lookup(%q): %v, want fs.ErrNotExist", path, err)
		}
	}
	if _, err := Lookup(t.Context(), blocks, tree.Root, "../a"); !errors.Is(err, ErrInvalid) {
		t.Errorf("Lookup(../a): %v, want ErrInvalid", err)
	}
	a, err := Lookup(t.Context(), blocks, tree.Root, "a")
	must(t, err)
	nodes, err := List(t.Context(), blocks, a.CID)
	must(t, err)
	if len(nodes) != 2 || nodes[0].Name != "b" || !nodes[0].Dir || nodes[1].Name != "big" || nodes[1].Size != ChunkSize+1 {
		t.Errorf("List = %+v", nodes)
	}
}

func TestAReaderReadsFromAnyOffset(t *testing.T) {
	data := storetest.Noise(7, 3*ChunkSize+99)
	blocks := &storetest.Memory{}
	tree, err := WriteFile(t.Context(), blocks, bytes.NewReader(data))
	must(t, err)
	r, err := OpenFile(t.Context(), blocks, tree.Root)
	must(t, err)
	must(t, iotest.TestReader(io.LimitReader(r, 1000), data[:1000]))
	want := bytes.NewReader(data)
	rapid.Check(t, func(t *rapid.T) {
		whence := rapid.SampledFrom([]int{io.SeekStart, io.SeekCurrent, io.SeekEnd}).Draw(t, "whence")
		offset := rapid.Int64Range(-2*ChunkSize, 4*ChunkSize).Draw(t, "offset")
		at, err := r.Seek(offset, whence)
		wantAt, wantErr := want.Seek(offset, whence)
		if (err == nil) != (wantErr == nil) || err == nil && at != wantAt {
			t.Fatalf("Seek = %d, %v, want %d, %v", at, err, wantAt, wantErr)
		}
		n := rapid.IntRange(0, 100_000).Draw(t, "length")
		got, wanted := make([]byte, n), make([]byte, n)
		k, err := io.ReadFull(r, got)
		wantK, wantErr := io.ReadFull(want, wanted)
		if k != wantK || err != wantErr || !bytes.Equal(got, wanted) {
			t.Fatalf("read %d, %v, want %d, %v", k, err, wantK, wantErr)
		}
	})
}

// gauge counts calls that are open at a time.
type gauge struct {
	store.Blocks
	open, most atomic.Int32
	calls      atomic.Int32
	gate       chan struct{}
}

func (g *gauge) Get(ctx context.Context, c cid.Cid) ([]byte, error) {
	g.calls.Add(1)
	if n := g.open.Add(1); n > g.most.Load() {
		g.most.Store(n)
		if n == walkers {
			close(g.gate)
		}
	}
	defer g.open.Add(-1)
	if c.Type() == cid.Raw {
		<-g.gate // opens when all walkers are in
	}
	return g.Blocks.Get(ctx, c)
}

func TestWalkVisitsEveryBlockOnceSeveralAtATime(t *testing.T) {
	blocks := &storetest.Memory{}
	var files []File
	for i := range 40 {
		files = append(files, File{fmt.Sprintf("d%d/f%d", i%4, i), storetest.Noise(uint64(i%20), 500)})
	}
	tree, err := Write(t.Context(), blocks, files)
	must(t, err)
	value, err := dagcbor.Marshal(map[string]any{"result": dagcbor.LinkTo(tree.Root), "again": []any{dagcbor.LinkTo(tree.Root)}})
	must(t, err)
	root := dagcbor.CID(value)
	must(t, blocks.Put(t.Context(), mustBlock(t, root, value)))

	src := &gauge{Blocks: blocks, gate: make(chan struct{})}
	visited := map[cid.Cid]int{}
	exact := Limits{Bytes: tree.Bytes + int64(len(value)), Blocks: len(tree.Blocks) + 1}
	err = Walk(t.Context(), src, root, exact, func(c cid.Cid, data []byte) error {
		visited[c]++
		return store.Verify(c, data)
	})
	must(t, err)
	for _, c := range append(tree.Blocks, root) {
		if visited[c] != 1 {
			t.Errorf("%s was visited %d times", c, visited[c])
		}
	}
	if int(src.calls.Load()) != len(visited) || src.most.Load() != walkers {
		t.Errorf("%d reads of %d blocks, at most %d at a time", src.calls.Load(), len(visited), src.most.Load())
	}
	for _, limit := range []Limits{{}, {exact.Bytes - 1, exact.Blocks}, {exact.Bytes, exact.Blocks - 1}} {
		err := Walk(t.Context(), blocks, root, limit, func(cid.Cid, []byte) error { return nil })
		if !errors.Is(err, ErrLimit) {
			t.Errorf("within %+v: %v, want ErrLimit", limit, err)
		}
	}
}

func TestWalkEndsWithTheFirstError(t *testing.T) {
	blocks := &storetest.Memory{}
	tree, err := Write(t.Context(), blocks, []File{{"a", []byte("a")}, {"b", []byte("b")}})
	must(t, err)
	boom := errors.New("boom")
	if err := Walk(t.Context(), blocks, tree.Root, plenty(), func(cid.Cid, []byte) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("visit's error: %v", err)
	}
	must(t, blocks.Delete(t.Context(), tree.Blocks[0]))
	if err := Walk(t.Context(), blocks, tree.Root, plenty(), func(cid.Cid, []byte) error { return nil }); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a missing block: %v, want ErrNotFound", err)
	}
}

func TestForeignNodesAreRefused(t *testing.T) {
	leaf := storetest.Block(t, cid.Raw, []byte("leaf"))
	protobuf := func(data []byte, links ...format.Link) []byte {
		n := merkledag.NodeWithData(data)
		for _, l := range links {
			must(t, n.AddRawLink(l.Name, &l))
		}
		return n.RawData()
	}
	to := func(name string) format.Link { return format.Link{Name: name, Cid: leaf.Cid(), Size: 4} }
	symlink, err := ft.SymlinkData("/etc/passwd")
	must(t, err)
	shard, err := ft.HAMTShardData(nil, 256, 0x22)
	must(t, err)
	lying := ft.NewFSNode(ft.TFile)
	lying.AddBlockSize(5)
	lies, err := lying.GetBytes()
	must(t, err)
	v0 := format.Link{Name: "v0", Cid: merkledag.NodeWithData(ft.FolderPBData()).Cid(), Size: 4}
	for name, data := range map[string][]byte{
		"nothing":                   {},
		"no protobuf":               []byte("leaf"),
		"a symbolic link":           protobuf(symlink),
		"a sharded directory":       protobuf(shard),
		"inline data":               protobuf(ft.FilePBData([]byte("x"), 1)),
		"a directory with a mode":   protobuf(ft.FolderPBDataWithStat(0o755, time.Unix(1, 0))),
		"a link out":                protobuf(ft.FolderPBData(), to("..")),
		"a link with a slash":       protobuf(ft.FolderPBData(), to("a/b")),
		"a link without a name":     protobuf(ft.FolderPBData(), to("")),
		"two links of a name":       protobuf(ft.FolderPBData(), to("a"), to("a")),
		"a link by an old CID":      protobuf(ft.FolderPBData(), v0),
		"a part that is not so big": protobuf(lies, to("")),
	} {
		t.Run(name, func(t *testing.T) {
			blocks := &storetest.Memory{}
			root := storetest.Block(t, cid.DagProtobuf, data)
			must(t, blocks.Put(t.Context(), leaf, root))
			if name != "a part that is not so big" {
				if _, err := Read(t.Context(), blocks, root.Cid(), plenty()); !errors.Is(err, ErrInvalid) {
					t.Errorf("Read: %v, want ErrInvalid", err)
				}
				return
			}
			r, err := OpenFile(t.Context(), blocks, root.Cid())
			must(t, err)
			if _, err := io.ReadAll(r); !errors.Is(err, ErrInvalid) {
				t.Errorf("reading it: %v, want ErrInvalid", err)
			}
			rd := reader{src: blocks, budget: budget{plenty()}}
			if _, err := rd.file(t.Context(), root.Cid()); !errors.Is(err, ErrInvalid) {
				t.Errorf("reading it whole: %v, want ErrInvalid", err)
			}
		})
	}
}

// What decode accepts has one encoding, and boxo reads the same from it.
func FuzzDecode(f *testing.F) {
	leaf := storetest.Block(f, cid.Raw, []byte("leaf")).Cid()
	f.Add((&node{kind: kindDirectory}).encode())
	f.Add((&node{kind: kindDirectory, links: []link{{"a", leaf, 4}, {"b", leaf, 4}}}).encode())
	f.Add((&node{kind: kindFile, links: []link{{"", leaf, 4}, {"", leaf, 4}}, sizes: []uint64{4, 4}}).encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := decode(data)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("decode: %v, want ErrInvalid", err)
			}
			return
		}
		pb, err := merkledag.DecodeProtobuf(data)
		if err != nil {
			t.Fatalf("boxo refuses %x: %v", data, err)
		}
		unixfs, err := ft.FSNodeFromBytes(pb.Data())
		if err != nil {
			t.Fatalf("boxo refuses %x: %v", data, err)
		}
		if uint64(unixfs.Type()) != n.kind || len(pb.Links()) != len(n.links) || unixfs.FileSize() != n.content() {
			t.Errorf("boxo reads %x otherwise", data)
		}
	})
}

func BenchmarkWriteResult(b *testing.B) {
	blocks := &storetest.Memory{}
	result := Result{Out: []File{{"count.txt", []byte("12345\n")}}, Stdout: []byte("hello\n")}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := WriteResult(b.Context(), blocks, result); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadResult(b *testing.B) {
	blocks := &storetest.Memory{}
	tree, err := WriteResult(b.Context(), blocks, Result{Out: []File{{"count.txt", []byte("12345\n")}}, Stdout: []byte("hello\n")})
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadResult(b.Context(), blocks, tree.Root, plenty()); err != nil {
			b.Fatal(err)
		}
	}
}
