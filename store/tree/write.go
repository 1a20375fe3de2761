package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"crypto/sha256"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/muster-network/muster/store"
)

// flushBytes is how much is gathered before it is put, in bytes: a small tree is
// one Put.
const flushBytes = 4 * ChunkSize

// Write stores a directory of files, with the directories that their paths name.
// The same files, in any order, are the same tree. It does not sync.
func Write(ctx context.Context, b store.Blocks, files []File) (Tree, error) {
	w := newWriter(b)
	if _, err := w.directory(ctx, files); err != nil {
		return Tree{}, err
	}
	return w.finish(ctx)
}

// WriteFile stores the bytes of r, to its end, as one file, of which the root is
// no directory. It does not sync.
func WriteFile(ctx context.Context, b store.Blocks, r io.Reader) (Tree, error) {
	w := newWriter(b)
	if _, err := w.file(ctx, chunksOf(r)); err != nil {
		return Tree{}, err
	}
	return w.finish(ctx)
}

// putter takes blocks: a store, or memory.
type putter interface {
	Put(ctx context.Context, blks ...blocks.Block) error
}

// writer gathers the blocks of one tree, children first.
type writer struct {
	blocks  putter
	pending []blocks.Block
	bytes   int // in pending
	seen    map[cid.Cid]struct{}
	tree    Tree
}

func newWriter(b putter) *writer {
	return &writer{blocks: b, seen: make(map[cid.Cid]struct{}, 8)}
}

// add stores data and returns a link to it. It keeps data until it is put.
func (w *writer) add(ctx context.Context, codec uint64, data []byte) (link, error) {
	if len(data) > store.MaxBlock {
		return link{}, fmt.Errorf("%w: a directory of %d bytes, at most %d", ErrInvalid, len(data), store.MaxBlock)
	}
	sum := sha256.Sum256(data)
	hash, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		return link{}, err
	}
	c := cid.NewCidV1(codec, hash)
	w.tree.Root = c
	w.tree.Read.Blocks++
	w.tree.Read.Bytes += int64(len(data))
	l := link{cid: c, size: uint64(len(data))}
	if _, ok := w.seen[c]; ok {
		return l, nil
	}
	w.seen[c] = struct{}{}
	block, err := blocks.NewBlockWithCid(data, c)
	if err != nil {
		return link{}, err
	}
	w.tree.Blocks = append(w.tree.Blocks, c)
	w.tree.Bytes += int64(len(data))
	w.pending = append(w.pending, block)
	if w.bytes += len(data); w.bytes >= flushBytes {
		return l, w.flush(ctx)
	}
	return l, nil
}

func (w *writer) addNode(ctx context.Context, n *node) (link, error) {
	l, err := w.add(ctx, cid.DagProtobuf, n.encode())
	for _, child := range n.links {
		l.size += child.size
	}
	return l, err
}

func (w *writer) flush(ctx context.Context) error {
	err := w.blocks.Put(ctx, w.pending...)
	w.pending, w.bytes = nil, 0
	return err
}

func (w *writer) finish(ctx context.Context) (Tree, error) {
	if err := w.flush(ctx); err != nil {
		return Tree{}, fmt.Errorf("store tree: %w", err)
	}
	return w.tree, nil
}

// directory stores files under their paths.
func (w *writer) directory(ctx context.Context, files []File) (link, error) {
	for _, f := range files {
		if err := CheckPath(f.Path); err != nil {
			return link{}, err
		}
	}
	if !slices.IsSortedFunc(files, byPath) {
		files = slices.Clone(files)
		slices.SortFunc(files, byPath)
	}
	return w.subdirectory(ctx, files, 0)
}

func byPath(a, b File) int { return cmp.Compare(a.Path, b.Path) }

