package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
)

func (a *app) retryCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "retry JOB",
		Short: "Submit a job that failed or was cancelled again",
		Long: "Retry draws a new quorum for the same program and inputs, prints the new job's id,\n" +
			"and returns. The request id names the new job from then on; the old one keeps its\n" +
			"certificate. Only the node that submitted a job can retry it.",
		Example:           "  muster retry b..9zt1\n  id=$(muster retry b..9zt1) && muster wait $id",
		Args:              exactArgs("a job id, a request id, or a prefix of one"),
		ValidArgsFunction: a.completeJobs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			job, err := c.Retry(ctx, args[0])
			if err != nil {
				return err
			}
			if a.machine() {
				return a.show(jobView(a, job))
			}
			(&running{app: a, job: job}).sayQuorum()
			a.say("supersedes %s", jobs.Short(job.Supersedes))
			_, err = fmt.Fprintln(a.out, job.ID)
			return err
		}),
	}
}
