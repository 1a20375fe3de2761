package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
)

// exactArgs wants one argument and says what it is.
func exactArgs(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 1 && args[0] != "" {
			return nil
		}
		if len(args) == 1 { // "$JOB", and nothing in it
			return usage(fmt.Sprintf("an empty argument to %s, which takes %s", c.CommandPath(), what), c.CommandPath()+" --help")
		}
		return usage(fmt.Sprintf("%s takes one argument: %s", c.CommandPath(), what), c.CommandPath()+" --help")
	}
}

// noArgs wants none.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usage(fmt.Sprintf("%s takes no argument, not %q", c.CommandPath(), args[0]), c.CommandPath()+" --help")
}

// someArgs wants one or more.
func someArgs(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if slices.Contains(args, "") {
			return usage(fmt.Sprintf("an empty argument to %s, which takes %s", c.CommandPath(), what), c.CommandPath()+" --help")
		}
		if len(args) > 0 {
			return nil
		}
		return usage(fmt.Sprintf("%s takes %s", c.CommandPath(), what), c.CommandPath()+" --help")
	}
}

// flagError says what is wrong with a flag in words of this program.
func flagError(c *cobra.Command, err error) error {
	p := &jobs.Problem{Code: jobs.CodeUsage, What: err.Error(), Try: c.CommandPath() + " --help"}
	if invalid := new(pflag.InvalidValueError); errors.As(err, &invalid) {
		p.What = fmt.Sprintf("--%s cannot be %.64q", invalid.GetFlag().Name, invalid.GetValue())
		p.Why = "it takes a " + invalid.GetFlag().Value.Type()
		if number := new(strconv.NumError); errors.As(err, &number) {
			p.Why += ": " + number.Err.Error()
		}
	}
	return p
}

// completeJobs offers the ids of jobs that the node knows.
func (a *app) completeJobs(command *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(command.Context(), time.Second)
	defer cancel()
	page, err := c.Jobs(ctx, client.Query{Limit: 50})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var offers []string
	for _, job := range page.Jobs {
		offers = append(offers, cobra.CompletionWithDesc(job.ID, job.Name+" "+string(job.State)))
	}
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// noSuchCommand is for commands that only hold others: what stands behind them
// is a mistake, and close ones are named.
func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	try := c.CommandPath() + " --help"
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		try = "did you mean " + near[0] + "?"
	}
	return usage(fmt.Sprintf("unknown command %q for %q", args[0], c.CommandPath()), try)
}
