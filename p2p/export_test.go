package p2p

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/muster-network/muster/consensus/admission"
)

// Only has the host offer one security protocol.
func Only(cfg Config, security string) Config {
	cfg.security = security
	return cfg
}

// Limited sets the bounds of the door.
func Limited(cfg Config, pending int, timeout time.Duration) Config {
	cfg.limits = doorLimits{Pending: pending, Prefix: pending, Timeout: timeout}
	return cfg
}

// Sweep has the door look who is connected, and returns for how many that ends.
func (n *Node) Sweep(connected func(peer.ID) bool) int { return len(n.door.sweep(connected)) }

// EnterOver takes one connection from l, becomes the client of its handshake,
// and enters by the door of the other side, which dialled. The caller closes
// what it returns.
func EnterOver(l net.Listener, cfg Config, to peer.ID) (io.Closer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	g, id, err := admission.OpenGenesis(cfg.Genesis)
	if err != nil {
		return nil, err
	}
	socket, err := l.Accept()
	if err != nil {
		return nil, err
	}
	wrapped, err := manet.WrapNetConn(socket)
	if err != nil {
		return nil, err
	}
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}
	overTLS, err := libp2ptls.New(libp2ptls.ID, cfg.Identity.Private, muxers)
	if err != nil {
		return nil, err
	}
	none := &network.NullResourceManager{}
	u, err := upgrader.New([]sec.SecureTransport{overTLS}, muxers, nil, none, nil)
	if err != nil {
		return nil, err
	}
	t, err := tcp.NewTCPTransport(u, none, nil)
	if err != nil {
		return nil, err
	}
	scope, err := none.OpenConnection(network.DirOutbound, true, wrapped.RemoteMultiaddr())
	if err != nil {
		return nil, err
	}
	conn, err := u.Upgrade(context.Background(), t, wrapped, network.DirOutbound, to, scope)
	if err != nil {
		return nil, err
	}
	return conn, newDoor(cfg, g, id).enter(context.Background(), conn)
}
