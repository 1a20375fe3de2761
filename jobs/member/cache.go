package member

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/tree"
)

// rollCache keeps the rolls of the last jobs, checked, and the credentials that
// were found good: many jobs share one roll and a few submitters.
type rollCache struct {
	mutex       sync.Mutex
	rolls       map[cid.Cid]*consensus.Roll
	order       []cid.Cid
	credentials map[admission.Signature]admission.SignedCredential
}

const (
	keptRolls       = 16
	keptCredentials = 1024
)

func newRollCache() *rollCache {
	return &rollCache{rolls: map[cid.Cid]*consensus.Roll{}, credentials: map[admission.Signature]admission.SignedCredential{}}
}

func (c *rollCache) get(id cid.Cid) (*consensus.Roll, bool) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	r, ok := c.rolls[id]
	return r, ok
}

func (c *rollCache) add(id cid.Cid, r *consensus.Roll) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if _, ok := c.rolls[id]; ok {
		return
	}
	if len(c.order) == keptRolls {
		delete(c.rolls, c.order[0])
		c.order = c.order[1:]
	}
	c.rolls[id] = r
	c.order = append(c.order, id)
}

func (c *rollCache) credential(g admission.Genesis, network admission.Network, signed admission.SignedCredential) error {
	c.mutex.Lock()
	known, ok := c.credentials[signed.Signature]
	c.mutex.Unlock()
	if ok && reflect.DeepEqual(known, signed) {
		return nil
	}
	if err := signed.Check(g, network); err != nil {
		return err
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if len(c.credentials) >= keptCredentials {
		clear(c.credentials)
	}
	c.credentials[signed.Signature] = signed
	return nil
}

// moduleCache keeps the last modules: bytes, and what the executor says of them.
type moduleCache struct {
	mutex sync.Mutex
	held  map[cid.Cid]module
	order []cid.Cid
	size  int
}

type module struct {
	data  []byte
	class exec.Class
}

// keptModules bounds the bytes of modules in memory.
const keptModules = 16 << 20

func newModuleCache() *moduleCache { return &moduleCache{held: map[cid.Cid]module{}} }

func (c *moduleCache) get(id cid.Cid) (module, bool) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	m, ok := c.held[id]
	return m, ok
}

func (c *moduleCache) add(id cid.Cid, m module) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if _, ok := c.held[id]; ok || len(m.data) > keptModules {
		return
	}
	for c.size+len(m.data) > keptModules {
		c.size -= len(c.held[c.order[0]].data)
		delete(c.held, c.order[0])
		c.order = c.order[1:]
	}
	c.held[id] = m
	c.order = append(c.order, id)
	c.size += len(m.data)
}

// maxReading bounds how many modules are read and inspected at once.
const maxReading = 4

// module returns a module's bytes and class, from cache, store or a peer.
func (m *Member) module(ctx context.Context, id cid.Cid, from admission.Key, limit int64) (module, error) {
	if held, ok := m.modules.get(id); ok {
		return held, nil
	}
	if err := m.cfg.Fetcher.Fetch(ctx, id, []admission.Key{from}, limit); err != nil {
		return module{}, refuse(RefuseMissing, "module: %w", err)
	}
	select {
	case m.reading <- struct{}{}:
	case <-ctx.Done():
		return module{}, refuse(RefuseMissing, "module: %w", ctx.Err())
	}
	defer func() { <-m.reading }()
	data, err := m.file(ctx, id, limit)
	if err != nil {
		return module{}, refuse(RefuseInvalid, "module: %w", err)
	}
	class, err := m.cfg.Executor.Inspect(data)
	if err != nil {
		return module{}, refuse(RefuseInvalid, "module: %w", err)
	}
	held := module{data, class}
	m.modules.add(id, held)
	return held, nil
}

// file returns a file that is here, of at most limit bytes with its nodes.
func (m *Member) file(ctx context.Context, id cid.Cid, limit int64) ([]byte, error) {
	data, err := tree.ReadFile(ctx, m.cfg.Store, id, readable(uint64(limit)))
	if errors.Is(err, tree.ErrLimit) {
		err = fmt.Errorf("more than %d bytes or %d blocks, each counted as often as it is named: %w", limit, maxBlocks, err)
	}
	return data, err
}

// block returns one block of at most limit bytes, from the store or a peer.
func (m *Member) block(ctx context.Context, id cid.Cid, from admission.Key, limit int64) ([]byte, error) {
	data, err := m.cfg.Store.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		if err = m.cfg.Fetcher.Block(ctx, id, from); err == nil {
			data, err = m.cfg.Store.Get(ctx, id)
		}
	}
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("block of %d bytes, at most %d", len(data), limit)
	}
	return data, nil
}
