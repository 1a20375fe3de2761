package testnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
)

// BenchOptions say what is measured.
type BenchOptions struct {
	Nodes      int
	Jobs       int // in the burst
	Submitters int // in flight at once in the burst
	Single     int // jobs for latency, one at a time
	Array      int // tasks of one array job; 0: none is run
	Binary     string
	Progress   io.Writer // nil: none
}

// Figures are what a bench measured on a testnet of real processes: n = 4,
// f = 1, a tiny module that asks for 0.1 CPU, every job certified.
type Figures struct {
	Schema       string  `json:"schema"`
	Nodes        int     `json:"nodes"`
	Jobs         int     `json:"jobs"`
	Submitters   int     `json:"submitters"`
	LatencyP50   float64 `json:"latency_p50_ms"` // one in flight, from request to certificate
	LatencyP99   float64 `json:"latency_p99_ms"`
	JobsPerSec   float64 `json:"jobs_per_second"`           // of the burst
	CPUPerJob    float64 `json:"cpu_ms_per_job"`            // of the burst, all node processes and their workers
	MemoryPerJob float64 `json:"memory_bytes_per_job"`      // growth of resident memory for each finished job, summed over nodes, divided by nodes
	DiskPerJob   float64 `json:"disk_bytes_per_job"`        // growth of the data directories, divided by nodes
	IdleRSS      int64   `json:"idle_rss_bytes"`            // of one node, before any job, without workers: median
	Ready        float64 `json:"ready_ms"`                  // from start of a process to ready: median
	ArrayTasks   int     `json:"array_tasks"`               // in one job; 0: not measured
	TasksPerSec  float64 `json:"array_tasks_per_second"`    // of that job, from request to certificate: the median of arrayRuns
	CPUPerTask   float64 `json:"cpu_ms_per_array_task"`     // all node processes and their workers
	DiskPerTask  float64 `json:"disk_bytes_per_array_task"` // growth of the data directories, divided by nodes
}

// SchemaBench names the figures' JSON.
const SchemaBench = "muster.bench/v1"

// check refuses options that no figures can come of.
func (o BenchOptions) check() error {
	const most = 1_000_000
	for _, n := range []struct {
		flag                     string
		value, least, most, good int
		why                      string
	}{
		{"nodes", o.Nodes, benchQuorum, maxNodes, benchQuorum, fmt.Sprintf("every job has a quorum of %d", benchQuorum)},
		{"jobs", o.Jobs, 1, most, 1000, "throughput, CPU, memory and disk are those of a burst of jobs"},
		{"submitters", o.Submitters, 1, most, 16, "they submit the jobs of the burst"},
		{"single", o.Single, 1, most, 200, "latency is that of jobs one at a time"},
		{"array", o.Array, 0, 100_000, 10_000, "an array has at most 100,000 tasks, and 0 leaves it out"},
	} {
		if n.value < n.least || n.value > n.most {
			return &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("--%s %d is not %d to %d", n.flag, n.value, n.least, n.most),
				Why: n.why, Try: fmt.Sprintf("--%s %d", n.flag, n.good)}
		}
	}
	return nil
}

// benchQuorum is the size of every job's quorum.
const benchQuorum = 4

// Bench starts a network, measures it, and takes it down. Options that nothing can
// be measured with are a usage problem, and nothing starts.
func Bench(ctx context.Context, o BenchOptions) (f Figures, err error) {
	if err := o.check(); err != nil {
		return f, err
	}
	f = Figures{Schema: SchemaBench, Nodes: o.Nodes, Jobs: o.Jobs, Submitters: o.Submitters}
	n, err := Start(ctx, Options{Nodes: o.Nodes, Binary: o.Binary, API: "127.0.0.1:0"})
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, n.Down()) }()
	say := func(format string, args ...any) {
		if o.Progress != nil {
			fmt.Fprintf(o.Progress, format+"\n", args...)
		}
	}
	b := bench{network: n, options: o}
	defer b.close()
	if err := b.open(ctx); err != nil {
		return f, err
	}
	f.Ready = b.ready()
	if f.IdleRSS, err = b.idle(); err != nil {
		return f, err
	}
	say("up: %d nodes, ready after %.0f ms, %d KiB idle", o.Nodes, f.Ready, f.IdleRSS>>10)
	if err := b.warm(ctx); err != nil {
		return f, err
	}
	if f.LatencyP50, f.LatencyP99, err = b.latency(ctx); err != nil {
		return f, err
	}
	say("one in flight: p50 %.1f ms, p99 %.1f ms", f.LatencyP50, f.LatencyP99)
	if err := b.burst(ctx, &f); err != nil || o.Array == 0 {
		return f, err
	}
	say("burst: %.0f jobs/s", f.JobsPerSec)
	return f, b.array(ctx, &f)
}

type bench struct {
	network *Network
	options BenchOptions
	clients []*client.Client
	file    *jobs.File
	number  atomic.Int64
}

func (b *bench) open(ctx context.Context) error {
	for _, n := range b.network.Nodes {
		c, err := n.Client()
		if err != nil {
			return err
		}
		b.clients = append(b.clients, c)
	}
	b.file = jobs.FileFor("builtin:hello", []string{"bench"})
	b.file.Run.Resources.CPU = 100
	b.file.Run.Quorum.Size = benchQuorum
	_, err := b.clients[0].Node(ctx)
	return err
}

func (b *bench) close() {
	for _, c := range b.clients {
		c.Close()
	}
}

func (b *bench) ready() float64 {
	times := make([]float64, 0, len(b.network.Nodes))
	for _, n := range b.network.Nodes {
		times = append(times, float64(n.ready)/float64(time.Millisecond))
	}
	slices.Sort(times)
	return times[len(times)/2]
}

