package wasm

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	experimental "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"

	"github.com/muster-network/muster/jobs/exec"
)

// tree is the whole file system of one run, in memory: /in, read-only, and
// /out. There are no links, so that nothing outside it can be named; times are
// zero and inodes count up from 1 in the order in which nodes came to be, so
// that every machine shows the same.
type tree struct {
	experimental.UnimplementedFS
	account       *account
	root, in, out *node
	inodes        uint64
}

// node is a file or, with entries, a folder.
type node struct {
	inode    uint64
	entries  map[string]*node
	listed   int // bytes of a folder's names, against exec.MaxFolder
	data     []byte
	readOnly bool
	removed  bool
	open     int
}

func newTree(a *account) *tree {
	t := &tree{account: a}
	t.root = t.folder()
	t.in, t.out = t.folder(), t.folder()
	t.root.entries["in"], t.root.entries["out"] = t.in, t.out
	t.root.readOnly, t.in.readOnly = true, true
	return t
}

func (t *tree) folder() *node {
	n := t.file()
	n.entries = map[string]*node{}
	return n
}

func (t *tree) file() *node {
	t.inodes++
	return &node{inode: t.inodes}
}

func (n *node) isDir() bool { return n.entries != nil }

func (n *node) stat() sys.Stat_t {
	mode := fs.FileMode(0o644)
	if n.isDir() {
		mode = fs.ModeDir | 0o755
	}
	if n.readOnly {
		mode &^= 0o222
	}
	return sys.Stat_t{Ino: n.inode, Mode: mode, Nlink: 1, Size: int64(len(n.data))}
}

