package p2p_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/multiformats/go-multiaddr"

	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/p2ptest"
)

// libp2p closes QUIC's sockets before it stops dialling: a dial that the swarm
// had begun and that came to its transport only then would open another, which
// nobody closes.
func TestADialThatComesWhenItsNodeIsClosedOpensNothing(t *testing.T) {
	for _, listen := range []string{p2ptest.TCP, p2ptest.QUIC} {
		network := p2ptest.New(t)
		node, stop := p2ptest.StartStop(t, network.Config(t))
		other := p2ptest.Start(t, network.Config(t, listen))
		addr := other.Host.Addrs()[0]
		transport := node.Host.Network().(*swarm.Swarm).TransportForDialing(addr)
		stop()
		conn, err := transport.Dial(t.Context(), addr, other.Host.ID())
		if !errors.Is(err, p2p.ErrClosed) {
			t.Errorf("%s: connection %v, error %v", addr, conn, err)
		}
	}
}

// A dial to somebody who never answers would take as long as its caller waits.
func TestClosingANodeEndsItsDials(t *testing.T) {
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	addr, err := multiaddr.NewMultiaddr("/ip4/127.0.0.1/udp/" + portOf(silent.LocalAddr()) + "/quic-v1")
	if err != nil {
		t.Fatal(err)
	}
	network := p2ptest.New(t)
	node, stop := p2ptest.StartStop(t, network.Config(t))
	whom, err := p2p.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- node.Connect(context.Background(), peer.AddrInfo{ID: whom.Signer.Key().Peer(), Addrs: []multiaddr.Multiaddr{addr}})
	}()
	if _, _, err := silent.ReadFrom(make([]byte, 2048)); err != nil { // the dial is under way
		t.Fatal(err)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) && !errors.Is(err, swarm.ErrSwarmClosed) {
		t.Errorf("the dial ends with %v", err)
	}
}

func portOf(addr net.Addr) string {
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		panic(err)
	}
	return port
}
