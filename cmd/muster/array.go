package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

// arrayResult writes what an array job left: of one task, or of all.
func (a *app) arrayResult(ctx context.Context, c *client.Client, cert client.Certified, task, dir string, force bool) error {
	array, err := c.Array(ctx, cert)
	if err != nil {
		return err
	}
	if task != "" {
		t, err := array.Find(task)
		if err != nil {
			return err
		}
		return a.taskResult(ctx, array, cert, t, dir, force)
	}
	if dir == "" {
		for _, t := range array.Tasks {
			if err := array.ReadFile(ctx, t, "stdout", a.out); err != nil {
				return err
			}
		}
		return nil
	}
	err = fetch(cert, dir, force, []string{tasksName, certificateName}, func(partial string) error {
		for _, t := range array.Tasks {
			if err := array.ReadTree(ctx, t, filepath.Join(partial, tasksName, t.Name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.say("%s in %s   Next: %s verify %s", plural(len(array.Tasks), "task"), filepath.Join(dir, tasksName), a.muster(), filepath.Join(dir, certificateName))
	return nil
}

// taskResult writes what one task left, and the proof of it.
func (a *app) taskResult(ctx context.Context, array *client.Array, cert client.Certified, t consensus.TaskOutcome, dir string, force bool) error {
	if dir == "" {
		if t.Outcome.Tree == nil {
			return noTree(t)
		}
		return array.ReadFile(ctx, t, "stdout", a.out)
	}
	proof, err := array.Proof(t)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("task-%d.proof", t.Index)
	err = fetch(cert, dir, force, append(resultNames(), name), func(partial string) error {
		if err := array.ReadTree(ctx, t, partial); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(partial, name), proof, 0o644)
	})
	if err != nil {
		return err
	}
	a.say("task %s in %s   Next: %s verify %s", taskWords(endOf(t)), dir, a.muster(), filepath.Join(dir, name))
	if t.Outcome.Tree == nil {
		return noTree(t)
	}
	return nil
}

func noTree(t consensus.TaskOutcome) error {
	return &jobs.Problem{Code: jobs.CodeNotFound, What: "task " + plain(t.Name) + " has no result", Why: "it ended " + t.Outcome.String()}
}

func endOf(t consensus.TaskOutcome) jobs.TaskEnd {
	e := jobs.TaskEnd{Index: t.Index, Name: t.Name, Kind: "result", Code: int(t.Outcome.Code)}
	if t.Failed() {
		e.Kind, e.Class = "failed", t.Outcome.Class.String()
	}
	return e
}

// taskWords name a task and how it ended: page-17.html (17) failed exit 3.
func taskWords(t jobs.TaskEnd) string {
	words := fmt.Sprintf("%s (%d)", plain(t.Name), t.Index)
	switch {
	case t.Kind != "failed":
		return words
	case t.Class == "exit":
		return fmt.Sprintf("%s failed exit %d", words, t.Code)
	}
	return words + " failed " + plain(t.Class)
}

// arrayWords count the tasks of an array job, and those that have ended.
func arrayWords(job jobs.Job) string {
	if job.Array.Failed > 0 || job.State.Terminal() {
		return arrayEndWords(job.Array)
	}
	return fmt.Sprintf("%d of %s", tasksDone(job), plural(job.Array.Tasks, "task"))
}

// arrayEndWords say how the tasks of an array job ended.
func arrayEndWords(a *jobs.ArrayState) string {
	if a.Failed > 0 {
		return fmt.Sprintf("%d of %s failed", a.Failed, plural(a.Tasks, "task"))
	}
	return plural(a.Tasks, "task")
}

// tasksDone is how far the member is that is farthest.
func tasksDone(job jobs.Job) (done uint64) {
	for _, m := range job.Members {
		done = max(done, m.Done)
		if m.Report != "" {
			done = uint64(job.Array.Tasks)
		}
	}
	return done
}

// maxNamed bounds the tasks that are named in one place, for people.
const maxNamed = 10

// failedTasks names the tasks that failed, each on a line.
func failedTasks(w io.Writer, s style, a *jobs.ArrayState) {
	if a == nil || a.Failed == 0 {
		return
	}
	shown := a.Failures[:min(len(a.Failures), maxNamed)]
	for _, t := range shown {
		fmt.Fprintf(w, "%s %s\n", s.bad("task"), taskWords(t))
	}
	if rest := a.Failed - len(shown); rest > 0 {
		fmt.Fprintf(w, "and %s more\n", plural(rest, "task"))
	}
}

// differsWords name the tasks by which a report differs.
func differsWords(tasks []jobs.TaskEnd) string {
	names := make([]string, 0, maxNamed)
	for _, t := range tasks[:min(len(tasks), maxNamed)] {
		names = append(names, fmt.Sprintf("%s (%d)", t.Name, t.Index))
	}
	if rest := len(tasks) - len(names); rest > 0 {
		names = append(names, fmt.Sprintf("and %d more", rest))
	}
	return strings.Join(names, ", ")
}
