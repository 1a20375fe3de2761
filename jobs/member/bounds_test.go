package member

import (
	"fmt"
	"strings"
	"testing"

	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
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
