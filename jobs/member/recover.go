package member

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
)

// Recover resumes every job that was open when the node went down. It is called
// once, while Run runs, before peers are heard; it returns how many it resumed. A job
// that cannot be, for a block is not here, keeps no other from it: see again.
func (m *Member) Recover(ctx context.Context) (int, error) {
	type found struct {
		id     consensus.JobID
		record openRecord
	}
	var all []found
	err := m.cfg.Journal.Scan(prefixOpen, nil, func(key, value []byte) (bool, error) {
		f := found{id: consensus.JobID(key[len(prefixOpen):])}
		if err := dagcbor.Unmarshal(value, &f.record); err != nil {
			return false, fmt.Errorf("journal: open job %s: %w", f.id, err)
		}
		all = append(all, f)
		return true, nil
	})
	if err != nil {
		return 0, err
	}
	resumed := 0
	for _, f := range all {
		closed, ended, err := (Archive{m.cfg.Journal}).Closed(f.id)
		if err != nil {
			return 0, err
		}
		if ended && !closed.Copied { // brought while the job waited (see again), not while this node was taking it
			m.clear(ctx, f.id)
			continue
		}
		// Everything was durable before the accept, so nobody is asked for it.
		err = m.resume(ctx, f.id, f.record, m.cfg.Self)
		var refused *refusal
		switch {
		case errors.As(err, &refused) && ctx.Err() == nil:
			m.cfg.Log.Error("job not resumed: this node is silent in it", "job", f.id, "error", err)
			m.again(f.id, f.record)
			err = nil
		case err == nil:
			resumed++
		}
		if err != nil {
			return 0, fmt.Errorf("resume %s: %w", f.id, err)
		}
	}
	return resumed, nil
}

// again resumes a job whose blocks the disk has lost, when one of its members has
// brought them. Until then, or the next start, nothing is said in it: that is safe, and
// what was said before stays on disk, where an offer of the job must not begin anew.
func (m *Member) again(id consensus.JobID, record openRecord) {
	m.reserve(id)
	m.tasks.Add(func(ctx context.Context) {
		charter, _, err := record.Offer.Charter.Open(m.cfg.Network)
		if err != nil {
			return // it was opened before
		}
		wait := time.NewTimer(0)
		defer wait.Stop()
		for n := range againTries {
			wait.Reset(againFirst << min(n, 6))
			select {
			case <-wait.C:
			case <-ctx.Done():
				return
			}
			if _, ended := m.archived(id); ended { // its certificate was brought
				m.clear(ctx, id)
				m.end(id, m.cfg.Self)
				return
			}
			err := m.resume(ctx, id, record, charter.Roster[n%len(charter.Roster)].Peer)
			var refused *refusal
			if err == nil {
				m.cfg.Log.Info("job resumed", "job", id)
				m.end(id, m.cfg.Self)
				return
			} else if !errors.As(err, &refused) {
				m.cfg.Log.Error("job not resumed", "job", id, "error", err)
				return
			}
		}
	})
}

// clear drops what is left of a job that was archived before it could be resumed. Only
// who resumes it does: c/<job>, which goes with the rest, has a start find it until then.
func (m *Member) clear(ctx context.Context, id consensus.JobID) {
	j := &job{id: id}
	err := m.findCheckpoints(j)
	if err == nil {
		err = m.cfg.Journal.Append(ctx, journal.Entry{Key: keyOf(prefixOpen, id), Delete: true},
			journal.Entry{Key: keyOf(prefixRecords, id), Delete: true, Prefix: true},
			journal.Entry{Key: keyOf(prefixCheckpoint, id), Delete: true, Prefix: true})
	}
	if err == nil {
		m.dropCheckpoints(ctx, j)
	} else if ctx.Err() == nil {
		m.cfg.Log.Error("records of an ended job are left in the journal", "job", id, "error", err)
	}
}

// What a job lacks is asked for after 10 s, 20 s and so on, later each 11 minutes,
// for a day.
const (
	againFirst = 10 * time.Second
	againTries = 140
)

// resume opens a job from its records. What is not on disk is fetched from a peer.
func (m *Member) resume(ctx context.Context, id consensus.JobID, record openRecord, from admission.Key) error {
	charter, _, err := record.Offer.Charter.Open(m.cfg.Network)
	if err != nil {
		return err
	}
	self := charter.PartyOf(m.cfg.Self)
	if self < 0 || charter.Party(self).Incarnation != m.cfg.Incarnation {
		return nil // another life's job: this one may not vote in it
	}
	j := m.newJob(consensus.FirstHeight(m.cfg.Network, id, charter), record.Offer) // agreement tells of later heights
	patient, cancel := context.WithTimeout(ctx, m.patience(charter, true))
	defer cancel()
	drawn, err := m.checkDraw(patient, charter, offered{from: from, accepts: []consensus.Vote{{}}})
	if err != nil {
		return err
	}
	if err := m.loadJob(patient, j, from); err != nil {
		return err
	}
	if err := m.findCheckpoints(j); err != nil {
		return err
	}
	if err := m.cfg.Store.Sync(ctx); err != nil {
		return err
	}
	m.mutex.Lock()
	m.open[id] = j
	m.mutex.Unlock()
	err = m.cfg.Agreement.Open(ctx, Opening{Job: id, Charter: charter, Offer: record.Offer, Self: self, Runners: drawn.Runners,
		Spares: drawn.Spares, Resume: true, Witness: record.Witness, Check: j.checkTimeout()})
	if errors.Is(err, ErrLate) {
		return m.forget(ctx, id, nil)
	}
	if err != nil {
		m.mutex.Lock()
		delete(m.open, id)
		m.mutex.Unlock()
	}
	return err
}
