// Package lsm opens Pebble the way both stores of a node need it: small when
// idle, quiet, on a file system that tests can replace, and with fatal errors
// that end the store instead of the process.
package lsm

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	cacheBytes    = 4 << 20
	memTableBytes = 4 << 20 // arenas start at 256 KiB and grow to this
	openFiles     = 256
	manifestBytes = 16 << 20
)

var (
	// ErrFatal wraps an error after which Pebble cannot go on.
	ErrFatal = errors.New("store stopped")
	// ErrCorrupt wraps, besides ErrFatal, the finding that bytes on disk are not
	// those that were written.
	ErrCorrupt = errors.New("corrupt")
)

// Config says what differs between the stores.
type Config struct {
	FS     vfs.FS                // nil: the operating system's
	Logger *slog.Logger          // nil: silent
	Fatal  func(error)           // called, perhaps more than once and from any goroutine, when the database is lost
	Tune   func(*pebble.Options) // nil: nothing
}

// Open opens or creates a database. Its calls that write must run under Guard.
func Open(dir string, cfg Config) (*pebble.DB, error) {
	if cfg.FS == nil {
		cfg.FS = vfs.Default // not wrapped in disk-health checks: a goroutine for each open file
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	log := &logger{log: cfg.Logger, fatal: cfg.Fatal}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	opts := &pebble.Options{
		FS:                          cfg.FS,
		Cache:                       cache,
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: 3,
		MaxOpenFiles:                openFiles,
		MaxManifestFileSize:         manifestBytes,
		FormatMajorVersion:          pebble.FormatValueSeparation, // fixed: a newer library must not upgrade in passing
		Logger:                      log,
		EventListener: &pebble.EventListener{
			DataCorruption:  func(info pebble.DataCorruptionInfo) { log.fail(fmt.Errorf("%w: %s", ErrCorrupt, info)) },
			BackgroundError: log.background,
		},
	}
	opts.Experimental.FileCacheShards = 1
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	if cfg.Tune != nil {
		cfg.Tune(opts)
	}
	var db *pebble.DB
	err := Guard(func() (err error) {
		db, err = pebble.Open(dir, opts)
		return err
	})
	return db, err
}

// Guard runs fn on a goroutine of its own and returns its error, or one that
// wraps ErrFatal when Pebble gave up inside it. Pebble reports a lost write by
// a call that must not return, or by a panic; either ends that goroutine only.
func Guard(fn func() error) error { return GuardUntil(nil, fn) }

// GuardUntil is Guard for what may wait for Pebble to make room: it returns
// ErrFatal as soon as lost is closed, and leaves fn behind.
func GuardUntil(lost <-chan struct{}, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		err := ErrFatal
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("%w: %v", ErrFatal, p)
			}
			done <- err
		}()
		err = fn()
	}()
	select {
	case err := <-done:
		return err
	case <-lost:
		return ErrFatal
	}
}
