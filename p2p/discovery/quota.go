package discovery

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"
)

// quota bounds how fast each peer may put records with us, and how much.
type quota struct {
	each  rate.Limit
	share int64 // bytes, for each peer, of records that have not expired

	mu     sync.Mutex
	byPeer map[peer.ID]*allowance
}

// allowance is what one peer may put still.
type allowance struct{ puts, bytes *rate.Limiter }

// A peer's share of the room for others' records is one in shares of them, and comes
// back in the time in which a record expires.
const (
	shares  = 16
	expires = 48 * time.Hour
)

// maxQuotas is how many peers are told apart before those that have been quiet
// are forgotten.
const maxQuotas = 1024

func newQuota(each rate.Limit, room int64) *quota {
	return &quota{each: each, share: max(room/shares, MaxRecord), byPeer: map[peer.ID]*allowance{}}
}

func (q *quota) take(id peer.ID, size int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.byPeer[id]
	if a == nil {
		if len(q.byPeer) >= maxQuotas {
			q.forgetQuiet()
		}
		a = &allowance{rate.NewLimiter(q.each, putBurst), rate.NewLimiter(rate.Limit(float64(q.share)/expires.Seconds()), int(q.share))}
		q.byPeer[id] = a
	}
	return a.puts.Allow() && a.bytes.AllowN(time.Now(), size)
}

func (q *quota) forgetQuiet() {
	for id, a := range q.byPeer {
		if a.puts.Tokens() >= float64(a.puts.Burst()) && a.bytes.Tokens() >= float64(a.bytes.Burst()) {
			delete(q.byPeer, id)
		}
	}
}

// errFull is what a put is answered with that all the room for others' records does
// not hold.
var errFull = errors.New("discovery: no room for the record")

func newMemory() ds.Batching { return dssync.MutexWrap(ds.NewMapDatastore()) }

// capped bounds the bytes that a datastore holds of others' records. Full, it lets go
// of those that were put first: an expired record goes only when somebody asks for it,
// and of the others no peer has put more than its share.
type capped struct {
	ds.Batching
	most int64

	mu    sync.Mutex
	held  map[ds.Key]*list.Element // of order; nil until first used
	order *list.List               // of sized, that put first at the front
	total int64
}

type sized struct {
	key  ds.Key
	size int64
}

// Put stores a value, in the place of the oldest ones if it must.
func (c *capped) Put(ctx context.Context, key ds.Key, value []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.load(ctx); err != nil {
		return err
	}
	size := int64(len(value))
	if size > c.most {
		return errFull
	}
	before := int64(0)
	if e := c.held[key]; e != nil {
		before = e.Value.(sized).size
		c.order.MoveToBack(e)
	}
	for c.total-before+size > c.most {
		if err := c.remove(ctx, c.order.Front()); err != nil {
			return err
		}
	}
	if err := c.Batching.Put(ctx, key, value); err != nil {
		return err
	}
	c.note(key, size)
	return nil
}

// note counts what is held under a key.
func (c *capped) note(key ds.Key, size int64) {
	if e := c.held[key]; e != nil {
		c.total -= e.Value.(sized).size
		c.order.Remove(e)
	}
	c.total += size
	c.held[key] = c.order.PushBack(sized{key, size})
}

func (c *capped) remove(ctx context.Context, e *list.Element) error {
	one := e.Value.(sized)
	if err := c.Batching.Delete(ctx, one.key); err != nil {
		return err
	}
	c.total -= one.size
	c.order.Remove(e)
	delete(c.held, one.key)
	return nil
}

// Delete removes a value.
func (c *capped) Delete(ctx context.Context, key ds.Key) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.load(ctx); err != nil {
		return err
	}
	if e := c.held[key]; e != nil {
		return c.remove(ctx, e)
	}
	return c.Batching.Delete(ctx, key)
}

// Batch returns a batch whose writes go through the bound one by one.
func (c *capped) Batch(context.Context) (ds.Batch, error) { return ds.NewBasicBatch(c), nil }

// load counts, once, what the datastore held before.
func (c *capped) load(ctx context.Context) error {
	if c.held != nil {
		return nil
	}
	found, err := c.Query(ctx, query.Query{KeysOnly: true, ReturnsSizes: true})
	if err != nil {
		return fmt.Errorf("count records: %w", err)
	}
	defer found.Close()
	c.held, c.order, c.total = map[ds.Key]*list.Element{}, list.New(), 0
	for r := range found.Next() {
		if r.Error != nil {
			c.held = nil
			return fmt.Errorf("count records: %w", r.Error)
		}
		c.note(ds.RawKey(r.Key), int64(r.Size))
	}
	return nil
}
