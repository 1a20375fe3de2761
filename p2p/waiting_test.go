package p2p_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/p2ptest"
)

// rawDialer speaks libp2p's transport, and nothing of the door.
func rawDialer(t *testing.T) transport.Transport {
	t.Helper()
	id, err := p2p.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}
	overTLS, err := libp2ptls.New(libp2ptls.ID, id.Private, muxers)
	if err != nil {
		t.Fatal(err)
	}
	u, err := upgrader.New([]sec.SecureTransport{overTLS}, muxers, nil, &network.NullResourceManager{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := tcp.NewTCPTransport(u, nil, nil, tcp.DisableReuseport())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func dialRaw(t *testing.T, raw transport.Transport, to peer.AddrInfo) transport.CapableConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := raw.Dial(ctx, to.Addrs[0], to.ID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Those who come and say nothing hold a bounded number of places, for a
// bounded time; then members get in again.
func TestSilentStrangersAreBounded(t *testing.T) {
	net := p2ptest.New(t)
	cfg := p2p.Limited(net.Config(t), 4, 300*time.Millisecond)
	seen := watchRefusals(&cfg)
	node := p2ptest.Start(t, cfg)
	for range 8 {
		dialRaw(t, rawDialer(t), p2ptest.Info(node))
	}
	count := map[p2p.Reason]int{}
	for range 8 {
		count[seen.next(t).Reason]++
	}
	if count[p2p.ReasonTimeout]+count[p2p.ReasonBusy] != 8 || count[p2p.ReasonTimeout] == 0 {
		t.Errorf("refusals: %v", count)
	}
	if n := len(node.Host.Network().Peers()); n != 0 {
		t.Errorf("%d strangers came in", n)
	}
	p2ptest.Connect(t, p2ptest.Start(t, net.Config(t)), node)
}

// A stranger that sends a byte now and then is cut off as one that is silent.
func TestSlowStrangersAreCutOff(t *testing.T) {
	cfg := p2p.Limited(p2ptest.New(t).Config(t), 4, 300*time.Millisecond)
	seen := watchRefusals(&cfg)
	node := p2ptest.Start(t, cfg)
	conn := dialRaw(t, rawDialer(t), p2ptest.Info(node))
	s, err := conn.OpenStream(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte{0, 200}); err != nil { // 200 bytes to come, that never come
		t.Fatal(err)
	}
	if e := seen.next(t); e.Reason != p2p.ReasonTimeout || e.ByPeer {
		t.Errorf("refused with %v", e)
	}
	if _, err := io.ReadAll(s); err == nil {
		t.Error("the connection was not ended")
	}
}

// Whoever speaks another protocol is refused at its first bytes.
func TestOtherProtocolsAreRefused(t *testing.T) {
	for name, first := range map[string]string{
		"multistream": "\x13/multistream/1.0.0\n",
		"too long":    "\xff\xff",
		"no cbor":     "\x00\x03abc",
		"empty":       "\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			cfg := p2p.Limited(p2ptest.New(t).Config(t), 4, 300*time.Millisecond)
			seen := watchRefusals(&cfg)
			node := p2ptest.Start(t, cfg)
			s, err := dialRaw(t, rawDialer(t), p2ptest.Info(node)).OpenStream(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Write([]byte(first)); err != nil {
				t.Fatal(err)
			}
			if e := seen.next(t); e.Reason != p2p.ReasonProtocol || e.ByPeer {
				t.Errorf("refused with %v", e)
			}
		})
	}
}

// A listener that is not muster's refuses nobody, but nobody stays.
func TestDiallingAForeignListenerEnds(t *testing.T) {
	cfg := p2p.Limited(p2ptest.New(t).Config(t), 4, 300*time.Millisecond)
	node := p2ptest.Start(t, cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr, err := manet.FromNetAddr(l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	id, err := p2p.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if err := node.Connect(ctx, peer.AddrInfo{ID: id.Peer, Addrs: []multiaddr.Multiaddr{addr}}); err == nil {
		t.Error("connected to a socket that never answers")
	}
}

func TestBothMayDialAtOnce(t *testing.T) {
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) {
			net := p2ptest.New(t)
			a := p2ptest.Start(t, p2p.Only(net.Config(t, path.listen), path.security))
			b := p2ptest.Start(t, p2p.Only(net.Config(t, path.listen), path.security))
			var dials sync.WaitGroup
			start := make(chan struct{})
			errs := make([]error, 2)
			for i, d := range []struct{ from, to *p2p.Node }{{a, b}, {b, a}} {
				dials.Go(func() {
					<-start
					ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
					defer cancel()
					errs[i] = d.from.Connect(ctx, p2ptest.Info(d.to))
				})
			}
			close(start)
			dials.Wait()
			if err := errors.Join(errs...); err != nil {
				t.Error(err)
			}
		})
	}
}

// When both dial to make a hole in a NAT, libp2p makes one of them the server:
// over TCP it is the dialler that listens at the door.
func TestRolesAreSwappedOnSimultaneousConnect(t *testing.T) {
	members := p2ptest.New(t)
	cfg := members.Config(t)
	cfg.Listen = nil
	server, other := p2ptest.Start(t, cfg), members.Config(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr, err := manet.FromNetAddr(l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	client, conns := make(chan error, 1), make(chan io.Closer, 1)
	go func() {
		conn, err := p2p.EnterOver(l, other, server.Host.ID())
		conns <- conn
		client <- err
	}()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ctx = network.WithSimultaneousConnect(network.WithForceDirectDial(ctx, "test"), false, "test")
	server.Host.Peerstore().AddAddr(other.Identity.Peer, addr, time.Minute)
	_, err = server.Host.Network().DialPeer(ctx, other.Identity.Peer)
	if err := errors.Join(err, <-client); err != nil {
		t.Fatal(err)
	}
	defer (<-conns).Close()
	if _, ok := server.Credential(other.Identity.Peer); !ok {
		t.Error("the server took no credential")
	}
}
