package wasm

import (
	"io"
	"io/fs"
	"math"

	experimental "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"
)

// file is an open descriptor of a node.
type file struct {
	experimental.UnimplementedFile
	tree   *tree
	node   *node
	offset int64
	read   bool
	write  bool
	append bool
	closed bool

	names []string // of a folder: what is left to list
	begun bool     // names has been filled
	held  int64    // bytes charged for names
	cost  int64    // bytes charged for the descriptor
}

// Dev implements the engine's File.
func (f *file) Dev() (uint64, experimental.Errno) { return 0, 0 }

// Ino implements the engine's File.
func (f *file) Ino() (sys.Inode, experimental.Errno) { return f.node.inode, 0 }

// IsDir implements the engine's File.
func (f *file) IsDir() (bool, experimental.Errno) { return f.node.isDir(), 0 }

// IsAppend implements the engine's File.
func (f *file) IsAppend() bool { return f.append }

// SetAppend implements the engine's File.
func (f *file) SetAppend(enable bool) experimental.Errno {
	f.append = enable
	return 0
}

// Stat implements the engine's File.
func (f *file) Stat() (sys.Stat_t, experimental.Errno) { return f.node.stat(), 0 }

// Read implements the engine's File.
func (f *file) Read(buf []byte) (int, experimental.Errno) {
	n, errno := f.Pread(buf, f.offset)
	f.offset += int64(n)
	return n, errno
}

// Pread implements the engine's File.
func (f *file) Pread(buf []byte, offset int64) (int, experimental.Errno) {
	switch {
	case f.node.isDir():
		return 0, experimental.EISDIR
	case !f.read:
		return 0, experimental.EBADF
	case offset < 0:
		return 0, experimental.EINVAL
	case offset >= int64(len(f.node.data)):
		return 0, 0
	}
	return copy(buf, f.node.data[offset:]), 0
}

// Write implements the engine's File.
func (f *file) Write(buf []byte) (int, experimental.Errno) {
	offset := f.offset
	if f.append {
		offset = int64(len(f.node.data))
	}
	n, errno := f.Pwrite(buf, offset)
	if errno == 0 {
		f.offset = offset + int64(n)
	}
	return n, errno
}

// Pwrite implements the engine's File.
func (f *file) Pwrite(buf []byte, offset int64) (int, experimental.Errno) {
	switch {
	case f.node.isDir():
		return 0, experimental.EISDIR
	case !f.write:
		return 0, experimental.EBADF
	case offset < 0, offset > math.MaxInt64-int64(len(buf)):
		return 0, experimental.EINVAL
	case len(buf) == 0:
		return 0, 0
	}
	if end := offset + int64(len(buf)); end > int64(len(f.node.data)) {
		f.tree.resize(f.node, end)
	}
	return copy(f.node.data[offset:], buf), 0
}

// Truncate implements the engine's File.
func (f *file) Truncate(size int64) experimental.Errno {
	switch {
	case f.node.isDir():
		return experimental.EISDIR
	case !f.write:
		return experimental.EBADF
	case size < 0:
		return experimental.EINVAL
	}
	f.tree.resize(f.node, size)
	return 0
}

// position is an offset in bytes. With a plain int64, vet takes the engine's
// Seek for a wrong io.Seeker.
type position = int64

// Seek implements the engine's File. A folder can only be rewound.
func (f *file) Seek(offset position, whence int) (int64, experimental.Errno) {
	if f.node.isDir() {
		if offset != 0 || whence != io.SeekStart {
			return 0, experimental.EINVAL
		}
		f.begun = false
		return 0, 0
	}
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		offset += int64(len(f.node.data))
	default:
		return 0, experimental.EINVAL
	}
	if offset < 0 {
		return 0, experimental.EINVAL
	}
	f.offset = offset
	return offset, 0
}

// Readdir implements the engine's File, in the order of names. The listing is
// of the moment at which it began.
func (f *file) Readdir(n int) ([]experimental.Dirent, experimental.Errno) {
	if !f.node.isDir() {
		return nil, experimental.ENOTDIR
	}
	if !f.begun {
		f.hold(int64(len(f.node.entries)) * nameCost)
		f.names, f.begun = f.node.names(), true
	}
	// A listing that is shorter than asked for would read as its end, so names
	// removed since are made up for.
	list := make([]experimental.Dirent, 0, min(uint(n), uint(len(f.names))))
	for len(f.names) > 0 && (n <= 0 || len(list) < n) {
		name := f.names[0]
		f.names = f.names[1:]
		child := f.node.entries[name]
		if child == nil {
			continue
		}
		var kind fs.FileMode
		if child.isDir() {
			kind = fs.ModeDir
		}
		list = append(list, experimental.Dirent{Ino: child.inode, Name: name, Type: kind})
	}
	return list, 0
}

// hold charges a listing in place of the one before.
func (f *file) hold(bytes int64) {
	f.tree.account.hold(bytes - f.held)
	f.held = bytes
}

// Sync implements the engine's File.
func (f *file) Sync() experimental.Errno { return 0 }

// Datasync implements the engine's File.
func (f *file) Datasync() experimental.Errno { return 0 }

// Utimens implements the engine's File; times are not kept.
func (f *file) Utimens(_, _ int64) experimental.Errno { return 0 }

// Close implements the engine's File.
func (f *file) Close() experimental.Errno {
	if f.closed {
		return experimental.EBADF
	}
	f.closed = true
	f.hold(0)
	f.tree.account.hold(-f.cost)
	f.node.open--
	f.tree.drop(f.node)
	return 0
}
