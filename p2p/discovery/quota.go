package discovery

import (
	"context"
	"errors"
	"fmt"
	"sync"

	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"
)

// quota bounds how fast each peer may put records with us.
type quota struct {
	each rate.Limit

	mu     sync.Mutex
	byPeer map[peer.ID]*rate.Limiter
}

// maxQuotas is how many peers are told apart before those that have been quiet
// are forgotten.
const maxQuotas = 1024

func newQuota(each rate.Limit) *quota {
	return &quota{each: each, byPeer: map[peer.ID]*rate.Limiter{}}
}

func (q *quota) take(id peer.ID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.byPeer[id]
	if l == nil {
		if len(q.byPeer) >= maxQuotas {
			q.forgetQuiet()
		}
		l = rate.NewLimiter(q.each, putBurst)
		q.byPeer[id] = l
	}
	return l.Allow()
}

func (q *quota) forgetQuiet() {
	for id, l := range q.byPeer {
		if l.Tokens() >= putBurst {
			delete(q.byPeer, id)
		}
	}
}

// errFull is what a put is answered with when others' records fill their share.
var errFull = errors.New("discovery: no room for more records")

func newMemory() ds.Batching { return dssync.MutexWrap(ds.NewMapDatastore()) }

// capped bounds the bytes that a datastore holds of others' records. Full, it
// refuses: what is there expires after 48 hours.
type capped struct {
	ds.Batching
	most int64

	mu    sync.Mutex
	sizes map[ds.Key]int64 // nil until first used
	total int64
}

// Put stores a value unless that would exceed the bound.
func (c *capped) Put(ctx context.Context, key ds.Key, value []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.load(ctx); err != nil {
		return err
	}
	grown := c.total - c.sizes[key] + int64(len(value))
	if grown > c.most {
		return errFull
	}
	if err := c.Batching.Put(ctx, key, value); err != nil {
		return err
	}
	c.total, c.sizes[key] = grown, int64(len(value))
	return nil
}

// Delete removes a value.
func (c *capped) Delete(ctx context.Context, key ds.Key) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.load(ctx); err != nil {
		return err
	}
	if err := c.Batching.Delete(ctx, key); err != nil {
		return err
	}
	c.total -= c.sizes[key]
	delete(c.sizes, key)
	return nil
}

// Batch returns a batch whose writes go through the bound one by one.
func (c *capped) Batch(context.Context) (ds.Batch, error) { return ds.NewBasicBatch(c), nil }

// load counts, once, what the datastore held before.
func (c *capped) load(ctx context.Context) error {
	if c.sizes != nil {
		return nil
	}
	found, err := c.Query(ctx, query.Query{KeysOnly: true, ReturnsSizes: true})
	if err != nil {
		return fmt.Errorf("count records: %w", err)
	}
	defer found.Close()
	sizes, total := map[ds.Key]int64{}, int64(0)
	for r := range found.Next() {
		if r.Error != nil {
			return fmt.Errorf("count records: %w", r.Error)
		}
		sizes[ds.RawKey(r.Key)] = int64(r.Size)
		total += int64(r.Size)
	}
	c.sizes, c.total = sizes, total
	return nil
}
