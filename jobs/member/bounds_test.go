package member

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/storetest"
	"github.com/muster-network/muster/store/tree"
)

func TestWhatAnExecutorMayLeaveFitsATreeAndAnInput(t *testing.T) {
	var many, folder, short []exec.File
	for i := range exec.MaxNames {
		many = append(many, exec.File{Path: fmt.Sprintf("%02d/%05d", i/1000, i), Data: []byte(fmt.Sprint(i))})
	}
	for i := range exec.MaxFolder / (exec.FolderEntry + tree.MaxName) {
		folder = append(folder, exec.File{Path: fmt.Sprintf("%0*d", tree.MaxName, i), Data: []byte(fmt.Sprint(i))})
	}
	for i := range exec.MaxFolder / (exec.FolderEntry + 5) {
		short = append(short, exec.File{Path: fmt.Sprintf("%05d", i), Data: []byte(fmt.Sprint(i))})
	}
	for name, out := range map[string][]exec.File{
		"many":          many,
		"a full folder": folder,
		"short names":   short,
		"deep":          {{Path: strings.Repeat("d/", exec.MaxDepth-1) + "f"}},
	} {
		t.Run(name, func(t *testing.T) {
			blocks := &storetest.Memory{}
			written, err := tree.WriteResult(t.Context(), blocks, resultOf(exec.Result{Kind: exec.Exited, Out: out}))
			if err != nil {
				t.Fatal(err)
			}
			limits := readable(uint64(written.Read.Bytes))
			if written.Read.Blocks > maxBlocks {
				t.Errorf("%d blocks", written.Read.Blocks)
			}
			if r, err := tree.ReadResult(t.Context(), blocks, written.Root, limits); err != nil || len(r.Out) != len(out) {
				t.Errorf("%d files, %v", len(r.Out), err)
			}
			if names, _, err := tree.NewSurveyor(blocks, written.Read).Result(t.Context(), written.Root); err != nil || withinNames(names) != nil {
				t.Errorf("%+v, %v, %v: no member would take it", names, err, withinNames(names))
			}
			// As its check reads it.
			if files, err := tree.Read(t.Context(), blocks, written.Root, limits); err != nil || len(below(jobs.CheckResult, files)) != len(out)+3 {
				t.Errorf("%d files, %v", len(files), err)
			}
		})
	}
}

// What its executor keeps every other member takes over, and nothing else.
func TestAResultIsKeptIfEveryMemberWouldTakeIt(t *testing.T) {
	twice := make([]byte, tree.ChunkSize+1)
	result := exec.Result{Kind: exec.Exited, Stdout: twice, Out: []exec.File{{Path: "a", Data: twice}, {Path: "b/a", Data: twice}}}
	blocks := &storetest.Memory{}
	written, err := tree.WriteResult(t.Context(), blocks, resultOf(result))
	if err != nil {
		t.Fatal(err)
	}
	link := dagcbor.LinkTo(written.Root)
	v := consensus.Value{Kind: consensus.Result, Tree: &link}
	m := &Member{cfg: Config{Store: blocks}}
	for most, good := range map[int64]bool{written.Read.Bytes: true, written.Read.Bytes - 1: false, written.Bytes: false} {
		j := &job{task: &jobs.Task{}, charter: &consensus.Charter{Limits: consensus.Limits{Output: uint64(most)}}}
		if got, err := m.keep(t.Context(), j, result); (err == nil) != good || good && *got.Tree != link {
			t.Errorf("output of %d: kept as %s, %v", most, got, err)
		}
		if err := m.checkTree(t.Context(), blocks, j, v); (err == nil) != good {
			t.Errorf("output of %d: taken over with %v", most, err)
		}
	}
	// Names that no executor leaves: see exec.MaxDepth.
	deep := resultOf(exec.Result{Out: []exec.File{{Path: strings.Repeat("d/", exec.MaxDepth) + "f"}}})
	if written, err = tree.WriteResult(t.Context(), blocks, deep); err != nil {
		t.Fatal(err)
	}
	link = dagcbor.LinkTo(written.Root)
	j := &job{task: &jobs.Task{}, charter: &consensus.Charter{Limits: consensus.Limits{Output: 1 << 20}}}
	if err := m.checkTree(t.Context(), blocks, j, consensus.Value{Kind: consensus.Result, Tree: &link}); err == nil {
		t.Error("a deeper path than an executor leaves was taken over")
	}
}

// A leaf need not be long: few blocks may stand for a file that takes hours to read.
func TestAFileOfCrumbsIsReadUpToItsBlocksByMention(t *testing.T) {
	src := &storetest.Counted{Blocks: &storetest.Memory{}}
	root := storetest.Crumbs(t, src)
	m := &Member{cfg: Config{Store: src}}
	items := &jobs.Items{Large: []dagcbor.Link{dagcbor.LinkTo(root)}}
	for what, read := range map[string]func(context.Context) error{
		"a module": func(ctx context.Context) error { _, err := m.file(ctx, root, 2<<20); return err },
		"a task's input": func(ctx context.Context) error {
			_, err := newItemReader(src, "in", items, 2<<20).read(ctx, 0, root)
			return err
		},
	} {
		src.Reads.Store(0)
		if err := read(t.Context()); !errors.Is(err, tree.ErrLimit) || src.Reads.Load() > maxBlocks+2 {
			t.Errorf("%s: %d blocks read, %v, want %v", what, src.Reads.Load(), err, tree.ErrLimit)
		}
		src.Reads.Store(0)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := read(ended); !errors.Is(err, context.Canceled) || src.Reads.Load() > 0 {
			t.Errorf("%s that nobody waits for any more: %d blocks read, %v", what, src.Reads.Load(), err)
		}
	}
}

