package member

import (
	"context"
	"fmt"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/store/dagcbor"
)

// Recover resumes every job that was open when the node went down. It is called
// once, while Run runs, before peers are heard; it returns how many there were.
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
	for _, f := range all {
		if err := m.resume(ctx, f.id, f.record); err != nil {
			return 0, fmt.Errorf("resume %s: %w", f.id, err)
		}
	}
	return len(all), nil
}

func (m *Member) resume(ctx context.Context, id consensus.JobID, record openRecord) error {
	charter, _, err := record.Offer.Charter.Open(m.cfg.Network)
	if err != nil {
		return err
	}
	self := charter.PartyOf(m.cfg.Self)
	if self < 0 || charter.Party(self).Incarnation != m.cfg.Incarnation {
		return nil // another life's job: this one may not vote in it
	}
	j := m.newJob(consensus.FirstHeight(m.cfg.Network, id, charter), record.Offer) // agreement tells of later heights
	// Everything was durable before the accept, so nothing is asked of peers.
	drawn, err := m.checkDraw(ctx, charter, offered{from: charter.Submitter, accepts: []consensus.Vote{{}}})
	if err != nil {
		return err
	}
	if err := m.loadJob(ctx, j, charter.Submitter); err != nil {
		return err
	}
	if err := m.findCheckpoints(j); err != nil {
		return err
	}
	m.mutex.Lock()
	m.open[id] = j
	m.mutex.Unlock()
	return m.cfg.Agreement.Open(ctx, Opening{Job: id, Charter: charter, Offer: record.Offer, Self: self, Runners: drawn.Runners,
		Spares: drawn.Spares, Resume: true, Witness: record.Witness, Check: j.checkTimeout()})
}
