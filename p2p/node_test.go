package p2p_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/p2ptest"
)

// changes tells of peers that come to or leave a node.
func changes(n *p2p.Node) (up, down chan peer.ID) {
	up, down = make(chan peer.ID, 64), make(chan peer.ID, 64)
	n.Host.Network().Notify(&network.NotifyBundle{
		ConnectedF:    func(_ network.Network, c network.Conn) { up <- c.RemotePeer() },
		DisconnectedF: func(_ network.Network, c network.Conn) { down <- c.RemotePeer() },
	})
	return up, down
}

func await(t *testing.T, c <-chan peer.ID, want peer.ID, what string) {
	t.Helper()
	select {
	case got := <-c:
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("waited for: %s", what)
	}
}

func TestARestartedNodeDialsThePeersItRemembers(t *testing.T) {
	net := p2ptest.New(t)
	other := p2ptest.Start(t, net.Config(t))
	cfg := net.Config(t)
	cfg.PeersFile = filepath.Join(t.TempDir(), "peers")
	node, stop := p2ptest.StartStop(t, cfg)
	p2ptest.Connect(t, other, node) // inbound: the address comes by identify
	up, down := changes(other)
	for deadline := time.Now().Add(30 * time.Second); len(node.Remembered()) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the peer was not remembered")
		}
	}
	stop()
	await(t, down, cfg.Identity.Peer, "the end")
	p2ptest.Start(t, cfg)
	await(t, up, cfg.Identity.Peer, "the return")
}

func TestANodeIsDialledAgainWhenItReturns(t *testing.T) {
	net := p2ptest.New(t)
	cfg := net.Config(t)
	first, stop := p2ptest.StartStop(t, cfg)
	cfg.Listen = first.Host.Addrs() // the same port next time
	other := p2ptest.Start(t, net.Config(t))
	up, down := changes(other)
	other.Remember(p2ptest.Info(first))
	await(t, up, cfg.Identity.Peer, "the first dial")
	stop()
	await(t, down, cfg.Identity.Peer, "the end")
	p2ptest.Start(t, cfg)
	await(t, up, cfg.Identity.Peer, "the second dial")
}

func TestTheLatencyOfEveryConnectedPeerBecomesKnown(t *testing.T) {
	net := p2ptest.New(t)
	nodes := []*p2p.Node{p2ptest.Start(t, net.Config(t)), p2ptest.Start(t, net.Config(t)), p2ptest.Start(t, net.Config(t))}
	p2ptest.Connect(t, nodes[0], nodes[1])
	p2ptest.Connect(t, nodes[0], nodes[2])
	deadline := time.Now().Add(30 * time.Second)
	for i, pair := range [][2]*p2p.Node{{nodes[0], nodes[1]}, {nodes[1], nodes[0]}, {nodes[0], nodes[2]}, {nodes[2], nodes[0]}} {
		for pair[0].Host.Peerstore().LatencyEWMA(pair[1].Host.ID()) == 0 {
			if time.Now().After(deadline) {
				t.Fatalf("latency %d is not known", i)
			}
			runtime.Gosched()
		}
	}
}

func TestRevocationEndsConnectionsAtOnce(t *testing.T) {
	net := p2ptest.New(t)
	a, b := net.Config(t), net.Config(t)
	var revoked atomic.Bool
	a.Revoked = func(k admission.Key) bool { return revoked.Load() && k == b.Identity.Signer.Key() }
	seen := watchRefusals(&a)
	first, second, third := p2ptest.Start(t, a), p2ptest.Start(t, b), p2ptest.Start(t, net.Config(t))
	p2ptest.Connect(t, first, second)
	p2ptest.Connect(t, first, third)
	_, down := changes(first)
	first.Recheck()
	if n := len(first.Peers()); n != 2 {
		t.Fatalf("%d peers before the revocation", n)
	}
	revoked.Store(true)
	first.Recheck()
	await(t, down, b.Identity.Peer, "the end of the connection")
	if e := seen.next(t); e.Reason != p2p.ReasonRevoked || e.Peer != b.Identity.Peer {
		t.Errorf("reported %v", e)
	}
	if peers := first.Peers(); len(peers) != 1 || peers[0].ID != third.Host.ID() {
		t.Errorf("peers: %v", peers)
	}
	if len(first.Host.Peerstore().Addrs(b.Identity.Peer)) != 0 {
		t.Error("the address of a revoked peer is kept")
	}
}

