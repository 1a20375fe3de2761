package member

import (
	"context"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/store/journal"
)

// Abandoned is told when accept_by passed without q accepts: the place in the
// queue is given up, charter and accepts are kept. Such a job is none to people,
// unless late accepts start it.
func (m *Member) Abandoned(id consensus.JobID) {
	m.setIdle(id, true)
	m.cfg.Events.Tell(Event{Type: "abandoned", Job: id})
}

func (m *Member) setIdle(id consensus.JobID, idle bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if j, ok := m.open[id]; ok {
		j.idle = idle
	}
}

// places counts the places taken in the queue. The caller holds the mutex.
func (m *Member) places() int {
	n := 0
	for _, j := range m.open {
		if !j.idle {
			n++
		}
	}
	return n
}

// Expired is told when the deadline of a job passed that never started, or the end
// of one that went on without this node: nothing of it is kept. records are the keys under which agreement kept it.
func (m *Member) Expired(id consensus.JobID, records [][]byte) {
	m.work.Add(func(ctx context.Context) {
		if err := m.forget(ctx, id, records); err != nil && ctx.Err() == nil {
			m.cfg.Log.Error("expired job not removed", "job", id, "error", err)
		}
	})
}

func (m *Member) forget(ctx context.Context, id consensus.JobID, records [][]byte) error {
	j, ok := m.leave(id)
	if !ok {
		return nil
	}
	defer m.stay(j)
	entries := []journal.Entry{{Key: keyOf(prefixOpen, id), Delete: true}, {Key: requestKey(j.charter, id), Delete: true}}
	for _, key := range records {
		entries = append(entries, journal.Entry{Key: key, Delete: true})
	}
	entries = append(entries, j.checkpoints.close(id)...)
	kept, settled := m.cfg.Events.Keep(Event{Type: "expired", Job: id})
	err := m.cfg.Journal.Append(ctx, append(entries, kept...)...)
	if settled(err); err != nil {
		return err
	}
	m.mutex.Lock()
	delete(m.open, id)
	m.mutex.Unlock()
	j.logs.Close()
	m.dropCheckpoints(ctx, j)
	return nil
}

// leave takes hold of an open job to put it away. Only one hand does: a job that
// is told twice to end is put away, and told of, once.
func (m *Member) leave(id consensus.JobID) (*job, bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	j, ok := m.open[id]
	if !ok || j.leaving {
		return nil, false
	}
	j.leaving = true
	return j, true
}

// stay lets go of a job that was to be put away: if it could not be, it is open
// still, and may be told to end again.
func (m *Member) stay(j *job) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	j.leaving = false
}
