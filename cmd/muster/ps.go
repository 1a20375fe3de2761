package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
)

func (a *app) psCommand() *cobra.Command {
	var q client.Query
	var state string
	c := &cobra.Command{Use: "ps", Short: "List jobs, newest first", Args: noArgs}
	c.Flags().StringVar(&state, "state", "", "only jobs in this state, or stalled")
	c.Flags().StringVarP(&q.Label, "label", "l", "", "only jobs with this label: KEY or KEY=VALUE")
	c.Flags().IntVarP(&q.Limit, "limit", "n", 20, "at most so many, 1 to 1000")
	states := []string{"stalled"}
	for _, s := range jobs.States() {
		states = append(states, string(s))
	}
	completeWords(c, "state", states...)
	c.RunE = a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
		if q.Limit < 1 || q.Limit > maxListed {
			return usage(fmt.Sprintf("--limit %d is not 1 to %d", q.Limit, maxListed), "muster ps -n 100")
		}
		q.State = jobs.State(state)
		page, err := c.Jobs(ctx, q)
		if err != nil {
			return err
		}
		if err := a.show(jobsView(a, page)); err != nil {
			return err
		}
		if page.Next != "" && !a.machine() {
			a.say("there are more: %s ps -n %d", a.muster(), min(10*q.Limit, maxListed))
		}
		return nil
	})
	return c
}

// maxListed is how many jobs one call lists.
const maxListed = 1000

func jobsView(a *app, page api.Jobs) view {
	v := view{data: page, table: func(w io.Writer, wide bool) {
		t := table{head: []string{"JOB", "NAME", "STATE", "QUORUM", "AGE"}}
		arrays := slices.ContainsFunc(page.Jobs, func(j api.Job) bool { return j.Array != nil })
		if arrays {
			t.head = slices.Insert(t.head, 3, "TASKS")
		}
		for _, job := range page.Jobs {
			id := jobs.Short(job.ID)
			if wide {
				id = job.ID
			}
			state := string(job.State)
			if job.Stalled != nil {
				state = "stalled"
			}
			row := []string{id, dash(job.Name), state, quorumWords(job.Job), age(since(job.Issued, time.Now().UnixMilli()))}
			if arrays {
				row = slices.Insert(row, 3, tasksWords(job.Job))
			}
			t.rows = append(t.rows, row)
		}
		t.write(w, a.style(w))
	}}
	for _, job := range page.Jobs {
		v.names = append(v.names, job.ID)
	}
	return v
}

// tasksWords count the tasks of an array job, while it is open with how many
// have ended.
func tasksWords(job jobs.Job) string {
	switch {
	case job.Array == nil:
		return "-"
	case job.State.Terminal():
		return fmt.Sprint(job.Array.Tasks)
	}
	return fmt.Sprintf("%d/%d", tasksDone(job), job.Array.Tasks)
}

// quorumWords count who has signed, or while the job is open, who has started.
func quorumWords(job jobs.Job) string {
	n := 0
	for _, m := range job.Members {
		if m.Started && !job.State.Terminal() {
			n++
		}
	}
	if job.Outcome != nil {
		n = job.Outcome.Signed
	}
	return fmt.Sprintf("%d/%d", n, job.Size)
}
