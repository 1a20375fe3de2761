package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
)

func (a *app) logsCommand() *cobra.Command {
	var o client.LogOptions
	c := &cobra.Command{
		Use:   "logs JOB",
		Short: "Show what a job's runs write",
		Long: "Logs shows the certified output of a job that has ended, and before that what\n" +
			"one member's run has written, which is certified only when members agree.",
		Args:              exactArgs("a job id, a request id, or a prefix of one"),
		ValidArgsFunction: a.completeJobs,
	}
	c.Flags().BoolVarP(&o.Follow, "follow", "f", false, "until the job ends")
	c.Flags().StringVar(&o.Member, "member", "", "whose run to show while the job is open, by name or peer id")
	if err := c.RegisterFlagCompletionFunc("member", a.completeMembers); err != nil {
		panic(err) // no such flag: our own mistake
	}
	c.RunE = a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
		return c.Logs(ctx, args[0], o, func(chunk api.LogChunk) error {
			if a.machine() {
				return a.line(chunk)
			}
			w := a.out
			if chunk.Stream == "stderr" {
				w = a.err
			}
			_, err := w.Write(chunk.Data)
			return err
		})
	})
	return c
}
