package journal

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/muster-network/muster/store/internal/lsm"
)

// groupBytes bounds one group, in bytes of keys and values, so that the first
// of a burst does not wait for all of it.
const groupBytes = 1 << 20

// request is one call to append, waiting for its group.
type request struct {
	entries []Entry
	done    func(error)
}

// AppendAsync is Append without waiting. done is called exactly once: from the
// goroutine that commits, from the one that saw the journal fail, or, when the
// journal refuses the entries, before AppendAsync returns. It must not block,
// for the next group waits. Entries must not change until then. Requests are
// committed in the order of the calls; the caller bounds how many it has open.
func (j *Journal) AppendAsync(entries []Entry, done func(error)) {
	for _, e := range entries {
		if err := e.check(); err != nil {
			done(err)
			return
		}
	}
	j.mu.Lock()
	if j.err != nil {
		err := j.err
		j.mu.Unlock()
		done(err)
		return
	}
	j.queue = append(j.queue, request{entries, done})
	start := !j.committing
	j.committing = true
	j.mu.Unlock()
	if start {
		go j.commitQueue()
	}
}

// commitQueue commits group after group until none waits. It runs on its own
// goroutine, which exists only while there is something to commit.
func (j *Journal) commitQueue() {
	ended := false // in order: nextGroup has noted it
	defer func() {
		if ended {
			return
		}
		// Reached by a panic or Goexit inside Pebble too: a lost write.
		cause := lsm.ErrFatal
		if p := recover(); p != nil {
			cause = fmt.Errorf("%w: %v", lsm.ErrFatal, p)
		}
		j.fail(cause) // where it has failed already, that cause is kept
		j.mu.Lock()
		j.committing = false
		j.idle.Broadcast()
		j.mu.Unlock()
	}()
	for group := j.nextGroup(); group != nil; group = j.nextGroup() {
		if err := j.commit(group); err != nil {
			j.fail(err)
			return
		}
		for _, r := range j.takeInflight() {
			r.done(nil)
		}
	}
	ended = true
}

// nextGroup moves requests from the queue in flight and returns them, or nil
// when there are none. With the same look at the queue it notes that nobody
// commits any more: a call that came in between would wait for ever.
func (j *Journal) nextGroup() []request {
	j.mu.Lock()
	defer j.mu.Unlock()
	size, n := 0, 0
	for n < len(j.queue) && (n == 0 || size < groupBytes) {
		for _, e := range j.queue[n].entries {
			size += len(e.Key) + len(e.Value)
		}
		n++
	}
	j.inflight = j.queue[:n:n]
	if n == len(j.queue) {
		j.queue = nil
	} else {
		j.queue = j.queue[n:]
	}
	if n == 0 {
		j.committing = false
		j.idle.Broadcast()
		return nil
	}
	return j.inflight
}

// takeInflight hands the group to the one caller that answers it: the
// committer, or fail.
func (j *Journal) takeInflight() []request {
	j.mu.Lock()
	defer j.mu.Unlock()
	group := j.inflight
	j.inflight = nil
	return group
}

// commit writes a group as one batch with one sync.
func (j *Journal) commit(group []request) error {
	batch := j.db.NewBatch()
	defer batch.Close()
	for _, r := range group {
		for _, e := range r.entries {
			if err := apply(batch, e); err != nil {
				return err
			}
		}
	}
	if batch.Empty() {
		return nil
	}
	return batch.Commit(pebble.Sync)
}

func (e Entry) check() error {
	if len(e.Key) == 0 || e.Key[0] == reserved || e.Key[0] == unused {
		return ErrKey
	}
	return nil
}

func apply(batch *pebble.Batch, e Entry) error {
	switch {
	case e.Delete && e.Prefix:
		return batch.DeleteRange(e.Key, successor(e.Key), nil)
	case e.Delete:
		return batch.Delete(e.Key, nil)
	default:
		return batch.Set(e.Key, e.Value, nil)
	}
}

// fail makes the journal refuse appends for good and answers every open
// request with the error. The first cause is kept.
func (j *Journal) fail(cause error) {
	j.mu.Lock()
	if j.err == nil || j.err == ErrClosed { //nolint:errorlint // the bare value, set by Close
		j.err = fmt.Errorf("%w: %w", ErrFailed, cause)
		close(j.failed)
	}
	err := j.err
	open := append(j.inflight, j.queue...)
	j.inflight, j.queue = nil, nil
	j.mu.Unlock()
	for _, r := range open {
		r.done(err)
	}
}
