// Package p2p connects the members of one network, and nobody else: a libp2p
// host whose every connection passes a door, where both ends prove their
// credentials before the host sees it (protocol, section 10).
//
//	New     makes the host, opens the listeners, dials nobody
//	Run     redials remembered peers, ends connections that lost their right
//	Close   ends everything that New began
//
// What travels over the connections is the matter of p2p/stream,
// p2p/discovery and p2p/gossip.
package p2p

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multiaddr"

	"github.com/muster-network/muster/consensus/admission"
)

// Config is what a node needs to take part. Identity, Genesis, Credential and
// Log are required.
type Config struct {
	Identity   Identity
	Genesis    []byte                            // sealed; names the network
	Credential func() admission.SignedCredential // our own; the zero value while there is none
	Revoked    func(admission.Key) bool          // nil: nobody is
	Revocation func(admission.Key) []byte        // what is shown to who is revoked: signed, encoded; nil: nothing
	Issuer     Issuer                            // nil: this node gives no credentials
	Listen     []multiaddr.Multiaddr             // TCP and QUIC; empty: dial only
	Announce   []multiaddr.Multiaddr             // said to peers in place of the interface addresses
	PeersFile  string                            // remembered peers; empty: only in memory
	MaxPeers   int                               // connections kept, about; 0: 192
	Refused    func(*RefusedError)               // told of every refusal at the door, either way; must not block
	Log        *slog.Logger
	Now        func() time.Time // for dates of credentials; nil: time.Now

	security string // one security protocol only, for tests; empty: TLS preferred, Noise offered
	limits   doorLimits
}

// Issuer gives credentials for tickets. It counts uses durably before it
// answers, returns ErrUsedUp when none is left, and the same credential again,
// uncounted, for a subject that already had one: its answer may have been lost
// on the way. The ticket's form, signature, issuer and expiry are checked, the
// subject is the key that the connection proved.
type Issuer interface {
	Issue(ctx context.Context, ticket admission.Ticket, subject admission.Key) (admission.SignedCredential, error)
}

// ErrUsedUp is what an Issuer returns for a ticket without uses left.
var ErrUsedUp = errors.New("the ticket is used up")

// Protocol is the id of one of the network's protocols. Every one carries the
// network, so that no two networks ever speak.
func Protocol(network admission.Network, purpose string) protocol.ID {
	return protocol.ID("/muster/" + network.String() + "/" + purpose + "/1")
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Identity.Private == nil:
		return c, errors.New("p2p: no identity")
	case c.Credential == nil:
		return c, errors.New("p2p: no credential")
	case c.Log == nil:
		return c, errors.New("p2p: no log")
	}
	if c.Revoked == nil {
		c.Revoked = func(admission.Key) bool { return false }
	}
	if c.Revocation == nil {
		c.Revocation = func(admission.Key) []byte { return nil }
	}
	if c.Refused == nil {
		c.Refused = func(*RefusedError) {}
	}
	if c.MaxPeers == 0 {
		c.MaxPeers = 192
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.limits == (doorLimits{}) {
		c.limits = defaultDoorLimits
	}
	return c, nil
}
