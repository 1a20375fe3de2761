// Package exectest checks that an executor keeps the contract of package exec.
package exectest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/muster-network/muster/jobs/exec"
)

// Fixtures are what the suite needs of an executor's kind of program.
type Fixtures struct {
	Program []byte // what package guest does, as a module of the executor
	Invalid []byte // a module that Inspect refuses
	Memory  int64  // bytes that Program needs at least; the suite's limit
}

// Run checks an executor. Open is called for two that share nothing but the
// machine, and sees to it that they are closed when t ends.
func Run(t *testing.T, open func(t testing.TB) exec.Executor, f Fixtures) {
	s := suite{e: open(t), other: open(t), f: f}
	for _, c := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"Inspect tells a module's class and refuses what cannot run", s.inspect},
		{"Streams and exit code come back, live and kept", s.streams},
		{"A program sees its own name, arguments and environment", s.environment},
		{"Inputs are read, and nothing else", s.inputs},
		{"Outputs are collected by name", s.outputs},
		{"A folder of outputs holds what the program left there", s.files},
		{"Two machines show a program the same world", s.world},
		{"Another task has other randomness", s.randomness},
		{"Output beyond the limit ends a run with exactly what fits", s.flood},
		{"Disk beyond the limit ends a run", s.disk},
		{"What files held once takes no room", s.shrink},
		{"Many files with long names go in and come out", s.crowd},
		{"Files and folders without end come to one", s.litter},
		{"Memory without end comes to one, the same each time", s.hog},
		{"A run over its time is stopped, its output kept", s.timeout},
		{"A run that nobody waits for is stopped", s.cancel},
		{"Runs at the same time do not see each other", s.together},
		{"Many tasks in a row end as each would alone", s.each},
		{"Of many tasks those that hang fail alone", s.eachHangs},
		{"Many tasks end when somebody wants no more", s.eachEnds},
	} {
		t.Run(c.name, c.run)
	}
}

type suite struct {
	e, other exec.Executor
	f        Fixtures
}

func (s suite) request(args ...string) exec.Request {
	return exec.Request{
		Task:    [32]byte{1, 2, 3},
		Module:  s.f.Program,
		Args:    append([]string{"guest"}, args...),
		Memory:  s.f.Memory,
		Disk:    1 << 20,
		Stream:  1 << 16,
		Timeout: time.Minute,
	}
}

func do(t testing.TB, e exec.Executor, req exec.Request) exec.Result {
	t.Helper()
	res, err := e.Run(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// want checks how a run ended.
func want(t testing.TB, res exec.Result, kind exec.Kind, code int32) {
	t.Helper()
	if res.Kind != kind || res.Code != code {
		t.Fatalf("ended as %v %d (%s), want %v %d\nstdout: %.500s\nstderr: %.500s",
			res.Kind, res.Code, res.Reason, kind, code, res.Stdout, res.Stderr)
	}
}

func (s suite) inspect(t *testing.T) {
	class, err := s.e.Inspect(s.f.Program)
	if err != nil || class == "" {
		t.Errorf("class %q, error %v", class, err)
	}
	again, err := s.e.Inspect(s.f.Program)
	if err != nil || again != class {
		t.Errorf("asked again: class %q, error %v", again, err)
	}
	if class, err := s.e.Inspect(s.f.Invalid); err == nil {
		t.Errorf("an invalid module has class %q", class)
	}
}

func (s suite) streams(t *testing.T) {
	var stdout, stderr bytes.Buffer
	req := s.request("echo", "one", "two")
	req.Stdout, req.Stderr = &stdout, &stderr
	res := do(t, s.e, req)
	want(t, res, exec.Exited, 0)
	if string(res.Stdout) != "one two\n" || string(res.Stderr) != "2\n" {
		t.Errorf("stdout %q, stderr %q", res.Stdout, res.Stderr)
	}
	if stdout.String() != "one two\n" || stderr.String() != "2\n" {
		t.Errorf("live stdout %q, stderr %q", &stdout, &stderr)
	}
	if res.Use.Wall <= 0 || res.Use.MemoryPeak <= 0 {
		t.Errorf("use not measured: %+v", res.Use)
	}
	want(t, do(t, s.e, s.request("exit", "3")), exec.Exited, 3)
}

func (s suite) environment(t *testing.T) {
	t.Setenv("MUSTER_SECRET", "not for programs")
	req := s.request("environment")
	req.Env = []string{"A=1", "B=two words", "C="}
	res := do(t, s.e, req)
	want(t, res, exec.Exited, 0)
	if got := string(res.Stdout); got != "guest\nA=1\nB=two words\nC=\n" {
		t.Errorf("it sees %q", got)
	}
}

func (s suite) inputs(t *testing.T) {
	in := []exec.File{{Path: "a/b/c", Data: []byte("deep")}, {Path: "text", Data: bytes.Repeat([]byte("0123456789abcdef"), 1<<17)}}
	with := func(args ...string) exec.Result {
		req := s.request(args...)
		req.Inputs = in
		req.Disk = 4 << 20
		return do(t, s.e, req)
	}
	res := with("copy", "/in/text", "/out/text")
	want(t, res, exec.Exited, 0)
	if len(res.Out) != 1 || !bytes.Equal(res.Out[0].Data, in[1].Data) {
		t.Errorf("the copy differs")
	}
	if res.Use.In != int64(len(in[0].Data)+len(in[1].Data)) || res.Use.Out != int64(len(in[1].Data)) {
		t.Errorf("use: %+v", res.Use)
	}
	want(t, with("copy", "/in/a/b/c", "/out/c"), exec.Exited, 0)
	for _, path := range []string{"/etc/passwd", "/in/../../etc/passwd", "../../etc/passwd", "/in/nothing", "/proc/self/environ"} {
		res := with("copy", path, "/out/x")
		want(t, res, exec.Exited, 1)
		if len(res.Out) != 0 {
			t.Errorf("%s was read: %q", path, res.Out[0].Data)
		}
	}
	for _, path := range []string{"/in/text", "/in/new", "/in/a/new", "/new", "/tmp/new"} {
		want(t, with("write", path, "x"), exec.Exited, 1)
	}
	if len(in[1].Data) != 16<<17 {
		t.Error("an input was changed")
	}
}

func (s suite) outputs(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, "a.b a/b"},
		{[]string{}, ""},
		{[]string{"a"}, "a/b"},
		{[]string{"a.b", "missing"}, "a.b"},
		{[]string{"a/b", "a.b"}, "a.b a/b"},
	} {
		req := s.request("pair", "/out/a/b", "/out/a.b")
		req.Outputs = c.names
		res := do(t, s.e, req)
		want(t, res, exec.Exited, 0)
		if got := paths(res.Out); got != c.want {
			t.Errorf("outputs %q: got %q, want %q", c.names, got, c.want)
		}
	}
}

