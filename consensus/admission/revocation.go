package admission

import (
	"errors"
	"fmt"

	"github.com/muster-network/muster/store/dagcbor"
)

// Revocation ends a credential's key in a network at once, and for good (protocol,
// section 10).
type Revocation struct {
	V       uint64 `cbor:"v"`
	Subject Key    `cbor:"subject"`
	Issued  int64  `cbor:"issued"` // Unix milliseconds
	Reason  string `cbor:"reason"` // for people, at most 256 bytes
	Issuer  Key    `cbor:"issuer"`
}

// SignedRevocation is a revocation and its issuer's signature.
type SignedRevocation struct {
	_         struct{} `cbor:",toarray"`
	Body      Revocation
	Signature Signature
}

// MaxRevocation bounds an encoded signed revocation, in bytes; of them at most 256
// are its reason.
const (
	MaxRevocation = 512
	maxReason     = 256
)

// OpenRevocation decodes a signed revocation and checks it.
func OpenRevocation(data []byte, g Genesis, network Network) (SignedRevocation, error) {
	var s SignedRevocation
	if len(data) > MaxRevocation {
		return s, fmt.Errorf("revocation: %d bytes, at most %d", len(data), MaxRevocation)
	}
	if err := dagcbor.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("revocation: %w", err)
	}
	return s, s.Check(g, network)
}

// SignRevocation signs r for network; its issuer becomes the signer's key.
func SignRevocation(network Network, r Revocation, signer Signer) (SignedRevocation, error) {
	r.V, r.Issuer = Version, signer.Key()
	data, err := dagcbor.Seal(TagRevocation, network[:], r)
	if err != nil {
		return SignedRevocation{}, err
	}
	return SignedRevocation{Body: r, Signature: signer.Sign(data)}, nil
}

// Check verifies form, issuer and signature of a revocation. Only authorities
// of the genesis revoke, and none of them is revoked: the genesis names them for
// good.
func (s SignedRevocation) Check(g Genesis, network Network) error {
	r := s.Body
	switch {
	case r.V != Version:
		return fmt.Errorf("revocation: version %d is not known", r.V)
	case r.Issued <= 0 || len(r.Reason) > maxReason:
		return fmt.Errorf("revocation: it has a time, and at most %d bytes of reason", maxReason)
	case !g.Authority(r.Issuer):
		return errors.New("revocation: its issuer is no authority of this network")
	case g.Authority(r.Subject):
		return errors.New("revocation: an authority of the genesis cannot be revoked")
	}
	if err := r.Subject.Check(); err != nil {
		return fmt.Errorf("revocation: subject: %w", err)
	}
	data, err := dagcbor.Seal(TagRevocation, network[:], r)
	if err != nil {
		return err
	}
	if !r.Issuer.Verify(data, s.Signature) {
		return fmt.Errorf("revocation: %w", ErrSignature)
	}
	return nil
}