// names returns a folder's entries in order.
func (n *node) names() []string {
	names := make([]string, 0, len(n.entries))
	for name := range n.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// addInput puts a file under /in, or reports that a file is where a folder has
// to be. The name is a checked path.
func (t *tree) addInput(name string, data []byte) bool {
	dir := t.in
	names := strings.Split(name, "/")
	for _, folder := range names[:len(names)-1] {
		next := dir.entries[folder]
		if next == nil {
			next = t.folder()
			next.readOnly = true
			dir.entries[folder] = next
		} else if !next.isDir() {
			return false
		}
		dir = next
	}
	name = names[len(names)-1]
	if dir.entries[name] != nil {
		return false
	}
	f := t.file()
	f.data, f.readOnly = data, true
	dir.entries[name] = f
	return true
}

// collect returns the files under /out that wanted names: themselves, or a
// folder above them.
func (t *tree) collect(everything bool, wanted []string) []exec.File {
	var files []exec.File
	var walk func(dir *node, prefix string)
	walk = func(dir *node, prefix string) {
		for _, name := range dir.names() {
			n, path := dir.entries[name], prefix+name
			if n.isDir() {
				walk(n, path+"/")
			} else if everything || isWanted(path, wanted) {
				files = append(files, exec.File{Path: path, Data: n.data})
			}
		}
	}
	walk(t.out, "")
	// A walk puts "a/b" before "a.b"; trees are sorted by whole paths.
	slices.SortFunc(files, func(a, b exec.File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

func isWanted(path string, wanted []string) bool {
	return slices.ContainsFunc(wanted, func(w string) bool {
		return path == w || strings.HasPrefix(path, w+"/")
	})
}

// find returns the node at a path as the engine gives it: clean, relative to
// the root, without "..", perhaps with a slash at the end.
func (t *tree) find(path string) (*node, experimental.Errno) {
	at, errno := t.place(path)
	if errno != 0 {
		return nil, errno
	}
	n := at.dir
	if at.name != "" {
		n = at.dir.entries[at.name]
	}
	switch {
	case n == nil:
		return nil, experimental.ENOENT
	case !n.isDir() && strings.HasSuffix(path, "/"):
		return nil, experimental.ENOTDIR
	}
	return n, 0
}

// OpenFile implements the engine's FS.
func (t *tree) OpenFile(path string, flag experimental.Oflag, _ fs.FileMode) (experimental.File, experimental.Errno) {
	n, errno := t.find(path)
	switch {
	case errno == experimental.ENOENT && flag&experimental.O_CREAT != 0:
		if n, errno = t.create(path); errno != 0 {
			return nil, errno
		}
	case errno != 0:
		return nil, errno
	case flag&experimental.O_CREAT != 0 && flag&experimental.O_EXCL != 0:
		return nil, experimental.EEXIST
	}
	write := flag&(experimental.O_RDWR|experimental.O_WRONLY|experimental.O_TRUNC|experimental.O_APPEND) != 0
	switch {
	case n.isDir() && write:
		return nil, experimental.EISDIR
	case !n.isDir() && flag&experimental.O_DIRECTORY != 0:
		return nil, experimental.ENOTDIR
	case n.readOnly && write:
		return nil, experimental.EROFS
	}
	held := entryCost + int64(len(path)) // the engine keeps the path
	t.account.hold(held)
	n.open++
	if flag&experimental.O_TRUNC != 0 {
		t.resize(n, 0)
	}
	return &file{
		tree: t, node: n, cost: held,
		read:   flag&experimental.O_WRONLY == 0,
		write:  write,
		append: flag&experimental.O_APPEND != 0,
	}, 0
}

func (t *tree) create(path string) (*node, experimental.Errno) {
	at, errno := t.place(path)
	switch {
	case errno != 0:
		return nil, errno
	case strings.HasSuffix(path, "/"):
		return nil, experimental.EISDIR
	case at.dir.readOnly:
		return nil, experimental.EROFS
	}
	if errno := at.check(nil); errno != 0 {
		return nil, errno
	}
	t.add(at)
	n := t.file()
	at.dir.entries[at.name] = n
	return n, 0
}

// resize makes a file under /out longer, with zeros, or shorter. The memory that
// holds it is little longer than the file, which is what the account knows of.
func (t *tree) resize(n *node, size int64) {
	was := int64(len(n.data))
	t.account.write(size - was)
	switch {
	case size == 0:
		n.data = nil
	case size <= was && int64(cap(n.data))-size > size/4+entryCost: // more than growing leaves
		n.data = slices.Clone(n.data[:size])
	case size <= was:
		n.data = n.data[:size]
	default:
		n.data = slices.Grow(n.data, int(size-was))[:size]
		clear(n.data[was:])
	}
}

// drop takes a node that nothing names any more off the account, once the last
// descriptor of it is closed.
func (t *tree) drop(n *node) {
	if n.removed && n.open == 0 {
		t.account.write(-int64(len(n.data)))
		t.account.hold(-entryCost)
		n.data = nil
	}
}

// Stat implements the engine's FS.
func (t *tree) Stat(path string) (sys.Stat_t, experimental.Errno) {
	n, errno := t.find(path)
	if errno != 0 {
		return sys.Stat_t{}, errno
	}
	return n.stat(), 0
}

// Lstat implements the engine's FS; there are no links.
func (t *tree) Lstat(path string) (sys.Stat_t, experimental.Errno) { return t.Stat(path) }

// Readlink implements the engine's FS; there are no links.
func (t *tree) Readlink(path string) (string, experimental.Errno) {
	if _, errno := t.find(path); errno != 0 {
		return "", errno
	}
	return "", experimental.EINVAL
}

// Mkdir implements the engine's FS.
func (t *tree) Mkdir(path string, _ fs.FileMode) experimental.Errno {
	at, errno := t.place(path)
	switch {
	case errno != 0:
		return errno
	case at.name == "" || at.dir.entries[at.name] != nil:
		return experimental.EEXIST
	case at.dir.readOnly:
		return experimental.EROFS
	}
	if errno := at.check(nil); errno != 0 {
		return errno
	}
	t.add(at)
	at.dir.entries[at.name] = t.folder()
	return 0
}

// Unlink implements the engine's FS.
func (t *tree) Unlink(path string) experimental.Errno { return t.remove(path, false) }

// Rmdir implements the engine's FS.
func (t *tree) Rmdir(path string) experimental.Errno { return t.remove(path, true) }

func (t *tree) remove(path string, wantDir bool) experimental.Errno {
	n, errno := t.find(path)
	if errno != 0 {
		return errno
	}
	at, _ := t.place(path)
	switch {
	case at.dir.readOnly:
		return experimental.EROFS
	case wantDir && !n.isDir():
		return experimental.ENOTDIR
	case !wantDir && n.isDir():
		return experimental.EISDIR
	case len(n.entries) > 0:
		return experimental.ENOTEMPTY
	}
	t.account.name(-1, -at.bytes)
	at.dir.listed -= listing(at.name)
	delete(at.dir.entries, at.name)
	n.removed = true
	t.drop(n)
	return 0
}

// Rename implements the engine's FS.
func (t *tree) Rename(from, to string) experimental.Errno {
	n, errno := t.find(from)
	if errno != 0 {
		return errno
	}
	old, _ := t.place(from)
	at, errno := t.place(to)
	switch {
	case errno != 0:
		return errno
	case old.dir.readOnly, at.dir.readOnly:
		return experimental.EROFS
	case !n.isDir() && strings.HasSuffix(to, "/"):
		return experimental.ENOTDIR
	case n.isDir() && strings.HasPrefix(path.Clean(to), path.Clean(from)+"/"):
		return experimental.EINVAL
	}
	if errno := at.check(n); errno != 0 {
		return errno
	}
	if target := at.dir.entries[at.name]; target == n {
		return 0
	} else if target != nil {
		if n.isDir() && !target.isDir() {
			return experimental.ENOTDIR
		}
		if !n.isDir() && target.isDir() {
			return experimental.EISDIR
		}
		if errno := t.remove(to, target.isDir()); errno != 0 {
			return errno
		}
	}
	old.dir.listed -= listing(old.name)
	t.move(old, at, n)
	delete(old.dir.entries, old.name)
	at.dir.entries[at.name] = n
	return 0
}

// Chmod implements the engine's FS; modes are not kept.
func (t *tree) Chmod(path string, _ fs.FileMode) experimental.Errno {
	_, errno := t.find(path)
	return errno
}

// Utimens implements the engine's FS; times are not kept.
func (t *tree) Utimens(path string, _, _ int64) experimental.Errno {
	_, errno := t.find(path)
	return errno
}
