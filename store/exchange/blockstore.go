package exchange

import (
	"context"
	"errors"
	"fmt"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"github.com/muster-network/muster/store"
)

// blockstore shows a store.Blocks to Bitswap as the blockstore.Blockstore that
// it asks for.
type blockstore struct{ blocks store.Blocks }

func (b blockstore) Has(ctx context.Context, c cid.Cid) (bool, error) {
	return b.blocks.Has(ctx, c)
}

func (b blockstore) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	data, err := b.blocks.Get(ctx, c)
	if err != nil {
		return nil, notFound(c, err)
	}
	return blocks.NewBlockWithCid(data, c)
}

func (b blockstore) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	n, err := b.blocks.Size(ctx, c)
	return n, notFound(c, err)
}

func (b blockstore) Put(ctx context.Context, block blocks.Block) error {
	return b.blocks.Put(ctx, block)
}

func (b blockstore) PutMany(ctx context.Context, blks []blocks.Block) error {
	return b.blocks.Put(ctx, blks...)
}

func (b blockstore) DeleteBlock(ctx context.Context, c cid.Cid) error {
	return b.blocks.Delete(ctx, c)
}

// AllKeysChan is for provider systems, which muster has none of.
func (b blockstore) AllKeysChan(context.Context) (<-chan cid.Cid, error) {
	return nil, fmt.Errorf("list all blocks: %w", errors.ErrUnsupported)
}

// notFound says a missing block the way Bitswap's server understands it.
func notFound(c cid.Cid, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return format.ErrNotFound{Cid: c}
	}
	return err
}
