package tree

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"
)

// Reader reads a file of a tree from any offset, one leaf at a time in memory.
// It is an io.ReadSeeker for http.ServeContent, and not safe for concurrent use.
type Reader struct {
	ctx    context.Context // of OpenFile: io.ReadSeeker leaves no other place for it
	src    *reader
	root   cid.Cid
	top    *node // nil for a file of one leaf
	path   []part
	size   int64
	offset int64

	leaf      []byte // the last leaf read
	leafStart int64
}

// part is a node between the top and the last leaf read, kept for the leaves after it.
type part struct {
	cid  cid.Cid
	node *node
}

var _ io.ReadSeeker = (*Reader)(nil)

// OpenFile opens the file that c names, for as long as ctx lasts.
func OpenFile(ctx context.Context, src Source, c cid.Cid) (*Reader, error) {
	if err := checkCID(c, cid.Raw, cid.DagProtobuf); err != nil {
		return nil, err
	}
	r := &Reader{ctx: ctx, src: unbounded(src), root: c}
	if c.Type() == cid.Raw {
		leaf, err := r.src.get(ctx, c)
		r.leaf, r.size = leaf, int64(len(leaf))
		return r, err
	}
	top, err := r.src.part(ctx, c, 0)
	if err != nil {
		return nil, err
	}
	r.top, r.size = top, int64(top.content())
	return r, nil
}

// Size returns the file's length, in bytes.
func (r *Reader) Size() int64 { return r.size }

// Seek implements io.Seeker.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.size
	default:
		return 0, fmt.Errorf("seek: whence %d", whence)
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of the file")
	}
	r.offset = offset
	return offset, nil
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if r.offset >= r.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if at := r.offset - r.leafStart; at < 0 || at >= int64(len(r.leaf)) {
		if err := r.load(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.leaf[r.offset-r.leafStart:])
	r.offset += int64(n)
	return n, nil
}

// load reads the leaf that holds the offset.
func (r *Reader) load() error {
	n, start := r.top, int64(0)
	for depth := 1; ; depth++ {
		i := 0
		for r.offset >= start+int64(n.sizes[i]) {
			start += int64(n.sizes[i])
			i++
		}
		below := n.links[i].cid
		if below.Type() == cid.Raw {
			leaf, err := r.src.get(r.ctx, below)
			if err != nil {
				return err
			}
			if uint64(len(leaf)) != n.sizes[i] {
				return fmt.Errorf("%w: a leaf of %d bytes that was said to have %d", ErrInvalid, len(leaf), n.sizes[i])
			}
			r.leaf, r.leafStart = leaf, start
			return nil
		}
		child, err := r.part(below, depth)
		if err != nil {
			return err
		}
		if child.content() != n.sizes[i] {
			return fmt.Errorf("%w: a part of %d bytes that was said to have %d", ErrInvalid, child.content(), n.sizes[i])
		}
		n = child
	}
}

// part returns a node so far below the top: reading on reads none twice.
func (r *Reader) part(c cid.Cid, depth int) (*node, error) {
	if depth <= len(r.path) && r.path[depth-1].cid == c {
		return r.path[depth-1].node, nil
	}
	n, err := r.src.part(r.ctx, c, depth)
	if err == nil {
		r.path = append(r.path[:depth-1], part{c, n})
	}
	return n, err
}
