package admission

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/muster-network/muster/store/dagcbor"
)

// ticketPrefix begins a ticket's text.
const ticketPrefix = "mst1"

// maxTicket bounds a ticket's decoded bytes.
const maxTicket = 20 << 10

// maxValidity bounds what an invited credential lasts, in milliseconds: a
// hundred years.
const maxValidity = 100 * 365 * 24 * 3_600_000

// Invite is what an authority signs so that somebody may join. Uses are
// counted, durably, by the authority that issued it.
type Invite struct {
	V         uint64   `cbor:"v"`
	ID        []byte   `cbor:"id"` // 16 random bytes
	Issuer    Key      `cbor:"issuer"`
	Role      Role     `cbor:"role"`
	Kind      Kind     `cbor:"kind"`
	Weight    uint64   `cbor:"weight"`
	Uses      uint64   `cbor:"uses"`
	Expires   int64    `cbor:"expires"`   // Unix milliseconds
	Validity  int64    `cbor:"validity"`  // of the credential given, milliseconds
	Addresses []string `cbor:"addresses"` // multiaddrs of the issuer, /p2p included
}

// Ticket is an invite with its signature and the genesis it invites to: all
// that a stranger needs.
type Ticket struct {
	_         struct{} `cbor:",toarray"`
	Genesis   []byte
	Invite    Invite
	Signature Signature
}

// SignInvite makes a ticket.
func SignInvite(genesis []byte, invite Invite, signer Signer) (Ticket, error) {
	_, network, err := OpenGenesis(genesis)
	if err != nil {
		return Ticket{}, err
	}
	invite.V, invite.Issuer = Version, signer.Key()
	data, err := dagcbor.Seal(TagInvite, network[:], invite)
	if err != nil {
		return Ticket{}, err
	}
	return Ticket{Genesis: genesis, Invite: invite, Signature: signer.Sign(data)}, nil
}

// ErrExpired is returned for a ticket that was good once.
var ErrExpired = errors.New("the ticket has expired")

// Check verifies the ticket at the time now, in Unix milliseconds.
func (t Ticket) Check(now int64) (Genesis, Network, error) {
	g, network, err := OpenGenesis(t.Genesis)
	if err != nil {
		return g, network, err
	}
	i := t.Invite
	switch {
	case i.V != Version:
		return g, network, fmt.Errorf("ticket: version %d is not known", i.V)
	case len(i.ID) != 16:
		return g, network, errors.New("ticket: its id has 16 bytes")
	case i.Uses == 0 || i.Uses > 1<<20:
		return g, network, fmt.Errorf("ticket: %d uses", i.Uses)
	case i.Kind != KindNode && i.Kind != KindUser:
		return g, network, fmt.Errorf("ticket: kind %d is not known", i.Kind)
	case i.Role < RoleMember || i.Role > RoleObserver:
		return g, network, fmt.Errorf("ticket: role %d is not known", i.Role)
	case i.Weight > MaxWeight:
		return g, network, fmt.Errorf("ticket: weight %d, at most %d", i.Weight, MaxWeight)
	case i.Validity <= 0 || i.Validity > maxValidity:
		return g, network, errors.New("ticket: gives a credential that is never valid, or too long")
	case len(i.Addresses) > 32:
		return g, network, errors.New("ticket: more than 32 addresses")
	case !g.Authority(i.Issuer):
		return g, network, errors.New("ticket: its issuer is no authority of the network")
	}
	data, err := dagcbor.Seal(TagInvite, network[:], i)
	if err != nil {
		return g, network, err
	}
	if !i.Issuer.Verify(data, t.Signature) {
		return g, network, fmt.Errorf("ticket: %w", ErrSignature)
	}
	if now >= i.Expires {
		return g, network, ErrExpired
	}
	return g, network, nil
}

// String writes the ticket as one word: mst1 and base64url.
func (t Ticket) String() string {
	data, err := dagcbor.Marshal(t)
	if err != nil {
		panic(err) // plain bytes and integers always encode
	}
	return ticketPrefix + base64.RawURLEncoding.EncodeToString(data)
}

// ParseTicket reads what String writes. It checks form only: see Check.
func ParseTicket(s string) (Ticket, error) {
	var t Ticket
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, ticketPrefix) {
		return t, fmt.Errorf("a ticket begins with %q", ticketPrefix)
	}
	if len(s) > len(ticketPrefix)+base64.RawURLEncoding.EncodedLen(maxTicket) {
		return t, errors.New("ticket: too long")
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(s[len(ticketPrefix):])
	if err != nil {
		return t, errors.New("ticket: damaged, not base64")
	}
	if err := dagcbor.Unmarshal(data, &t); err != nil {
		return t, errors.New("ticket: damaged")
	}
	return t, nil
}
