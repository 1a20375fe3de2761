package p2p

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"

	"github.com/muster-network/muster/consensus/admission"
)

// Node is one member's place in its network. Safe for concurrent use.
type Node struct {
	Host    host.Host         // its connections have all passed the door
	Network admission.Network // id of the network
	Genesis admission.Genesis

	cfg    Config
	door   *door
	dials  *dials
	book   *book
	redial *redialer
	log    *slog.Logger
	late   chan struct{} // somebody is connected who may not be any more

	identified chan struct{} // somebody is connected whose latency may not be known
	closed     atomic.Bool
}

// New makes the host and opens its listeners. It dials nobody: see Run. The
// caller closes the node, after everything that uses its host has ended.
func New(cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	genesis, id, err := admission.OpenGenesis(cfg.Genesis)
	if err != nil {
		return nil, fmt.Errorf("p2p: %w", err)
	}
	remembered, err := openBook(cfg.PeersFile, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("p2p: remembered peers: %w", err)
	}
	d := newDoor(cfg, genesis, id)
	under := newDials()
	h, err := newHost(cfg, d, under)
	if err != nil {
		under.close()
		return nil, fmt.Errorf("p2p: make the host: %w", err)
	}
	n := &Node{
		Host: h, Network: id, Genesis: genesis, late: make(chan struct{}, 1), identified: make(chan struct{}, 1),
		cfg: cfg, door: d, dials: under, book: remembered, redial: newRedialer(h, remembered, cfg.MaxPeers/2), log: cfg.Log,
	}
	h.Network().Notify(&network.NotifyBundle{ConnectedF: n.arrived})
	return n, nil
}

// arrived looks again at who is connected now: what became known between the door and
// here was told of nobody that Recheck could see.
func (n *Node) arrived(_ network.Network, c network.Conn) {
	if n.door.lost(c.RemotePeer()) == 0 {
		return
	}
	wake(n.late)
}

// wake has whoever waits at signal, of capacity 1, look again.
func wake(signal chan<- struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

// Run keeps the node connected: it redials remembered peers, remembers those
// that come, measures their latency, and ends connections whose credential has expired or was revoked.
// It returns when ctx ends and its goroutines are gone, having saved the peers.
func (n *Node) Run(ctx context.Context) error {
	events, err := n.Host.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted),
		new(event.EvtPeerConnectednessChanged),
	}, eventbus.BufSize(256), eventbus.Name("muster/p2p"))
	if err != nil {
		return fmt.Errorf("p2p: watch the host: %w", err)
	}
	defer events.Close()
	wake(n.identified)
	for _, id := range n.Host.Network().Peers() {
		n.book.add(peer.AddrInfo{ID: id, Addrs: n.Host.Peerstore().Addrs(id)}, n.cfg.Now())
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.watch(ctx, events) })
	g.Go(func() error { return n.redial.run(ctx) })
	g.Go(func() error { return n.book.run(ctx) })
	g.Go(func() error { return n.guard(ctx) })
	g.Go(func() error { return n.measure(ctx) })
	return g.Wait()
}

// Close ends all dials, connections and listeners. It may be called more than once.
func (n *Node) Close() error {
	if n.closed.Swap(true) {
		return nil
	}
	n.dials.close()
	if err := n.Host.Close(); err != nil {
		return fmt.Errorf("p2p: close the host: %w", err)
	}
	return nil
}

// watch turns the host's events into remembered peers and redials.
func (n *Node) watch(ctx context.Context, events event.Subscription) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-events.Out():
			switch e := e.(type) {
			case event.EvtPeerIdentificationCompleted:
				n.book.add(peer.AddrInfo{ID: e.Peer, Addrs: e.ListenAddrs}, n.cfg.Now())
				wake(n.identified)
			case event.EvtPeerConnectednessChanged:
				n.redial.changed(e.Peer, e.Connectedness == network.Connected)
			}
		}
	}
}

// sweepEvery is how late an expired credential may be noticed on an open
// connection. Revocations do not wait for it: see Recheck.
const sweepEvery = time.Minute

