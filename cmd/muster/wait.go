package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
)

func (a *app) waitCommand() *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use:               "wait JOB...",
		Short:             "Wait until jobs have ended",
		Long:              "Wait ends when every job is terminal, and exits as run would for the first that\ndid not succeed.",
		Args:              someArgs("one or more job ids"),
		ValidArgsFunction: a.completeJobs,
	}
	c.Flags().DurationVar(&timeout, "timeout", 0, "give up after so long, with exit code 9")
	c.RunE = a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		code, whole := exitOK, context.WithoutCancel(ctx)
		for _, id := range args {
			job, err := c.Wait(ctx, id)
			if err != nil && ctx.Err() != nil {
				return a.gaveUp(whole, c, id, timeout, ctx.Err())
			}
			if err != nil {
				return err
			}
			if told, err := c.Job(ctx, job.ID); err == nil && told.State.Terminal() { // with what its members did
				job = told
			}
			if job, _, err = c.Certify(ctx, id, job); err != nil {
				return err
			}
			if err := a.show(waitedView(a, job)); err != nil {
				return err
			}
			if code == exitOK {
				code = exitOfJob(job.Job)
			}
		}
		if code != exitOK {
			return exitError(code)
		}
		return nil
	})
	return c
}

// gaveUp tells what the job is about when the time is up or somebody has pressed
// Ctrl-C: one that is stalled may not end by itself.
func (a *app) gaveUp(ctx context.Context, c *client.Client, id string, timeout time.Duration, why error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	job, err := c.Job(ctx, id)
	if errors.Is(why, context.DeadlineExceeded) {
		return waitedProblem(id, timeout, job)
	}
	if err == nil && job.Stalled != nil {
		a.say("stalled: %s", stalledWords(job.Job))
		return exitError(exitNoAgreement)
	}
	return why
}

// waitedProblem says what the job was still about when the time was up.
func waitedProblem(id string, timeout time.Duration, job api.Job) error {
	p := &jobs.Problem{Code: jobs.CodeTimeout, What: fmt.Sprintf("%s has not ended within %s", id, timeout),
		Try: "muster status " + id, Retryable: true}
	if job.State != "" {
		p.Why = "it is " + string(job.State)
	}
	if job.Stalled != nil {
		p.Why = "it is stalled: " + stalledWords(job.Job)
	}
	return p
}

func waitedView(a *app, job api.Job) view {
	return view{data: job, names: []string{job.ID}, table: func(w io.Writer, _ bool) {
		fmt.Fprintln(w, fold(columns(w), "   ", append([]string{jobs.Short(job.ID)}, headline(a.style(w), job.Job)...)...))
	}}
}
