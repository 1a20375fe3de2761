package p2p

import (
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/multiformats/go-multiaddr"
)

// Many machines stand behind one address, or in one network of IPv6.
func TestASiteBehindOneAddressIsManyNodes(t *testing.T) {
	resources, err := newResources(192)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := resources.Close(); err != nil {
			t.Error(err)
		}
	}()
	for i := range 40 { // less than strangers may be
		for _, at := range []string{"/ip4/10.0.0.1/tcp/1", fmt.Sprintf("/ip6/fd00::%x/tcp/1", i+1)} {
			conn, err := resources.OpenConnection(network.DirInbound, true, multiaddr.StringCast(at))
			if err != nil {
				t.Fatalf("connection %d, from %s: %v", i, at, err)
			}
			defer conn.Done()
		}
	}
}

func TestTCPIsDialledAtOnceAndQUICBesideItLater(t *testing.T) {
	quic, tcp := multiaddr.StringCast("/ip4/127.0.0.1/udp/1/quic-v1"), multiaddr.StringCast("/ip4/127.0.0.1/tcp/1")
	both := rankDials([]multiaddr.Multiaddr{quic, tcp})
	if len(both) != 2 || !both[0].Addr.Equal(tcp) || both[0].Delay != 0 || !both[1].Addr.Equal(quic) || both[1].Delay != quicDelay {
		t.Errorf("both are dialled as %v", both)
	}
	if alone := rankDials([]multiaddr.Multiaddr{quic}); len(alone) != 1 || alone[0].Delay != 0 {
		t.Errorf("QUIC alone is dialled as %v", alone)
	}
}
