package node

import (
	"errors"
	"testing"

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
