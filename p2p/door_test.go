package p2p_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"go.uber.org/goleak"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/p2ptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// paths are the ways two nodes may be connected.
var paths = []struct{ name, listen, security string }{
	{"TCP with TLS", p2ptest.TCP, libp2ptls.ID},
	{"TCP with Noise", p2ptest.TCP, noise.ID},
	{"QUIC", p2ptest.QUIC, ""},
}

// refusals collects what a node's door reports.
type refusals struct {
	seen chan *p2p.RefusedError
}

func watchRefusals(cfg *p2p.Config) refusals {
	r := refusals{seen: make(chan *p2p.RefusedError, 64)}
	cfg.Refused = func(e *p2p.RefusedError) { r.seen <- e }
	return r
}

func (r refusals) next(t *testing.T) *p2p.RefusedError {
	t.Helper()
	select {
	case e := <-r.seen:
		return e
	case <-time.After(30 * time.Second):
		t.Fatal("no refusal was reported")
		return nil
	}
}

func TestMembersConnect(t *testing.T) {
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) {
			net := p2ptest.New(t)
			a := p2ptest.Start(t, p2p.Only(net.Config(t, path.listen), path.security))
			b := p2ptest.Start(t, p2p.Only(net.Config(t, path.listen), path.security))
			p2ptest.Connect(t, a, b)
			for _, pair := range [][2]*p2p.Node{{a, b}, {b, a}} {
				c, ok := pair[0].Credential(pair[1].Host.ID())
				if !ok || c.Body.Subject.Peer() != pair[1].Host.ID() {
					t.Errorf("credential of the other end: %v %v", c.Body.Subject, ok)
				}
			}
			state := a.Host.Network().ConnsToPeer(b.Host.ID())[0].ConnState()
			if path.security != "" && string(state.Security) != path.security {
				t.Errorf("connected with %q", state.Security)
			}
		})
	}
}

// A stranger is refused on both sides, for one reason, and leaves no trace.
func TestStrangersAreRefusedOnBothSides(t *testing.T) {
	type change func(t *testing.T, net *p2ptest.Network, cfg *p2p.Config)
	credential := func(f func(*admission.Credential)) change {
		return func(t *testing.T, net *p2ptest.Network, cfg *p2p.Config) {
			c := net.Credential(t, cfg.Identity.Signer.Key(), f)
			cfg.Credential = func() admission.SignedCredential { return c }
		}
	}
	cases := []struct {
		name   string
		want   p2p.Reason
		change change
	}{
		{"another network", p2p.ReasonAnotherNetwork, func(t *testing.T, _ *p2ptest.Network, cfg *p2p.Config) {
			*cfg = p2ptest.New(t).Config(t, cfg.Listen[0].String())
		}},
		{"no credential", p2p.ReasonNoCredential, func(_ *testing.T, _ *p2ptest.Network, cfg *p2p.Config) {
			cfg.Credential = func() admission.SignedCredential { return admission.SignedCredential{} }
		}},
		{"expired", p2p.ReasonExpired, credential(func(c *admission.Credential) {
			c.Until = time.Now().Add(-time.Minute).UnixMilli()
		})},
		{"not yet valid", p2p.ReasonNotYet, credential(func(c *admission.Credential) {
			c.From = time.Now().Add(time.Minute).UnixMilli()
		})},
		{"wrong subject", p2p.ReasonWrongSubject, credential(func(c *admission.Credential) {
			other, err := p2p.NewIdentity()
			if err != nil {
				panic(err)
			}
			c.Subject = other.Signer.Key()
		})},
		{"a user's key", p2p.ReasonNotNode, credential(func(c *admission.Credential) { c.Kind = admission.KindUser })},
		{"altered", p2p.ReasonInvalid, func(t *testing.T, net *p2ptest.Network, cfg *p2p.Config) {
			c := net.Credential(t, cfg.Identity.Signer.Key(), nil)
			c.Body.Weight++
			cfg.Credential = func() admission.SignedCredential { return c }
		}},
		{"self-made", p2p.ReasonInvalid, func(t *testing.T, net *p2ptest.Network, cfg *p2p.Config) {
			forger := *net
			forger.Authority = cfg.Identity.Signer
			c := forger.Credential(t, cfg.Identity.Signer.Key(), nil)
			cfg.Credential = func() admission.SignedCredential { return c }
		}},
	}
	for _, path := range paths {
		for _, c := range cases {
			t.Run(path.name+"/"+c.name, func(t *testing.T) {
				net := p2ptest.New(t)
				inside := p2p.Only(net.Config(t, path.listen), path.security)
				outside := p2p.Only(net.Config(t, path.listen), path.security)
				c.change(t, net, &outside)
				expectRefusals(t, inside, p2p.Only(outside, path.security), c.want)
			})
		}
	}
}

