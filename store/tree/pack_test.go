package tree

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"

	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/storetest"
)

// packed is a list of results in packs, and where each went.
type packed struct {
	blocks *storetest.Memory
	roots  []cid.Cid
	packs  []Pack
	large  []cid.Cid
}

func pack(t testing.TB, results []Result) packed {
	t.Helper()
	p := packed{blocks: &storetest.Memory{}}
	packer := NewPacker(p.blocks)
	for i, r := range results {
		left, err := packer.Result(t.Context(), fmt.Sprintf("%05d", i), r)
		must(t, err)
		p.roots = append(p.roots, left.Root)
	}
	var err error
	p.packs, p.large, err = packer.Take(t.Context())
	must(t, err)
	return p
}

// find reads the result of one entry, as a reader of the list does.
func (p packed) find(t testing.TB, at int) (Result, error) {
	t.Helper()
	var src Source = p.blocks
	if !slices.Contains(p.large, p.roots[at]) {
		before := 0
		for _, pack := range p.packs {
			if before += pack.Entries; at < before {
				held, err := OpenPack(t.Context(), p.blocks, pack.File)
				must(t, err)
				src = held
				break
			}
		}
	}
	return ReadResult(t.Context(), src, p.roots[at], plenty())
}

func results(count int) []Result {
	all := make([]Result, count)
	for i := range all {
		all[i] = Result{Stdout: fmt.Appendf(nil, "task %d\n", i), Code: int32(i % 3)}
		if i%7 == 0 {
			all[i].Out = []File{{Path: "a/data", Data: storetest.Noise(uint64(i), 100+i)}}
		}
		if i%1000 == 999 {
			all[i].Out = []File{{Path: "big", Data: storetest.Noise(uint64(i), 2*ChunkSize)}}
		}
	}
	return all
}

func TestTenThousandSmallTreesAreAFewBlocks(t *testing.T) {
	want := results(10_000)
	p := pack(t, want)
	if len(p.packs) > 12 || len(p.large) != 10 {
		t.Errorf("%d packs and %d large trees", len(p.packs), len(p.large))
	}
	for _, pack := range p.packs {
		if pack.File.Type() != cid.Raw {
			t.Errorf("a pack of %d entries is more than one block", pack.Entries)
		}
	}
	for _, i := range []int{0, 1, 6, 7, 998, 999, 1000, 5000, 9999} {
		got, err := p.find(t, i)
		if err != nil || !bytes.Equal(got.Stdout, want[i].Stdout) || got.Code != want[i].Code || fmt.Sprint(got.Out) != fmt.Sprint(want[i].Out) {
			t.Errorf("result %d: %.200v, %v", i, got, err)
		}
	}
}

func TestATreeInAPackIsTheTreeByItself(t *testing.T) {
	for i, r := range results(8) {
		alone, err := WriteResult(t.Context(), &storetest.Memory{}, r)
		must(t, err)
		if p := pack(t, []Result{r}); p.roots[0] != alone.Root {
			t.Errorf("result %d is %s in a pack, %s by itself", i, p.roots[0], alone.Root)
		}
	}
}

func TestAPackIsTheDirectoryOfItsTrees(t *testing.T) {
	want := results(20)
	p := pack(t, want)
	held, err := OpenPack(t.Context(), p.blocks, p.packs[0].File)
	must(t, err)
	var entries []Node
	whole := &storetest.Memory{}
	for i, r := range want {
		tree, err := WriteResult(t.Context(), whole, r)
		must(t, err)
		entries = append(entries, Node{Name: fmt.Sprintf("%05d", i), CID: tree.Root})
	}
	dir, err := WriteDirectory(t.Context(), whole, entries)
	must(t, err)
	var car bytes.Buffer
	must(t, WriteCAR(t.Context(), &car, whole, dir.Root, plenty()))
	file, err := WriteFile(t.Context(), whole, &car)
	must(t, err)
	if file.Root != p.packs[0].File || held[dir.Root] == nil {
		t.Errorf("the pack is %s, the directory's CAR file %s", p.packs[0].File, file.Root)
	}
}

