package p2p

import (
	"testing"

	"github.com/multiformats/go-multiaddr"
)

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
