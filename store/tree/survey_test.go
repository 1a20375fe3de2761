package tree

import (
	"errors"
	"strings"
	"testing"

	"github.com/muster-network/muster/store/storetest"
)

func TestASurveyCountsWhatReadReturnsAsOftenAsItDoes(t *testing.T) {
	blocks := &storetest.Memory{}
	big := make([]byte, ChunkSize+1)
	tree, err := Write(t.Context(), blocks, []File{{"a/b/one", nil}, {"a/big", big}, {"c/b/one", nil}, {"two", []byte("2")}})
	must(t, err)
	files, err := Read(t.Context(), blocks, tree.Root, plenty())
	must(t, err)
	var want Names
	for _, f := range files {
		want.Files++
		want.Bytes += len(f.Path)
		want.Longest = max(want.Longest, len(f.Path))
		want.Depth = max(want.Depth, 1+strings.Count(f.Path, "/"))
	}
	if got, err := Survey(t.Context(), blocks, tree.Root, plenty()); err != nil || got != want {
		t.Errorf("%+v %v, want %+v", got, err, want)
	}
	// Directories root, a, c, twice b; big's node; three leaves.
	if _, err := Survey(t.Context(), blocks, tree.Root, Limits{Bytes: 1 << 20, Blocks: 9}); err != nil {
		t.Errorf("nine blocks: %v", err)
	}
	if _, err := Survey(t.Context(), blocks, tree.Root, Limits{Bytes: 1 << 20, Blocks: 8}); !errors.Is(err, ErrLimit) {
		t.Errorf("eight blocks: %v", err)
	}
}
