package admission

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"

	"filippo.io/edwards25519"
)

// KeySigner signs with an Ed25519 private key held in memory.
type KeySigner struct{ private ed25519.PrivateKey }

// NewKeySigner wraps a private key.
func NewKeySigner(private ed25519.PrivateKey) KeySigner { return KeySigner{private} }

// Key returns the public key.
func (s KeySigner) Key() Key { return Key(s.private.Public().(ed25519.PublicKey)) }

// Sign signs message.
func (s KeySigner) Sign(message []byte) Signature {
	return Signature(ed25519.Sign(s.private, message))
}

func smallOrder(k Key) bool {
	point, err := new(edwards25519.Point).SetBytes(k[:])
	if err != nil {
		return true // not a point at all
	}
	return new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1
}

// Name is a short name for a key that people can say, the same everywhere:
// pine-otter. Names are not unique; the key is.
func (k Key) Name() string {
	sum := sha256.Sum256(append([]byte("muster/name/1"), k[:]...))
	n := binary.BigEndian.Uint32(sum[:4])
	return trees[n%uint32(len(trees))] + "-" + animals[n/uint32(len(trees))%uint32(len(animals))]
}

var trees = [...]string{
	"acacia", "alder", "almond", "apple", "ash", "aspen", "bay", "beech", "birch", "box", "cedar", "cherry",
	"chestnut", "cypress", "dogwood", "ebony", "elder", "elm", "fig", "fir", "gum", "hazel", "hemlock", "hickory",
	"holly", "ivy", "juniper", "larch", "laurel", "lemon", "lilac", "lime", "linden", "lotus", "maple", "mango",
	"moss", "myrtle", "oak", "olive", "osier", "palm", "peach", "pear", "pecan", "pine", "plane", "plum",
	"poplar", "quince", "redwood", "rowan", "rose", "sage", "sorrel", "spruce", "sumac", "tamarind", "teak", "thorn",
	"tulip", "walnut", "willow", "yew",
}

var animals = [...]string{
	"adder", "badger", "bat", "bear", "beaver", "bee", "bison", "boar", "buck", "carp", "cat", "cod",
	"crab", "crane", "crow", "deer", "dove", "duck", "eagle", "eel", "egret", "elk", "falcon", "ferret",
	"finch", "fox", "frog", "gull", "hare", "hawk", "hen", "heron", "ibis", "jay", "kite", "lark",
	"loon", "lynx", "marten", "mink", "mole", "moose", "moth", "mouse", "newt", "otter", "owl", "ox",
	"perch", "pike", "puma", "quail", "ram", "raven", "robin", "salmon", "seal", "shrew", "snipe", "stork",
	"swan", "tern", "toad", "trout", "vole", "weasel", "wolf", "wren",
}
