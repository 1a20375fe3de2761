package discovery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	record "github.com/libp2p/go-libp2p-record"
	recpb "github.com/libp2p/go-libp2p-record/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
)

// namespace stands before the id in a record's key: /muster/<id>.
const namespace = "muster"

// Errors of records.
var (
	ErrNotFound  = errors.New("discovery: no such record")
	ErrNotStored = errors.New("discovery: no peer holds the record")
)

const (
	replicas   = 8 // peers a record is put to
	putTimeout = 10 * time.Second
	getQuorum  = 3 // answers that a Get waits for, where there are so many
)

// Put stores a record with the peers closest to its id, waiting for its turn
// first. It succeeds when at least one peer, asked for it afterwards, shows a
// valid value: a DHT's own put succeeds even when nobody stored anything.
func (d *Discovery) Put(ctx context.Context, id string, value []byte) error {
	t := d.table.Load()
	if t == nil {
		return ErrNotRunning
	}
	check := bounded{d.cfg.Validator}
	key := keyOf(id)
	if err := check.Validate(key, value); err != nil {
		return fmt.Errorf("discovery: put %s: %w", id, err)
	}
	if err := d.puts.Wait(ctx); err != nil {
		return fmt.Errorf("discovery: put %s: %w", id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	closest, err := t.dht.GetClosestPeers(ctx, key)
	if err != nil {
		return fmt.Errorf("discovery: put %s: %w", id, err)
	}
	closest = closest[:min(len(closest), replicas)]
	rec := record.MakePutRecord(key, value)
	holders := make([]bool, len(closest))
	var puts sync.WaitGroup
	for i, to := range closest {
		puts.Go(func() { holders[i] = d.putTo(ctx, t, to, rec, check) })
	}
	puts.Wait()
	for _, holds := range holders {
		if holds {
			return nil
		}
	}
	return fmt.Errorf("discovery: put %s to %d peers: %w", id, len(closest), ErrNotStored)
}

// putTo puts a record to one peer and reads it back. A peer that refuses it
// because it holds a better one counts as well.
func (d *Discovery) putTo(ctx context.Context, t *tables, to peer.ID, rec *recpb.Record, check bounded) bool {
	if err := t.messenger.PutValue(ctx, to, rec); err != nil {
		d.cfg.Log.Debug("put a record", "peer", to, "error", err)
	}
	held, _, err := t.messenger.GetValue(ctx, to, string(rec.GetKey()))
	return err == nil && held != nil && check.Validate(string(rec.GetKey()), held.GetValue()) == nil
}

// Get returns the best valid value that the peers closest to the id hold, or
// ErrNotFound.
func (d *Discovery) Get(ctx context.Context, id string) ([]byte, error) {
	t := d.table.Load()
	if t == nil {
		return nil, ErrNotRunning
	}
	value, err := t.dht.GetValue(ctx, keyOf(id), dht.Quorum(getQuorum))
	if errors.Is(err, routing.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if err != nil {
		return nil, fmt.Errorf("discovery: get %s: %w", id, err)
	}
	return value, nil
}

func keyOf(id string) string { return "/" + namespace + "/" + id }

// bounded checks the size before anything else, and gives the validator the id
// in place of the DHT's key.
type bounded struct{ inner Validator }

// Validate refuses values above MaxRecord and what the validator refuses.
func (b bounded) Validate(key string, value []byte) error {
	if len(value) > MaxRecord {
		return fmt.Errorf("record of %d bytes, at most %d", len(value), MaxRecord)
	}
	return b.inner.Validate(strings.TrimPrefix(key, "/"+namespace+"/"), value)
}

// Select lets the validator choose.
func (b bounded) Select(key string, values [][]byte) (int, error) {
	return b.inner.Select(strings.TrimPrefix(key, "/"+namespace+"/"), values)
}
