package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/store"
)

// Memory is a store.Blocks in memory, for tests and simulations of what stands
// on the contract. The zero value is empty and ready.
type Memory struct {
	mu   sync.Mutex
	data map[[32]byte][]byte
}

var _ store.Blocks = (*Memory)(nil)

// Has implements store.Blocks.
func (m *Memory) Has(_ context.Context, c cid.Cid) (bool, error) {
	digest, err := store.Digest(c)
	if err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.data[digest]
	return ok, nil
}

// Get implements store.Blocks.
func (m *Memory) Get(_ context.Context, c cid.Cid) ([]byte, error) {
	digest, err := store.Digest(c)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.data[digest]
	if !ok {
		return nil, fmt.Errorf("block %s: %w", c, store.ErrNotFound)
	}
	return slices.Clone(data), nil
}

// Size implements store.Blocks.
func (m *Memory) Size(ctx context.Context, c cid.Cid) (int, error) {
	data, err := m.Get(ctx, c)
	return len(data), err
}

// Put implements store.Blocks.
func (m *Memory) Put(_ context.Context, blks ...blocks.Block) error {
	for _, b := range blks {
		if err := store.Verify(b.Cid(), b.RawData()); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.data == nil {
		m.data = map[[32]byte][]byte{}
	}
	for _, b := range blks {
		digest, err := store.Digest(b.Cid())
		if err != nil {
			return err
		}
		m.data[digest] = slices.Clone(b.RawData())
	}
	return nil
}

// Sync implements store.Blocks: memory is as durable as it will get.
func (m *Memory) Sync(context.Context) error { return nil }

// Delete implements store.Blocks.
func (m *Memory) Delete(_ context.Context, cs ...cid.Cid) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range cs {
		digest, err := store.Digest(c)
		if err != nil {
			return err
		}
		delete(m.data, digest)
	}
	return nil
}
