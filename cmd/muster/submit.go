package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api/client"
)

func (a *app) submitCommand() *cobra.Command {
	var p program
	c := &cobra.Command{
		Use:     "submit FILE|PROGRAM [-- ARGS...]",
		Short:   "Submit a job, print its id, and return",
		Long:    "Submit returns when the job is acknowledged: from then on it ends, whatever\nhappens to this node.",
		Example: "  muster submit job.yaml\n  id=$(muster submit builtin:hello -- Ada) && muster wait $id",
		Args:    cobra.ArbitraryArgs,
	}
	p.flags(c.Flags())
	c.RunE = func(command *cobra.Command, args []string) error {
		file, dir, err := p.read(a, command, args)
		if err != nil {
			return err
		}
		return a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			job, err := c.Submit(ctx, file, client.SubmitOptions{Dir: dir, Key: p.key})
			if err != nil {
				return p.refused(file, err)
			}
			if a.machine() {
				return a.show(jobView(a, job))
			}
			(&running{app: a, job: job}).sayQuorum()
			_, err = fmt.Fprintln(a.out, job.ID)
			return err
		})(command, nil)
	}
	return c
}