func TestEqualListsAreEqualPacks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var all []Result
		for range rapid.IntRange(1, 30).Draw(rt, "entries") {
			size := rapid.SampledFrom([]int{0, 10, 1000, MaxPacked - 600, MaxPacked, 3 * MaxPacked}).Draw(rt, "size")
			all = append(all, Result{Stdout: storetest.Noise(rapid.Uint64().Draw(rt, "noise"), size)})
		}
		one, two := pack(t, all), pack(t, all)
		if fmt.Sprint(one.packs, one.large, one.roots) != fmt.Sprint(two.packs, two.large, two.roots) {
			rt.Fatalf("%v and %v", one.packs, two.packs)
		}
		entries := 0
		for _, pack := range one.packs {
			entries += pack.Entries
			if pack.File.Type() != cid.Raw {
				rt.Fatalf("a pack is more than one block")
			}
		}
		if entries > len(all) || len(one.large) > len(all) {
			rt.Fatalf("%d entries in packs and %d large, of %d", entries, len(one.large), len(all))
		}
		for i := range all {
			if got, err := one.find(t, i); err != nil || !bytes.Equal(got.Stdout, all[i].Stdout) {
				rt.Fatalf("entry %d: %v", i, err)
			}
		}
	})
}

func TestEntriesWithoutATreeTakeNoRoom(t *testing.T) {
	blocks := &storetest.Memory{}
	packer := NewPacker(blocks)
	packer.Skip()
	if packs, large, err := packer.Take(t.Context()); err != nil || len(packs)+len(large) > 0 {
		t.Errorf("%v, %v, %v", packs, large, err)
	}
	packer.Skip()
	_, err := packer.Result(t.Context(), "b", Result{Stdout: []byte("b")})
	must(t, err)
	packer.Skip()
	packs, _, err := packer.Take(t.Context())
	if err != nil || len(packs) != 1 || packs[0].Entries != 3 || packer.Bytes() == 0 {
		t.Errorf("%+v of %d bytes, %v", packs, packer.Bytes(), err)
	}
}

func TestInputsArePackedAsTheyStand(t *testing.T) {
	blocks := &storetest.Memory{}
	big := storetest.Noise(3, MaxPacked+1)
	dir, err := Write(t.Context(), blocks, []File{{"a", []byte("one")}, {"b/c", []byte("two")}, {"big", big}, {"d", nil}})
	must(t, err)
	entries, err := List(t.Context(), blocks, dir.Root)
	must(t, err)
	into := &storetest.Memory{}
	packer := NewPacker(into)
	for _, e := range entries {
		must(t, packer.Tree(t.Context(), e.Name, blocks, e.CID, plenty()))
	}
	packs, large, err := packer.Take(t.Context())
	must(t, err)
	if len(packs) != 1 || len(large) != 1 || large[0] != entries[2].CID {
		t.Fatalf("%v and %v", packs, large)
	}
	held, err := OpenPack(t.Context(), into, packs[0].File)
	must(t, err)
	files, err := Read(t.Context(), held, entries[1].CID, plenty())
	if err != nil || len(files) != 1 || string(files[0].Data) != "two" {
		t.Errorf("%v, %v", files, err)
	}
	if err := packer.Tree(t.Context(), "big", blocks, entries[2].CID, Limits{Bytes: 100, Blocks: 100}); !errors.Is(err, ErrLimit) {
		t.Errorf("an input over the limit: %v", err)
	}
}

func TestOtherFilesAreNoPacks(t *testing.T) {
	blocks := &storetest.Memory{}
	for name, data := range map[string][]byte{
		"nothing":   nil,
		"text":      []byte("hello"),
		"too large": storetest.Noise(1, maxPack+1),
		"long head": []byte(strings.Repeat("\xff", 20)),
	} {
		file, err := WriteFile(t.Context(), blocks, bytes.NewReader(data))
		must(t, err)
		if _, err := OpenPack(t.Context(), blocks, file.Root); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	long := storetest.Block(t, cid.Raw, storetest.Noise(1, maxPack+1))
	must(t, blocks.Put(t.Context(), long))
	if _, err := OpenPack(t.Context(), blocks, long.Cid()); !errors.Is(err, ErrInvalid) {
		t.Errorf("too large a block: %v, want ErrInvalid", err)
	}
	if _, err := OpenPack(t.Context(), Heap{}, pack(t, results(1)).packs[0].File); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a pack that is not here: %v", err)
	}
}
