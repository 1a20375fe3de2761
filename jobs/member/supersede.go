package member

import (
	"context"
	"errors"
	"time"

	"github.com/muster-network/muster/consensus"
)

// liveError refuses a charter whose predecessor has not ended here.
type liveError struct {
	job   consensus.JobID
	until int64 // how long it may be waited for: accept_by, Unix milliseconds
}

func (e *liveError) Error() string { return "job " + e.job.String() + " has not ended" }

// checkSuperseded checks the job that a charter takes the place of, as far as it
// is known here: of the same request, and ended without a result. What has
// started is not superseded (protocol, section 4).
func (m *Member) checkSuperseded(c *consensus.Charter) error {
	if c.Supersedes == nil {
		return nil
	}
	if old, ok := m.Job(*c.Supersedes); ok {
		if !sameRequest(old.Charter, c) {
			return refuse(RefuseInvalid, "it supersedes a job of another request")
		}
		return &refusal{RefuseLive, &liveError{*c.Supersedes, c.AcceptBy}}
	}
	closed, ok, err := (Archive{m.cfg.Journal}).Closed(*c.Supersedes)
	if err != nil || !ok {
		return err
	}
	certificate, err := consensus.OpenCertificate(closed.Certificate)
	if err != nil {
		return err
	}
	verdict, err := certificate.Read(m.cfg.Genesis, m.cfg.Network)
	switch {
	case err != nil:
		return err
	case !sameRequest(verdict.Charter, c):
		return refuse(RefuseInvalid, "it supersedes a job of another request")
	case verdict.Value.Kind == consensus.Result:
		return refuse(RefuseInvalid, "it supersedes a job that has its result")
	}
	return nil
}

// sameRequest reports whether two charters are of one request: the id alone does
// not say so, for whoever has read it can write it into a charter of its own.
func sameRequest(a, b *consensus.Charter) bool {
	return a.Request == b.Request && a.Owner == b.Owner
}

// waitFor has an offer considered again when the job that it supersedes ends
// here: its submitter may know the outcome a moment before this member does.
func (m *Member) waitFor(id consensus.JobID, o offered, err error) bool {
	live := new(liveError)
	if !errors.As(err, &live) {
		return false
	}
	if !m.offers.hold(o.from) {
		return false
	}
	ended, stop := m.Await(live.job)
	o.waited = true
	m.tasks.Add(func(ctx context.Context) {
		defer m.offers.release(o.from)
		defer stop()
		if _, open := m.Job(live.job); open {
			timer := time.NewTimer(time.Duration(max(live.until-m.cfg.Clock(), 0)) * time.Millisecond)
			defer timer.Stop()
			select {
			case <-ended:
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		m.end(id, o.from)
		m.offers.add(o)
	})
	return true
}
