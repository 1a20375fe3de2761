package storetest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/muster-network/muster/store/journal"
)

// Records is a journal in memory, for tests of what keeps its word in one. The
// zero value is empty and ready; a test looks into Held, and changes it, while
// nobody appends.
type Records struct {
	Held map[string][]byte

	mu sync.Mutex
}

// Append makes all of the changes, in order.
func (r *Records) Append(_ context.Context, entries ...journal.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Held == nil {
		r.Held = map[string][]byte{}
	}
	for _, e := range entries {
		switch {
		case e.Delete && e.Prefix:
			maps.DeleteFunc(r.Held, func(key string, _ []byte) bool { return strings.HasPrefix(key, string(e.Key)) })
		case e.Delete:
			delete(r.Held, string(e.Key))
		default:
			r.Held[string(e.Key)] = bytes.Clone(e.Value)
		}
	}
	return nil
}

// Get returns the value of key, or journal.ErrNotFound.
func (r *Records) Get(key []byte) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	value, ok := r.Held[string(key)]
	if !ok {
		return nil, journal.ErrNotFound
	}
	return bytes.Clone(value), nil
}

// Scan is journal.Journal's.
func (r *Records) Scan(prefix, after []byte, fn func(key, value []byte) (bool, error)) error {
	r.mu.Lock()
	held := maps.Clone(r.Held)
	r.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(held)) {
		if !strings.HasPrefix(key, string(prefix)) || after != nil && key <= string(after) {
			continue
		}
		if more, err := fn([]byte(key), held[key]); !more || err != nil {
			return err
		}
	}
	return nil
}
