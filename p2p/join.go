package p2p

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/multiformats/go-multiaddr"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// ErrUnreachable is returned by Join when no address of the ticket leads to
// its authority.
var ErrUnreachable = errors.New("the authority cannot be reached")

// Join exchanges a ticket for a credential with the authority that signed it,
// at the addresses in the ticket. It needs no node and starts none. A ticket
// that is no good, here or in the authority's eyes, gives a *RefusedError with
// its reason; an authority that does not answer, ErrUnreachable.
func Join(ctx context.Context, identity Identity, ticket admission.Ticket) (admission.SignedCredential, error) {
	genesis, id, err := ticket.Check(time.Now().UnixMilli())
	if err != nil {
		return admission.SignedCredential{}, fmt.Errorf("join: %w: %w", &RefusedError{Peer: ticket.Invite.Issuer.Peer(), Reason: ticketReason(err)}, err)
	}
	targets, err := joinTargets(ticket)
	if err != nil {
		return admission.SignedCredential{}, fmt.Errorf("join: %w", err)
	}
	d, err := newJoinDialer(identity)
	if err != nil {
		return admission.SignedCredential{}, fmt.Errorf("join: %w", err)
	}
	defer d.close()
	causes := []error{fmt.Errorf("join: %w", ErrUnreachable)}
	for _, addr := range targets {
		credential, err := joinAt(ctx, d, addr, ticket, id)
		var refused *RefusedError
		switch {
		case err == nil:
			if err := checkGiven(credential, identity, genesis, id); err != nil {
				return admission.SignedCredential{}, fmt.Errorf("join: %w", err)
			}
			return credential, nil
		case errors.As(err, &refused), ctx.Err() != nil:
			return admission.SignedCredential{}, fmt.Errorf("join: %w", err)
		}
		causes = append(causes, fmt.Errorf("%s: %w", addr, err))
	}
	return admission.SignedCredential{}, errors.Join(causes...)
}

// joinTargets are the ticket's addresses, without the peer id: the connection
// must prove the issuer's in any case.
func joinTargets(ticket admission.Ticket) ([]multiaddr.Multiaddr, error) {
	var targets []multiaddr.Multiaddr
	for _, text := range ticket.Invite.Addresses {
		a, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			return nil, fmt.Errorf("ticket's address %q: %w", text, err)
		}
		if bare, _ := peer.SplitAddr(a); bare != nil {
			targets = append(targets, bare)
		}
	}
	return targets, nil
}

func checkGiven(c admission.SignedCredential, identity Identity, g admission.Genesis, id admission.Network) error {
	if c.Body.Subject != identity.Signer.Key() {
		return errors.New("the credential given is for another key")
	}
	return c.Check(g, id)
}

// joinAt is the stranger's part of the exchange at one address.
func joinAt(ctx context.Context, d *joinDialer, addr multiaddr.Multiaddr, ticket admission.Ticket, id admission.Network) (admission.SignedCredential, error) {
	var credential admission.SignedCredential
	issuer := ticket.Invite.Issuer.Peer()
	body, err := dagcbor.Marshal(joinRequest{Invite: ticket.Invite, Signature: ticket.Signature})
	if err != nil {
		return credential, err
	}
	greeting, err := dagcbor.Marshal(hello{Tag: admission.TagDoor, Network: id, Verb: verbJoin, Body: body})
	if err != nil {
		return credential, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := d.dial(ctx, addr, issuer)
	if err != nil {
		return credential, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	s, err := conn.OpenStream(ctx)
	if err != nil {
		return credential, err
	}
	defer s.Close()
	if err := writeMessage(s, greeting); err != nil {
		return credential, err
	}
	reason, answer, err := readAnswer(s)
	if err != nil {
		return credential, err
	}
	if reason != 0 {
		return credential, &RefusedError{Peer: issuer, Reason: reason, ByPeer: true}
	}
	if err := dagcbor.Unmarshal(answer, &credential); err != nil {
		return credential, &RefusedError{Peer: issuer, Reason: ReasonProtocol}
	}
	if err := writeAnswer(s, 0, nil); err != nil {
		return credential, nil // we have it: what the authority knows of that is its matter
	}
	_ = s.CloseWrite()
	_, _ = readMessage(s) // the authority closes, having read
	return credential, nil
}

// issue is the authority's part. It always ends the connection.
func (d *door) issue(ctx context.Context, s network.MuxedStream, subject peer.ID, body []byte) error {
	key, err := admission.KeyOf(subject)
	if err != nil {
		return d.refuse(s, subject, ReasonWrongSubject)
	}
	var request joinRequest
	if dagcbor.Unmarshal(body, &request) != nil {
		return d.refuse(s, subject, ReasonTicketAltered)
	}
	ticket := admission.Ticket{Invite: request.Invite, Signature: request.Signature}
	if ticket.Genesis, _, err = d.genesis.Seal(); err != nil {
		return err
	}
	if _, _, err := ticket.Check(d.now().UnixMilli()); err != nil {
		return d.refuse(s, subject, ticketReason(err))
	}
	switch {
	case d.revoked(key):
		return d.refuse(s, subject, ReasonRevoked)
	case d.issuer == nil || ticket.Invite.Issuer != d.self:
		return d.refuse(s, subject, ReasonNotIssuer)
	}
	credential, err := d.issuer.Issue(ctx, ticket, key)
	if errors.Is(err, ErrUsedUp) {
		return d.refuse(s, subject, ReasonTicketUsedUp)
	}
	if err != nil {
		d.log.Error("issue a credential", "peer", subject, "error", err)
		return d.refuse(s, subject, ReasonNotIssued)
	}
	answer, err := encodeCredential(credential)
	if err != nil {
		return err
	}
	if err := writeAnswer(s, 0, answer); err != nil {
		return err
	}
	if reason, _, err := readAnswer(s); err != nil || reason != 0 {
		d.log.Warn("credential given, receipt missing", "peer", subject)
	} else {
		d.log.Info("credential given", "peer", subject)
	}
	return errJoined
}

func ticketReason(err error) Reason {
	if errors.Is(err, admission.ErrExpired) {
		return ReasonTicketExpired
	}
	return ReasonTicketAltered
}

// dial dials addr with whichever transport can.
func (d *joinDialer) dial(ctx context.Context, addr multiaddr.Multiaddr, id peer.ID) (transport.CapableConn, error) {
	for _, t := range d.transports {
		if t.CanDial(addr) {
			return t.Dial(ctx, addr, id)
		}
	}
	return nil, errors.New("no transport for this address")
}
