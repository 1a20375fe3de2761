package p2p

import (
	"net/netip"
	"sync"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// doorLimits bounds what strangers can cost.
type doorLimits struct {
	Pending int           // inbound connections at the door at once
	Prefix  int           // of them from one address group
	Timeout time.Duration // of one exchange
}

var defaultDoorLimits = doorLimits{Pending: 64, Prefix: 16, Timeout: 5 * time.Second}

// pending counts inbound connections that have not passed the door. Loopback
// addresses are this machine's own: for them only the total counts.
type pending struct {
	limits doorLimits

	mu       sync.Mutex
	total    int
	byPrefix map[netip.Prefix]int
}

func newPending(limits doorLimits) *pending {
	return &pending{limits: limits, byPrefix: map[netip.Prefix]int{}}
}

// take reserves a place for a connection from addr. It reports false when there
// is none; otherwise release is to be called once.
func (p *pending) take(addr multiaddr.Multiaddr) (release func(), ok bool) {
	group := addressGroup(addr)
	p.mu.Lock()
	defer p.mu.Unlock()
	bounded := !group.Addr().IsLoopback()
	if p.total >= p.limits.Pending || bounded && p.byPrefix[group] >= p.limits.Prefix {
		return nil, false
	}
	p.total++
	p.byPrefix[group]++
	return func() { p.give(group) }, true
}

func (p *pending) give(group netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.byPrefix[group]--; p.byPrefix[group] == 0 {
		delete(p.byPrefix, group)
	}
}

// addressGroup is the /24 or /48 of an address: what one person easily has many
// of. Addresses without an IP share the zero group.
func addressGroup(addr multiaddr.Multiaddr) netip.Prefix {
	ip, err := manet.ToIP(addr)
	if err != nil {
		return netip.Prefix{}
	}
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.Prefix{}
	}
	a = a.Unmap()
	bits := 48
	if a.Is4() {
		bits = 24
	}
	group, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	if a.IsLoopback() && a.Is6() {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return group
}
