package main

import (
	"strings"
	"testing"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/api/server/servertest"
	"github.com/muster-network/muster/jobs"
)

func TestTasksThatHaveEndedAreCountedOnATerminalOnly(t *testing.T) {
	for _, counts := range []bool{true, false} {
		for _, tasks := range []int{0, 10} {
			hold := make(chan struct{})
			until := "3 of 10 tasks"
			if !counts || tasks == 0 {
				until = "job bafy" // it ends as soon as it is there
			}
			said := &trigger{text: until, do: func() { close(hold) }}
			a, _ := inside(t, func(f *jobs.File) servertest.Run {
				run := servertest.Hello(f)
				run.Hold, run.Tasks, run.Done = hold, tasks, 3
				return run
			}, said)
			a.root() // so that the settings have their flags
			c, err := a.client()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			r := &running{app: a, client: c, counts: counts}
			if err := r.run(t.Context(), jobs.FileFor("builtin:hello", []string{"Ada"}), client.SubmitOptions{}); err != nil {
				t.Fatal(err)
			}
			text := said.String()
			if counted := strings.Contains(text, "\r"); counted != (counts && tasks > 0) {
				t.Errorf("counts %v, %d tasks: %q", counts, tasks, text)
			} else if counted && !strings.Contains(text, "3 of 10 tasks\x1b[K\r\x1b[K") {
				t.Errorf("the line does not go: %q", text)
			}
		}
	}
}
