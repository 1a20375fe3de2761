// Package disk keeps blocks on disk, in a Pebble of their own: large, written
// without a sync for each block, and synced when a record is about to name them
// (protocol, section 15).
//
// It speaks to Pebble directly rather than through go-ds-pebble: one sync then
// covers all callers, the size of a block is known without reading it, and a
// crash can be tested on a file system that forgets.
package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/internal/lsm"
)

// ErrFormat is returned by Open for a store of another format version.
var ErrFormat = errors.New("block store: unknown format version")

// ErrFailed wraps the first write that was lost; every later Put, Sync and
// Delete returns it, and the node must stop.
var ErrFailed = errors.New("block store: failed")

// version names the layout:
//
//	0x00 "format"  the version
//	'i' digest     0x00 and the block, or 0x01 and the length of one kept apart
//	'd' digest     a block of more than inlineBytes
//
// Lengths are therefore found among small values, and a small block, which most
// are, costs one record.
const version = "muster/blocks/1"

const (
	indexPrefix = 'i'
	dataPrefix  = 'd'
	inlined     = 0x00
	apart       = 0x01
	inlineBytes = 4 << 10
	// batchBytes bounds one write, in bytes, so that a large Put does not hold
	// all its blocks twice in memory.
	batchBytes = 4 << 20
)

func formatKey() []byte { return []byte("\x00format") }

// Options configure a store. The zero value of a field is its default.
type Options struct {
	FS     vfs.FS       // the operating system's
	Logger *slog.Logger // silent
}

// Store is an open block store. It is safe for concurrent use.
type Store struct {
	db     *pebble.DB
	failed chan struct{}

	begun   atomic.Uint64 // writes, which others may see before they return
	written atomic.Uint64 // of which so many have returned
	synced  atomic.Uint64 // of which so many are durable
	syncing sync.Mutex    // held by the one caller that syncs

	mu  sync.Mutex
	err error // ErrFailed with its cause
}

var _ store.Blocks = (*Store)(nil)

// Open opens the store in dir, and makes one where there is none.
func Open(dir string, opts Options) (*Store, error) {
	s := &Store{failed: make(chan struct{})}
	db, err := lsm.Open(dir, lsm.Config{FS: opts.FS, Logger: opts.Logger, Fatal: s.fail})
	if err != nil {
		return nil, fmt.Errorf("open block store %s: %w", dir, err)
	}
	s.db = db
	if err := s.checkFormat(dir); err != nil {
		if s.Err() != nil {
			return nil, err // the database is lost, and closing it would wait for ever
		}
		return nil, errors.Join(err, lsm.Guard(db.Close))
	}
	return s, nil
}

func (s *Store) checkFormat(dir string) error {
	format, err := s.read(formatKey())
	if errors.Is(err, store.ErrNotFound) {
		return lsm.Guard(func() error { return s.db.Set(formatKey(), []byte(version), pebble.Sync) })
	}
	if err != nil {
		return err
	}
	if string(format) != version {
		return fmt.Errorf("%w %q in %s: this program writes %q", ErrFormat, format, dir, version)
	}
	return nil
}

// Close makes every Put durable and closes the store, which must have no call
// open. A failed store is not written again.
func (s *Store) Close() error {
	if err := s.Err(); err != nil {
		return err
	}
	if err := lsm.GuardUntil(s.failed, s.db.Close); err != nil {
		if lost := s.Err(); lost != nil {
			return lost
		}
		return fmt.Errorf("close block store: %w", err)
	}
	return nil
}

// Failed is closed when a write was lost: the node must stop.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err returns nil, or why the store takes no more writes.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *Store) fail(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = fmt.Errorf("%w: %w", ErrFailed, cause)
		close(s.failed)
	}
}

// Has implements store.Blocks.
func (s *Store) Has(_ context.Context, c cid.Cid) (bool, error) {
	_, err := s.size(c)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Size implements store.Blocks.
func (s *Store) Size(_ context.Context, c cid.Cid) (int, error) { return s.size(c) }

// Get implements store.Blocks.
func (s *Store) Get(_ context.Context, c cid.Cid) ([]byte, error) {
	digest, err := store.Digest(c)
	if err != nil {
		return nil, err
	}
	entry, err := s.read(key(indexPrefix, digest))
	if err != nil {
		return nil, fmt.Errorf("block %s: %w", c, err)
	}
	block, size, err := parseEntry(entry)
	if err != nil {
		return nil, fmt.Errorf("block %s: %w", c, err)
	}
	if block != nil {
		return block, nil
	}
	data, err := s.read(key(dataPrefix, digest))
	if err == nil && len(data) != size {
		err = fmt.Errorf("%d bytes, and its index entry says %d", len(data), size)
	}
	if err != nil {
		return nil, fmt.Errorf("block %s: %w", c, err)
	}
	return data, nil
}

func (s *Store) size(c cid.Cid) (int, error) {
	digest, err := store.Digest(c)
	if err != nil {
		return 0, err
	}
	entry, closer, err := s.db.Get(key(indexPrefix, digest))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, fmt.Errorf("block %s: %w", c, store.ErrNotFound)
	}
	if err != nil {
		return 0, fmt.Errorf("block %s: %w", c, err)
	}
	defer closer.Close()
	_, n, err := parseEntry(entry)
	if err != nil {
		return 0, fmt.Errorf("block %s: %w", c, err)
	}
	return n, nil
}

