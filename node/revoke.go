package node

import (
	"bytes"
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/gossip"
	"github.com/muster-network/muster/store/dagcbor"
)

// topicRevocations spreads revocations; a node that comes is told the others.
const topicRevocations = "revocations"

// Revoke implements server.Network.
func (n *Node) Revoke(ctx context.Context, r api.RevokeRequest) (api.Member, error) {
	var none api.Member
	if !n.home.founded.Authority(n.home.identity.Signer.Key()) {
		return none, &jobs.Problem{Code: jobs.CodeDenied, What: "this node cannot revoke", Why: "it is no authority of the network",
			Try: "muster network revoke on the machine that created the network"}
	}
	members, err := n.Members(ctx)
	if err != nil {
		return none, err
	}
	subject, err := whoIs(r.Peer, members)
	if err != nil {
		return none, err
	}
	if n.home.founded.Authority(subject) {
		return none, &jobs.Problem{Code: jobs.CodeDenied, What: subject.Name() + " cannot be revoked", Why: "it is an authority of the network: the genesis names it for good",
			Try: "muster network members, for those that can be"}
	}
	s, err := admission.SignRevocation(n.home.network, admission.Revocation{Subject: subject, Issued: n.clock(), Reason: r.Reason}, n.home.identity.Signer)
	if err != nil {
		return none, err
	}
	if err := s.Check(n.home.founded, n.home.network); err != nil {
		return none, &jobs.Problem{Code: jobs.CodeUsage, What: subject.Name() + " is not revoked", Why: err.Error(), Try: "a shorter --reason"}
	}
	if err := n.bar(ctx, s); err != nil {
		return none, err
	}
	data, err := dagcbor.Marshal(s)
	if err != nil {
		return none, err
	}
	if err := n.publish(ctx, topicRevocations, data); err != nil {
		n.cfg.Log.Warn("revocation not spread yet: whoever connects is told", "error", err)
	}
	held, _ := n.revocations.of(subject) // this one, or an earlier one
	return revokedMember(held), nil
}

// standing refuses, where this node's own credential was revoked, what only a
// member can have done.
func (n *Node) standing() error {
	s, revoked := n.revocations.of(n.home.identity.Signer.Key())
	if !revoked {
		return nil
	}
	why := "no member takes a job from it any more"
	if s.Body.Reason != "" {
		why = fmt.Sprintf("%q; %s", s.Body.Reason, why)
	}
	return &jobs.Problem{Code: jobs.CodeDenied, What: "this node's credential was revoked", Why: why,
		Try: "muster network join with another --home and a new ticket"}
}

// whoIs finds a key by its peer id, also of one that no member is known by, or a
// member's name.
func whoIs(text string, members []api.Member) (admission.Key, error) {
	if key, err := admission.ParseKey(text); err == nil {
		return key, nil
	}
	var found []string
	for _, m := range members {
		if m.Name == text {
			found = append(found, m.Peer)
		}
	}
	switch len(found) {
	case 0:
		return admission.Key{}, &jobs.Problem{Code: jobs.CodeNotFound, What: fmt.Sprintf("no member %q", text), Try: "muster network members"}
	case 1:
		return admission.ParseKey(found[0])
	}
	return admission.Key{}, &jobs.Problem{Code: jobs.CodeConflict, What: fmt.Sprintf("%d members are called %q", len(found), text),
		Try: "the peer id: muster network members -o wide"}
}

// bar keeps a checked revocation, and does what follows from one that is news: its
// subject's connections end, no roll holds it, and its places may be taken.
func (n *Node) bar(ctx context.Context, s admission.SignedRevocation) error {
	fresh, err := n.revocations.add(ctx, s)
	if err != nil || !fresh {
		return err
	}
	subject := s.Body.Subject
	n.cfg.Log.Warn("credential revoked", "peer", subject.Name(), "by", s.Body.Issuer.Name(), "reason", s.Body.Reason)
	n.events.tell("peer.revoked", subject.Peer().String(), map[string]any{"name": subject.Name(), "reason": s.Body.Reason})
	n.adverts.forget(subject)
	n.owe(func(ctx context.Context) error {
		n.p2p.Recheck()
		return n.runner.Revoke(ctx, subject)
	})
	return nil
}

// doorShut takes in this node's own revocation where a peer shows it as the reason for
// its closed door: it may be connected to nobody who could pass it on.
func (n *Node) doorShut(refused *p2p.RefusedError) {
	self := n.home.identity.Signer.Key()
	if len(refused.Revocation) == 0 || n.revocations.has(self) {
		return
	}
	s, err := admission.OpenRevocation(refused.Revocation, n.home.founded, n.home.network)
	if err != nil || s.Body.Subject != self {
		return
	}
	n.owe(func(ctx context.Context) error { return n.bar(ctx, s) })
}

// judgeRevocation takes in what gossip brings.
func (n *Node) judgeRevocation(_ peer.ID, data []byte) gossip.Verdict {
	s, err := admission.OpenRevocation(data, n.home.founded, n.home.network)
	if err != nil {
		return gossip.Reject
	}
	if n.revocations.has(s.Body.Subject) {
		return gossip.Ignore
	}
	if err := n.bar(context.Background(), s); err != nil {
		n.cfg.Log.Error("revocation not kept", "error", err)
		return gossip.Ignore
	}
	return gossip.Accept
}

// askRevoked asks a peer who was revoked, unless it has heard of the same as this
// node: gossip loses messages, and a node that comes has heard none.
func (n *Node) askRevoked(ctx context.Context, from peer.ID) error {
	digest := n.revocations.digest()
	for after := []byte{}; ; {
		data, err := n.ask(ctx, from, question{Op: opRevoked, ID: after, Data: digest[:]})
		if err != nil {
			return err
		}
		var more bool
		if after, more, err = n.takeRevoked(ctx, after, data); err != nil || !more {
			return err
		}
	}
}

// takeRevoked takes in an answer: a page of the revocations after a subject. It returns
// the last subject of it, and whether there may be more.
func (n *Node) takeRevoked(ctx context.Context, after, data []byte) ([]byte, bool, error) {
	var page [][]byte
	if err := dagcbor.Unmarshal(data, &page); err != nil {
		return after, false, err
	}
	if len(page) > pageOfRevoked {
		return after, false, fmt.Errorf("%d revocations, at most %d", len(page), pageOfRevoked)
	}
	for _, data := range page {
		s, err := admission.OpenRevocation(data, n.home.founded, n.home.network)
		if err != nil {
			return after, false, err
		}
		if bytes.Compare(s.Body.Subject[:], after) <= 0 {
			return after, false, fmt.Errorf("revocations out of order")
		}
		after = s.Body.Subject[:]
		if err := n.bar(ctx, s); err != nil {
			return after, false, err
		}
	}
	return after, len(page) == pageOfRevoked, nil
}

// answerRevoked answers with the revocations after a subject; with none where the
// peer that asks has the same, by their digest.
func (n *Node) answerRevoked(q question) ([]byte, error) {
	if own := n.revocations.digest(); bytes.Equal(q.Data, own[:]) {
		return dagcbor.Marshal([][]byte{})
	}
	page, err := n.revocations.page(q.ID)
	if err != nil {
		return nil, err
	}
	return dagcbor.Marshal(page)
}

// revokedMember describes whom a revocation is of.
func revokedMember(s admission.SignedRevocation) api.Member {
	b := s.Body
	return api.Member{Schema: api.SchemaMember, Peer: b.Subject.String(), Name: b.Subject.Name(), State: "revoked", Revoked: b.Issued, Reason: b.Reason,
		Issuer: b.Issuer.String()}
}
