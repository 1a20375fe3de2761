package p2p

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"
)

const (
	pingEvery    = time.Minute
	pingAtOnce   = 8
	pingPatience = 5 * time.Second
)

// measure has the peerstore know the latency of every connected peer: soon after it
// came, and averaged from then on. Else only what the DHT and Bitswap happen to ask
// would tell, the time that the other end takes to answer included.
func (n *Node) measure(ctx context.Context) error {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			all = true
		case <-n.identified:
		}
		var pings errgroup.Group
		pings.SetLimit(pingAtOnce)
		for _, id := range n.Host.Network().Peers() {
			if all || n.Host.Peerstore().LatencyEWMA(id) == 0 {
				pings.Go(func() error { n.ping(ctx, id); return nil })
			}
		}
		_ = pings.Wait() // they have no errors
	}
}

// ping measures one peer, if it is connected still.
func (n *Node) ping(ctx context.Context, id peer.ID) {
	ctx, cancel := context.WithTimeout(network.WithNoDial(ctx, "measure the latency"), pingPatience)
	defer cancel()
	if _, err := n.Ping(ctx, id); err != nil {
		n.log.Debug("ping", "peer", id, "error", err)
	}
}
