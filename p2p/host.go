package p2p

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/config"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	cmgr "github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/x/rate"
	"github.com/multiformats/go-multiaddr"
	"go.uber.org/fx"
)

const (
	quicDelay   = 250 * time.Millisecond // head start of TCP, which costs less CPU
	dialTimeout = 10 * time.Second
	peerMemory  = 32 << 20 // bytes that one peer may make us hold in buffers
	sitePace    = 16       // connections a second with one address, or one IPv6 /56, beyond a burst of all
	hostMemory  = 256 << 20
	hostFiles   = 4096
)

// newHost fills libp2p's configuration itself: its own constructor links
// transports that muster does not use.
func newHost(cfg Config, d *door, under *dials) (host.Host, error) {
	connections, err := cmgr.NewConnManager(cfg.MaxPeers*3/4, cfg.MaxPeers, cmgr.WithGracePeriod(time.Minute))
	if err != nil {
		return nil, err
	}
	resources, err := newResources(cfg.MaxPeers)
	if err != nil {
		connections.Close()
		return nil, err
	}
	peers, err := pstoremem.NewPeerstore()
	if err != nil {
		connections.Close()
		resources.Close()
		return nil, err
	}
	public := network.ReachabilityPublic
	c := config.Config{
		UserAgent:          "muster",
		ProtocolVersion:    string(Protocol(d.network, "node")),
		PeerKey:            cfg.Identity.Private,
		Transports:         guardedTransports(d, under),
		Muxers:             []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}},
		SecurityTransports: securities(cfg.security),
		DialTimeout:        dialTimeout,
		DialRanker:         rankDials,
		ConnManager:        connections,
		ResourceManager:    resources,
		Peerstore:          peers,
		DisableMetrics:     true,
		// Members say in adverts and to identify where they listen: nothing has
		// to be guessed from what others see.
		DisableIdentifyAddressDiscovery: true,
		AutoNATConfig:                   config.AutoNATConfig{ForceReachability: &public},
	}
	if len(cfg.Announce) > 0 {
		c.AddrsFactory = func([]multiaddr.Multiaddr) []multiaddr.Multiaddr { return cfg.Announce }
	}
	h, err := c.NewNode()
	if err != nil {
		connections.Close()
		resources.Close()
		peers.Close()
		return nil, err
	}
	// One by one: given all, libp2p is content with one of them.
	for _, a := range cfg.Listen {
		if err := h.Network().Listen(a); err != nil {
			return nil, errors.Join(fmt.Errorf("listen on %s: %w", a, err), h.Close())
		}
	}
	return h, nil
}

// guardedTransports are TCP and QUIC behind the door, as libp2p's constructor
// wants them.
func guardedTransports(d *door, under *dials) []fx.Option {
	behind := func(t transport.Transport, err error) (transport.Transport, error) {
		if err != nil {
			return nil, err
		}
		return &guarded{Transport: t, door: d, dials: under}, nil
	}
	overTCP := func(u transport.Upgrader, r network.ResourceManager) (transport.Transport, error) {
		// With SO_REUSEPORT two nodes could listen on one port unnoticed.
		return behind(tcp.NewTCPTransport(u, r, nil, tcp.DisableReuseport()))
	}
	overQUIC := func(k crypto.PrivKey, m *quicreuse.ConnManager, p pnet.PSK, g connmgr.ConnectionGater, r network.ResourceManager) (transport.Transport, error) {
		return behind(libp2pquic.NewTransport(k, m, p, g, r))
	}
	group := fx.ResultTags(`group:"transport"`)
	return []fx.Option{
		fx.Provide(fx.Annotate(overTCP, group)),
		fx.Provide(fx.Annotate(overQUIC, group)),
	}
}

// securities prefers TLS, the cheapest, and offers Noise.
func securities(only string) []config.Security {
	all := []config.Security{
		{ID: libp2ptls.ID, Constructor: libp2ptls.New},
		{ID: noise.ID, Constructor: noise.New},
	}
	if only == "" {
		return all
	}
	var some []config.Security
	for _, s := range all {
		if s.ID == protocol.ID(only) {
			some = append(some, s)
		}
	}
	return some
}

// rankDials tries TCP at once and QUIC a moment later.
func rankDials(addrs []multiaddr.Multiaddr) []network.AddrDelay {
	ranked := make([]network.AddrDelay, 0, len(addrs))
	tcpToo := false
	for _, a := range addrs {
		if _, err := a.ValueForProtocol(multiaddr.P_TCP); err == nil {
			tcpToo = true
			ranked = append(ranked, network.AddrDelay{Addr: a})
		}
	}
	for _, a := range addrs {
		if _, err := a.ValueForProtocol(multiaddr.P_TCP); err == nil {
			continue
		}
		delay := time.Duration(0)
		if tcpToo {
			delay = quicDelay
		}
		ranked = append(ranked, network.AddrDelay{Addr: a, Delay: delay})
	}
	return ranked
}

// newResources bounds connections, streams and buffer memory, in all and for
// each peer. peers is about how many connections are kept.
func newResources(peers int) (network.ResourceManager, error) {
	conns := 2*peers + 64
	streams := 32 * conns
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: rcmgr.LimitVal(conns), ConnsInbound: rcmgr.LimitVal(conns * 3 / 4), ConnsOutbound: rcmgr.LimitVal(conns),
			Streams: rcmgr.LimitVal(streams), StreamsInbound: rcmgr.LimitVal(streams), StreamsOutbound: rcmgr.LimitVal(streams),
			FD: rcmgr.LimitVal(conns + 64), Memory: hostMemory,
		},
		Transient: rcmgr.ResourceLimits{
			Conns: 256, ConnsInbound: 128, ConnsOutbound: 192,
			Streams: 1024, StreamsInbound: 512, StreamsOutbound: 1024,
			FD: 256, Memory: hostMemory / 4,
		},
		PeerDefault: rcmgr.ResourceLimits{
			Conns: 8, ConnsInbound: 8, ConnsOutbound: 8, FD: 8,
			Streams: 512, StreamsInbound: 256, StreamsOutbound: 512,
			Memory: peerMemory,
		},
	}
	defaults := rcmgr.DefaultLimits.Scale(hostMemory, hostFiles)
	// A site behind one address is many nodes: libp2p's own bound is eight for each
	// address. Strangers are bounded by the door.
	site := []rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: conns}}
	site6 := []rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: conns}}
	pace := rate.Limit{RPS: sitePace, Burst: conns}
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.Build(defaults)), rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(site, site6), rcmgr.WithConnRateLimiters(&rate.Limiter{
			NetworkPrefixLimits: []rate.PrefixLimit{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, {Prefix: netip.MustParsePrefix("::1/128")}},
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: pace}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: pace}},
				GracePeriod:      time.Minute,
			},
		}))
}