func paths(files []exec.File) string {
	var all []string
	for _, f := range files {
		all = append(all, f.Path)
	}
	return strings.Join(all, " ")
}

func (s suite) files(t *testing.T) {
	res := do(t, s.e, s.request("files"))
	want(t, res, exec.Exited, 0)
	t.Logf("%s", res.Stdout)
	out := []exec.File{{Path: "c/b/one", Data: []byte("one")}, {Path: "c/three", Data: []byte("three")}}
	if !reflect.DeepEqual(res.Out, out) {
		t.Errorf("left %q", res.Out)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(res.Stdout)), "\n") {
		failed := strings.HasPrefix(line, fmt.Sprint(i, " ")) && !strings.HasSuffix(line, "<nil>")
		if refused := i == 5 || i == 8 || i == 10 || i == 11 || i == 12; failed != refused && i < 15 {
			t.Errorf("step %d: %s", i, line)
		}
	}
}

func (s suite) world(t *testing.T) {
	req := s.request("world")
	req.Inputs = []exec.File{{Path: "b/x", Data: []byte("x")}, {Path: "c", Data: []byte("cc")}}
	first := do(t, s.e, req)
	want(t, first, exec.Exited, 0)
	second := do(t, s.other, req)
	same(t, first, second)
	if !strings.HasPrefix(string(first.Stdout), "2022-01-01 00:00:00") {
		t.Errorf("the clock does not start where it should: %.60s", first.Stdout)
	}
}

// same checks that two runs agree in all that is matched.
func same(t testing.TB, a, b exec.Result) {
	t.Helper()
	if a.Kind != b.Kind || a.Code != b.Code || !bytes.Equal(a.Stdout, b.Stdout) || !bytes.Equal(a.Stderr, b.Stderr) || !reflect.DeepEqual(a.Out, b.Out) {
		t.Errorf("two runs of one task differ:\n%v %d %.2000s%.500s\n%v %d %.2000s%.500s",
			a.Kind, a.Code, a.Stdout, a.Stderr, b.Kind, b.Code, b.Stdout, b.Stderr)
	}
}

func (s suite) randomness(t *testing.T) {
	req := s.request("world")
	first := do(t, s.e, req)
	req.Task[31]++
	if second := do(t, s.e, req); bytes.Equal(first.Stdout, second.Stdout) {
		t.Error("two tasks have the same random bytes")
	}
}

