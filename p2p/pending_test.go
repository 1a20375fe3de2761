package p2p

import (
	"testing"

	"github.com/multiformats/go-multiaddr"
)

func TestPlacesAtTheDoorAreBounded(t *testing.T) {
	p := newPending(doorLimits{Pending: 6, Prefix: 2})
	take := func(addr string, want bool) func() {
		t.Helper()
		release, ok := p.take(multiaddr.StringCast(addr))
		if ok != want {
			t.Errorf("%s: taken %v, want %v", addr, ok, want)
		}
		return release
	}
	first := take("/ip4/203.0.113.1/tcp/1", true)
	take("/ip4/203.0.113.2/udp/1/quic-v1", true)
	take("/ip4/203.0.113.3/tcp/1", false) // the third of one /24
	take("/ip4/203.0.114.1/tcp/1", true)
	take("/ip6/2001:db8::1/tcp/1", true)
	take("/ip6/2001:db8::2/tcp/1", true)
	take("/ip6/2001:db8:0:1::1/tcp/1", false) // the third of one /48
	first()
	take("/ip4/203.0.113.3/tcp/1", true)
	take("/ip4/198.51.100.1/tcp/1", true)
	take("/ip4/192.0.2.1/tcp/1", false) // the seventh in all
}

func TestLoopbackIsBoundedInAllOnly(t *testing.T) {
	p := newPending(doorLimits{Pending: 3, Prefix: 1})
	for i, want := range []bool{true, true, true, false} {
		if _, ok := p.take(multiaddr.StringCast("/ip4/127.0.0.1/tcp/1")); ok != want {
			t.Errorf("connection %d: taken %v", i, ok)
		}
	}
}