func (n *Node) guard(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-n.late:
		}
		n.Recheck()
	}
}

// Recheck judges the credentials behind all open connections again and ends
// those that would not be let in now; who was revoked is remembered no more, connected
// or not. To be called after a revocation.
func (n *Node) Recheck() {
	for _, lost := range n.door.sweep(n.connected) {
		n.log.Warn("connection ended", "peer", lost.Peer, "reason", lost.Reason)
		n.cfg.Refused(lost)
		if err := n.Host.Network().ClosePeer(lost.Peer); err != nil {
			n.log.Debug("close connections", "peer", lost.Peer, "error", err)
		}
		n.Host.Peerstore().ClearAddrs(lost.Peer)
	}
	for _, info := range n.book.all() {
		if n.door.bars(info.ID) {
			n.book.remove(info.ID)
			n.Host.Peerstore().ClearAddrs(info.ID)
		}
	}
}

func (n *Node) connected(id peer.ID) bool {
	return len(n.Host.Network().ConnsToPeer(id)) > 0
}

// Connect dials a peer and waits until it is connected, or identified as one
// that cannot be: the error holds a *RefusedError when a door stayed shut.
func (n *Node) Connect(ctx context.Context, info peer.AddrInfo) error {
	clearBackoff(n.Host, info.ID)
	if err := n.Host.Connect(ctx, info); err != nil {
		return fmt.Errorf("connect to %s: %w", info.ID, err)
	}
	return nil
}

// Remember keeps a peer's addresses, over restarts when there is a peers file,
// and has Run dial it.
func (n *Node) Remember(info peer.AddrInfo) {
	if info.ID == n.Host.ID() {
		return
	}
	n.book.add(info, n.cfg.Now())
	n.redial.wake()
}

// Remembered returns the peers that the node knows how to dial, connected or not.
func (n *Node) Remembered() []peer.AddrInfo { return n.book.all() }

// Credential returns what a connected peer proved at the door.
func (n *Node) Credential(id peer.ID) (admission.SignedCredential, bool) {
	return n.door.member(id)
}

// PeerInfo describes one connected peer.
type PeerInfo struct {
	ID         peer.ID
	Address    multiaddr.Multiaddr // of the oldest connection's far end
	Path       string              // tcp or quic
	Inbound    bool
	Since      time.Time
	Credential admission.SignedCredential
}

// Peers returns the connected peers, by id.
func (n *Node) Peers() []PeerInfo {
	var infos []PeerInfo
	for _, id := range n.Host.Network().Peers() {
		conns := n.Host.Network().ConnsToPeer(id)
		if len(conns) == 0 {
			continue
		}
		c, _ := n.door.member(id)
		infos = append(infos, PeerInfo{
			ID: id, Address: conns[0].RemoteMultiaddr(), Path: pathOf(conns[0].RemoteMultiaddr()), Credential: c,
			Inbound: conns[0].Stat().Direction == network.DirInbound, Since: conns[0].Stat().Opened,
		})
	}
	slices.SortFunc(infos, func(a, b PeerInfo) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return infos
}

func pathOf(a multiaddr.Multiaddr) string {
	if _, err := a.ValueForProtocol(multiaddr.P_QUIC_V1); err == nil {
		return "quic"
	}
	return "tcp"
}

// Ping measures the round trip to a peer, dialling it when it is not connected.
func (n *Node) Ping(ctx context.Context, id peer.ID) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the series after its first
	defer cancel()
	result, ok := <-ping.Ping(ctx, n.Host, id)
	if !ok {
		return 0, fmt.Errorf("ping %s: %w", id, ctx.Err())
	}
	if result.Error != nil {
		return 0, fmt.Errorf("ping %s: %w", id, result.Error)
	}
	return result.RTT, nil
}

// Addresses returns where the node can be dialled, each with its peer id: what
// stands in tickets and adverts.
func (n *Node) Addresses() []multiaddr.Multiaddr {
	full, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: n.Host.ID(), Addrs: n.Host.Addrs()})
	if err != nil {
		panic(err) // our own id always encodes
	}
	return full
}
