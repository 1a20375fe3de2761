package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
)

func (a *app) logsCommand() *cobra.Command {
	var follow bool
	var member string
	c := &cobra.Command{
		Use:   "logs JOB",
		Short: "Show what a job's runs write",
		Long: "Logs shows the certified output of a job that has ended, and before that what\n" +
			"one member's run has written, which is certified only when members agree.",
		Args:              exactArgs("a job id, a request id, or a prefix of one"),
		ValidArgsFunction: a.completeJobs,
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "until the job ends")
	c.Flags().StringVar(&member, "member", "", "only this member's run, by name or peer id")
	if err := c.RegisterFlagCompletionFunc("member", a.completeMembers); err != nil {
		panic(err) // no such flag: our own mistake
	}
	c.RunE = a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
		seen := ""
		return c.Logs(ctx, args[0], follow, func(chunk api.LogChunk) error {
			if seen == "" && of(chunk, member) {
				seen = chunk.Member
			}
			// What is certified goes on where the run that is shown was left.
			certified := chunk.Member == "" && (member == "" || seen != "")
			if a.machine() && (member == "" || certified || of(chunk, member)) {
				return a.line(chunk)
			}
			if !certified && (seen == "" || chunk.Member != seen) {
				return nil
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

// of reports whether a chunk is the member's, who is named by peer id, its
// beginning, or short name.
func of(c api.LogChunk, member string) bool {
	return c.Name != "" && c.Name == member || strings.HasPrefix(c.Member, member)
}
