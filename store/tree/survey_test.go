package tree

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"

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
}

// charged checks that a tree is read and surveyed within what it takes, and neither
// within less.
func charged(t *testing.T, takes Limits, read, survey func(Limits) error) {
	t.Helper()
	for _, limit := range []Limits{takes, {takes.Bytes - 1, takes.Blocks}, {takes.Bytes, takes.Blocks - 1}} {
		var want error
		if limit != takes {
			want = ErrLimit
		}
		if r, s := read(limit), survey(limit); !errors.Is(r, want) || !errors.Is(s, want) {
			t.Errorf("of %+v within %+v: read %v, survey %v", takes, limit, r, s)
		}
	}
}

func TestASurveyChargesWhatReadChargesAndAWriterSays(t *testing.T) {
	big := make([]byte, ChunkSize+1)
	rapid.Check(t, func(rt *rapid.T) {
		var files []File
		for i := range rapid.IntRange(1, 8).Draw(rt, "files") {
			name := fmt.Sprint(rapid.SampledFrom([]string{"", "a/", "b/", "b/c/"}).Draw(rt, "folder"), i)
			files = append(files, File{name, big[:rapid.SampledFrom([]int{0, 1, 1, ChunkSize, len(big)}).Draw(rt, "size")]})
		}
		blocks := &storetest.Memory{}
		tree, err := Write(t.Context(), blocks, files)
		must(t, err)
		charged(t, tree.Read, func(l Limits) error { _, err := Read(t.Context(), blocks, tree.Root, l); return err },
			func(l Limits) error { _, err := Survey(t.Context(), blocks, tree.Root, l); return err })

		tree, err = WriteResult(t.Context(), blocks, Result{Out: files, Stdout: files[0].Data})
		must(t, err)
		charged(t, tree.Read, func(l Limits) error { _, err := ReadResult(t.Context(), blocks, tree.Root, l); return err },
			func(l Limits) error { _, _, err := NewSurveyor(blocks, l).Result(t.Context(), tree.Root); return err })
	})
}

func TestASmallTreeThatStandsForAnEndlessOneIsRefusedAndReadOnce(t *testing.T) {
	blocks := &storetest.Memory{}
	w := newWriter(blocks)
	leaf, err := w.add(t.Context(), cid.Raw, []byte("x"))
	must(t, err)
	full := func(below link, content uint64) (link, uint64) {
		n := node{kind: kindFile}
		for range MaxLinks {
			n.links, n.sizes = append(n.links, below), append(n.sizes, content)
		}
		l, err := w.addNode(t.Context(), &n)
		must(t, err)
		return l, n.content()
	}
	file, content := leaf, uint64(1)
	for range 6 { // 174^6 bytes: more than maxFileSize are refused by their size
		file, content = full(file, content)
	}
	folder := leaf
	for range 50 {
		a, b := folder, folder
		a.name, b.name = "a", "b"
		folder, err = w.addDirectory(t.Context(), &node{kind: kindDirectory, links: []link{a, b}})
		must(t, err)
	}
	empty, err := w.addDirectory(t.Context(), &node{kind: kindDirectory})
	must(t, err)
	nothing, err := w.add(t.Context(), cid.Raw, nil)
	must(t, err)
	exit, err := w.add(t.Context(), cid.Raw, []byte("0\n"))
	must(t, err)
	for name, entries := range map[string][]link{
		"stdout": {exit, empty, nothing, file},
		"out":    {exit, folder, nothing, nothing},
	} {
		root := &node{kind: kindDirectory}
		for i, name := range []string{entryExit, entryOut, entryStderr, entryStdout} {
			entries[i].name = name
			root.links = append(root.links, entries[i])
		}
		_, err := w.addDirectory(t.Context(), root)
		must(t, err)
		tree, err := w.finish(t.Context())
		must(t, err)
		src := &storetest.Counted{Blocks: blocks}
		if _, _, err := NewSurveyor(src, plenty()).Result(t.Context(), tree.Root); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v, want ErrLimit", name, err)
		}
		if most := len(tree.Blocks) + 3; int(src.Reads.Load()) > most { // root and exit for their own sake
			t.Errorf("%s: %d blocks read, there are %d", name, src.Reads.Load(), len(tree.Blocks))
		}
		if _, err := Survey(t.Context(), src, tree.Root, plenty()); !errors.Is(err, ErrLimit) {
			t.Errorf("%s as a directory: %v, want ErrLimit", name, err)
		}
	}
}

func TestASurveyRefusesAPartThatIsNotWhatWasSaidOfIt(t *testing.T) {
	blocks := &storetest.Memory{}
	w := newWriter(blocks)
	leaf, err := w.add(t.Context(), cid.Raw, []byte("leaf"))
	must(t, err)
	empty, err := w.addDirectory(t.Context(), &node{kind: kindDirectory})
	must(t, err)
	nodes := func(l link, levels int) link { // a node of one part, again and again
		for range levels {
			l, err = w.addNode(t.Context(), &node{kind: kindFile, links: []link{l}, sizes: []uint64{4}})
			must(t, err)
		}
		return l
	}
	deep := leaf
	for range MaxDepth {
		deep.name = "d"
		deep, err = w.addDirectory(t.Context(), &node{kind: kindDirectory, links: []link{deep}})
		must(t, err)
	}
	lies, err := w.addNode(t.Context(), &node{kind: kindFile, links: []link{leaf}, sizes: []uint64{5}})
	must(t, err)
	for name, c := range map[string]struct {
		entry link
		good  bool
	}{
		"as many levels as may be":      {nodes(leaf, maxFileDepth), true},
		"one more":                      {nodes(leaf, maxFileDepth+1), false},
		"another size":                  {lies, false},
		"a directory inside a file":     {nodes(empty, 1), false},
		"more directories than may be":  {deep, false},
		"another size below a true one": {nodes(lies, 1), false},
	} {
		c.entry.name = "x"
		dir := &node{kind: kindDirectory, links: []link{c.entry}}
		_, err := w.addDirectory(t.Context(), dir)
		must(t, err)
		tree, err := w.finish(t.Context())
		must(t, err)
		_, read := Read(t.Context(), blocks, tree.Root, plenty())
		_, survey := Survey(t.Context(), blocks, tree.Root, plenty())
		if errors.Is(read, ErrInvalid) == c.good || errors.Is(survey, ErrInvalid) == c.good {
			t.Errorf("%s: read %v, survey %v", name, read, survey)
		}
	}
}
