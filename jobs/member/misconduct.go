package member

import (
	"context"
	"fmt"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

// Equivocated is told of two statements that a peer signed in one slot.
func (m *Member) Equivocated(id consensus.JobID, charter *consensus.Charter, first, second consensus.Signed) {
	m.work.Add(func(ctx context.Context) {
		e, err := m.equivocation(ctx, charter, first, second)
		if err != nil {
			if ctx.Err() == nil {
				m.cfg.Log.Error("equivocation not kept", "job", id, "peer", first.Statement.Sender.Name(), "error", err)
			}
			return
		}
		m.cfg.Accuse(e)
	})
}

func (m *Member) equivocation(ctx context.Context, charter *consensus.Charter, first, second consensus.Signed) (*consensus.Evidence, error) {
	credential, err := m.credentialOf(ctx, charter, first.Statement.Sender)
	if err != nil {
		return nil, err
	}
	return consensus.NewEquivocation(credential, first, second)
}

// credentialOf finds the credential of somebody drawn from a charter's roll.
func (m *Member) credentialOf(ctx context.Context, charter *consensus.Charter, peer admission.Key) (admission.SignedCredential, error) {
	roll, err := m.roll(ctx, charter.Roll, offered{from: charter.Submitter})
	if err != nil {
		return admission.SignedCredential{}, err
	}
	credential, ok := consensus.Offer{}.Known(roll)(peer)
	if !ok {
		return credential, fmt.Errorf("no credential of %s in the roll", peer.Name())
	}
	return credential, nil
}

// Disagreed is told, before Decided, of a report that the outcome contradicts.
// It becomes evidence with the certificate.
func (m *Member) Disagreed(id consensus.JobID, report consensus.SignedReport) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if j, ok := m.open[id]; ok {
		j.disagreed = append(j.disagreed, report)
	}
}

// accuse makes evidence of the reports that a job's certificate contradicts.
func (m *Member) accuse(ctx context.Context, j *job, certificate []byte) {
	m.mutex.Lock()
	reports := j.disagreed
	m.mutex.Unlock()
	for _, r := range reports {
		seat := j.charter.Party(int(r.Seat))
		credential, err := m.credentialOf(ctx, j.charter, seat.Peer)
		if err != nil {
			m.cfg.Log.Error("disagreement not kept", "job", j.id, "peer", seat.Peer.Name(), "error", err)
			continue
		}
		s := consensus.Statement{Kind: consensus.KindReport, Network: m.cfg.Network, Job: j.id, Previous: consensus.Hash(j.id),
			Sender: seat.Peer, Incarnation: seat.Incarnation}
		m.cfg.Accuse(consensus.NewDisagreement(credential, certificate, s, r.Report, r.Proof))
	}
}
