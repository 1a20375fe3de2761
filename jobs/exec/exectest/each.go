package exectest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/muster-network/muster/jobs/exec"
)

// tasksOf hands out tasks of the suite's program, and collects what they ended
// in.
type tasksOf struct {
	args    [][]string
	inputs  func(i int) []exec.File
	taken   int
	results []exec.Result
}

func (s *tasksOf) next() (exec.Task, bool, error) {
	if s.taken == len(s.args) {
		return exec.Task{}, false, nil
	}
	i := s.taken
	s.taken++
	t := exec.Task{Seed: [32]byte{byte(i), 1}, Args: append([]string{"guest"}, s.args[i]...), Env: []string{fmt.Sprint("TASK=", i)}}
	if s.inputs != nil {
		t.Inputs = s.inputs(i)
	}
	return t, true, nil
}

func (s *tasksOf) done(r exec.Result) error {
	s.results = append(s.results, r)
	return nil
}

func (s suite) each(t *testing.T) {
	args := [][]string{{"echo", "a"}, {"exit", "3"}, {"world"}, {"hog"}, {"environment"}, {"write", "/out/x", "y"}, {"flood", "stdout"},
		{"copy", "/in/own", "/out/own"}, {"copy", "/in/all", "/out/all"}, {"litter"}, {"world"}, {"echo", "b"}}
	shared := []exec.File{{Path: "all", Data: []byte("for all")}}
	tasks := &tasksOf{args: args, inputs: func(i int) []exec.File {
		return []exec.File{{Path: "own", Data: fmt.Appendf(nil, "of task %d", i)}}
	}}
	req := s.request()
	req.Inputs = shared
	if err := s.e.RunEach(context.Background(), req, tasks.next, tasks.done); err != nil {
		t.Fatal(err)
	}
	if len(tasks.results) != len(args) {
		t.Fatalf("%d results of %d tasks", len(tasks.results), len(args))
	}
	for i, words := range args {
		alone := s.request(words...)
		alone.Task, alone.Env = [32]byte{byte(i), 1}, []string{fmt.Sprint("TASK=", i)}
		alone.Inputs = slices.Concat(shared, []exec.File{{Path: "own", Data: fmt.Appendf(nil, "of task %d", i)}})
		same(t, do(t, s.other, alone), tasks.results[i])
		if tasks.results[i].Use.Wall <= 0 || tasks.results[i].Use.In != 7+int64(len(fmt.Sprint("of task ", i))) {
			t.Errorf("task %d: use %+v", i, tasks.results[i].Use)
		}
	}
}

// Some of the many are too long for their time, and others run beside them.
func (s suite) eachHangs(t *testing.T) {
	tasks := &tasksOf{}
	for i := range 150 {
		words := []string{"echo", fmt.Sprint(i)}
		if i == 0 || i == 97 || i == 98 {
			words = []string{"loop"}
		}
		tasks.args = append(tasks.args, words)
	}
	req := s.request()
	req.Timeout = 2 * time.Second
	if err := s.e.RunEach(context.Background(), req, tasks.next, tasks.done); err != nil {
		t.Fatal(err)
	}
	if len(tasks.results) != 150 {
		t.Fatalf("%d results", len(tasks.results))
	}
	for i, r := range tasks.results {
		kind, stdout := exec.Exited, fmt.Sprintln(i)
		if tasks.args[i][0] == "loop" {
			kind, stdout = exec.TimedOut, "looping\n"
		}
		if r.Kind != kind || string(r.Stdout) != stdout {
			t.Errorf("task %d ended as %v with %q (%s)", i, r.Kind, r.Stdout, r.Reason)
		}
	}
}

func (s suite) eachEnds(t *testing.T) {
	boom := errors.New("boom")
	many := func() *tasksOf { return &tasksOf{args: slices.Repeat([][]string{{"echo"}}, 120)} }

	tasks := many()
	err := s.e.RunEach(context.Background(), s.request(), func() (exec.Task, bool, error) {
		if tasks.taken == 100 {
			return exec.Task{}, false, boom
		}
		return tasks.next()
	}, tasks.done)
	if !errors.Is(err, boom) {
		t.Errorf("next failed: %v", err)
	}
	tasks = many()
	err = s.e.RunEach(context.Background(), s.request(), tasks.next, func(r exec.Result) error {
		if len(tasks.results) == 50 {
			return boom
		}
		return tasks.done(r)
	})
	if !errors.Is(err, boom) || len(tasks.results) != 50 {
		t.Errorf("done failed: %v after %d", err, len(tasks.results))
	}
	ctx, cancel := context.WithCancel(context.Background())
	tasks = many()
	tasks.args[60] = []string{"loop"}
	err = s.e.RunEach(ctx, s.request(), tasks.next, func(r exec.Result) error {
		if len(tasks.results) == 59 {
			cancel()
		}
		return tasks.done(r)
	})
	cancel()
	if !errors.Is(err, context.Canceled) || len(tasks.results) > 60 {
		t.Errorf("cancelled: %v after %d", err, len(tasks.results))
	}
	if err := s.e.RunEach(context.Background(), s.request(), (&tasksOf{}).next, tasks.done); err != nil {
		t.Errorf("no tasks: %v", err)
	}
	tasks = many()
	if err := s.e.RunEach(context.Background(), s.request(), tasks.next, tasks.done); err != nil || len(tasks.results) != 120 {
		t.Errorf("afterwards: %d results, %v", len(tasks.results), err)
	}
}
