package node_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/node"
)

func benchmarkJob(b *testing.B, n *node.Node, key string) {
	f := hello("bench", 4)
	f.Run.Resources.CPU = 100
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	j, err := n.Submit(ctx, f, server.SubmitOptions{Key: key})
	if err == nil {
		j, err = n.Wait(ctx, j.ID)
	}
	if err != nil || j.State != jobs.Succeeded {
		b.Errorf("job: %v, %s", err, j.State)
	}
}

// BenchmarkJobs certifies jobs on four nodes in one process, 16 in flight.
func BenchmarkJobs(b *testing.B) {
	nodes := network(b, 4)
	meet(b, nodes)
	start := time.Now().UnixNano()
	for i := range 64 {
		benchmarkJob(b, nodes[i%4], fmt.Sprintf("warm-%d-%d", start, i))
	}
	var next atomic.Int64
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := next.Add(1)
			benchmarkJob(b, nodes[i%4], fmt.Sprintf("%d-%d", start, i))
		}
	})
}
