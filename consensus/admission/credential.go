package admission

import (
	"errors"
	"fmt"
	"slices"

	"github.com/muster-network/muster/store/dagcbor"
)

// Kind is what a credential's key is for.
type Kind uint64

// The kinds of keys. Only a node votes.
const (
	KindNode Kind = 1
	KindUser Kind = 2
)

// Role is what a member may do beside taking part.
type Role uint64

// The roles. An authority signs credentials as a genesis authority does, if
// the genesis names it or a delegation says so.
const (
	RoleMember    Role = 1
	RoleAuthority Role = 2
	RoleObserver  Role = 3 // reads and submits; never drawn
)

// MaxCredential bounds an encoded signed credential, in bytes.
const MaxCredential = 512

// Credential binds a key to a network. Times are Unix milliseconds.
type Credential struct {
	V        uint64   `cbor:"v"`
	Kind     Kind     `cbor:"kind"`
	Subject  Key      `cbor:"subject"`
	Role     Role     `cbor:"role"`
	Owner    Key      `cbor:"owner"`  // who answers for the node; itself when nobody else does
	Weight   uint64   `cbor:"weight"` // of the draw; 0 is never drawn
	Features []string `cbor:"features"`
	From     int64    `cbor:"from"`
	Until    int64    `cbor:"until"`
	Issuer   Key      `cbor:"issuer"`
}

// SignedCredential is a credential and its issuer's signature.
type SignedCredential struct {
	_         struct{} `cbor:",toarray"`
	Body      Credential
	Signature Signature
}

// MaxWeight bounds a credential's weight, so that the draw's arithmetic has room.
const MaxWeight = 1 << 20

// SignCredential signs c for network; its issuer becomes the signer's key, and
// who answers for a subject without an owner is the subject. It sorts features
// and does not otherwise judge c: see Check.
func SignCredential(network Network, c Credential, signer Signer) (SignedCredential, error) {
	c.V, c.Issuer = Version, signer.Key()
	if c.Owner == (Key{}) {
		c.Owner = c.Subject
	}
	c.Features = slices.Compact(slices.Sorted(slices.Values(c.Features)))
	data, err := dagcbor.Seal(TagCredential, network[:], c)
	if err != nil {
		return SignedCredential{}, err
	}
	return SignedCredential{Body: c, Signature: signer.Sign(data)}, nil
}

// Check verifies form, issuer and signature of a credential for the network of
// genesis. It says nothing about time: see ValidAt. Only authorities of the
// genesis issue credentials in version 1.
func (s SignedCredential) Check(g Genesis, network Network) error {
	c := s.Body
	switch {
	case c.V != Version:
		return fmt.Errorf("credential: version %d is not known", c.V)
	case c.Kind != KindNode && c.Kind != KindUser:
		return fmt.Errorf("credential: kind %d is not known", c.Kind)
	case c.Role < RoleMember || c.Role > RoleObserver:
		return fmt.Errorf("credential: role %d is not known", c.Role)
	case c.Weight > MaxWeight:
		return fmt.Errorf("credential: weight %d, at most %d", c.Weight, MaxWeight)
	case c.From < 0 || c.Until <= c.From:
		return errors.New("credential: it ends before it begins")
	case len(c.Features) > 16 || !ascending(c.Features):
		return errors.New("credential: at most 16 features, sorted, none twice")
	case !g.Authority(c.Issuer):
		return errors.New("credential: its issuer is no authority of this network")
	}
	if err := c.Subject.Check(); err != nil {
		return fmt.Errorf("credential: subject: %w", err)
	}
	if err := c.Owner.Check(); err != nil {
		return fmt.Errorf("credential: owner: %w", err)
	}
	data, err := dagcbor.Marshal(s)
	if err != nil {
		return err
	}
	if len(data) > MaxCredential {
		return fmt.Errorf("credential: %d bytes, at most %d", len(data), MaxCredential)
	}
	signed, err := dagcbor.Seal(TagCredential, network[:], c)
	if err != nil {
		return err
	}
	if !c.Issuer.Verify(signed, s.Signature) {
		return fmt.Errorf("credential: %w", ErrSignature)
	}
	return nil
}

// ValidAt reports whether the credential covers the time t, in Unix
// milliseconds.
func (c Credential) ValidAt(t int64) bool { return c.From <= t && t < c.Until }

// Covers reports whether the credential is valid from the time a to the time b.
func (c Credential) Covers(a, b int64) bool { return c.From <= a && b <= c.Until }

func ascending(names []string) bool {
	for i := 1; i < len(names); i++ {
		if names[i-1] >= names[i] {
			return false
		}
	}
	return true
}
