package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api/client"
)

func (a *app) cancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "cancel JOB",
		Short:             "Ask a job's quorum to cancel it",
		Long:              "Cancel asks for the outcome cancelled. A job that is decided first ends as it was\ndecided; muster wait tells.",
		Args:              exactArgs("a job id, a request id, or a prefix of one"),
		ValidArgsFunction: a.completeJobs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			job, err := c.Cancel(ctx, args[0])
			if err != nil {
				return err
			}
			if job.State.Terminal() {
				if job, _, err = c.Certify(ctx, args[0], job); err != nil {
					return err
				}
			}
			return a.show(waitedView(a, job))
		}),
	}
}
