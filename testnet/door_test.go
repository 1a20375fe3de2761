package testnet_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/testnet"
)

// address is where the node's peers reach it, its id included.
func address(node *testnet.Node) string { return node.Listen[0] + "/p2p/" + node.Peer }

// awaitLog waits until a node has logged a line that holds all words.
func (n *network) awaitLog(node *testnet.Node, words ...string) {
	n.t.Helper()
	n.await(fmt.Sprintf("n%d logs %q", node.Number, words), func() bool {
		for line := range strings.Lines(n.log(node)) {
			missing := false
			for _, word := range words {
				missing = missing || !strings.Contains(line, word)
			}
			if !missing {
				return true
			}
		}
		return false
	}, func() string { return n.log(node) })
}

// peers returns whom a node is connected to.
func (n *network) peers(number int) []string {
	n.t.Helper()
	seen, err := n.client(number).Peers(n.ctx)
	n.must(err)
	var ids []string
	for _, p := range seen.Peers {
		ids = append(ids, p.Peer)
	}
	return ids
}

func TestTheDoorStaysShutForStrangersAndBothSidesSayWhy(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 2})
	t.Run("a node of another network", n.refusesAnotherNetwork)
	t.Run("a key without a credential", n.refusesNoCredential)
	t.Run("a key with a credential of its own making", n.refusesSelfMade)
	if ids := n.in(t).peers(1); len(ids) != 1 || ids[0] != n.Nodes[1].Peer {
		t.Errorf("after all that, n1 knows of %q, want n2 only", ids)
	}
}

func (n *network) refusesAnotherNetwork(t *testing.T) {
	n = n.in(t)
	other := up(t, testnet.Options{Nodes: 1})
	stranger := other.Nodes[0]
	other.must(stranger.Stop())
	other.must(os.WriteFile(filepath.Join(stranger.Home, "inviter"), []byte(address(n.node(1))+"\n"), 0o600))
	other.must(stranger.Start(other.ctx))
	other.awaitLog(stranger, "door shut", n.node(1).Peer, "another-network")
	n.awaitLog(n.node(1), "door shut", stranger.Peer, "another-network")
}

func (n *network) refusesNoCredential(t *testing.T) {
	n.in(t).refuses("no-credential", func(p2p.Identity) admission.SignedCredential { return admission.SignedCredential{} })
}

func (n *network) refusesSelfMade(t *testing.T) {
	n = n.in(t)
	_, id, err := admission.OpenGenesis(n.genesis)
	n.must(err)
	n.refuses("invalid-credential", func(self p2p.Identity) admission.SignedCredential {
		c := admission.Credential{Kind: admission.KindNode, Subject: self.Signer.Key(), Role: admission.RoleMember, Owner: self.Signer.Key(),
			Weight: 1, Features: []string{}, From: time.Now().Add(-time.Hour).UnixMilli(), Until: time.Now().Add(time.Hour).UnixMilli()}
		signed, err := admission.SignCredential(id, c, self.Signer)
		n.must(err)
		return signed
	})
}

// refuses has a stranger with a credential of its choice knock at the first
// node, which must refuse it for a reason that both learn.
func (n *network) refuses(reason string, show func(p2p.Identity) admission.SignedCredential) {
	n.t.Helper()
	self, err := p2p.NewIdentity()
	n.must(err)
	heard := make(chan *p2p.RefusedError, 16)
	stranger, err := p2p.New(p2p.Config{Identity: self, Genesis: n.genesis, Credential: func() admission.SignedCredential { return show(self) },
		Refused: func(e *p2p.RefusedError) { heard <- e }, Log: slog.New(slog.DiscardHandler)})
	n.must(err)
	defer stranger.Close() //nolint:errcheck // it has no part in the test any more
	info, err := peer.AddrInfoFromString(address(n.node(1)))
	n.must(err)
	ctx, cancel := context.WithTimeout(n.ctx, hang/4)
	defer cancel()
	if err := stranger.Connect(ctx, *info); err == nil {
		n.t.Error("the stranger came in")
	}
	select {
	case e := <-heard:
		if !e.ByPeer || e.Reason.String() != reason {
			n.t.Errorf("the stranger hears %v, want %s", e, reason)
		}
	case <-n.ctx.Done():
		n.t.Error("the stranger hears nothing")
	}
	n.awaitLog(n.node(1), "door shut", self.Peer.String(), reason)
}

func TestTicketsThatAreNoGoodGiveNoCredential(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 1})
	join := func(ticket string) call {
		return call{args: []string{"--home", filepath.Join(t.TempDir(), "home"), "network", "join", ticket}}
	}
	refused := func(ticket string, says ...string) {
		t.Helper()
		c := join(ticket)
		c.exit, c.code, c.says = 5, jobs.CodeTicket, append(says, "\n  why: ")
		c.check(t)
		if _, err := os.Stat(filepath.Join(c.args[1], "credential")); err == nil {
			t.Error("and yet it has a credential")
		}
	}
	once, err := n.client(1).Invite(n.ctx, api.InviteRequest{Uses: new(1), TTL: time.Hour.Milliseconds()})
	n.must(err)
	join(once.Ticket).check(t)
	refused(once.Ticket, "the network did not take the ticket", "ticket-used-up", "ask for a new one")
	n.awaitLog(n.node(1), "door shut", "ticket-used-up")
	n.must(n.node(1).Kill()) // uses are counted durably
	n.must(n.node(1).Start(n.ctx))
	refused(once.Ticket, "ticket-used-up")

	fresh, err := n.client(1).Invite(n.ctx, api.InviteRequest{Uses: new(5), TTL: time.Hour.Milliseconds()})
	n.must(err)
	ticket, err := admission.ParseTicket(fresh.Ticket)
	n.must(err)
	ticket.Invite.Uses++
	refused(ticket.String(), "the ticket is not good", "signature")
	refused(fresh.Ticket[:len(fresh.Ticket)/2], "the ticket cannot be read", "copy it whole")
	short, err := n.client(1).Invite(n.ctx, api.InviteRequest{Uses: new(1), TTL: 1})
	n.must(err)
	n.await("the ticket has expired", func() bool { return time.Now().UnixMilli() > short.Expires })
	refused(short.Ticket, "the ticket is not good", "expired")

	n.must(n.node(1).Stop())
	c := join(fresh.Ticket)
	c.exit, c.code, c.says = 3, jobs.CodeNodeDown, []string{"the node that signed the ticket cannot be reached", "\n  why: "}
	c.check(t)
}

func TestANodeWithoutItsCredentialDoesNotStart(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 2})
	for _, node := range n.Nodes {
		n.must(node.Stop())
	}
	credential := filepath.Join(n.node(2).Home, "credential")
	n.must(os.Remove(credential))
	start := call{args: []string{"--home", n.node(2).Home, "node", "start"}, exit: 3, code: jobs.CodeNoNetwork, says: []string{"no credential", "\n  why: "}}
	start.check(t)
	n.must(os.WriteFile(credential, n.file(1, "credential"), 0o600))
	start.exit, start.code, start.says = 5, jobs.CodeDenied, []string{"is not valid", "another node's"}
	start.check(t)
}
