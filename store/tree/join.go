package tree

import (
	"context"
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/store"
)

// WriteDirectory stores a directory whose entries are in the store already: only
// their names and CIDs count. A directory that names the same is the same
// directory, however it was made.
func WriteDirectory(ctx context.Context, b store.Blocks, entries []Node) (Tree, error) {
	w := newWriter(b)
	n := node{kind: kindDirectory, links: make([]link, 0, len(entries))}
	for _, e := range entries {
		if err := checkName(e.Name); err != nil {
			return Tree{}, err
		}
		size, err := total(ctx, b, e.CID)
		if err != nil {
			return Tree{}, fmt.Errorf("%s: %w", e.Name, err)
		}
		n.links = append(n.links, link{name: e.Name, cid: e.CID, size: size})
	}
	if _, err := w.addDirectory(ctx, &n); err != nil {
		return Tree{}, err
	}
	return w.finish(ctx)
}

// total returns the length of all blocks below c, the first included, as a link
// to it says it.
func total(ctx context.Context, b store.Blocks, c cid.Cid) (uint64, error) {
	if err := checkCID(c, cid.Raw, cid.DagProtobuf); err != nil {
		return 0, err
	}
	if c.Type() == cid.Raw {
		size, err := b.Size(ctx, c)
		return uint64(size), err
	}
	data, err := b.Get(ctx, c)
	if err != nil {
		return 0, err
	}
	l, err := linkTo("", c, data)
	return l.size, err
}

// linkTo returns a link to the block c, which holds data.
func linkTo(name string, c cid.Cid, data []byte) (link, error) {
	l := link{name: name, cid: c, size: uint64(len(data))}
	if c.Type() == cid.Raw {
		return l, nil
	}
	n, err := decode(data)
	if err != nil {
		return link{}, err
	}
	for _, below := range n.links {
		l.size += below.size
	}
	return l, nil
}