func TestRevokedPeersAreRefused(t *testing.T) {
	net := p2ptest.New(t)
	inside, outside := net.Config(t), net.Config(t)
	inside.Revoked = func(k admission.Key) bool { return k == outside.Identity.Signer.Key() }
	expectRefusals(t, inside, outside, p2p.ReasonRevoked)
}

// expectRefusals has the stranger dial in, and the member dial out: a door must
// hold both ways.
func expectRefusals(t *testing.T, inside, outside p2p.Config, want p2p.Reason) {
	t.Helper()
	insideSaw, outsideSaw := watchRefusals(&inside), watchRefusals(&outside)
	member, stranger := p2ptest.Start(t, inside), p2ptest.Start(t, outside)
	identified := watchIdentify(t, member)

	for _, dial := range []struct{ from, to *p2p.Node }{{stranger, member}, {member, stranger}} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		err := dial.from.Connect(ctx, p2ptest.Info(dial.to))
		cancel()
		var refused *p2p.RefusedError
		if !errors.As(err, &refused) || refused.Reason != want {
			t.Fatalf("dialler's error: %v, want %v", err, want)
		}
		if refused.Peer != dial.to.Host.ID() {
			t.Errorf("dialler's error names %s", refused.Peer)
		}
		a, b := insideSaw.next(t), outsideSaw.next(t)
		if a.Reason != want || b.Reason != want || a.ByPeer == b.ByPeer {
			t.Fatalf("reported: member %v, stranger %v; want %v, one by the peer", a, b, want)
		}
		dial.from.Host.Peerstore().ClearAddrs(dial.to.Host.ID())
	}
	id := stranger.Host.ID()
	if _, known := member.Credential(id); known {
		t.Error("the member took the stranger for a member")
	}
	if c := member.Host.Network().Connectedness(id); c == network.Connected {
		t.Error("the stranger is connected")
	}
	if addrs := member.Host.Peerstore().Addrs(id); len(addrs) != 0 {
		t.Errorf("peer store: %v", addrs)
	}
	if protocols, _ := member.Host.Peerstore().GetProtocols(id); len(protocols) != 0 {
		t.Errorf("peer store: %v", protocols)
	}
	select {
	case e := <-identified:
		t.Errorf("identify was spoken with %s", e)
	default:
	}
}

func watchIdentify(t *testing.T, n *p2p.Node) <-chan peer.ID {
	t.Helper()
	sub, err := n.Host.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerIdentificationFailed),
	}, eventbus.BufSize(64))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan peer.ID, 64)
	var done sync.WaitGroup
	done.Go(func() {
		for e := range sub.Out() {
			switch e := e.(type) {
			case event.EvtPeerIdentificationCompleted:
				seen <- e.Peer
			case event.EvtPeerIdentificationFailed:
				seen <- e.Peer
			}
		}
	})
	t.Cleanup(func() { sub.Close(); done.Wait() })
	return seen
}

// Nobody speaks to who was revoked any more: it hears of it where the door is shut.
func TestWhoWasRevokedIsShownTheRevocation(t *testing.T) {
	for _, c := range []struct {
		what, shown, seen string
		reason            p2p.Reason
	}{
		{"revoked", "signed", "signed", p2p.ReasonRevoked},
		{"shown too much", strings.Repeat("x", admission.MaxRevocation+1), "", p2p.ReasonRevoked},
		{"expired", "signed", "", p2p.ReasonExpired},
	} {
		for _, dialled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, dialled %v", c.what, dialled), func(t *testing.T) {
				net := p2ptest.New(t)
				a, b := net.Config(t), net.Config(t)
				who := b.Identity.Signer.Key()
				a.Revoked = func(k admission.Key) bool { return c.reason == p2p.ReasonRevoked && k == who }
				a.Revocation = func(k admission.Key) []byte {
					if k != who {
						t.Errorf("that of %s is shown to %s", k, who)
					}
					return []byte(c.shown)
				}
				if c.reason == p2p.ReasonExpired {
					old := net.Credential(t, who, func(c *admission.Credential) { c.Until = c.From + 1 })
					b.Credential = func() admission.SignedCredential { return old }
				}
				seen := watchRefusals(&b)
				from, to := p2ptest.Start(t, b), p2ptest.Start(t, a)
				if dialled {
					from, to = to, from
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				if err := from.Connect(ctx, p2ptest.Info(to)); err == nil && !dialled {
					t.Error("it came in")
				}
				if e := seen.next(t); e.Reason != c.reason || !e.ByPeer || string(e.Revocation) != c.seen {
					t.Errorf("it hears %+v", e)
				}
			})
		}
	}
}
