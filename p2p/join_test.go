package p2p_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/p2ptest"
)

// desk issues credentials, so many for each invite, and the same again to one
// that comes back.
type desk struct {
	net *p2ptest.Network
	t   *testing.T

	mu    sync.Mutex
	given map[string]map[admission.Key]admission.SignedCredential
	fail  error
}

func newDesk(t *testing.T, net *p2ptest.Network) *desk {
	return &desk{net: net, t: t, given: map[string]map[admission.Key]admission.SignedCredential{}}
}

func (d *desk) Issue(_ context.Context, ticket admission.Ticket, subject admission.Key) (admission.SignedCredential, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return admission.SignedCredential{}, d.fail
	}
	uses := d.given[string(ticket.Invite.ID)]
	if uses == nil {
		uses = map[admission.Key]admission.SignedCredential{}
		d.given[string(ticket.Invite.ID)] = uses
	}
	if c, ok := uses[subject]; ok {
		return c, nil
	}
	if uint64(len(uses)) >= ticket.Invite.Uses {
		return admission.SignedCredential{}, p2p.ErrUsedUp
	}
	uses[subject] = d.net.Credential(d.t, subject, nil)
	return uses[subject], nil
}

// found makes a network whose authority is a node's own key.
func found(t *testing.T, listen ...string) (*p2ptest.Network, p2p.Config) {
	t.Helper()
	net := p2ptest.New(t)
	cfg := net.Config(t, listen...)
	g, _, err := admission.OpenGenesis(net.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	net.Authority = cfg.Identity.Signer
	g.Authorities = []admission.Key{net.Authority.Key()}
	if net.Genesis, net.ID, err = g.Seal(); err != nil {
		t.Fatal(err)
	}
	credential := net.Credential(t, cfg.Identity.Signer.Key(), nil)
	cfg.Genesis = net.Genesis
	cfg.Credential = func() admission.SignedCredential { return credential }
	return net, cfg
}

func ticketFor(t *testing.T, net *p2ptest.Network, node *p2p.Node, change func(*admission.Invite)) admission.Ticket {
	t.Helper()
	invite := admission.Invite{
		ID: make([]byte, 16), Role: admission.RoleMember, Kind: admission.KindNode, Weight: 1, Uses: 1,
		Expires: time.Now().Add(time.Hour).UnixMilli(), Validity: 3_600_000,
	}
	for _, a := range node.Addresses() {
		invite.Addresses = append(invite.Addresses, a.String())
	}
	if change != nil {
		change(&invite)
	}
	ticket, err := admission.SignInvite(net.Genesis, invite, net.Authority)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func join(t *testing.T, ticket admission.Ticket) (p2p.Identity, admission.SignedCredential, error) {
	t.Helper()
	id, err := p2p.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := p2p.Join(ctx, id, ticket)
	return id, c, err
}

func TestATicketIsExchangedForACredential(t *testing.T) {
	for _, listen := range []string{p2ptest.TCP, p2ptest.QUIC} {
		t.Run(listen, func(t *testing.T) {
			net, cfg := found(t, listen)
			cfg.Issuer = newDesk(t, net)
			node := p2ptest.Start(t, cfg)
			id, credential, err := join(t, ticketFor(t, net, node, nil))
			if err != nil {
				t.Fatal(err)
			}
			if n := len(node.Host.Network().Peers()); n != 0 {
				t.Errorf("joining let %d peers in", n)
			}
			member := net.Config(t, listen)
			member.Identity = id
			member.Credential = func() admission.SignedCredential { return credential }
			p2ptest.Connect(t, p2ptest.Start(t, member), node)
		})
	}
}

func TestTicketsAreRefused(t *testing.T) {
	net, cfg := found(t)
	desk := newDesk(t, net)
	cfg.Issuer = desk
	node := p2ptest.Start(t, cfg)
	plain := p2ptest.Start(t, net.Config(t)) // a member, no authority

	expect := func(name string, ticket admission.Ticket, want p2p.Reason) {
		t.Helper()
		_, _, err := join(t, ticket)
		var refused *p2p.RefusedError
		if !errors.As(err, &refused) || refused.Reason != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	expect("expired", ticketFor(t, net, node, func(i *admission.Invite) {
		i.Expires = time.Now().Add(-time.Second).UnixMilli()
	}), p2p.ReasonTicketExpired)

	altered := ticketFor(t, net, node, nil)
	altered.Invite.Uses = 100
	expect("altered", altered, p2p.ReasonTicketAltered)

	once := ticketFor(t, net, node, func(i *admission.Invite) { i.ID = []byte("used up together") })
	if _, _, err := join(t, once); err != nil {
		t.Fatal(err)
	}
	expect("used up", once, p2p.ReasonTicketUsedUp)

	desk.mu.Lock()
	desk.fail = errors.New("disk full")
	desk.mu.Unlock()
	expect("not issued", ticketFor(t, net, node, nil), p2p.ReasonNotIssued)

	_, _, err := join(t, ticketFor(t, net, plain, nil))
	if !errors.Is(err, p2p.ErrUnreachable) {
		t.Errorf("addresses of somebody else: %v", err)
	}
}

// The authority judges for itself: a stranger that skips its own checks gets no
// further.
func TestTheAuthorityChecksTicketsItself(t *testing.T) {
	net, cfg := found(t)
	cfg.Issuer = newDesk(t, net)
	seen := watchRefusals(&cfg)
	late := time.Now().Add(2 * time.Hour)
	cfg.Now = func() time.Time { return late }
	credential := net.Credential(t, cfg.Identity.Signer.Key(), func(c *admission.Credential) {
		c.Until = late.Add(time.Hour).UnixMilli()
	})
	cfg.Credential = func() admission.SignedCredential { return credential }
	node := p2ptest.Start(t, cfg)
	_, _, err := join(t, ticketFor(t, net, node, nil)) // good for an hour by our clock
	var refused *p2p.RefusedError
	if !errors.As(err, &refused) || refused.Reason != p2p.ReasonTicketExpired || !refused.ByPeer {
		t.Errorf("stranger: %v", err)
	}
	if e := seen.next(t); e.Reason != p2p.ReasonTicketExpired || e.ByPeer {
		t.Errorf("authority: %v", e)
	}
}

// One key may be the authority of two networks, and its node runs in one.
func TestATicketOfAnotherNetworkIsRefused(t *testing.T) {
	net, cfg := found(t)
	cfg.Issuer = newDesk(t, net)
	node := p2ptest.Start(t, cfg)
	other := *net
	g, _, err := admission.OpenGenesis(net.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	g.Name = "other"
	if other.Genesis, other.ID, err = g.Seal(); err != nil {
		t.Fatal(err)
	}
	_, _, err = join(t, ticketFor(t, &other, node, nil))
	var refused *p2p.RefusedError
	if !errors.As(err, &refused) || refused.Reason != p2p.ReasonAnotherNetwork || !refused.ByPeer {
		t.Errorf("got %v", err)
	}
}

func TestJoinSaysWhenNobodyAnswers(t *testing.T) {
	net, cfg := found(t)
	cfg.Issuer = newDesk(t, net)
	node, stop := p2ptest.StartStop(t, cfg)
	ticket := ticketFor(t, net, node, nil)
	stop()
	if _, _, err := join(t, ticket); !errors.Is(err, p2p.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

// A credential that was given, but whose answer got lost, is given again.
func TestAskingAgainDoesNotUseTheTicketUp(t *testing.T) {
	net, cfg := found(t)
	cfg.Issuer = newDesk(t, net)
	ticket := ticketFor(t, net, p2ptest.Start(t, cfg), nil)
	id, err := p2p.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := p2p.Join(t.Context(), id, ticket); err != nil {
			t.Fatal(err)
		}
	}
}
