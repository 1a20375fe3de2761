// Package journal is the record of what a node has promised: charters, accepts,
// votes, locks, certificates. It is a small ordered key-value store of which
// every append is on disk before it returns, because nothing may leave a node
// before the record that binds it to its word (protocol, section 15).
//
// Appends that arrive while the disk syncs form the next group: one batch, one
// sync. A failed append or sync is final, and the node stops: what the disk
// holds is not known any more.
//
// A journal has an incarnation, 128 random bits made with it. Charters name
// members by it, so a node that lost its journal, and with it the memory of its
// votes, cannot vote again in the jobs it was in.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/muster-network/muster/store/internal/lsm"
)

var (
	// ErrNotFound is returned by Get for a key without a value.
	ErrNotFound = errors.New("journal: no such key")
	// ErrClosed is returned by appends after Close.
	ErrClosed = errors.New("journal: closed")
	// ErrFailed wraps the first failed append or sync; every later append
	// returns it.
	ErrFailed = errors.New("journal: failed")
	// ErrKey is returned for an empty key, for one that begins with the byte
	// 0x00, which the journal keeps for itself, or with 0xff, after which no
	// prefix ends.
	ErrKey = errors.New("journal: key is empty or begins with 0x00 or 0xff")
	// ErrFormat is returned by Open for a journal of another format version. It
	// is left as it is.
	ErrFormat = errors.New("journal: unknown format version")
)

// Entry is one change to the journal.
type Entry struct {
	Key, Value []byte
	Delete     bool // removes Key; Value is ignored
	Prefix     bool // with Delete: removes every key that begins with Key
}

// Host is what an incarnation is tied to besides the journal's directory.
type Host struct {
	MachineID string // as in /etc/machine-id; a copy on another machine has another
}

// Options configure a journal. The zero value of a field is its default.
type Options struct {
	Host   Host
	FS     vfs.FS       // the operating system's
	Logger *slog.Logger // silent
}

// Opened says how Open found the journal.
type Opened struct {
	// Fresh: the incarnation is new, and this node takes no part in any job
	// that names an earlier one.
	Fresh bool
	// Reason why it is fresh, for the operator.
	Reason string
	// Aside is where a damaged journal was moved, or empty.
	Aside string
}

// Journal is an open journal. It is safe for concurrent use.
type Journal struct {
	db          *pebble.DB
	incarnation [16]byte
	opened      Opened
	failed      chan struct{}

	mu         sync.Mutex
	err        error // ErrFailed with its cause, or ErrClosed
	queue      []request
	inflight   []request // the group that is being committed
	committing bool
	idle       *sync.Cond // signalled when committing turns false
}

// Open opens the journal in dir, and makes one where there is none. A damaged
// journal is moved aside to dir.damaged-<n> and a new one is made; damage that
// is only found by a later read fails the journal, and the next Open does so.
// Any other
// error, of the disk, of rights, of a lock held by another process, or of the
// format (ErrFormat), is returned and changes nothing.
func Open(dir string, opts Options) (*Journal, error) {
	if opts.FS == nil {
		opts.FS = vfs.Default
	}
	j, err := open(dir, opts)
	if err == nil || !isDamage(err) {
		return j, err
	}
	aside, moveErr := moveAside(opts.FS, dir)
	if moveErr != nil {
		return nil, fmt.Errorf("journal %s is damaged (%w), and moving it aside: %w", dir, err, moveErr)
	}
	j, again := open(dir, opts)
	if again != nil {
		return nil, again
	}
	j.opened = Opened{Fresh: true, Reason: fmt.Sprintf("the journal was damaged: %v", err), Aside: aside}
	return j, nil
}

func open(dir string, opts Options) (*Journal, error) {
	j := &Journal{failed: make(chan struct{})}
	j.idle = sync.NewCond(&j.mu)
	hadLog, err := survey(opts.FS, dir)
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	fatal := func(err error) {
		if errors.Is(err, lsm.ErrCorrupt) {
			err = errors.Join(err, markDamaged(opts.FS, dir))
		}
		j.fail(err)
	}
	db, err := lsm.Open(dir, lsm.Config{FS: opts.FS, Logger: opts.Logger, Fatal: fatal})
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	j.db = db
	if err := j.identify(dir, opts, hadLog); err != nil {
		if j.Err() != nil {
			return nil, err // the database is lost, and closing it would wait for ever
		}
		return nil, errors.Join(err, lsm.Guard(db.Close))
	}
	return j, nil
}

// Close waits for the appends that were made, and closes the journal. Later
// appends return ErrClosed. A failed journal is not written again.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.err != nil {
		defer j.mu.Unlock()
		if errors.Is(j.err, ErrClosed) {
			return nil
		}
		return j.err
	}
	j.err = ErrClosed
	for j.committing {
		j.idle.Wait()
	}
	err := j.err // another, if an append that was waited for has failed
	j.mu.Unlock()
	if !errors.Is(err, ErrClosed) {
		return err
	}
	if err := lsm.GuardUntil(j.failed, j.db.Close); err != nil {
		if lost := j.Err(); errors.Is(lost, ErrFailed) {
			return lost
		}
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}

// Incarnation returns the journal's 128 random bits.
func (j *Journal) Incarnation() [16]byte { return j.incarnation }

// Opened says how Open found the journal.
func (j *Journal) Opened() Opened { return j.opened }

// Failed is closed when an append or a sync has failed: the node must stop.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// Err returns nil, or why the journal takes no more appends.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Append makes entries durable, all or none, in order after those of every
// call that returned before. When ctx ends first, they may be durable or not.
func (j *Journal) Append(ctx context.Context, entries ...Entry) error {
	done := make(chan error, 1)
	j.AppendAsync(entries, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("append to journal: %w", ctx.Err())
	}
}

// Get returns the value of key, which the caller owns, or ErrNotFound. It sees
// what has been acknowledged, and perhaps more.
func (j *Journal) Get(key []byte) ([]byte, error) {
	value, closer, err := j.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	value = append([]byte{}, value...)
	return value, closer.Close()
}

// Scan calls fn with each key that begins with prefix and comes after the key
// after (nil: all), in byte order, as of the call, until fn returns false or an
// error, which Scan returns. Key and value are valid during the call of fn.
func (j *Journal) Scan(prefix, after []byte, fn func(key, value []byte) (bool, error)) error {
	lower, upper := prefix, successor(prefix)
	if len(prefix) == 0 {
		lower, upper = []byte{reserved + 1}, []byte{unused}
	}
	if string(after) >= string(lower) {
		lower = append(append([]byte{}, after...), 0)
	}
	iter, err := j.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("scan journal: %w", err)
	}
	for ok := iter.First(); ok; ok = iter.Next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			return errors.Join(fmt.Errorf("scan journal: %w", err), iter.Close())
		}
		more, err := fn(iter.Key(), value)
		if err != nil {
			return errors.Join(err, iter.Close())
		}
		if !more {
			break
		}
	}
	if err := iter.Close(); err != nil {
		return fmt.Errorf("scan journal: %w", err)
	}
	return nil
}

// successor returns the first key after all that begin with prefix, or nil when
// there is none: when prefix is empty or all 0xff.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			return append(append([]byte{}, prefix[:i]...), prefix[i]+1)
		}
	}
	return nil
}