func (b *bench) idle() (int64, error) {
	var all []int64
	for _, n := range b.network.Nodes {
		rss, err := residentBytes(n.PID)
		if err != nil {
			return 0, err
		}
		all = append(all, rss)
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}

// one submits a job at a node and waits for its certificate.
func (b *bench) one(ctx context.Context, c *client.Client) error {
	j, err := c.SubmitUploaded(ctx, b.file, client.SubmitOptions{Key: fmt.Sprintf("bench-%d-%d", os.Getpid(), b.number.Add(1)), Wait: time.Minute})
	if err != nil {
		return err
	}
	if !j.State.Terminal() {
		if j, err = c.Wait(ctx, j.ID); err != nil {
			return err
		}
	}
	if j.State != jobs.Succeeded {
		return fmt.Errorf("job %s is %s", j.ID, j.State)
	}
	return nil
}

// warmJobs start the workers and fill the caches.
const warmJobs = 64

func (b *bench) warm(ctx context.Context) error {
	for i := range warmJobs {
		if err := b.one(ctx, b.clients[i%len(b.clients)]); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) latency(ctx context.Context) (p50, p99 float64, err error) {
	times := make([]float64, 0, b.options.Single)
	for i := range b.options.Single {
		begin := time.Now()
		if err := b.one(ctx, b.clients[i%len(b.clients)]); err != nil {
			return 0, 0, err
		}
		times = append(times, float64(time.Since(begin))/float64(time.Millisecond))
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)*99/100], nil
}

func (b *bench) burst(ctx context.Context, f *Figures) error {
	before, err := b.measure()
	if err != nil {
		return err
	}
	begin := time.Now()
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for i := range b.options.Submitters {
		g.Go(func() error {
			for next.Add(1) <= int64(b.options.Jobs) {
				if err := b.one(ctx, b.clients[i%len(b.clients)]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := b.measure()
	if err != nil {
		return err
	}
	count, nodes := float64(b.options.Jobs), float64(len(b.network.Nodes))
	f.JobsPerSec = count / took.Seconds()
	f.CPUPerJob = (after.cpu - before.cpu).Seconds() * 1000 / count
	f.MemoryPerJob = float64(after.memory-before.memory) / count / nodes
	f.DiskPerJob = float64(after.disk-before.disk) / count / nodes
	return nil
}

// arrayRuns is how many array jobs are run, one after the other.
const arrayRuns = 5

// array measures one array job at a time.
func (b *bench) array(ctx context.Context, f *Figures) error {
	count := uint64(b.options.Array)
	b.file.Run.Array = &jobs.RunArray{Count: &count}
	before, err := b.measure()
	if err != nil {
		return err
	}
	var rates []float64
	for i := range arrayRuns {
		b.file.Run.Args = []string{fmt.Sprint("run ", i)} // another task: another result
		begin := time.Now()
		if err := b.one(ctx, b.clients[i%len(b.clients)]); err != nil {
			return err
		}
		rates = append(rates, float64(count)/time.Since(begin).Seconds())
	}
	after, err := b.measure()
	if err != nil {
		return err
	}
	slices.Sort(rates)
	tasks := float64(count * arrayRuns)
	f.ArrayTasks, f.TasksPerSec = b.options.Array, rates[len(rates)/2]
	f.CPUPerTask = (after.cpu - before.cpu).Seconds() * 1000 / tasks
	f.DiskPerTask = float64(after.disk-before.disk) / tasks / float64(len(b.network.Nodes))
	return nil
}

type usage struct {
	cpu    time.Duration
	memory int64
	disk   int64
}

func (b *bench) measure() (usage, error) {
	var u usage
	for _, n := range b.network.Nodes {
		cpu, err := treeCPU(n.PID)
		if err != nil {
			return u, err
		}
		rss, err := residentBytes(n.PID)
		if err != nil {
			return u, err
		}
		disk, err := diskBytes(n.Home)
		if err != nil {
			return u, err
		}
		u.cpu, u.memory, u.disk = u.cpu+cpu, u.memory+rss, u.disk+disk
	}
	return u, nil
}

func residentBytes(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0, errors.New("statm: too short")
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// ticksPerSecond is USER_HZ, which is 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// treeCPU returns the CPU time of a process and its children, ended ones
// included.
func treeCPU(pid int) (time.Duration, error) {
	own, err := processCPU(pid)
	if err != nil {
		return 0, err
	}
	children, err := childrenOf(pid)
	if err != nil {
		return 0, err
	}
	for _, child := range children {
		if cpu, err := processCPU(child); err == nil { // it may have ended meanwhile
			own += cpu
		}
	}
	return own, nil
}

// childrenOf returns the processes that any thread of a process has started:
// workers are started by a thread of their own.
func childrenOf(pid int) ([]int, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	var children []int
	for _, thread := range threads {
		data, err := os.ReadFile(thread)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		for _, text := range strings.Fields(string(data)) {
			child, err := strconv.Atoi(text)
			if err != nil {
				return nil, err
			}
			children = append(children, child)
		}
	}
	return children, nil
}

func processCPU(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	after := string(data[strings.LastIndexByte(string(data), ')')+1:])
	fields := strings.Fields(after)
	const utime, cstime = 11, 14 // counted from the state
	if len(fields) <= cstime {
		return 0, errors.New("stat: too short")
	}
	var ticks int64
	for _, field := range fields[utime : cstime+1] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

func diskBytes(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // compacted away meanwhile
		}
		if err != nil {
			return err
		}
		sum += info.Size()
		return nil
	})
	return sum, err
}