// parseEntry returns what an index entry says of a block: its bytes, or nil where they
// are kept apart, and its length.
func parseEntry(entry []byte) (block []byte, size int, err error) {
	switch {
	case len(entry) == 0:
		return nil, 0, errors.New("empty index entry")
	case entry[0] == inlined && len(entry)-1 <= store.MaxBlock:
		return entry[1:], len(entry) - 1, nil
	case entry[0] == apart:
		if n, used := binary.Uvarint(entry[1:]); used == len(entry)-1 && n <= store.MaxBlock {
			return nil, int(n), nil
		}
	}
	return nil, 0, fmt.Errorf("bad index entry of %d bytes: %x", len(entry), entry[:min(len(entry), 16)])
}

// read returns a copy of the value of key.
func (s *Store) read(key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	value = append([]byte{}, value...)
	return value, closer.Close()
}

func key(prefix byte, digest [32]byte) []byte {
	return append([]byte{prefix}, digest[:]...)
}

// Put implements store.Blocks. It writes one batch for every 4 MiB.
func (s *Store) Put(ctx context.Context, blks ...blocks.Block) error {
	for _, b := range blks {
		if err := store.Verify(b.Cid(), b.RawData()); err != nil {
			return err
		}
	}
	batch := s.db.NewBatch()
	for _, b := range blks {
		if err := s.add(ctx, batch, b); err != nil {
			return errors.Join(err, batch.Close())
		}
		if batch.Len() >= batchBytes {
			if err := s.write(batch); err != nil {
				return err
			}
			batch = s.db.NewBatch()
		}
	}
	return s.write(batch)
}

// add puts a block in the batch unless the store has it.
func (s *Store) add(ctx context.Context, batch *pebble.Batch, b blocks.Block) error {
	if have, err := s.Has(ctx, b.Cid()); have || err != nil {
		return err
	}
	digest, err := store.Digest(b.Cid())
	if err != nil {
		return err
	}
	data := b.RawData()
	if len(data) <= inlineBytes {
		return batch.Set(key(indexPrefix, digest), append([]byte{inlined}, data...), nil)
	}
	entry := binary.AppendUvarint([]byte{apart}, uint64(len(data)))
	return errors.Join(
		batch.Set(key(indexPrefix, digest), entry, nil),
		batch.Set(key(dataPrefix, digest), data, nil))
}

// Delete implements store.Blocks.
func (s *Store) Delete(_ context.Context, cs ...cid.Cid) error {
	batch := s.db.NewBatch()
	for _, c := range cs {
		digest, err := store.Digest(c)
		if err != nil {
			return errors.Join(err, batch.Close())
		}
		err = errors.Join(
			batch.Delete(key(indexPrefix, digest), nil),
			batch.Delete(key(dataPrefix, digest), nil))
		if err != nil {
			return errors.Join(err, batch.Close())
		}
	}
	return s.write(batch)
}

// write applies and closes the batch, without a sync.
func (s *Store) write(batch *pebble.Batch) error {
	if err := s.Err(); err != nil || batch.Empty() {
		return errors.Join(err, batch.Close())
	}
	s.begun.Add(1)
	commit := func() error { return errors.Join(batch.Commit(pebble.NoSync), batch.Close()) }
	if err := lsm.GuardUntil(s.failed, commit); err != nil {
		s.fail(err)
		return s.Err()
	}
	s.written.Add(1)
	return nil
}

// Sync implements store.Blocks: whoever comes while another caller syncs waits
// for its turn, and then mostly finds its own blocks durable already. It covers
// every block that its caller has seen, also one whose Put has not returned.
func (s *Store) Sync(context.Context) error {
	goal := s.begun.Load()
	if s.synced.Load() >= goal {
		return s.Err()
	}
	s.syncing.Lock()
	defer s.syncing.Unlock()
	if s.synced.Load() >= goal {
		return s.Err()
	}
	if err := s.Err(); err != nil {
		return err
	}
	covers := s.written.Load()
	if err := lsm.GuardUntil(s.failed, func() error { return s.db.LogData(nil, pebble.Sync) }); err != nil {
		s.fail(err)
		return s.Err()
	}
	s.synced.Store(covers)
	return nil
}
