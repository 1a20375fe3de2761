package tree

import (
	"bytes"
	"context"
	"fmt"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/store"
)

// A pack is a file that holds many small trees: the CAR file of a directory in
// which each stands under its name. A member that wants ten thousand small trees
// fetches a few blocks of up to 1 MiB, where the trees alone would be tens of
// thousands; any IPFS tool imports a pack and sees the directory.

const (
	// MaxPacked bounds a tree in a pack, by the length of its blocks. A larger
	// one stands by itself.
	MaxPacked = 64 << 10

	maxPack       = ChunkSize // bytes of a pack: one leaf
	packHead      = 256       // of them for header and the directory's own frame
	sectionHead   = 48        // bytes around a block in a CAR file, at most
	directoryLink = 64        // bytes of a directory's entry without its name, at most
)

// Heap is blocks in memory. It is a Sized source. The zero Heap is empty.
type Heap map[cid.Cid][]byte

// Get implements Source.
func (h Heap) Get(_ context.Context, c cid.Cid) ([]byte, error) {
	data, ok := h[c]
	if !ok {
		return nil, store.ErrNotFound
	}
	return data, nil
}

// Size implements Sized.
func (h Heap) Size(ctx context.Context, c cid.Cid) (int, error) {
	data, err := h.Get(ctx, c)
	return len(data), err
}

// Put adds blocks, which are not copied.
func (h Heap) Put(_ context.Context, blks ...blocks.Block) error {
	for _, b := range blks {
		h[b.Cid()] = b.RawData()
	}
	return nil
}

// Pack is a stored pack of Entries consecutive entries of a list. Those of them
// that are large, or that have no tree, are not in it.
type Pack struct {
	Entries int
	File    cid.Cid
}

// Packer lays a list of trees out in packs. The same list gives the same packs.
// It is not safe for concurrent use.
type Packer struct {
	blocks store.Blocks
	open   Heap
	links  []link
	bytes  int // what the open pack will have, at most
	since  int // entries since the last pack
	packs  []Pack
	large  []cid.Cid
	total  int64
	stored map[cid.Cid]struct{}
}

// NewPacker returns a packer that stores what it makes in b.
func NewPacker(b store.Blocks) *Packer {
	return &Packer{blocks: b, open: Heap{}, stored: map[cid.Cid]struct{}{}}
}

// Bytes returns the length of what has been stored so far.
func (p *Packer) Bytes() int64 { return p.total }

// Blocks returns how many blocks have been stored so far, each counted once.
func (p *Packer) Blocks() int { return len(p.stored) }

// Skip counts an entry without a tree.
func (p *Packer) Skip() { p.since++ }

// Result adds the result tree of the next entry.
func (p *Packer) Result(ctx context.Context, name string, r Result) (Tree, error) {
	made := Heap{}
	t, l, err := writeResult(ctx, newWriter(made), r)
	if err != nil {
		return Tree{}, err
	}
	l.name = name
	return t, p.add(ctx, l, t, made)
}

// Tree adds a file or directory that src holds as the next entry.
func (p *Packer) Tree(ctx context.Context, name string, src Source, root cid.Cid, limit Limits) error {
	t, found := Tree{Root: root}, Heap{}
	err := Walk(ctx, src, root, limit, func(c cid.Cid, data []byte) error {
		t.Blocks = append(t.Blocks, c)
		t.Bytes += int64(len(data))
		found[c] = data
		return nil
	})
	if err != nil {
		return err
	}
	l, err := linkTo(name, root, found[root])
	if err != nil {
		return err
	}
	return p.add(ctx, l, t, found)
}

func (p *Packer) add(ctx context.Context, l link, t Tree, from Heap) error {
	if t.Bytes > MaxPacked {
		return p.addLarge(ctx, t, from)
	}
	need := p.need(l.name, t, from)
	if len(p.links) > 0 && p.bytes+need > maxPack-packHead {
		if err := p.cut(ctx); err != nil {
			return err
		}
		need = p.need(l.name, t, from)
	}
	for _, c := range t.Blocks {
		p.open[c] = from[c]
	}
	p.links = append(p.links, l)
	p.bytes += need
	p.since++
	return nil
}

// need is by how many bytes a tree makes the open pack longer, at most.
func (p *Packer) need(name string, t Tree, from Heap) int {
	n := directoryLink + len(name)
	for _, c := range t.Blocks {
		if _, ok := p.open[c]; !ok {
			n += sectionHead + len(from[c])
		}
	}
	return n
}

func (p *Packer) addLarge(ctx context.Context, t Tree, from Heap) error {
	for _, c := range t.Blocks {
		block, err := blocks.NewBlockWithCid(from[c], c)
		if err != nil {
			return err
		}
		if err := p.blocks.Put(ctx, block); err != nil {
			return err
		}
		p.stored[c] = struct{}{}
	}
	p.large = append(p.large, t.Root)
	p.total += t.Bytes
	p.since++
	return nil
}

// cut stores the open pack, if there is anything in it.
func (p *Packer) cut(ctx context.Context) error {
	if len(p.links) == 0 {
		return nil
	}
	w := newWriter(p.open)
	if _, err := w.addDirectory(ctx, &node{kind: kindDirectory, links: p.links}); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	t, err := w.finish(ctx)
	if err != nil {
		return err
	}
	var car bytes.Buffer
	if err := WriteCAR(ctx, &car, p.open, t.Root, packLimits()); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	file, err := WriteFile(ctx, p.blocks, &car)
	if err != nil {
		return err
	}
	p.packs = append(p.packs, Pack{Entries: p.since, File: file.Root})
	p.total += file.Bytes
	p.stored[file.Root] = struct{}{}
	p.open, p.links, p.bytes, p.since = Heap{}, nil, 0, 0
	return nil
}

// Take ends the open pack and returns the packs since the last call, and the
// roots of the large trees among their entries, in order. Without any small tree
// there is no pack, and else the packs count every entry.
func (p *Packer) Take(ctx context.Context) ([]Pack, []cid.Cid, error) {
	if err := p.cut(ctx); err != nil {
		return nil, nil, err
	}
	packs, large := p.packs, p.large
	p.packs, p.large, p.since = nil, nil, 0
	return packs, large, nil
}

// OpenPack reads the pack that file names, whole. Any other file is ErrInvalid, and
// so is one of more blocks than one.
func OpenPack(ctx context.Context, src Source, file cid.Cid) (Heap, error) {
	if err := checkCID(file, cid.Raw); err != nil {
		return nil, err
	}
	car, err := unbounded(src).get(ctx, file)
	if err != nil {
		return nil, err
	}
	if len(car) > maxPack {
		return nil, fmt.Errorf("%w: a pack of %d bytes, at most %d", ErrInvalid, len(car), maxPack)
	}
	held := Heap{}
	_, err = ReadCAR(bytes.NewReader(car), packLimits(), func(c cid.Cid, data []byte) error {
		held[c] = data
		return nil
	})
	return held, err
}

func packLimits() Limits { return Limits{Bytes: maxPack, Blocks: maxPack / sectionHead} }
