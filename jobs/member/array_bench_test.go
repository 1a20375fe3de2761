package member

import (
	"fmt"
	"testing"

	"github.com/muster-network/muster/consensus/admission"
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
