package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/jobs/submitter"
)

// parseJob and parseRequest take an id in its one form only: whoever asks compares
// what is found with what was written.
func parseJob(text string) (consensus.JobID, bool) {
	id, err := consensus.ParseJobID(text)
	return id, err == nil && id.String() == text
}

func parseRequest(text string) (consensus.RequestID, bool) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(consensus.RequestID{}) || hex.EncodeToString(raw) != text {
		return consensus.RequestID{}, false
	}
	return consensus.RequestID(raw), true
}

// foundClosed verifies what somebody tells of a job that ended and shows it.
func (n *Node) foundClosed(closed *member.Closed, source string) (found, error) {
	if err := closed.Check(); err != nil {
		return found{}, err
	}
	certificate, err := consensus.OpenCertificate(closed.Certificate)
	if err != nil {
		return found{}, err
	}
	verdict, err := certificate.Verify(n.home.genesis)
	if err != nil {
		return found{}, err
	}
	return n.showClosed(closed, verdict, source), nil
}

// foundHere shows what this node keeps of a job that ended: its certificate was
// verified, or made here, before it was kept.
func (n *Node) foundHere(closed *member.Closed) (found, error) {
	certificate, err := consensus.OpenCertificate(closed.Certificate)
	if err != nil {
		return found{}, err
	}
	verdict, err := certificate.Read(n.home.founded, n.home.network)
	if err != nil {
		return found{}, err
	}
	return n.showClosed(closed, verdict, n.name), nil
}

func (n *Node) showClosed(closed *member.Closed, verdict consensus.Verdict, source string) found {
	j := jobs.Certified(verdict)
	j.Name, j.Labels, j.Finished, j.Source = closed.Name, closed.Labels, closed.Finished, source
	j.Array = arrayState(closed.Tasks, &verdict.Value)
	for i, seat := range closed.Seats {
		if i < len(j.Members) {
			m := &j.Members[i]
			m.Role, m.Activated, m.Accepted, m.Started = seat.Role, seat.Activated, seat.Accepted, seat.Started
			m.Report, m.Disagrees, m.Prepared, m.Use = seat.Report, seat.Disagrees, seat.Prepared, seat.Use
			if seat.Checked != nil {
				m.Endorsed, m.Rejected = int(min(seat.Checked.Endorsed, consensus.MaxRoster)), int(min(seat.Checked.Rejected, consensus.MaxRoster))
			}
		}
	}
	n.noteLies(verdict.Job, &j)
	return found{job: j, certificate: closed.Certificate, verdict: &verdict}
}

// openJob shows a job that is open on this node.
func (n *Node) openJob(ctx context.Context, id consensus.JobID) (jobs.Job, bool, error) {
	open, ok := n.member.Job(id)
	if !ok {
		return jobs.Job{}, false, nil
	}
	j := jobs.Describe(open.Height)
	j.Name, j.Labels, j.State, j.Source = open.Spec.Name, open.Spec.Labels, jobs.Accepted, n.name
	j.Array = arrayState(uint64(open.Task.Tasks()), nil)
	s, ok, err := n.agreement.Standing(ctx, id)
	if err != nil || !ok {
		return j, true, err
	}
	j.State, j.Round = s.State, s.Round
	for i, seat := range s.Seats {
		seat.Peer, seat.Name = j.Members[i].Peer, j.Members[i].Name
		j.Members[i] = seat
	}
	n.noteLies(id, &j)
	j.Stalled = n.stalled(open.Height)
	switch {
	case j.Stalled != nil:
	case s.Closed != nil:
		j.Stalled = closing(open.Height, *s.Closed)
	case s.Stuck != nil:
		j.Stalled = stuck(open.Height, *s.Stuck)
	}
	return j, true, nil
}

// stalled says that fewer than q members have been reachable for longer than
// the policy allows, and who is missing (protocol, section 7).
func (n *Node) stalled(at consensus.Height) *jobs.Stalled {
	t := at.Charter.Thresholds()
	now, limit := n.clock(), n.home.founded.Policy.Stalled
	var missing []string
	var since int64
	reachable := 0
	for _, seat := range at.Roster() {
		gone, away := n.goneSince(seat, at.Charter.Issued)
		if !away || now-gone < limit {
			reachable++
			continue
		}
		missing = append(missing, seat.Peer.Name())
		since = max(since, gone+limit)
	}
	if reachable >= t.Quorum {
		return nil
	}
	return &jobs.Stalled{Since: since, Waiting: missing,
		Reason: fmt.Sprintf("%d of %d members can be reached, agreement takes %d", reachable, t.N, t.Quorum)}
}

// stuck says which run of a task that acts once has no end that anybody knows.
func stuck(at consensus.Height, s member.Stuck) *jobs.Stalled {
	name := at.Holder(s.Seat).Peer.Name()
	return &jobs.Stalled{Since: s.Since, Waiting: []string{name},
		Reason: fmt.Sprintf("run %d on %s has no known end (%s), and what acts once is not run again before it has", s.Run, name, s.Why)}
}

// closing says whose undecided replacement of a member keeps a task that acts
// once from being granted a run. It waits for nobody's word: those who would have
// to follow hear the member that was to be replaced.
func closing(at consensus.Height, c member.Closing) *jobs.Stalled {
	names := make([]string, len(c.Seats))
	for i, seat := range c.Seats {
		names[i] = at.Holder(seat).Peer.Name()
	}
	return &jobs.Stalled{Since: c.Since, Waiting: []string{},
		Reason: strings.Join(names, " and ") + " prepared to replace a member, which was not decided, and grant no run while it may be: " +
			"a cancellation ends the job, or its deadline"}
}

