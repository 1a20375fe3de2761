package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	ft "github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
	"pgregory.net/rapid"

	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/storetest"
)

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
	_, err = r.Seek(0, io.SeekStart)
	must(t, err)
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

func TestAFileIsReadWithinItsBlocksByMention(t *testing.T) {
	src := &storetest.Counted{Blocks: &storetest.Memory{}}
	root := storetest.Crumbs(t, src)
	limit := Limits{Bytes: 2 * ChunkSize, Blocks: 1000}
	if _, err := ReadFile(t.Context(), src, root, limit); !errors.Is(err, ErrLimit) || src.Reads.Load() > 1001 {
		t.Errorf("%d blocks read, %v, want ErrLimit", src.Reads.Load(), err)
	}
	src.Reads.Store(0)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ReadFile(ended, src, root, limit); !errors.Is(err, context.Canceled) || src.Reads.Load() > 0 {
		t.Errorf("%d blocks read for nobody, %v", src.Reads.Load(), err)
	}
	if _, err := OpenPack(t.Context(), src, root); !errors.Is(err, ErrInvalid) || src.Reads.Load() > 0 {
		t.Errorf("as a pack: %d blocks read, %v, want ErrInvalid", src.Reads.Load(), err)
	}
	// Whoever reads on reads no node again.
	r, err := OpenFile(t.Context(), src, root)
	must(t, err)
	n, err := io.Copy(io.Discard, io.LimitReader(r, 100_000))
	must(t, err)
	if src.Reads.Load() > n+3 {
		t.Errorf("%d blocks read for %d leaves", src.Reads.Load(), n)
	}
	for whole, want := range map[string]error{"a file": nil, "a directory": ErrInvalid} {
		blocks, data := &storetest.Memory{}, storetest.Noise(1, ChunkSize+1)
		tree, err := WriteFile(t.Context(), blocks, bytes.NewReader(data))
		if want != nil {
			tree, err = Write(t.Context(), blocks, []File{{"a", data}})
		}
		must(t, err)
		got, err := ReadFile(t.Context(), blocks, tree.Root, tree.Read)
		if !errors.Is(err, want) || want == nil && !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", whole, len(got), err)
		}
	}
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
	value, err := dagcbor.Marshal(map[string][]dagcbor.Link{"result": {dagcbor.LinkTo(tree.Root)}, "again": {dagcbor.LinkTo(tree.Root)}})
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
