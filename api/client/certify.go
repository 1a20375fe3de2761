package client

import (
	"context"
	"fmt"
	"slices"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

// Certify fetches the certificate of a job that ended, as the node tells, and
// returns the job as the certificate has it: state, outcome, round, who signed,
// and what the charter says. Only what no certificate holds stays the node's
// word: name, labels, tasks, times, and what each member did.
//
// It refuses, with CodeCertificate, a certificate that is not valid, one that is
// not about the job that id names, and a node that tells of another job or
// another end.
func (c *Client) Certify(ctx context.Context, id string, told api.Job) (api.Job, Certified, error) {
	cert, err := c.Certificate(ctx, told.ID)
	if err != nil {
		return api.Job{}, Certified{}, err
	}
	if err := cert.isNamed(id); err != nil {
		return api.Job{}, Certified{}, err
	}
	job, err := cert.job(told.Job)
	return api.JobOf(job), cert, err
}

// isNamed reports with an error that id does not name the certificate's job: it
// is no job id, no request id, and no part of one.
func (c Certified) isNamed(id string) error {
	for _, name := range []string{c.Verdict.Job.String(), c.Verdict.Charter.Request.String()} {
		if _, err := jobs.MatchPrefix(id, []string{name}); err == nil {
			return nil
		}
	}
	return invalid(fmt.Errorf("it is about job %s", c.Verdict.Job))
}

// job is what the certificate says of its job, with what a node tells beside. Two
// certificates of one job may differ in round and signers, and a node may have
// told by another one: so only the end itself can contradict.
func (c Certified) job(told jobs.Job) (jobs.Job, error) {
	job := jobs.Certified(c.Verdict)
	if told.ID != job.ID {
		return job, c.contradicts("job " + told.ID)
	}
	if end := told.Outcome; told.State != job.State || end == nil || end.Kind != job.Outcome.Kind || end.Class != job.Outcome.Class ||
		end.Code != job.Outcome.Code || end.Result != job.Outcome.Result {
		return job, c.contradicts(endWords(told))
	}
	job.Name, job.Labels, job.Finished, job.Source = told.Name, told.Labels, told.Finished, told.Source
	if a := told.Array; a != nil {
		if failed := c.failedTasks(); a.Failed != failed || len(a.Failures) > failed {
			return job, c.contradicts(fmt.Sprintf("%d tasks failed", max(a.Failed, len(a.Failures))))
		}
		job.Array = a
	}
	if slices.EqualFunc(told.Members, job.Members, func(a, b jobs.Member) bool { return a.Peer == b.Peer }) {
		for i, m := range told.Members {
			m.Name, m.Signed = job.Members[i].Name, job.Members[i].Signed
			job.Members[i] = m
		}
	}
	return job, nil
}

// failedTasks is how many tasks of an array job failed.
func (c Certified) failedTasks() int {
	if c.Verdict.Value.Class != consensus.FailedTasks {
		return 0
	}
	return int(c.Verdict.Value.Code)
}

func (c Certified) contradicts(told string) error {
	return &jobs.Problem{Code: jobs.CodeCertificate, What: "the node contradicts the certificate",
		Why: fmt.Sprintf("the node says %s, the certificate of job %s: %s", told, c.Verdict.Job, c.Verdict.Value),
		Try: "trust nothing that this node says; ask another peer"}
}

// endWords say how a node tells that a job ended.
func endWords(told jobs.Job) string {
	if o := told.Outcome; o != nil {
		return fmt.Sprintf("%s, %s %s %d, result %q", told.State, o.Kind, o.Class, o.Code, o.Result)
	}
	return string(told.State)
}