// goneSince returns since when the holder of a seat, drawn at a time, cannot be
// reached. One that came back without its journal is another: it has no seat.
func (n *Node) goneSince(seat consensus.Seat, drawn int64) (int64, bool) {
	if h, ok := n.adverts.get(seat.Peer); ok && h.signed.Advert.Issued > drawn && h.signed.Advert.Incarnation != seat.Incarnation {
		return h.since, true
	}
	return n.reach.away(seat.Peer)
}

// submitterDecided archives the certificate of a job that was submitted here
// when the member here does not, and ends the submission's record once it is on disk.
// It goes on until that is done: the members tell once, and may be gone when they are
// asked again.
func (n *Node) submitterDecided(offer consensus.Offer, c *consensus.Charter, id consensus.JobID, ended consensus.Conclusion) {
	n.owe(func(ctx context.Context) error {
		for wait := time.Second; ; wait = min(2*wait, 10*time.Minute) {
			archived, done := n.member.Await(id)
			err := n.archiveSubmitted(ctx, offer, c, id, ended)
			if err != nil && !errors.Is(err, member.ErrOpen) {
				n.cfg.Log.Warn("outcome not archived yet", "job", id, "error", err)
			}
			if err != nil {
				select {
				case <-archived:
				case <-time.After(wait):
				case <-ctx.Done():
				}
			}
			if done(); err == nil || ctx.Err() != nil {
				return err
			}
		}
	})
}

func (n *Node) archiveSubmitted(ctx context.Context, offer consensus.Offer, c *consensus.Charter, id consensus.JobID, ended consensus.Conclusion) error {
	// A seat in the roster does not say that the member here archives the end:
	// whoever was down or busy holds one too.
	archived, err := n.member.Archived(id)
	if err == nil && !archived {
		err = n.keepEnd(ctx, offer, c, id, ended)
	}
	if err != nil {
		return err
	}
	return n.submitter.Forget(ctx, c.Request, id)
}

// answering returns the job of this node's own that answers its request: the one that
// was acknowledged, or the last that has ended. A job that is open here is none for
// that alone: what its members accept, and single ones start, may be withdrawn still.
// Nor is a job of another owner, whatever request it names.
func (n *Node) answering(request consensus.RequestID) (submitter.Acknowledged, bool, error) {
	if a, ok, err := n.submitter.Outstanding(request); ok || err != nil {
		return a, ok, err
	}
	ids, err := n.archive.Owned(request, n.home.identity.Signer.Key())
	for _, id := range ids {
		if a, ok, err := n.endedHere(id); ok || err != nil {
			return a, ok, err
		}
	}
	return submitter.Acknowledged{}, false, err
}

// openUnder returns the job of this node's own that is open here under a request id,
// acknowledged or not: of several the one issued last. A job of another owner is none,
// whatever request it names.
func (n *Node) openUnder(ctx context.Context, request consensus.RequestID) (found, bool, error) {
	ids, err := n.archive.Owned(request, n.home.identity.Signer.Key())
	for _, id := range ids {
		if j, ok, err := n.openJob(ctx, id); ok || err != nil {
			return found{job: j}, ok, err
		}
	}
	return found{}, false, err
}

// endedHere returns a job whose end is archived here.
func (n *Node) endedHere(id consensus.JobID) (submitter.Acknowledged, bool, error) {
	closed, ok, err := n.archive.Closed(id)
	if err != nil || !ok {
		return submitter.Acknowledged{}, false, err
	}
	f, err := n.foundHere(closed)
	if err != nil {
		return submitter.Acknowledged{}, false, err
	}
	c := f.verdict.Charter
	return submitter.Acknowledged{Job: id, Request: c.Request, Charter: c}, true, nil
}

func (n *Node) keepEnd(ctx context.Context, offer consensus.Offer, c *consensus.Charter, id consensus.JobID, ended consensus.Conclusion) error {
	data, err := n.fetchBlock(ctx, c.Roll.Cid, rosterOf(c.Roster))
	if err != nil {
		return err
	}
	roll, err := consensus.OpenRoll(n.home.founded, n.home.network, data)
	if err != nil {
		return err
	}
	certificate, err := consensus.Assemble(offer.Charter, c, offer.Known(roll), ended.Chain, ended.Outcome)
	if err != nil {
		return err
	}
	encoded, err := certificate.Encode()
	if err != nil {
		return err
	}
	verdict, err := certificate.Verify(n.home.genesis)
	if err != nil {
		return err
	}
	return n.keepCertificate(ctx, encoded, verdict)
}

// keepCertificate archives a certificate of a job of this node's own that ended elsewhere.
func (n *Node) keepCertificate(ctx context.Context, encoded []byte, verdict consensus.Verdict) error {
	closed := member.Closed{Certificate: encoded, Finished: n.clock(), Seats: []member.Seat{}}
	if spec, err := n.spec(ctx, verdict.Charter); err == nil {
		closed.Name, closed.Labels = spec.Name, spec.Labels
	}
	closed.Tasks = n.tasksOf(ctx, verdict.Charter)
	return n.member.Keep(ctx, verdict, closed)
}

func (n *Node) spec(ctx context.Context, c *consensus.Charter) (*jobs.Spec, error) {
	data, err := n.blocks.Get(ctx, c.Spec.Cid)
	if err != nil {
		return nil, err
	}
	return jobs.OpenSpec(n.home.network, data)
}
