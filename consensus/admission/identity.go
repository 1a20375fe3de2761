package admission

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
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

// smallOrder lists every y, little-endian and without the sign of x, that
// ZIP-215 decodes to a point whose order divides 8: 0, 1, -1, the two of order
// 8, and p and p+1, which stand for 0 and 1.
var smallOrder = [...]Key{
	{},
	{0: 0x01},
	{
		0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
	},
	{
		0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
	},
	{
		0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
	},
	{
		0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
	},
	{
		0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
	},
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
