package exchange

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

// request is what a fetch tells Bitswap through the context of its session.
type request struct {
	peers  []peer.ID
	giveUp context.CancelCauseFunc
}

type namedKey struct{}

// named is a content router that finds for every block the peers which the
// fetch has named, as soon as each is connected.
type named struct{ host host.Host }

// FindProvidersAsync implements routing.ContentDiscovery.
func (n named) FindProvidersAsync(ctx context.Context, _ cid.Cid, _ int) <-chan peer.AddrInfo {
	found := make(chan peer.AddrInfo)
	asked, ok := ctx.Value(namedKey{}).(*request)
	if !ok {
		close(found)
		return found
	}
	errs := make([]error, len(asked.peers))
	var all sync.WaitGroup
	for i, p := range asked.peers {
		all.Go(func() {
			if errs[i] = n.host.Connect(ctx, peer.AddrInfo{ID: p}); errs[i] != nil {
				return
			}
			select {
			case found <- peer.AddrInfo{ID: p}:
			case <-ctx.Done():
			}
		})
	}
	go func() {
		defer close(found)
		all.Wait()
		for _, err := range errs {
			if err == nil {
				return
			}
		}
		asked.giveUp(fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(errs...)))
	}()
	return found
}
