package member

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

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
			limits := tree.Limits{Bytes: written.Bytes, Blocks: maxBlocks}
			if r, err := tree.ReadResult(t.Context(), blocks, written.Root, limits); err != nil || len(r.Out) != len(out) {
				t.Errorf("%d files, %v", len(r.Out), err)
			}
			// As its check reads it.
			if files, err := tree.Read(t.Context(), blocks, written.Root, limits); err != nil || len(below(jobs.CheckResult, files)) != len(out)+3 {
				t.Errorf("%d files, %v", len(files), err)
			}
		})
	}
}

// present fetches what is here.
type present struct{ Fetcher }

func (present) Fetch(context.Context, cid.Cid, []admission.Key, int64) error { return nil }

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
		m := &Member{cfg: Config{Store: blocks, Fetcher: present{}}}
		err = m.loadInputs(t.Context(), &job{task: &jobs.Task{Inputs: &link}}, admission.Key{}, written.Bytes)
		if (err == nil) != (c.code == "") || err != nil && codeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
	}
}
