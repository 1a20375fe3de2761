package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/testnet"
)

func (a *app) benchCommand() *cobra.Command {
	o := testnet.BenchOptions{}
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure muster on a testnet of its own",
		Long: "Bench starts a testnet of real processes, has it certify jobs of a tiny module,\n" +
			"and shows what they took: latency with one in flight, then a burst.",
		Args: noArgs,
	}
	c.Flags().IntVar(&o.Nodes, "nodes", 4, "how many nodes")
	c.Flags().IntVar(&o.Jobs, "jobs", 1000, "jobs in the burst")
	c.Flags().IntVar(&o.Submitters, "submitters", 16, "jobs in flight at once in the burst")
	c.Flags().IntVar(&o.Single, "single", 200, "jobs for latency, one at a time")
	c.Flags().IntVar(&o.Array, "array", 10_000, "tasks of an array job; 0: none")
	c.RunE = func(command *cobra.Command, _ []string) error {
		o.Progress = a.err
		f, err := testnet.Bench(command.Context(), o)
		if err != nil {
			return err
		}
		return a.show(view{data: f, table: func(w io.Writer, _ bool) {
			t := table{rows: [][]string{
				{"latency, one in flight", fmt.Sprintf("%.1f ms median, %.1f ms p99", f.LatencyP50, f.LatencyP99)},
				{"throughput", fmt.Sprintf("%.0f jobs/s with %d in flight", f.JobsPerSec, f.Submitters)},
				{"CPU", fmt.Sprintf("%.2f ms for each job, all processes", f.CPUPerJob)},
				{"memory kept", fmt.Sprintf("%.0f bytes for each job and node", f.MemoryPerJob)},
				{"disk kept", fmt.Sprintf("%.0f bytes for each job and node", f.DiskPerJob)},
				{"idle node", fmt.Sprintf("%.1f MiB", float64(f.IdleRSS)/(1<<20))},
				{"ready after", fmt.Sprintf("%.0f ms", f.Ready)},
			}}
			if f.ArrayTasks > 0 {
				t.rows = append(t.rows, [][]string{
					{"array of " + plural(f.ArrayTasks, "task"), fmt.Sprintf("%.0f tasks/s", f.TasksPerSec)},
					{"CPU", fmt.Sprintf("%.3f ms for each task, all processes", f.CPUPerTask)},
					{"disk kept", fmt.Sprintf("%.0f bytes for each task and node", f.DiskPerTask)},
				}...)
			}
			t.write(w, a.style(w))
		}})
	}
	return c
}
