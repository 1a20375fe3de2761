package submitter

import (
	"context"
	"fmt"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
)

// Recover takes up what was pending when the node went down: it sends the same
// bytes again, and asks for the outcomes of jobs that were acknowledged. Records go of
// jobs whose outcome is archived, or whose deadline has long passed. It is called once, while
// Run runs.
func (s *Submitter) Recover(ctx context.Context) error {
	type found struct {
		request consensus.RequestID
		record  record
	}
	var all []found
	err := s.cfg.Journal.Scan(prefix, nil, func(key, value []byte) (bool, error) {
		f := found{request: consensus.RequestID(key[len(prefix):])}
		if err := dagcbor.Unmarshal(value, &f.record); err != nil {
			return false, fmt.Errorf("journal: submission %s: %w", f.request, err)
		}
		all = append(all, f)
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, f := range all {
		charter, job, err := f.record.Offer.Charter.Open(s.cfg.Network)
		if err != nil {
			return err
		}
		a := drawn{job: job, charter: charter, record: f.record}
		sub := &submission{request: f.request, specRef: charter.Spec, taskRef: charter.Task, limits: charter.Limits,
			class: charter.Class, done: make(chan struct{})}
		_, ended, err := s.cfg.Ended(job)
		if err != nil {
			return err
		}
		switch {
		case ended || s.cfg.Clock() > charter.End:
			if err := s.cfg.Journal.Append(ctx, journal.Entry{Key: recordKey(f.request), Delete: true}); err != nil {
				return err
			}
		case f.record.Acknowledged:
			s.watch(a)
			s.inquire(ctx, job, f.request, inquireResumed)
		default:
			sub.resume = &f.record
			s.mutex.Lock()
			s.pending[f.request] = sub
			s.mutex.Unlock()
			select {
			case s.start <- sub:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// resume goes on with a charter that was out when the node went down. It is
// not drawn again: the caller who might have wanted that is gone, and finds out
// by the request id.
func (s *Submitter) resume(ctx context.Context, sub *submission) {
	charter, job, err := sub.resume.Offer.Charter.Open(s.cfg.Network)
	if err != nil {
		s.settle(sub, Acknowledged{}, err)
		return
	}
	a := drawn{job: job, charter: charter, record: *sub.resume}
	f, err := s.offer(ctx, sub, a)
	if err == nil && !f.acknowledged {
		s.withdrawn(ctx, sub.request, a, f)
		err = refused(f)
	}
	s.settle(sub, Acknowledged{Job: job, Request: sub.request, Charter: charter}, err)
}

// gone reports whether no charter of a request may live that an earlier submission
// withdrew without hearing from enough members. Otherwise it settles sub by what
// became of that one.
func (s *Submitter) gone(ctx context.Context, sub *submission) bool {
	r, ok, err := s.record(sub.request)
	if err == nil && (!ok || r.Acknowledged) {
		return true
	}
	var job consensus.JobID
	var charter *consensus.Charter
	if err == nil {
		charter, job, err = r.Offer.Charter.Open(s.cfg.Network)
	}
	var f fate
	if err == nil {
		r.Void = true
		f, err = s.offer(ctx, sub, drawn{job: job, charter: charter, record: *r})
	}
	if err == nil && f.unknown {
		err = refused(f)
	}
	if err == nil && !f.acknowledged {
		return true
	}
	s.settle(sub, Acknowledged{Job: job, Request: sub.request, Charter: charter}, err)
	return false
}

// Forget removes the record of a job whose outcome is archived, or of a charter
// that has lapsed. That of another
// job under the request, which superseded it, stays.
func (s *Submitter) Forget(ctx context.Context, request consensus.RequestID, job consensus.JobID) error {
	gone, err := s.leave(ctx, request)
	if err != nil {
		return err
	}
	defer func() {
		s.mutex.Lock()
		delete(s.forgets, request)
		delete(s.lasting, job)
		s.mutex.Unlock()
		close(gone)
	}()
	r, ok, err := s.record(request)
	if err != nil || !ok || consensus.JobID(dagcbor.Sum(r.Offer.Charter.Bytes)) != job {
		return err
	}
	return s.cfg.Journal.Append(ctx, journal.Entry{Key: recordKey(request), Delete: true})
}

// leave waits until no submission of a request is under way, and keeps others
// from entering until the channel that it returns is closed.
func (s *Submitter) leave(ctx context.Context, request consensus.RequestID) (chan struct{}, error) {
	for {
		s.mutex.Lock()
		sub, pending := s.pending[request]
		other, going := s.forgets[request]
		gone := make(chan struct{})
		if !pending && !going {
			s.forgets[request] = gone
		}
		s.mutex.Unlock()
		var wait <-chan struct{}
		switch {
		case pending:
			wait = sub.done
		case going:
			wait = other
		default:
			return gone, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
