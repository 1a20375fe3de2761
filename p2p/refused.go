package p2p

import (
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Reason says why the door stayed shut. It travels as one byte; the numbers
// are part of the protocol.
type Reason uint8

// The reasons. A peer may also send one that a later version knows.
const (
	ReasonProtocol       Reason = 1  // it did not speak the door's protocol
	ReasonAnotherNetwork Reason = 2  // it belongs to another network
	ReasonNoCredential   Reason = 3  // it has no credential
	ReasonInvalid        Reason = 4  // its credential is no authority's, or was altered
	ReasonWrongSubject   Reason = 5  // its credential is somebody else's
	ReasonNotNode        Reason = 6  // its credential is not a node's
	ReasonNotYet         Reason = 7  // its credential is not valid yet
	ReasonExpired        Reason = 8  // its credential has expired
	ReasonRevoked        Reason = 9  // its credential was revoked
	ReasonBusy           Reason = 10 // too many are waiting at the door
	ReasonTimeout        Reason = 11 // it was too slow
	ReasonTicketExpired  Reason = 12 // the ticket has expired
	ReasonTicketAltered  Reason = 13 // the ticket was altered, or is no authority's
	ReasonTicketUsedUp   Reason = 14 // the ticket has no uses left
	ReasonNotIssuer      Reason = 15 // the ticket is to be shown to another authority
	ReasonNotIssued      Reason = 16 // the authority could not issue a credential now
)

var reasons = [...]string{
	ReasonProtocol:       "protocol",
	ReasonAnotherNetwork: "another-network",
	ReasonNoCredential:   "no-credential",
	ReasonInvalid:        "invalid-credential",
	ReasonWrongSubject:   "wrong-subject",
	ReasonNotNode:        "not-a-node",
	ReasonNotYet:         "not-yet-valid",
	ReasonExpired:        "expired",
	ReasonRevoked:        "revoked",
	ReasonBusy:           "busy",
	ReasonTimeout:        "timeout",
	ReasonTicketExpired:  "ticket-expired",
	ReasonTicketAltered:  "ticket-altered",
	ReasonTicketUsedUp:   "ticket-used-up",
	ReasonNotIssuer:      "not-issuer",
	ReasonNotIssued:      "not-issued",
}

// String returns the short code that logs and people see.
func (r Reason) String() string {
	if int(r) < len(reasons) && reasons[r] != "" {
		return reasons[r]
	}
	return fmt.Sprintf("reason-%d", uint8(r))
}

// Final reports whether trying again cannot help until somebody acts.
func (r Reason) Final() bool {
	return r != ReasonBusy && r != ReasonTimeout && r != ReasonNotYet && r != ReasonNotIssued
}

// RefusedError is returned, on both sides, where the door stayed shut.
type RefusedError struct {
	Peer   peer.ID // the other side
	Reason Reason
	ByPeer bool // it refused us; otherwise we refused it
	// Revocation is what a peer showed as it refused us for ReasonRevoked: who is
	// connected to nobody hears of it in no other way. It is unchecked.
	Revocation []byte
}

// Error says who refused whom, and why.
func (e *RefusedError) Error() string {
	if e.ByPeer {
		return fmt.Sprintf("refused by %s: %s", e.Peer, e.Reason)
	}
	return fmt.Sprintf("refused %s: %s", e.Peer, e.Reason)
}
