package runner

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

// rootCache remembers which batch roots were verified, so that the votes of one
// batch cost one verification however often they are shown; and the keys of those
// who signed, ready to verify more.
type rootCache struct {
	mutex sync.Mutex
	seen  map[rootKey]struct{}
	ring  []rootKey
	next  int
	keys  map[admission.Key]admission.ExpandedKey
}

// maxKeys bounds the keys held ready: beyond it all are made ready anew.
const maxKeys = 256

// rootKey is a hash of all that a verification says is good: a fifth of its size.
type rootKey [sha256.Size]byte

func keyOfRoot(sender admission.Key, incarnation admission.Incarnation, count uint64, root consensus.Hash, signature admission.Signature) rootKey {
	var data [len(sender) + len(incarnation) + 8 + len(root) + len(signature)]byte
	out := append(data[:0], sender[:]...)
	out = append(out, incarnation[:]...)
	out = binary.BigEndian.AppendUint64(out, count)
	out = append(out, root[:]...)
	return sha256.Sum256(append(out, signature[:]...))
}

func newRootCache(size int) *rootCache {
	return &rootCache{seen: make(map[rootKey]struct{}, size), ring: make([]rootKey, size), keys: map[admission.Key]admission.ExpandedKey{}}
}

func (c *rootCache) verify(network admission.Network, sender admission.Key, incarnation admission.Incarnation, count uint64, root consensus.Hash, signature admission.Signature) error {
	key := keyOfRoot(sender, incarnation, count, root, signature)
	c.mutex.Lock()
	_, ok := c.seen[key]
	c.mutex.Unlock()
	if ok {
		return nil
	}
	header, err := consensus.BatchHeader(network, incarnation, count, root)
	if err != nil {
		return err
	}
	if !c.keyOf(sender).Verify(header, signature) {
		return fmt.Errorf("batch of %s: %w", sender.Name(), admission.ErrSignature)
	}
	c.add(key)
	return nil
}

func (c *rootCache) keyOf(sender admission.Key) admission.ExpandedKey {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	key, ok := c.keys[sender]
	if !ok {
		if len(c.keys) >= maxKeys {
			clear(c.keys)
		}
		key = sender.Expand()
		c.keys[sender] = key
	}
	return key
}

func (c *rootCache) add(key rootKey) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if _, ok := c.seen[key]; ok {
		return
	}
	delete(c.seen, c.ring[c.next])
	c.ring[c.next] = key
	c.seen[key] = struct{}{}
	c.next = (c.next + 1) % len(c.ring)
}

// proof verifies p for s, remembering the root.
func (c *rootCache) proof(p consensus.Proof, s consensus.Statement) error {
	root, err := p.Root(s)
	if err != nil {
		return err
	}
	return c.verify(s.Network, s.Sender, s.Incarnation, p.Count, root, p.Signature)
}
