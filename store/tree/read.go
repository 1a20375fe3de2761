package tree

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/ipfs/go-cid"
)

// Read returns the files of the directory root, sorted by path. Blocks are
// counted as often as the tree names them, so a small tree cannot stand for an
// endless one. It returns ErrInvalid or ErrLimit, or the error of src.
func Read(ctx context.Context, src Source, root cid.Cid, limit Limits) ([]File, error) {
	r := &reader{src: src, budget: budget{limit}}
	n, err := r.directory(ctx, root)
	if err != nil {
		return nil, err
	}
	var files []File
	return files, r.files(ctx, n, "", 1, &files)
}

// ReadFile returns the content of the file that c names. It counts blocks, and
// returns errors, as Read does.
func ReadFile(ctx context.Context, src Source, c cid.Cid, limit Limits) ([]byte, error) {
	if err := checkCID(c, cid.Raw, cid.DagProtobuf); err != nil {
		return nil, err
	}
	r := &reader{src: src, budget: budget{limit}}
	return r.file(ctx, c)
}

// reader reads within a budget.
type reader struct {
	src    Source
	budget budget
}

func (r *reader) get(ctx context.Context, c cid.Cid) ([]byte, error) {
	if err := ctx.Err(); err != nil { // a store on disk does not ask
		return nil, err
	}
	data, err := r.src.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	return data, r.budget.take(data)
}

func (r *reader) node(ctx context.Context, c cid.Cid) (*node, error) {
	if err := checkCID(c, cid.DagProtobuf); err != nil {
		return nil, err
	}
	data, err := r.get(ctx, c)
	if err != nil {
		return nil, err
	}
	n, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("block %s: %w", c, err)
	}
	return n, nil
}

func (r *reader) directory(ctx context.Context, c cid.Cid) (*node, error) {
	n, err := r.node(ctx, c)
	if err == nil && n.kind != kindDirectory {
		return nil, fmt.Errorf("%w: %s is not a directory", ErrInvalid, c)
	}
	return n, err
}

// files appends what is below the directory n to out.
func (r *reader) files(ctx context.Context, n *node, prefix string, depth int, out *[]File) error {
	if depth > MaxDepth {
		return fmt.Errorf("%w: more than %d directories deep", ErrInvalid, MaxDepth)
	}
	for _, l := range n.links {
		path := prefix + l.name
		if l.cid.Type() == cid.DagProtobuf {
			child, err := r.node(ctx, l.cid)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if child.kind == kindDirectory {
				if err := r.files(ctx, child, path+"/", depth+1, out); err != nil {
					return err
				}
				continue
			}
			data, err := r.parts(ctx, child)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			*out = append(*out, File{path, data})
			continue
		}
		data, err := r.get(ctx, l.cid)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		*out = append(*out, File{path, data})
	}
	return nil
}

// file returns the content of the file c.
func (r *reader) file(ctx context.Context, c cid.Cid) ([]byte, error) {
	if c.Type() == cid.Raw {
		return r.get(ctx, c)
	}
	n, err := r.node(ctx, c)
	if err != nil {
		return nil, err
	}
	return r.parts(ctx, n)
}

// parts returns the content of a file of several leaves.
func (r *reader) parts(ctx context.Context, n *node) ([]byte, error) {
	if n.kind != kindFile {
		return nil, fmt.Errorf("%w: a directory where a file was expected", ErrInvalid)
	}
	if n.content() > uint64(max(r.budget.left.Bytes, 0)) {
		return nil, ErrLimit
	}
	const believed = 16 * ChunkSize // memory taken on the word of one block
	return r.append(ctx, make([]byte, 0, min(n.content(), believed)), n, 1)
}

func (r *reader) append(ctx context.Context, out []byte, n *node, depth int) ([]byte, error) {
	for i, l := range n.links {
		before := len(out)
		if l.cid.Type() == cid.Raw {
			data, err := r.get(ctx, l.cid)
			if err != nil {
				return nil, err
			}
			out = append(out, data...)
		} else {
			child, err := r.part(ctx, l.cid, depth)
			if err != nil {
				return nil, err
			}
			if out, err = r.append(ctx, out, child, depth+1); err != nil {
				return nil, err
			}
		}
		if uint64(len(out)-before) != n.sizes[i] {
			return nil, wrongPart(uint64(len(out)-before), n.sizes[i])
		}
	}
	return out, nil
}

func wrongPart(size, said uint64) error {
	return fmt.Errorf("%w: a part of %d bytes that was said to have %d", ErrInvalid, size, said)
}

// part reads a node inside a file.
func (r *reader) part(ctx context.Context, c cid.Cid, depth int) (*node, error) {
	if depth >= maxFileDepth {
		return nil, fmt.Errorf("%w: a file of more than %d levels", ErrInvalid, maxFileDepth)
	}
	n, err := r.node(ctx, c)
	if err == nil && n.kind != kindFile {
		return nil, fmt.Errorf("%w: a directory inside a file", ErrInvalid)
	}
	return n, err
}

// Node is a file or a directory of a tree.
type Node struct {
	Name string // of the last name in its path; empty for a root
	CID  cid.Cid
	Dir  bool
	Size int64 // content in bytes; 0 for a directory
}

// Lookup finds path, "" for the root itself, below the directory or file root.
// A path that is not there is fs.ErrNotExist. It reads one block for each name.
func Lookup(ctx context.Context, src Source, root cid.Cid, path string) (Node, error) {
	at, err := stat(ctx, src, "", root)
	if err != nil || path == "" {
		return at, err
	}
	if err := CheckPath(path); err != nil {
		return Node{}, err
	}
	for name := range strings.SplitSeq(path, "/") {
		if !at.Dir {
			return Node{}, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
		n, err := unbounded(src).directory(ctx, at.CID)
		if err != nil {
			return Node{}, err
		}
		l, ok := n.entry(name)
		if !ok {
			return Node{}, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
		if at, err = stat(ctx, src, name, l.cid); err != nil {
			return Node{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	return at, nil
}

// List returns the entries of the directory dir, sorted by name. It reads one
// block for each.
func List(ctx context.Context, src Source, dir cid.Cid) ([]Node, error) {
	n, err := unbounded(src).directory(ctx, dir)
	if err != nil {
		return nil, err
	}
	nodes := make([]Node, 0, len(n.links))
	for _, l := range n.links {
		node, err := stat(ctx, src, l.name, l.cid)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

func stat(ctx context.Context, src Source, name string, c cid.Cid) (Node, error) {
	if err := checkCID(c, cid.Raw, cid.DagProtobuf); err != nil {
		return Node{}, err
	}
	r := unbounded(src)
	if c.Type() == cid.Raw {
		data, err := r.get(ctx, c)
		return Node{Name: name, CID: c, Size: int64(len(data))}, err
	}
	n, err := r.node(ctx, c)
	if err != nil {
		return Node{}, err
	}
	return Node{Name: name, CID: c, Dir: n.kind == kindDirectory, Size: int64(n.content())}, nil
}

// unbounded reads for callers that read a known, small number of blocks.
func unbounded(src Source) *reader {
	const plenty = 1 << 40
	return &reader{src: src, budget: budget{Limits{Bytes: plenty, Blocks: plenty}}}
}

func (n *node) entry(name string) (link, bool) {
	for _, l := range n.links {
		if l.name == name {
			return l, true
		}
	}
	return link{}, false
}