func (s suite) flood(t *testing.T) {
	for _, stream := range []string{"stdout", "stderr"} {
		for _, limit := range []int64{0, 1, 12345} {
			req := s.request("flood", stream)
			req.Stream = limit
			res := do(t, s.e, req)
			want(t, res, exec.Limited, exec.LimitOutput)
			got, other := res.Stdout, res.Stderr
			if stream == "stderr" {
				got, other = other, got
			}
			expect := strings.Repeat("0123456789", int(limit)/10+1)[:limit]
			if string(got) != expect || len(other) != 0 {
				t.Errorf("%s, limit %d: kept %d and %d bytes", stream, limit, len(got), len(other))
			}
		}
	}
}

func (s suite) disk(t *testing.T) {
	exact := s.request("fill", "/out/big", "100000")
	exact.Disk = 100000
	res := do(t, s.e, exact)
	want(t, res, exec.Exited, 0)
	if len(res.Out) != 1 || len(res.Out[0].Data) != 100000 {
		t.Errorf("left %s", paths(res.Out))
	}
	exact.Disk--
	res = do(t, s.e, exact)
	want(t, res, exec.Limited, exec.LimitDisk)
	same(t, res, do(t, s.e, exact))
	want(t, do(t, s.e, s.request("stretch", "/out/big", "1099511627776")), exec.Limited, exec.LimitDisk)
}

func (s suite) shrink(t *testing.T) {
	req := s.request("shrink", "100", "67108864")
	req.Memory, req.Disk = s.f.Memory+128<<20, 128<<20
	first := do(t, s.e, req)
	want(t, first, exec.Exited, 0)
	if len(first.Out) != 100 || len(first.Out[99].Data) != 1 {
		t.Errorf("left %d files", len(first.Out))
	}
	same(t, first, do(t, s.e, req))
}

func (s suite) litter(t *testing.T) {
	for _, verb := range []string{"litter", "deep"} {
		req := s.request(verb)
		first := do(t, s.e, req)
		if !first.Kind.Deterministic() || first.Kind == exec.Exited && first.Code == 0 {
			t.Errorf("%s ended as %v %d (%s)", verb, first.Kind, first.Code, first.Reason)
		}
		same(t, first, do(t, s.e, req))
	}
	req := s.request("litter") // with memory for more names than are kept
	req.Memory += 128 << 20
	first := do(t, s.e, req)
	want(t, first, exec.Limited, exec.LimitDisk)
	same(t, first, do(t, s.e, req))
	want(t, do(t, s.e, s.request("echo")), exec.Exited, 0)
}

func (s suite) hog(t *testing.T) {
	first := do(t, s.e, s.request("hog"))
	if !first.Kind.Deterministic() || first.Kind == exec.Exited && first.Code == 0 {
		t.Fatalf("ended as %v %d (%s)", first.Kind, first.Code, first.Reason)
	}
	if first.Use.MemoryPeak > s.f.Memory {
		t.Errorf("held %d bytes with a limit of %d", first.Use.MemoryPeak, s.f.Memory)
	}
	same(t, first, do(t, s.e, s.request("hog")))
	want(t, do(t, s.e, s.request("echo")), exec.Exited, 0)
}

func (s suite) timeout(t *testing.T) {
	want(t, do(t, s.e, s.request("echo")), exec.Exited, 0) // what a first run costs is not this test's
	req := s.request("loop")
	req.Timeout = 500 * time.Millisecond
	res := do(t, s.e, req)
	want(t, res, exec.TimedOut, 0)
	if string(res.Stdout) != "looping\n" || res.Out != nil {
		t.Errorf("stdout %q, outputs %v", res.Stdout, res.Out)
	}
	if res.Use.CPU <= 0 {
		t.Errorf("use not measured: %+v", res.Use)
	}
	want(t, do(t, s.e, s.request("echo")), exec.Exited, 0)
}

// signal is a writer that closes a channel on the first write.
type signal struct {
	once sync.Once
	ch   chan struct{}
}

func (s *signal) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.ch) })
	return len(p), nil
}

func (s suite) cancel(t *testing.T) {
	up := &signal{ch: make(chan struct{})}
	req := s.request("loop")
	req.Stdout = up
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := s.e.Run(ctx, req)
		ended <- err
	}()
	select {
	case <-up.ch:
	case err := <-ended:
		t.Fatalf("ended before its output was live: %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	if _, err := s.e.Run(ctx, s.request("echo")); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: error %v", err)
	}
	want(t, do(t, s.e, s.request("echo")), exec.Exited, 0)
}

func (s suite) together(t *testing.T) {
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			word := fmt.Sprint("word", i)
			res, err := s.e.Run(context.Background(), s.request("write", "/out/"+word, word))
			if err != nil || res.Kind != exec.Exited || res.Code != 0 {
				t.Errorf("run %d: %v %v %d %s", i, err, res.Kind, res.Code, res.Reason)
				return
			}
			if len(res.Out) != 1 || res.Out[0].Path != word || string(res.Out[0].Data) != word {
				t.Errorf("run %d left %q", i, res.Out)
			}
		})
	}
	all.Wait()
}
