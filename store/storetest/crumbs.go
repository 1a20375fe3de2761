package storetest

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"github.com/muster-network/muster/store"
)

// Crumbs stores a file of at least 1 MiB in leaves of one byte: four blocks, each
// as often as the one above names it.
func Crumbs(t testing.TB, s store.Blocks) cid.Cid {
	t.Helper()
	const size, links = 1 << 20, 174
	b := Block(t, cid.Raw, []byte("x"))
	for content := 1; ; {
		if err := s.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if content >= size {
			return b.Cid()
		}
		n, below := merkledag.NodeWithData(nil), unixfs.NewFSNode(unixfs.TFile)
		for i := 0; i < links && i*content < size; i++ {
			below.AddBlockSize(uint64(content))
			if err := n.AddRawLink("", &format.Link{Cid: b.Cid()}); err != nil {
				t.Fatal(err)
			}
		}
		data, err := below.GetBytes()
		if err != nil {
			t.Fatal(err)
		}
		n.SetData(data)
		b, content = Block(t, cid.DagProtobuf, n.RawData()), int(below.FileSize())
	}
}

// Counted counts what is read of a store.
type Counted struct {
	store.Blocks
	Reads atomic.Int64
}

// Get implements store.Blocks.
func (c *Counted) Get(ctx context.Context, id cid.Cid) ([]byte, error) {
	c.Reads.Add(1)
	return c.Blocks.Get(ctx, id)
}
