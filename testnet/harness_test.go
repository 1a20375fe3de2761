package testnet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec/exectest"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
	"github.com/muster-network/muster/testnet"
)

// envBinary names a muster that is built already.
const envBinary = "MUSTER_BIN"

// TestMain builds the binary once, unless one is named. Processes run without
// the race detector: it slows them down more than tests can wait for.
func TestMain(m *testing.M) {
	os.Exit(mainWith(m))
}

func mainWith(m *testing.M) int {
	if os.Getenv(envBinary) == "" {
		dir, err := os.MkdirTemp("", "muster-bin-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir) //nolint:errcheck // among the temporary files
		bin := filepath.Join(dir, "muster")
		out, err := exec.Command("go", "build", "-o", bin, "github.com/muster-network/muster/cmd/muster").CombinedOutput()
		if err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		if err := os.Setenv(envBinary, bin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// hang is how long a test waits for what must happen, before it says that it
// did not.
const hang = 2 * time.Minute

// policy is that of testnets with still shorter waits.
func policy() *admission.Policy {
	p := testnet.Policy()
	p.Beat, p.Round, p.Resend, p.Stalled = 300, 400, 150, 1_500
	return &p
}

// network is a testnet with what a test does to it.
type network struct {
	*testnet.Network
	t       *testing.T
	ctx     context.Context
	genesis []byte
}

// up starts a network for one test or one group of tests. It goes down with
// the test, and what its nodes have logged is shown when the test fails.
func up(t *testing.T, o testnet.Options) *network {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	t.Cleanup(cancel)
	o.Binary, o.Dir, o.API = os.Getenv(envBinary), t.TempDir(), "127.0.0.1:0"
	if o.Policy == nil {
		o.Policy = policy()
	}
	if o.CPU == 0 {
		o.CPU = 8_000 // runs wait for each other's end only where a test wants it
	}
	net, err := testnet.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	n := &network{Network: net, t: t, ctx: ctx}
	t.Cleanup(func() {
		if t.Failed() {
			n.showLogs()
		}
		if err := net.Down(); err != nil {
			t.Errorf("down: %v", err)
		}
	})
	if n.genesis, err = os.ReadFile(filepath.Join(net.Nodes[0].Home, "genesis")); err != nil {
		t.Fatal(err)
	}
	return n
}

// in returns the network as a subtest uses it.
func (n *network) in(t *testing.T) *network {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	t.Cleanup(cancel)
	return &network{Network: n.Network, t: t, ctx: ctx, genesis: n.genesis}
}

func (n *network) showLogs() {
	for _, node := range n.Nodes {
		n.t.Logf("n%d %s %s, running %v, its log ends:\n%s", node.Number, node.Name, node.Peer, node.Running(), n.log(node))
	}
}

func (n *network) log(node *testnet.Node) string {
	data, err := os.ReadFile(filepath.Join(node.Home, "node.log"))
	if err != nil {
		return err.Error()
	}
	return string(data[max(len(data)-8000, 0):])
}

func (n *network) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// client speaks to a node, by its number. It knows the genesis, so that no node
// is believed.
func (n *network) client(number int) *client.Client {
	n.t.Helper()
	c, err := client.New(client.Config{Address: "unix:" + n.Nodes[number-1].Socket, Genesis: n.genesis})
	n.must(err)
	n.t.Cleanup(c.Close)
	return c
}

func (n *network) submit(number int, file *jobs.File, key string) api.Job {
	n.t.Helper()
	job, err := n.client(number).Submit(n.ctx, file, client.SubmitOptions{Key: key})
	n.must(err)
	return job
}

// ended waits on one node for a job's end. The certificate must say the same as
// the node does.
func (n *network) ended(number int, id string) (api.Job, client.Certified) {
	n.t.Helper()
	job, err := n.client(number).Wait(n.ctx, id)
	if err != nil {
		n.t.Fatalf("n%d: wait for %s, last seen %s: %v", number, id, states(job), err)
	}
	return job, n.certificate(number, job)
}

func states(job api.Job) string {
	text := fmt.Sprintf("%s round %d stalled %v", job.State, job.Round, job.Stalled)
	for _, m := range job.Members {
		text += fmt.Sprintf("\n  %+v", m)
	}
	return text
}

// certificate fetches a job's certificate from a node and checks it with the
// genesis and nothing else.
func (n *network) certificate(number int, job api.Job) client.Certified {
	n.t.Helper()
	fetched, err := n.client(number).Certificate(n.ctx, job.ID)
	n.must(err)
	opened, err := consensus.OpenCertificate(fetched.Bytes)
	n.must(err)
	verdict, err := opened.Verify(n.genesis)
	n.must(err)
	if verdict.Job.String() != job.ID || len(verdict.Signers) < job.Quorum {
		n.t.Fatalf("a certificate of %s with %d signers, for %s", verdict.Job, len(verdict.Signers), job.ID)
	}
	tree := ""
	if verdict.Value.Tree != nil {
		tree = verdict.Value.Tree.String()
	}
	if job.Outcome == nil || job.Outcome.Result != tree {
		n.t.Fatalf("n%d says %+v, the certificate %s", number, job.Outcome, verdict.Value)
	}
	return fetched
}

// output reads a file of a certified result through a node.
func (n *network) output(number int, job api.Job, path string) string {
	n.t.Helper()
	c := n.client(number)
	cert, err := c.Certificate(n.ctx, job.ID)
	n.must(err)
	var out bytes.Buffer
	if err := c.ReadFile(n.ctx, cert, path, &out); err != nil {
		n.t.Fatalf("%s through n%d: %v", path, number, err)
	}
	return out.String()
}

// until polls the job through a node until it is as wanted.
func (n *network) until(number int, id, what string, wanted func(api.Job) bool) api.Job {
	n.t.Helper()
	c := n.client(number)
	var job api.Job
	n.await(what, func() bool {
		var err error
		job, err = c.Job(n.ctx, id)
		var p *jobs.Problem
		if errors.As(err, &p) && p.Code == jobs.CodeNotFound {
			return false
		}
		n.must(err)
		return wanted(job)
	}, func() string { return states(job) })
	return job
}

// await polls until done, and fails with what is when that takes too long.
func (n *network) await(what string, done func() bool, is ...func() string) {
	n.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			text := ""
			for _, f := range is {
				text += "; it is " + f()
			}
			n.t.Fatalf("in vain waited until %s%s", what, text)
		}
	}
}

// numbers returns the nodes that hold a seat in the job, in roster order, and
// those that do not.
func (n *network) numbers(job api.Job) (members, others []int) {
	at := map[string]int{}
	for _, node := range n.Nodes {
		at[node.Peer] = node.Number
	}
	for _, m := range job.Members {
		members = append(members, at[m.Peer])
		delete(at, m.Peer)
	}
	for _, node := range n.Nodes {
		if _, ok := at[node.Peer]; ok {
			others = append(others, node.Number)
		}
	}
	return members, others
}

func (n *network) node(number int) *testnet.Node { return n.Nodes[number-1] }

// hello greets somebody, on a quorum of a size.
func hello(name string, size uint64) *jobs.File {
	f := jobs.FileFor("builtin:hello", []string{name})
	f.Run.Quorum.Size = size
	f.Run.Resources.CPU = 100
	return f
}

// guest returns the job of the program that does what its words say. The module
// is compiled once for each test that asks, from Go's build cache.
func guest(t *testing.T, words ...string) *jobs.File {
	t.Helper()
	return module(t, "guest", exectest.Guest(t), words...)
}

// spin returns a job that counts to 32 times so many, then prints "spun". It has
// no other way to take time: a program's own clock is not the world's.
func spin(t *testing.T, count int32) *jobs.File {
	t.Helper()
	const iovec, text, written = 16, 32, 24
	count32 := func(local int, limit int32, body []byte) []byte {
		return asm.Join(
			asm.Const(0), asm.Set(local),
			0x03, 0x40, // loop
			body,
			asm.Get(local), asm.Const(1), asm.Add, asm.Set(local),
			asm.Get(local), asm.Const(limit), 0x48, 0x0d, 0, // local < limit: again
			0x0b)
	}
	program := asm.Program{
		Imports: []asm.Import{asm.WASI("fd_write", 4)}, Locals: 2, Pages: 1,
		Data: map[uint32]string{text: "spun\n"},
		Code: asm.Join(
			count32(0, 32, count32(1, count, nil)),
			asm.Const(iovec), asm.Const(text), asm.Store(0),
			asm.Const(iovec), asm.Const(5), asm.Store(4),
			asm.Const(1), asm.Const(iovec), asm.Const(1), asm.Const(written), asm.Call(0), asm.Drop),
	}
	return module(t, "spin", program.Module())
}

// module returns the job of a module, on a quorum of four.
func module(t *testing.T, name string, data []byte, words ...string) *jobs.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".wasm")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f := jobs.FileFor(path, words)
	f.Run.Quorum.Size = 4
	f.Run.Resources.CPU = 100
	return f
}

// open returns how many jobs are open on a node.
func (n *network) open(number int) int {
	n.t.Helper()
	info, err := n.client(number).Node(n.ctx)
	n.must(err)
	return info.Queue.Open
}

// muster runs the binary as a person would, with an environment of its own, and
// returns its exit code and what it wrote.
func muster(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Getenv(envBinary), args...)
	empty := t.TempDir()
	cmd.Env = []string{"HOME=" + empty, "XDG_RUNTIME_DIR=" + empty, "XDG_CONFIG_HOME=" + empty, "PATH=" + os.Getenv("PATH")}
	cmd.Dir = empty
	var out, chatter bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &chatter
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("muster %s: %v\n%s", strings.Join(args, " "), err, &chatter)
	}
	return cmd.ProcessState.ExitCode(), out.String(), chatter.String()
}
