// Package p2ptest makes networks of real nodes on loopback sockets, for tests.
package p2ptest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/p2p"
)

// Loopback addresses to listen on, with free ports.
const (
	TCP  = "/ip4/127.0.0.1/tcp/0"
	QUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
)

// Network is a genesis and the key of its only authority.
type Network struct {
	Genesis   []byte
	ID        admission.Network
	Authority admission.KeySigner
}

// New founds a network; two calls give two networks.
func New(t testing.TB) *Network {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	nonce := make([]byte, 16)
	_, err = rand.Read(nonce)
	check(t, err)
	n := &Network{Authority: admission.NewKeySigner(private)}
	g := admission.Genesis{
		V: admission.Version, Name: "test", Created: 1, Nonce: nonce,
		Authorities: []admission.Key{n.Authority.Key()}, Policy: admission.DefaultPolicy(),
	}
	n.Genesis, n.ID, err = g.Seal()
	check(t, err)
	return n
}

// Credential signs a node's credential, valid for an hour around now, after
// change, which may be nil, had its way.
func (n *Network) Credential(t testing.TB, subject admission.Key, change func(*admission.Credential)) admission.SignedCredential {
	t.Helper()
	now := time.Now()
	c := admission.Credential{
		Kind: admission.KindNode, Subject: subject, Role: admission.RoleMember, Owner: subject, Weight: 1,
		Features: []string{}, From: now.Add(-time.Hour).UnixMilli(), Until: now.Add(time.Hour).UnixMilli(),
	}
	if change != nil {
		change(&c)
	}
	signed, err := admission.SignCredential(n.ID, c, n.Authority)
	check(t, err)
	return signed
}

// Config describes a member with a new identity, listening at the given
// addresses, or on TCP when there are none.
func (n *Network) Config(t testing.TB, listen ...string) p2p.Config {
	t.Helper()
	id, err := p2p.NewIdentity()
	check(t, err)
	credential := n.Credential(t, id.Signer.Key(), nil)
	if len(listen) == 0 {
		listen = []string{TCP}
	}
	cfg := p2p.Config{
		Identity: id, Genesis: n.Genesis,
		Credential: func() admission.SignedCredential { return credential },
		Log:        slog.New(slog.DiscardHandler),
	}
	for _, text := range listen {
		a, err := multiaddr.NewMultiaddr(text)
		check(t, err)
		cfg.Listen = append(cfg.Listen, a)
	}
	return cfg
}

// Start makes a node and runs it until the test ends.
func Start(t testing.TB, cfg p2p.Config) *p2p.Node {
	t.Helper()
	node, _ := StartStop(t, cfg)
	return node
}

// StartStop makes and runs a node, and returns how to stop it before the test
// ends.
func StartStop(t testing.TB, cfg p2p.Config) (node *p2p.Node, stop func()) {
	t.Helper()
	node, err := p2p.New(cfg)
	check(t, err)
	ended := Go(t, node.Run)
	stop = func() {
		ended()
		if err := node.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	t.Cleanup(stop)
	return node, stop
}

// Go runs a blocking Run in a goroutine until the test ends, or until the
// function that it returns is called.
func Go(t testing.TB, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

// Info is where a node can be dialled.
func Info(n *p2p.Node) peer.AddrInfo {
	return peer.AddrInfo{ID: n.Host.ID(), Addrs: n.Host.Addrs()}
}

// Connect has a dial b.
func Connect(t testing.TB, a, b *p2p.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	check(t, a.Connect(ctx, Info(b)))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
