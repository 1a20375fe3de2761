package submitter

import "github.com/muster-network/muster/consensus"

// Pending returns the charter that is out for a request, while it is on its way
// to acknowledgement: no more than a candidate for the request's job.
func (s *Submitter) Pending(request consensus.RequestID) (Acknowledged, bool, error) {
	s.mutex.Lock()
	_, ok := s.pending[request]
	s.mutex.Unlock()
	if !ok {
		return Acknowledged{}, false, nil
	}
	r, ok, err := s.record(request)
	if err != nil || !ok {
		return Acknowledged{}, false, err
	}
	charter, job, err := r.Offer.Charter.Open(s.cfg.Network)
	return Acknowledged{Job: job, Request: request, Charter: charter}, err == nil, err
}

// Outstanding returns the job that was acknowledged here under a request id,
// while its outcome is not archived: this node has told the caller that the job
// lives, and says so still when no member can be asked.
func (s *Submitter) Outstanding(request consensus.RequestID) (Acknowledged, bool, error) {
	r, ok, err := s.record(request)
	if err != nil || !ok || !r.Acknowledged {
		return Acknowledged{}, false, err
	}
	charter, job, err := r.Offer.Charter.Open(s.cfg.Network)
	return Acknowledged{Job: job, Request: request, Charter: charter}, err == nil, err
}

// OutstandingJob is Outstanding by job id.
func (s *Submitter) OutstandingJob(job consensus.JobID) (Acknowledged, bool, error) {
	s.mutex.Lock()
	request, ok := s.lasting[job]
	s.mutex.Unlock()
	if !ok {
		return Acknowledged{}, false, nil
	}
	a, ok, err := s.Outstanding(request)
	return a, ok && a.Job == job, err
}
