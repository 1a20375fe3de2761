// Package tree lays files out in blocks, as UnixFS in one fixed profile, so that
// equal files are equal trees on every node: CIDv1 and SHA-256, raw leaves of
// 1 MiB, balanced nodes of at most 174 links, plain directories sorted by name,
// no modes, no times (protocol, section 2). Any UnixFS reader can read a tree;
// this package reads only what the profile could have written.
package tree

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ipfs/go-cid"
)

const (
	// ChunkSize is the length of a leaf, in bytes; the last of a file is shorter.
	ChunkSize = 1 << 20
	// MaxLinks is how many leaves or nodes a node of a file names.
	MaxLinks = 174
	// MaxName bounds one name in a path, in bytes.
	MaxName = 255
	// MaxDepth bounds the names in a path.
	MaxDepth = 64

	maxFileDepth = 8 // levels of nodes above the leaves of a file
)

var (
	// ErrInvalid is returned for blocks that are no tree of the profile, and for
	// paths that no tree may hold.
	ErrInvalid = errors.New("invalid tree")
	// ErrLimit is returned when a tree is larger than the caller allows.
	ErrLimit = errors.New("tree is larger than allowed")
)

// File is a file of a tree, with its path from the root: names joined by "/".
type File struct {
	Path string
	Data []byte
}

// Tree is what a write has made.
type Tree struct {
	Root   cid.Cid
	Bytes  int64     // length of all Blocks
	Blocks []cid.Cid // each once, the root last
	Read   Limits    // what Read takes for it: blocks count as often as the tree names them
}

// Limits bound the reading of a tree. Zero allows nothing.
type Limits struct {
	Bytes  int64 // length of all blocks read
	Blocks int   // number of blocks read
}

// Source is where blocks are read from: a local store, or other members. It
// returns bytes that match the CID.
type Source interface {
	Get(ctx context.Context, c cid.Cid) ([]byte, error)
}

// budget is what is left of Limits.
type budget struct{ left Limits }

func (b *budget) take(data []byte) error {
	b.left.Blocks--
	b.left.Bytes -= int64(len(data))
	if b.left.Blocks < 0 || b.left.Bytes < 0 {
		return ErrLimit
	}
	return nil
}

// checkName refuses what must not become a name in a file system.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%w: name %q", ErrInvalid, name)
	case len(name) > MaxName:
		return fmt.Errorf("%w: name of %d bytes, at most %d", ErrInvalid, len(name), MaxName)
	case strings.ContainsAny(name, "/\x00") || !utf8.ValidString(name):
		return fmt.Errorf("%w: name %q", ErrInvalid, name)
	}
	return nil
}

// CheckPath returns an error that wraps ErrInvalid unless path is relative,
// clean, valid UTF-8, and within MaxName and MaxDepth.
func CheckPath(path string) error {
	names := strings.Split(path, "/")
	if len(names) > MaxDepth {
		return fmt.Errorf("%w: path of %d names, at most %d", ErrInvalid, len(names), MaxDepth)
	}
	for _, name := range names {
		if err := checkName(name); err != nil {
			return fmt.Errorf("path %q: %w", path, err)
		}
	}
	return nil
}
