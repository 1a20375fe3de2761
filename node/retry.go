package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/jobs/submitter"
)

// Retry implements server.Control. The request id is made of its owner's key, so
// only the owner's node can put another job in its place (protocol, section 4).
func (n *Node) Retry(ctx context.Context, id string) (jobs.Job, error) {
	f, err := n.ended(ctx, id)
	if p := new(jobs.Problem); errors.As(err, &p) && p.Code == jobs.CodeNotDone {
		return jobs.Job{}, &jobs.Problem{Code: jobs.CodeConflict, What: "the job has not ended", Why: p.Why, Try: p.Try + ", or muster cancel"}
	}
	if err != nil {
		return jobs.Job{}, err
	}
	c, job := f.verdict.Charter, f.verdict.Job
	if c.Owner != n.home.identity.Signer.Key() {
		return f.job, &jobs.Problem{Code: jobs.CodeDenied, What: "this node may not retry the job", Why: "its owner is " + c.Owner.Name(),
			Try: "muster retry there, or submit the job here as one of your own"}
	}
	if f.verdict.Value.Kind == consensus.Result {
		return f.job, &jobs.Problem{Code: jobs.CodeConflict, What: "the job has succeeded", Why: "there is nothing to retry",
			Try: "muster result " + jobs.Short(f.job.ID)}
	}
	if next, ok, err := n.successor(ctx, c.Request, job); ok || err != nil {
		return next, err
	}
	if err := n.standing(); err != nil {
		return f.job, err
	}
	request, err := n.requestOf(ctx, c)
	if err != nil {
		return f.job, err
	}
	if err := n.settled(ctx, f); err != nil {
		return f.job, err
	}
	acknowledged, err := n.submitter.Retry(ctx, request, c.Request, job)
	if err != nil {
		return jobs.Job{}, n.withBarred(err)
	}
	return n.acknowledged(ctx, acknowledged, request.Spec), nil
}

// settled makes the end of a job durable here, of which a peer may have told: the
// record of what takes its place is written over its own, and a job that nothing took
// the place of stands.
func (n *Node) settled(ctx context.Context, f found) error {
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	archived, done := n.member.Await(f.verdict.Job)
	defer done()
	err := n.keepCertificate(ctx, f.certificate, *f.verdict)
	if !errors.Is(err, member.ErrOpen) {
		return err
	}
	select {
	case <-archived:
		return nil
	case <-ctx.Done():
		return &jobs.Problem{Code: jobs.CodeConflict, What: "the job's end is not on this node's disk yet", Why: err.Error(),
			Try: "again in a while", Retryable: true}
	}
}

// successor returns the job that took the place of one already: while it has not
// ended it is the answer to a retry that is asked for again.
func (n *Node) successor(ctx context.Context, request consensus.RequestID, old consensus.JobID) (jobs.Job, bool, error) {
	living, ok, err := n.answering(request)
	if err != nil || !ok || living.Job == old {
		return jobs.Job{}, false, err
	}
	f, err := n.find(ctx, reference{text: living.Job.String(), isJob: true, job: living.Job})
	if err != nil {
		return jobs.Job{}, false, err
	}
	if !f.job.State.Terminal() {
		return f.job, true, nil
	}
	short, try := jobs.Short(f.job.ID), "muster retry "
	if f.job.State == jobs.Succeeded {
		try = "muster result "
	}
	return f.job, true, &jobs.Problem{Code: jobs.CodeConflict, What: "the job was retried already",
		Why: fmt.Sprintf("%s took its place, and %s", short, f.job.State), Try: try + short}
}

// requestOf makes a job ready to be submitted again: spec, task, module and
// inputs are here, or come from its members.
func (n *Node) requestOf(ctx context.Context, c *consensus.Charter) (submitter.Request, error) {
	r := submitter.Request{Class: c.Class}
	from := rosterOf(c.Roster)
	data, err := n.fetchBlock(ctx, c.Spec.Cid, from)
	if err == nil {
		r.Spec, err = jobs.OpenSpec(n.home.network, data)
	}
	if err != nil {
		return r, notAtHand("spec", err)
	}
	if data, err = n.fetchBlock(ctx, c.Task.Cid, from); err == nil {
		r.Task, err = jobs.OpenTask(n.home.network, data)
	}
	if err != nil {
		return r, notAtHand("task", err)
	}
	if err := n.Fetch(ctx, r.Task.Module.Cid, from, int64(c.Limits.Input)); err != nil {
		return r, notAtHand("module", err)
	}
	if r.Spec.Check != nil {
		if data, err = n.fetchBlock(ctx, r.Spec.Check.Task.Cid, from); err == nil {
			r.Check, err = jobs.OpenTask(n.home.network, data)
		}
		if err == nil {
			err = n.Fetch(ctx, r.Check.Module.Cid, from, int64(c.Limits.Input))
		}
		if err != nil {
			return r, notAtHand("check", err)
		}
	}
	if r.Task.Inputs != nil {
		if err := n.Fetch(ctx, r.Task.Inputs.Cid, from, int64(c.Limits.Input)); err != nil {
			return r, notAtHand("inputs", err)
		}
	}
	if a := r.Task.Array; a != nil && a.Items != nil {
		if err := n.Fetch(ctx, a.Items.Cid, from, int64(c.Limits.Input)); err != nil {
			return r, notAtHand("items", err)
		}
	}
	return r, nil
}

func notAtHand(what string, err error) error {
	return &jobs.Problem{Code: jobs.CodeNotFound, What: "the job's " + what + " is not at hand any more", Why: err.Error(),
		Try: "submit the job again from its file", Retryable: true}
}
