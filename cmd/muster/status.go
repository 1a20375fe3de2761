package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "status JOB",
		Short:             "Show a job: its quorum, reports and votes",
		Args:              exactArgs("a job id, a request id, or a prefix of one"),
		ValidArgsFunction: a.completeJobs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			job, err := c.Job(ctx, args[0])
			if err != nil {
				return err
			}
			if job.State.Terminal() { // what is called certified was verified here
				if job, _, err = c.Certify(ctx, args[0], job); err != nil {
					return err
				}
			}
			if err := a.show(jobView(a, job)); err != nil {
				return err
			}
			if job.State.Terminal() && !a.machine() {
				next := []string{a.muster() + " verify " + jobs.Short(job.ID)}
				if resultOf(job.Job) != "" {
					next = append([]string{a.muster() + " result " + jobs.Short(job.ID) + " -o out/"}, next...)
				}
				if wrong(job.Job) {
					next = append(next, a.muster()+" evidence "+jobs.Short(job.ID))
				}
				next[0] = "Next: " + next[0]
				a.say("%s", fold(columns(a.err), "    ", next...))
			}
			return nil
		}),
	}
}

// wrong reports whether a member of a job did what can be held against it.
func wrong(job jobs.Job) bool {
	return slices.ContainsFunc(job.Members, func(m jobs.Member) bool { return m.Lied || m.Disagrees })
}
