package member

import (
	"fmt"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store/storetest"
)

func BenchmarkTenThousandTasksAreWritten(b *testing.B) {
	for b.Loop() {
		w := newArrayWriter(admission.Network{1}, &storetest.Memory{}, 1<<30)
		for i := range 10_000 {
			if err := w.add(b.Context(), fmt.Sprintf("%05d", i), exec.Result{Kind: exec.Exited, Stdout: fmt.Appendf(nil, "Hello, %d!\n", i)}); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.finish(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTenThousandTasksAreChecked(b *testing.B) {
	blocks := &storetest.Memory{}
	m := &Member{cfg: Config{Network: admission.Network{1}, Store: blocks}}
	w := newArrayWriter(m.cfg.Network, blocks, 1<<30)
	for i := range 10_000 {
		if err := w.add(b.Context(), fmt.Sprintf("%05d", i), exec.Result{Kind: exec.Exited, Stdout: fmt.Appendf(nil, "Hello, %d!\n", i)}); err != nil {
			b.Fatal(err)
		}
	}
	v, err := w.finish(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	j := &job{task: &jobs.Task{Array: &jobs.Array{Count: 10_000}}, charter: &consensus.Charter{Limits: consensus.Limits{Output: 1 << 30}}}
	for b.Loop() {
		if err := m.checkArray(b.Context(), blocks, j, v); err != nil {
			b.Fatal(err)
		}
	}
}
