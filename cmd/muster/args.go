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
	"github.com/muster-network/muster/testnet"
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

// completeMembers offers the names of the members of the job that stands before.
func (a *app) completeMembers(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := a.client()
	if err != nil || len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(command.Context(), time.Second)
	defer cancel()
	job, err := c.Job(ctx, args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var offers []string
	for _, m := range job.Members {
		offers = append(offers, cobra.CompletionWithDesc(m.Name, m.Role))
	}
	return offers, cobra.ShellCompDirectiveNoFileComp
}

// completeTestnet offers the nodes of the running testnet.
func (a *app) completeTestnet(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	dir, err := testnet.Locate(a.testnetPointer())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	n, err := testnet.Load(dir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var offers []string
	for _, node := range n.Nodes {
		offers = append(offers, cobra.CompletionWithDesc(fmt.Sprintf("n%d", node.Number), node.Name))
	}
	return offers, cobra.ShellCompDirectiveNoFileComp
}

// completeWords makes a flag complete words that never change.
func completeWords(c *cobra.Command, flag string, words ...string) {
	offer := cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	if err := c.RegisterFlagCompletionFunc(flag, offer); err != nil {
		panic(err) // no such flag, or twice: our own mistake
	}
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
