package node

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/disk"
	"github.com/muster-network/muster/store/storetest"
	"github.com/muster-network/muster/store/tree"
)

func TestInputsThatNoMemberWouldTakeAreRefusedBeforeTheDraw(t *testing.T) {
	blocks, err := disk.Open(t.TempDir(), disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer blocks.Close()
	n, elsewhere := &Node{blocks: blocks}, &storetest.Memory{}
	n.home.founded.Policy.MaxInput = 3 << 20
	big, err := tree.Write(t.Context(), blocks, []tree.File{{Path: "data", Data: make([]byte, 2<<20)}})
	if err != nil {
		t.Fatal(err)
	}
	away, err := tree.Write(t.Context(), elsewhere, []tree.File{{Path: "data", Data: []byte("away")}})
	if err != nil {
		t.Fatal(err)
	}
	root, err := elsewhere.Get(t.Context(), away.Root)
	if err != nil {
		t.Fatal(err)
	}
	if err := blocks.Put(t.Context(), storetest.Block(t, away.Root.Type(), root)); err != nil {
		t.Fatal(err)
	}
	a, b := jobs.Input{Name: "a", CID: big.Root}, jobs.Input{Name: "b", CID: big.Root}
	for name, c := range map[string]struct {
		inputs []jobs.Input
		what   string
	}{
		"none":               {nil, ""},
		"once":               {[]jobs.Input{a}, ""},
		"the same twice":     {[]jobs.Input{a, b}, "the inputs are not what a program can be given"},
		"the root of a tree": {[]jobs.Input{{Name: "c", CID: away.Root}}, "an input is not stored here"},
	} {
		link, err := n.inputs(t.Context(), c.inputs)
		var problem *jobs.Problem
		if errors.As(err, &problem) != (c.what != "") || problem != nil && problem.What != c.what || (link != nil) != (err == nil && c.inputs != nil) {
			t.Errorf("%s: %v %v, want %q", name, link, err, c.what)
		}
	}
}

func TestAnArrayWhoseItemsNoMemberWouldFetchIsRefusedBeforeTheDraw(t *testing.T) {
	blocks, err := disk.Open(t.TempDir(), disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer blocks.Close()
	n := &Node{blocks: blocks}
	made := 0
	// files makes a folder of so many files that no other holds, a block each.
	files := func(folder string, count int) (all []tree.File) {
		for range count {
			made++
			all = append(all, tree.File{Path: fmt.Sprintf("%s/%d", folder, made), Data: storetest.Noise(uint64(made), 1<<10)})
		}
		return all
	}
	large, small := slices.Concat(files("a", 70), files("b", 70)), []tree.File{{Path: "x/1", Data: []byte("1")}, {Path: "y", Data: []byte("2")}}
	most := tree.Limits{Bytes: 1 << 20, Blocks: 1 + 2*71 + 101} // the items, these folders, and a third
	for name, c := range map[string]struct {
		files []tree.File
		taken bool
	}{
		"as many blocks as are fetched":      {slices.Concat(large, files("c", 100)), true},
		"one block more":                     {slices.Concat(large, files("c", 101)), false},
		"as many blocks, of which one packs": {slices.Concat(large, files("c", 99), small), true},
		"one block more, which packs":        {slices.Concat(large, files("c", 100), small), false},
		"bytes that are fetched":             {[]tree.File{{Path: "a", Data: storetest.Noise(1, 1<<20-1<<10)}}, true},
		"one byte too many with the items":   {[]tree.File{{Path: "a", Data: storetest.Noise(1, 1<<20)}}, false},
	} {
		folder, err := tree.Write(t.Context(), blocks, c.files)
		if err != nil {
			t.Fatal(err)
		}
		link, _, err := n.storeItems(t.Context(), nil, folder.Root, most)
		var problem *jobs.Problem
		switch {
		case !c.taken && (!errors.As(err, &problem) || problem.Code != jobs.CodeSpecFile || problem.Try == ""):
			t.Errorf("%s: %v", name, err)
		case c.taken && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.taken: // a member does this
			if err := tree.Walk(t.Context(), blocks, link.Cid, most, func(cid.Cid, []byte) error { return nil }); err != nil {
				t.Errorf("%s: fetched: %v", name, err)
			}
		}
	}
}

func TestAnArraysItemsHaveTheRoomThatTheModuleLeaves(t *testing.T) {
	blocks, err := disk.Open(t.TempDir(), disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer blocks.Close()
	n := &Node{blocks: blocks}
	n.home.founded.Policy.MaxInput = 4 << 20
	module, err := tree.WriteFile(t.Context(), blocks, bytes.NewReader(storetest.Noise(1, 1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	for size, taken := range map[int]bool{2 << 20: true, 3 << 20: false} {
		folder, err := tree.Write(t.Context(), blocks, []tree.File{{Path: "a", Data: storetest.Noise(2, size)}})
		if err != nil {
			t.Fatal(err)
		}
		array, err := n.array(t.Context(), &jobs.File{Version: 1, Run: jobs.Run{
			WASM:  jobs.Reference("cid:" + module.Root.String()),
			Array: &jobs.RunArray{Inputs: map[string]jobs.Reference{"in": jobs.Reference("cid:" + folder.Root.String())}},
		}})
		if (err == nil) != taken || taken && array.Count != 1 {
			t.Errorf("%d bytes: %v %v", size, array, err)
		}
	}
}
