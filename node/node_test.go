package node_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/node"
)

func TestMain(m *testing.M) {
	if node.Worker() {
		return
	}
	os.Exit(m.Run())
}

// hang is how long a test waits for what must happen, before it says that it
// did not.
const hang = time.Minute

func testPolicy() admission.Policy {
	p := admission.DefaultPolicy()
	p.Advert, p.Resend, p.Beat = 1_000, 200, 200
	return p
}

// network starts n nodes in this process, joined by tickets.
func network(t testing.TB, size int) []*node.Node {
	t.Helper()
	dir := t.TempDir()
	var nodes []*node.Node
	for i := range size {
		home := filepath.Join(dir, fmt.Sprint(i))
		if i == 0 {
			if _, err := node.CreateNetwork(home, node.CreateOptions{Name: "lab", Testnet: true, Policy: testPolicy()}); err != nil {
				t.Fatal(err)
			}
		} else {
			ticket, err := nodes[0].Invite(context.Background(), api.InviteRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := node.Join(context.Background(), home, ticket.Ticket); err != nil {
				t.Fatal(err)
			}
		}
		nodes = append(nodes, start(t, home))
	}
	return nodes
}

func start(t testing.TB, home string) *node.Node {
	t.Helper()
	ready := make(chan node.Ready, 1)
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", filepath.Base(home))
	}
	n, err := node.Open(node.Config{Home: home, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Log: log,
		Ready: func(r node.Ready) { ready <- r }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("node ended: %v", err)
	case <-time.After(hang):
		t.Fatal("not ready")
	}
	return n
}

func certified(t *testing.T, n *node.Node, file *jobs.File) jobs.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	j, err := n.Submit(ctx, file, server.SubmitOptions{})
	if err != nil {
		t.Fatalf("submit: %v", err)
	}
	j, err = n.Wait(ctx, j.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !j.State.Terminal() {
		t.Fatalf("the job is %s: %+v", j.State, j)
	}
	return j
}

func hello(name string, size uint64) *jobs.File {
	f := jobs.FileFor("builtin:hello", []string{name})
	f.Run.Quorum.Size = size
	return f
}

func TestANodeAloneCertifiesItsOwnWork(t *testing.T) {
	n := network(t, 1)[0]
	j := certified(t, n, hello("Ada", 1))
	if j.State != jobs.Succeeded || j.Outcome == nil || j.Outcome.Result == "" {
		t.Fatalf("job: %+v", j)
	}
	verify(t, n, j)
}

func verify(t *testing.T, n *node.Node, j jobs.Job) {
	t.Helper()
	data, err := n.Certificate(context.Background(), j.ID)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := consensus.OpenCertificate(data)
	if err != nil {
		t.Fatal(err)
	}
	network, err := n.Network(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := certificate.Verify(network.Genesis)
	if err != nil {
		t.Fatalf("certificate: %v", err)
	}
	if verdict.Job.String() != j.ID {
		t.Errorf("certificate of %s, want %s", verdict.Job, j.ID)
	}
}

// meet waits until every node has heard every other's advert.
func meet(t testing.TB, nodes []*node.Node) {
	t.Helper()
	deadline := time.After(hang)
	for _, n := range nodes {
		for {
			peers, err := n.Peers(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			alive := 0
			for _, p := range peers {
				if p.State == "alive" && p.CPU > 0 {
					alive++
				}
			}
			if alive >= len(nodes)-1 {
				break
			}
			select {
			case <-deadline:
				t.Fatalf("%d of %d peers", alive, len(nodes)-1)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

func TestFourNodesCertifyWhatAnyOfThemSubmits(t *testing.T) {
	nodes := network(t, 4)
	meet(t, nodes)
	var task, result string
	for _, n := range nodes {
		j := certified(t, n, hello("Ada", 4))
		if j.State != jobs.Succeeded {
			t.Fatalf("job: %+v", j)
		}
		if task != "" && (j.Task != task || j.Outcome.Result != result) {
			t.Errorf("task %s result %s, before %s and %s", j.Task, j.Outcome.Result, task, result)
		}
		task, result = j.Task, j.Outcome.Result
		for _, other := range nodes {
			verify(t, other, j)
		}
	}
}
