// Package admission says who belongs to a network: its genesis, the
// credentials its authorities sign, the invitations that are exchanged for
// credentials, and revocations. It is pure: bytes and times in, verdicts out
// (protocol, sections 2 and 10).
//
// Everything signed here is sealed: canonical dag-cbor of [tag, network, body],
// so that no signature means anything under another tag or in another network.
package admission

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// ErrSignature is returned where a signature does not verify.
var ErrSignature = errors.New("signature does not verify")

// Key is an Ed25519 public key: the identity of a node or a user.
type Key [ed25519.PublicKeySize]byte

// Signature is an Ed25519 signature, verified by the rules of ZIP-215.
type Signature [ed25519.SignatureSize]byte

// Incarnation is 128 random bits made together with a node's journal: it names
// one life of a node's memory (protocol, section 1).
type Incarnation [16]byte

// Network is the SHA-256 of a sealed genesis: the id of a network.
type Network [sha256.Size]byte

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// String returns the id in lower-case base32, 52 characters.
func (n Network) String() string { return base32Lower.EncodeToString(n[:]) }

// ParseNetwork reads what String writes.
func ParseNetwork(s string) (Network, error) {
	var n Network
	lower := strings.ToLower(s)
	raw, err := base32Lower.DecodeString(lower)
	if err == nil && len(raw) == len(n) {
		copy(n[:], raw)
	}
	if err != nil || n.String() != lower { // 52 characters have four bits to spare
		return Network{}, fmt.Errorf("network id %q is not 52 characters of base32", s)
	}
	return n, nil
}

// Signer signs for one key. Sign does not fail: a node without its key does not
// start.
type Signer interface {
	Key() Key
	Sign(message []byte) Signature
}

// peerPrefix is what a peer id of an Ed25519 key begins with: the identity hash
// of 36 bytes, and the head of a key in protocol buffers. The key follows.
const peerPrefix = "\x00\x24\x08\x01\x12\x20"

// KeyOf returns the key that an Ed25519 peer id embeds.
func KeyOf(id peer.ID) (Key, error) {
	key, ok := strings.CutPrefix(string(id), peerPrefix)
	if !ok || len(key) != len(Key{}) {
		return Key{}, fmt.Errorf("peer %s is not an Ed25519 identity", id)
	}
	return Key([]byte(key)), nil
}

// ParseKey reads a peer id in any of libp2p's text forms.
func ParseKey(s string) (Key, error) {
	id, err := peer.Decode(s)
	if err != nil {
		return Key{}, fmt.Errorf("peer id %q: %w", s, err)
	}
	return KeyOf(id)
}

// Peer returns the libp2p peer id of k.
func (k Key) Peer() peer.ID { return peer.ID(peerPrefix + string(k[:])) }

// String returns the peer id in base58: 12D3KooW...
func (k Key) String() string { return k.Peer().String() }

// Verify reports whether signature is k's over message, by ZIP-215, so that
// every node accepts exactly the same signatures (protocol, section 14;
// decision 011).
func (k Key) Verify(message []byte, signature Signature) bool {
	return voi.VerifyWithOptions(k[:], message, signature[:], &voi.Options{Verify: voi.VerifyOptionsZIP_215})
}

// ExpandedKey is a key made ready to verify many signatures, at a quarter less
// for each. It is safe for concurrent use and takes about 1.5 KB. The zero value
// verifies nothing.
type ExpandedKey struct{ expanded *voi.ExpandedPublicKey }

// Expand makes k ready. A key that is no point at all verifies nothing then,
// either.
func (k Key) Expand() ExpandedKey {
	expanded, err := voi.NewExpandedPublicKey(k[:])
	if err != nil {
		return ExpandedKey{}
	}
	return ExpandedKey{expanded}
}

// Verify is Key.Verify.
func (k ExpandedKey) Verify(message []byte, signature Signature) bool {
	return k.expanded != nil && voi.VerifyExpandedWithOptions(k.expanded, message, signature[:], &voi.Options{Verify: voi.VerifyOptionsZIP_215})
}

// Check refuses keys of small order: a signature under one holds for many
// messages (protocol, section 2). A key that is no point at all passes, and
// verifies nothing. It costs nanoseconds.
func (k Key) Check() error {
	y := k
	y[len(y)-1] &= 0x7f // the sign of x
	for i := range smallOrder {
		if y == smallOrder[i] {
			return errors.New("key of small order")
		}
	}
	return nil
}
