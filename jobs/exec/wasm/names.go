package wasm

import (
	"strings"
	"unicode/utf8"

	experimental "github.com/tetratelabs/wazero/experimental/sys"

	"github.com/muster-network/muster/jobs/exec"
)

// Longest names, and paths that are looked for, in bytes.
const (
	maxName = 255
	maxPath = 4096
)

// place is where a path leads: the folder that holds its last name, and that
// name; for the root, itself and "".
type place struct {
	dir   *node
	name  string
	depth int // names in the path, from /in or /out
	bytes int // of the path, from there
}

// place returns where a path as the engine gives it leads.
func (t *tree) place(path string) (place, experimental.Errno) {
	if len(path) > maxPath {
		return place{}, experimental.ENAMETOOLONG
	}
	at := place{dir: t.root, depth: -1, bytes: -1}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			return place{}, experimental.EPERM
		}
		if len(name) > maxName {
			return place{}, experimental.ENAMETOOLONG
		}
		if at.name != "" {
			at.dir = at.dir.entries[at.name]
		}
		if at.dir == nil {
			return place{}, experimental.ENOENT
		}
		if !at.dir.isDir() {
			return place{}, experimental.ENOTDIR
		}
		at.name = name
		if at.depth++; at.depth > 0 {
			at.bytes += 1 + len(name)
		}
	}
	return at, 0
}

// check says why a place under /out cannot have a new node, or n with all that is
// below it.
func (at place) check(n *node) experimental.Errno {
	if !utf8.ValidString(at.name) || strings.Contains(at.name, "\x00") {
		return experimental.EINVAL
	}
	_, depth, bytes := n.below()
	if at.depth+depth > exec.MaxDepth || at.bytes+bytes > exec.MaxPath {
		return experimental.ENAMETOOLONG
	}
	return 0
}

// below returns how many nodes there are below n, how many names the deepest
// path to one has, and how many bytes the longest.
func (n *node) below() (nodes, depth, bytes int) {
	if n == nil {
		return 0, 0, 0
	}
	for name, child := range n.entries {
		more, deep, long := child.below()
		nodes += 1 + more
		depth = max(depth, 1+deep)
		bytes = max(bytes, 1+len(name)+long)
	}
	return nodes, depth, bytes
}

// add charges a new node under /out. It does not return when there are too many.
func (t *tree) add(at place) {
	t.account.name(1, at.bytes)
	t.list(at)
	t.account.hold(entryCost)
}

// move charges what another place costs n and what is below it.
func (t *tree) move(from, to place, n *node) {
	nodes, _, _ := n.below()
	t.account.name(0, (to.bytes-from.bytes)*(nodes+1))
	t.list(to)
}

// list charges a name to its folder. It does not return when that is full.
func (t *tree) list(at place) {
	if listing(at.name) > exec.MaxFolder-at.dir.listed {
		t.account.crowd()
	}
	at.dir.listed += listing(at.name)
}

// listing is what a name takes of its folder.
func listing(name string) int { return exec.FolderEntry + len(name) }
