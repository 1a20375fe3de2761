package tree

import (
	"context"
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/store/dagcbor"
)

// walkers is how many blocks Walk asks for at a time: Bitswap asks a peer at most
// every 20 ms, so this is what it asks for at once.
const walkers = 16

// Walk reads every block below root once, root included, several at a time, and
// calls visit with each, one call after another, parents before their children.
// It follows the links of directories, files and dag-cbor values, and ends with
// the first error: of src, of visit, of ctx, ErrInvalid, or ErrLimit.
func Walk(ctx context.Context, src Source, root cid.Cid, limit Limits, visit func(c cid.Cid, data []byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	type fetched struct {
		cid  cid.Cid
		data []byte
		err  error
	}
	results := make(chan fetched, walkers)
	inflight := 0
	defer func() {
		cancel()
		for ; inflight > 0; inflight-- {
			<-results
		}
	}()

	left := budget{limit}
	seen := map[cid.Cid]struct{}{root: {}}
	for waiting := []cid.Cid{root}; len(waiting) > 0 || inflight > 0; {
		for ; len(waiting) > 0 && inflight < walkers; inflight++ {
			c := waiting[len(waiting)-1] // deepest first: fewer wait
			waiting = waiting[:len(waiting)-1]
			go func() {
				data, err := src.Get(ctx, c)
				results <- fetched{c, data, err}
			}()
		}
		got := <-results
		inflight--
		if got.err != nil {
			return got.err
		}
		if err := left.take(got.data); err != nil {
			return err
		}
		below, err := Links(got.cid, got.data)
		if err != nil {
			return fmt.Errorf("block %s: %w", got.cid, err)
		}
		if err := visit(got.cid, got.data); err != nil {
			return err
		}
		for _, c := range below {
			if _, ok := seen[c]; !ok {
				seen[c] = struct{}{}
				waiting = append(waiting, c)
			}
		}
		if len(seen) > limit.Blocks {
			return ErrLimit
		}
	}
	return nil
}

// Links returns what the block names: none for a raw one. A block of another
// codec than raw, dag-pb and dag-cbor, or not in its one encoding, is ErrInvalid.
func Links(c cid.Cid, data []byte) ([]cid.Cid, error) {
	if err := checkCID(c, cid.Raw, cid.DagProtobuf, cid.DagCBOR); err != nil {
		return nil, err
	}
	switch c.Type() {
	case cid.DagProtobuf:
		n, err := decode(data)
		if err != nil {
			return nil, err
		}
		below := make([]cid.Cid, len(n.links))
		for i, l := range n.links {
			below[i] = l.cid
		}
		return below, nil
	case cid.DagCBOR:
		below, err := dagcbor.Links(data)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		return below, nil
	}
	return nil, nil
}
