package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
)

func (a *app) eventsCommand() *cobra.Command {
	var after string
	c := &cobra.Command{
		Use:     "events",
		Short:   "Follow what happens, until Ctrl-C",
		Example: "  muster events --after 0 -o json",
		Args:    noArgs,
	}
	c.Flags().StringVar(&after, "after", "", "id of the last event that was seen; 0: from the oldest kept")
	c.RunE = a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
		err := c.Events(ctx, after, func(e api.Event) error {
			if a.machine() {
				return a.line(e)
			}
			if e.Type == api.EventGap {
				_, err := fmt.Fprintf(a.err, "events after %v were not kept: look at the jobs themselves (muster ps)\n", e.Data["after"])
				return err
			}
			if a.namesOnly() {
				_, err := fmt.Fprintln(a.out, e.ID)
				return err
			}
			_, err := fmt.Fprintf(a.out, "%s   %-24s %s\n", e.Time, e.Type, jobs.Short(e.Subject))
			return err
		})
		if errors.Is(err, context.Canceled) {
			return exitError(exitInterrupted)
		}
		return err
	})
	return c
}
