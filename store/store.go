// Package store holds the contract of a node's block store. A block is bytes
// under the CID of their hash: results, inputs, specs, certificates. Package
// disk keeps blocks on disk, exchange brings them from other members, tree lays
// files out in them, journal holds what is not content-addressed.
package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// MaxBlock bounds one block, in bytes: what every Bitswap peer accepts.
const MaxBlock = 2 << 20

// ErrNotFound is returned for a block that the store does not hold.
var ErrNotFound = errors.New("block not found")

// ErrInvalid is returned for a block that does not match its CID, is larger
// than MaxBlock, or is named by another hash than SHA-256. It is the sender's
// fault, never the store's.
var ErrInvalid = errors.New("invalid block")

// Blocks keeps blocks by CID. Two CIDs with the same hash name the same bytes,
// whatever their codec. Implementations are safe for concurrent use and pass
// storetest.Run.
//
// A Put is visible to every later Get at once, and durable only after a Sync
// that began when it had returned: a caller syncs blocks before it appends the
// record that names them (protocol, section 15).
type Blocks interface {
	// Has reports whether the block is here.
	Has(ctx context.Context, c cid.Cid) (bool, error)
	// Get returns the block's bytes, which the caller owns, or ErrNotFound.
	Get(ctx context.Context, c cid.Cid) ([]byte, error)
	// Size returns the block's length in bytes without reading it, or ErrNotFound.
	Size(ctx context.Context, c cid.Cid) (int, error)
	// Put stores the blocks that are not here yet. It verifies all of them before
	// it stores any (ErrInvalid) and keeps no reference to their data.
	Put(ctx context.Context, blks ...blocks.Block) error
	// Sync makes every Put that has returned durable. Concurrent calls share
	// one disk sync; without a Put since the last one it costs nothing.
	Sync(ctx context.Context) error
	// Delete removes blocks; one that is not here is no error. A deletion may
	// come undone in a crash.
	Delete(ctx context.Context, cs ...cid.Cid) error
}

// Verify returns an error that wraps ErrInvalid unless data is what c names.
func Verify(c cid.Cid, data []byte) error {
	if len(data) > MaxBlock {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrInvalid, len(data), MaxBlock)
	}
	want, err := Digest(c)
	if err != nil {
		return err
	}
	if sha256.Sum256(data) != want {
		return fmt.Errorf("%w: bytes do not match %s", ErrInvalid, c)
	}
	return nil
}

// Digest returns the SHA-256 in c, or an error that wraps ErrInvalid when c is
// undefined or uses another hash.
func Digest(c cid.Cid) ([sha256.Size]byte, error) {
	if !c.Defined() {
		return [sha256.Size]byte{}, fmt.Errorf("%w: undefined CID", ErrInvalid)
	}
	mh := c.Hash()
	const header = 2 // code and length, one byte each for this hash
	if len(mh) != header+sha256.Size || mh[0] != multihash.SHA2_256 || mh[1] != sha256.Size {
		return [sha256.Size]byte{}, fmt.Errorf("%w: %s is not a SHA-256 CID", ErrInvalid, c)
	}
	return [sha256.Size]byte(mh[header:]), nil
}
