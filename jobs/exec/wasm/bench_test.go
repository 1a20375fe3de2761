package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
)

// BenchmarkHelloInAWorker is what one trivial job costs, module held: both
// processes' work, and the way between them.
func BenchmarkHelloInAWorker(b *testing.B) {
	e := newExecutor(b, Config{})
	req := request(asm.Hello().Module(), "Ada")
	run(b, e, req)
	var cpu int64
	b.ReportAllocs()
	for b.Loop() {
		res := run(b, e, req)
		if res.Kind != exec.Exited {
			b.Fatal(res.Reason)
		}
		cpu += int64(res.Use.CPU)
	}
	b.ReportMetric(float64(cpu)/float64(b.N), "worker-cpu-ns/op")
}

// BenchmarkHelloNowAndThen is what a worker uses for a trivial job when it waits
// for each: what it does while it waits is in it.
func BenchmarkHelloNowAndThen(b *testing.B) {
	e := newExecutor(b, Config{})
	req := request(asm.Hello().Module(), "Ada")
	run(b, e, req)
	var cpu int64
	for b.Loop() {
		cpu += int64(run(b, e, req).Use.CPU)
		<-time.After(20 * time.Millisecond)
	}
	b.ReportMetric(float64(cpu)/float64(b.N), "worker-cpu-ns/op")
}

// BenchmarkHelloInProcess is the same without the worker.
func BenchmarkHelloInProcess(b *testing.B) {
	ctx := context.Background()
	e, err := newEngine(ctx, "")
	if err != nil {
		b.Fatal(err)
	}
	defer e.close(ctx)
	code := asm.Hello().Module()
	id := hash(sha256.Sum256(code))
	if err := e.load(ctx, id, code); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var out bytes.Buffer
		o := e.run(ctx, &job{module: id, args: []string{"hello", "Ada"}, stdout: &out, stderr: &out},
			&account{memory: 64 << 20})
		if o.kind != exec.Exited || out.Len() == 0 {
			b.Fatal(o.reason)
		}
	}
}

// BenchmarkHelloInWorkersTogether keeps all workers busy.
func BenchmarkHelloInWorkersTogether(b *testing.B) {
	e := newExecutor(b, Config{})
	req := request(asm.Hello().Module(), "Ada")
	run(b, e, req)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if res := run(b, e, req); res.Kind != exec.Exited {
				b.Error(res.Reason)
				return
			}
		}
	})
}

// BenchmarkInspect is the cost of a module seen before.
func BenchmarkInspect(b *testing.B) {
	e := newExecutor(b, Config{})
	module := asm.Hello().Module()
	for b.Loop() {
		if _, err := e.Inspect(module); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHelloForEachTask is one trivial task of many: a round trip less than
// alone, and nothing found out again.
func BenchmarkHelloForEachTask(b *testing.B) {
	e := newExecutor(b, Config{})
	req := request(asm.Hello().Module(), "Ada")
	run(b, e, req)
	var cpu int64
	left := b.N
	b.ReportAllocs()
	b.ResetTimer()
	err := e.RunEach(context.Background(), req, func() (exec.Task, bool, error) {
		left--
		return exec.Task{Args: req.Args}, left >= 0, nil
	}, func(res exec.Result) error {
		cpu += int64(res.Use.CPU)
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cpu)/float64(b.N), "worker-cpu-ns/op")
}