// A value names the exit code that its tree has, and no other: a check is shown the tree, and
// whoever reads the outcome the value.
func TestAValueWhoseTreeHasAnotherExitCodeIsNotTakenOver(t *testing.T) {
	blocks := &storetest.Memory{}
	m := &Member{cfg: Config{Store: blocks}}
	j := &job{task: &jobs.Task{}, charter: &consensus.Charter{Limits: consensus.Limits{Output: 1 << 20}}}
	ends := []exec.Result{{Kind: exec.Exited}, {Kind: exec.Exited, Code: 3}, {Kind: exec.Exited, Code: -1}, {Kind: exec.Trapped, Code: 10}, {Kind: exec.Limited, Code: exec.LimitDisk}}
	for i, said := range ends {
		for k, left := range ends {
			v, err := m.keep(t.Context(), j, left)
			if err != nil {
				t.Fatal(err)
			}
			tree := v.Tree
			v = valueOf(said)
			v.Tree = tree
			if err := m.checkTree(t.Context(), blocks, j, v); (err == nil) != (i == k) {
				t.Errorf("%s with the tree of exit code %d: %v", v, left.Code, err)
			}
		}
	}
}

// present fetches what is here.
type present struct{ Fetcher }

func (present) Fetch(context.Context, cid.Cid, []admission.Key, int64) error { return nil }

// loaded is what becomes of inputs when a job is loaded that may have so many bytes.
func loaded(t *testing.T, blocks *storetest.Memory, inputs dagcbor.Link, most int64) error {
	m := &Member{cfg: Config{Store: blocks, Fetcher: present{}}}
	c := &consensus.Charter{Limits: consensus.Limits{Input: uint64(most)}}
	return m.loadInputs(t.Context(), &job{charter: c, task: &jobs.Task{Inputs: &inputs}}, admission.Key{}, most)
}

func TestInputsThatARunCouldNotReadAreRefusedWhenTheJobIsLoaded(t *testing.T) {
	blocks := &storetest.Memory{}
	big := make([]byte, tree.ChunkSize+1)
	written, err := tree.Write(t.Context(), blocks, []tree.File{{Path: "a/big", Data: big}, {Path: "b/big", Data: big}, {Path: "c", Data: []byte("c")}})
	if err != nil {
		t.Fatal(err)
	}
	link := dagcbor.LinkTo(written.Root)
	if written.Read.Bytes <= 2*int64(len(big)) || written.Bytes > written.Read.Bytes*2/3 {
		t.Fatalf("%d bytes stored, %d read", written.Bytes, written.Read.Bytes)
	}
	for most, want := range map[int64]string{written.Read.Bytes: "", written.Read.Bytes - 1: RefuseInvalid} {
		if err := loaded(t, blocks, link, most); (err == nil) != (want == "") || err != nil && codeOf(err) != want {
			t.Errorf("at most %d: %v, want %q", most, err, want)
		}
		_, err := tree.Read(t.Context(), blocks, written.Root, readable(uint64(most)))
		if (err == nil) != (want == "") {
			t.Errorf("at most %d: a run reads it with %v", most, err)
		}
	}
}

func TestInputsOfNamesThatNoExecutorIsGivenAreRefusedWhenTheJobIsLoaded(t *testing.T) {
	names := func(n int, format string) []tree.File {
		files := make([]tree.File, n)
		for i := range files {
			files[i].Path = fmt.Sprintf(format, i%100, i)
		}
		return files
	}
	deep := func(n int) []tree.File { return []tree.File{{Path: strings.Repeat("d/", n-1) + "f"}} }
	long := "%02d/%05d" + strings.Repeat("/"+strings.Repeat("x", 200), 3)
	for name, c := range map[string]struct {
		files []tree.File
		code  string
	}{
		"as many as there may be": {names(exec.MaxNames, "%02d/%05d"), ""},
		"one more":                {names(exec.MaxNames+1, "%02d/%05d"), RefuseInvalid},
		"20,000 that are long":    {names(20_000, "%02d/%05d"+strings.Repeat("x", 100)), ""},
		"paths that are too long": {names(20_000, long), RefuseInvalid},
		"as deep as may be":       {deep(exec.MaxDepth), ""},
		"one deeper":              {deep(exec.MaxDepth + 1), RefuseInvalid},
	} {
		blocks := &storetest.Memory{}
		written, err := tree.Write(t.Context(), blocks, c.files)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		link := dagcbor.LinkTo(written.Root)
		err = loaded(t, blocks, link, written.Read.Bytes)
		if (err == nil) != (c.code == "") || err != nil && codeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
	}
}