// A revocation that comes while a peer comes in takes effect wherever it finds it: when
// it is judged, when it is noted, or when it is connected.
func TestARevocationFindsWhoIsOnItsWayIn(t *testing.T) {
	for looked, when := range []string{"judged", "noted", "connected"} {
		for _, dialled := range []bool{false, true} {
			t.Run(fmt.Sprintf("when %s, dialled %v", when, dialled), func(t *testing.T) {
				net := p2ptest.New(t)
				a, b := net.Config(t), net.Config(t)
				var times atomic.Int64
				a.Revoked = func(k admission.Key) bool { return k == b.Identity.Signer.Key() && times.Add(1) > int64(looked) }
				seen := watchRefusals(&a)
				first, second := p2ptest.Start(t, a), p2ptest.Start(t, b)
				_, down := changes(first)
				from, to := second, first
				if dialled {
					from, to = first, second
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				err := from.Connect(ctx, p2ptest.Info(to))
				if when == "connected" {
					await(t, down, b.Identity.Peer, "the end of the connection")
				} else if dialled && err == nil {
					t.Error("it came in")
				}
				if e := seen.next(t); e.Reason != p2p.ReasonRevoked || e.Peer != b.Identity.Peer {
					t.Errorf("reported %v", e)
				}
				if len(first.Peers()) != 0 {
					t.Error("it is connected")
				}
			})
		}
	}
}

// The swarm learns of a connection after the door has opened: in between nobody is
// connected, and yet it must be known who is.
func TestWhoCameInAMomentAgoIsNotForgotten(t *testing.T) {
	net := p2ptest.New(t)
	cfg, other := net.Config(t), net.Config(t)
	var late atomic.Int64
	var revoked atomic.Bool
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	cfg.Revoked = func(admission.Key) bool { return revoked.Load() }
	a, b := p2ptest.Start(t, cfg), p2ptest.Start(t, other)
	p2ptest.Connect(t, a, b)
	connected := func(yes bool) func(peer.ID) bool { return func(peer.ID) bool { return yes } }
	known := func() bool { _, ok := a.Credential(b.Host.ID()); return ok }
	if a.Sweep(connected(false)) != 0 || !known() {
		t.Error("forgotten before it was connected")
	}
	revoked.Store(true)
	for range 2 {
		if a.Sweep(connected(true)) != 1 || !known() {
			t.Error("a second connection of who was revoked would be forgotten")
		}
	}
	late.Store(int64(2 * time.Minute))
	if a.Sweep(connected(false)) != 0 || known() {
		t.Error("remembered for good")
	}
}

func TestExpiryEndsConnections(t *testing.T) {
	net := p2ptest.New(t)
	cfg := net.Config(t)
	var late atomic.Int64
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	seen := watchRefusals(&cfg)
	node, other := p2ptest.Start(t, cfg), p2ptest.Start(t, net.Config(t))
	p2ptest.Connect(t, node, other)
	_, down := changes(node)
	late.Store(int64(2 * time.Hour))
	node.Recheck()
	await(t, down, other.Host.ID(), "the end of the connection")
	if e := seen.next(t); e.Reason != p2p.ReasonExpired {
		t.Errorf("reported %v", e)
	}
}

func TestPeersAreDescribed(t *testing.T) {
	for path, listen := range map[string]string{"tcp": p2ptest.TCP, "quic": p2ptest.QUIC} {
		t.Run(path, func(t *testing.T) { expectDescribed(t, path, listen) })
	}
}

func expectDescribed(t *testing.T, path, listen string) {
	net := p2ptest.New(t)
	a, b := p2ptest.Start(t, net.Config(t)), p2ptest.Start(t, net.Config(t, listen))
	p2ptest.Connect(t, a, b)
	peers := a.Peers()
	if len(peers) != 1 {
		t.Fatalf("%d peers", len(peers))
	}
	p := peers[0]
	if p.ID != b.Host.ID() || p.Inbound || p.Credential.Body.Subject.Peer() != b.Host.ID() || p.Since.IsZero() {
		t.Errorf("described as %+v", p)
	}
	if p.Path != path {
		t.Errorf("connected by %s, said to be %q", p.Address, p.Path)
	}
	if rtt, err := a.Ping(t.Context(), b.Host.ID()); err != nil || rtt <= 0 {
		t.Errorf("ping: %v, %v", rtt, err)
	}
	for _, addr := range b.Addresses() {
		if _, id := peer.SplitAddr(addr); id != b.Host.ID() {
			t.Errorf("address %s does not name its peer", addr)
		}
	}
}

func TestAPortInUseIsAnError(t *testing.T) {
	net := p2ptest.New(t)
	first := p2ptest.Start(t, net.Config(t, p2ptest.TCP))
	for name, path := range map[string]string{"alone": "", "beside one that is free": p2ptest.QUIC} {
		cfg := net.Config(t, p2ptest.TCP)
		cfg.Listen = first.Host.Addrs()
		if path != "" {
			cfg.Listen = append(net.Config(t, path).Listen, cfg.Listen...)
		}
		if _, err := p2p.New(cfg); err == nil {
			t.Errorf("%s: listens on a port in use", name)
		}
	}
}

func TestWhoWasRevokedIsRememberedNoMoreConnectedOrNot(t *testing.T) {
	net := p2ptest.New(t)
	cfg, away, other := net.Config(t), net.Config(t), net.Config(t)
	var revoked atomic.Bool
	cfg.Revoked = func(k admission.Key) bool { return revoked.Load() && k == away.Identity.Signer.Key() }
	node, err := p2p.New(cfg) // it does not run, and dials nobody
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	for _, id := range []peer.ID{away.Identity.Peer, other.Identity.Peer} {
		node.Remember(peer.AddrInfo{ID: id, Addrs: cfg.Listen})
	}
	for _, want := range []int{2, 1} {
		node.Recheck()
		if all := node.Remembered(); len(all) != want || want == 1 && all[0].ID != other.Identity.Peer {
			t.Errorf("remembered: %v, want %d", all, want)
		}
		revoked.Store(true)
	}
}
