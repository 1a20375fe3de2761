package submitter

import (
	"context"

	"github.com/muster-network/muster/consensus"
)

// lapse is a charter that was withdrawn: after a time it needs no record any more, and
// no word about it is listened for.
type lapse struct {
	at      int64 // Unix milliseconds
	request consensus.RequestID
	job     consensus.JobID
}

// lapseOf returns the lapse of a withdrawn charter. One that q members gave up
// cannot live, and after accept_by nobody takes an offer of it that was on its
// way; of any other nobody accepts or starts anything after
// its deadline. What acts on the world may have done so by then: while its members
// can be asked, its record keeps its request from another draw.
func lapseOf(request consensus.RequestID, a drawn, f fate) lapse {
	l := lapse{at: a.charter.AcceptBy, request: request, job: a.job}
	switch {
	case f.mayAct(a.charter):
		l.at = a.charter.End
	case f.unknown:
		l.at = a.charter.Deadline
	}
	return l
}

// mayAct reports whether a charter that was withdrawn may still act on the world, or
// may have.
func (f fate) mayAct(c *consensus.Charter) bool { return f.unknown && c.Effects != "" }

// withdrawn leaves a charter to Run. One that may act is asked for, when nobody takes
// the question for an offer any more: if it ended, its end is the request's.
func (s *Submitter) withdrawn(ctx context.Context, request consensus.RequestID, a drawn, f fate) {
	select {
	case s.lapses <- lapseOf(request, a, f):
	case <-ctx.Done(): // a restart withdraws it again
		return
	}
	if f.mayAct(a.charter) {
		s.inquire(ctx, a.job, request, max(a.charter.AcceptBy+skew-s.cfg.Clock(), inquireAfter))
	}
}

// lapse lets go of the charters whose time has come: of what is listened for, and
// of the record, unless another charter has taken its place.
func (s *Submitter) lapse(ctx context.Context, a agenda[lapse]) agenda[lapse] {
	now := s.cfg.Clock()
	for first, rest, ok := a.next(now); ok; first, rest, ok = a.next(now) {
		a = rest
		s.cfg.Quorum.Forget(first.job)
		s.runs.Go(func() {
			if err := s.Forget(ctx, first.request, first.job); err != nil && ctx.Err() == nil {
				s.cfg.Log.Error("record of a refused submission not removed", "job", first.job, "error", err)
			}
		})
	}
	return a
}
