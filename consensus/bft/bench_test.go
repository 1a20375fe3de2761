package bft

import (
	"testing"

	"github.com/muster-network/muster/consensus"
)

// BenchmarkOneJob is what the machines of one job cost when nothing goes wrong.
func BenchmarkOneJob(b *testing.B) {
	for _, bench := range []struct {
		name  string
		fault consensus.Fault
		f     uint64
	}{{"n=1", consensus.Byzantine, 0}, {"n=4", consensus.Byzantine, 1}, {"n=13", consensus.Byzantine, 4}, {"crash n=3", consensus.Crash, 1}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				q := newQuorum(bench.fault, bench.f)
				q.inputAll(AcceptJob{})
				q.settle()
				for seat, m := range q.machines {
					if !m.Done() {
						b.Fatalf("seat %d is not done: %+v", seat, m.View())
					}
				}
			}
		})
	}
}
