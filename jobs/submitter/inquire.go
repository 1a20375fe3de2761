package submitter

import (
	"context"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/store/dagcbor"
)

// inquiry is a question to one member how a job has ended, that was acknowledged or
// may have acted. Members tell
// a submitter without a seat once: it may be down then, or the frame be lost, or the
// process end before the outcome is archived.
type inquiry struct {
	job  consensus.JobID
	seat int   // who is asked, by place in the roster
	wait int64 // until the next one is, milliseconds
}

// An inquiry is an offer of a job that is open or ended: a member answers with how it
// stands. Most jobs have ended before the first; after a restart it comes at once,
// for the end may have been missed.
const (
	inquireAfter   = 10_000 // milliseconds
	inquireResumed = 1_000
	inquireMost    = 600_000
)

// inquire leaves a job whose end is awaited to Run.
func (s *Submitter) inquire(ctx context.Context, job consensus.JobID, request consensus.RequestID, after int64) {
	s.mutex.Lock()
	s.lasting[job] = request
	s.mutex.Unlock()
	select {
	case s.inquiries <- inquiry{job: job, wait: after}:
	case <-ctx.Done(): // a restart asks
	}
}

// ask asks for the ends whose time has come, and plans when to ask again. One that is
// archived by then is not asked for.
func (s *Submitter) ask(ctx context.Context, a agenda[inquiry]) agenda[inquiry] {
	now := s.cfg.Clock()
	for q, rest, ok := a.next(now); ok; q, rest, ok = a.next(now) {
		a = rest
		s.mutex.Lock()
		request, awaited := s.lasting[q.job]
		s.mutex.Unlock()
		if !awaited {
			continue
		}
		s.runs.Go(func() {
			if err := s.askOne(ctx, q, request); err != nil && ctx.Err() == nil {
				s.cfg.Log.Error("members not asked how a job has ended", "job", q.job, "error", err)
			}
		})
		next := inquiry{job: q.job, seat: q.seat + 1, wait: min(2*q.wait, inquireMost)}
		a = a.add(now+next.wait, next)
	}
	return a
}

func (s *Submitter) askOne(ctx context.Context, q inquiry, request consensus.RequestID) error {
	r, ok, err := s.record(request)
	if err != nil {
		return err
	}
	if !ok || consensus.JobID(dagcbor.Sum(r.Offer.Charter.Bytes)) != q.job { // another took its place
		s.mutex.Lock()
		delete(s.lasting, q.job)
		s.mutex.Unlock()
		return nil
	}
	charter, job, err := r.Offer.Charter.Open(s.cfg.Network)
	if err != nil {
		return err
	}
	return s.cfg.Quorum.Offer(ctx, charter.Roster[q.seat%len(charter.Roster)].Peer, job, r.Offer)
}