// subdirectory stores sorted files that share the first skip bytes of their
// paths. Those of one directory stand together, for "name/" is their prefix.
func (w *writer) subdirectory(ctx context.Context, files []File, skip int) (link, error) {
	n := node{kind: kindDirectory, links: make([]link, 0, len(files))}
	for i := 0; i < len(files); {
		var l link
		var err error
		name, _, nested := strings.Cut(files[i].Path[skip:], "/")
		end := i + 1
		if nested {
			prefix := files[i].Path[:skip+len(name)+1]
			for end < len(files) && strings.HasPrefix(files[end].Path, prefix) {
				end++
			}
			l, err = w.subdirectory(ctx, files[i:end], len(prefix))
		} else {
			l, err = w.file(ctx, chunksIn(files[i].Data))
		}
		if err != nil {
			return link{}, err
		}
		l.name = name
		n.links = append(n.links, l)
		i = end
	}
	return w.addDirectory(ctx, &n)
}

// addDirectory sorts the entries and stores the directory.
func (w *writer) addDirectory(ctx context.Context, n *node) (link, error) {
	slices.SortFunc(n.links, func(a, b link) int { return cmp.Compare(a.name, b.name) })
	for i := 1; i < len(n.links); i++ {
		if n.links[i-1].name == n.links[i].name {
			return link{}, fmt.Errorf("%w: two entries named %q", ErrInvalid, n.links[i].name)
		}
	}
	return w.addNode(ctx, n)
}

// file stores a file of the chunks that next returns until io.EOF, as a
// balanced tree: all leaves are equally deep.
func (w *writer) file(ctx context.Context, next func() ([]byte, error)) (link, error) {
	var levels []node // levels[0] gathers leaves, levels[1] nodes of leaves, ...
	chunk, err := next()
	if errors.Is(err, io.EOF) {
		return w.add(ctx, cid.Raw, nil)
	}
	for first := true; err == nil; first = false {
		leaf, addErr := w.add(ctx, cid.Raw, chunk)
		if addErr != nil {
			return link{}, addErr
		}
		size := uint64(len(chunk))
		if chunk, err = next(); errors.Is(err, io.EOF) && first {
			return leaf, nil // a file of one leaf is that leaf
		}
		if levels, addErr = w.grow(ctx, levels, 0, leaf, size); addErr != nil {
			return link{}, addErr
		}
	}
	if !errors.Is(err, io.EOF) {
		return link{}, fmt.Errorf("read file: %w", err)
	}
	for depth := 0; ; depth++ {
		l, err := w.addNode(ctx, &levels[depth])
		if err != nil || depth == len(levels)-1 {
			return l, err
		}
		if levels, err = w.grow(ctx, levels, depth+1, l, levels[depth].content()); err != nil {
			return link{}, err
		}
	}
}

// grow adds a link to the open node of a level; a full one is stored first and
// becomes a link one level up.
func (w *writer) grow(ctx context.Context, levels []node, depth int, l link, size uint64) ([]node, error) {
	if depth == len(levels) {
		levels = append(levels, node{kind: kindFile})
	}
	if n := &levels[depth]; len(n.links) == MaxLinks {
		full, err := w.addNode(ctx, n)
		if err != nil {
			return nil, err
		}
		if levels, err = w.grow(ctx, levels, depth+1, full, n.content()); err != nil {
			return nil, err
		}
		levels[depth] = node{kind: kindFile}
	}
	levels[depth].links = append(levels[depth].links, l)
	levels[depth].sizes = append(levels[depth].sizes, size)
	return levels, nil
}

// chunksIn returns the leaves of data, without copying.
func chunksIn(data []byte) func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(data) == 0 {
			return nil, io.EOF
		}
		chunk := data[:min(ChunkSize, len(data))]
		data = data[len(chunk):]
		return chunk, nil
	}
}

// chunksOf returns the leaves of what r holds, each in memory of its own.
func chunksOf(r io.Reader) func() ([]byte, error) {
	return func() ([]byte, error) {
		chunk := make([]byte, ChunkSize)
		n, err := io.ReadFull(r, chunk)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
		return chunk[:n], err
	}
}
