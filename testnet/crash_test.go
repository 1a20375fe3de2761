package testnet_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/testnet"
)

func TestAJobOutlivesTheNodeThatSubmittedIt(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 6})
	for from := 1; from <= 3; from++ {
		job := n.submit(from, spin(t, 1<<25), fmt.Sprint("key ", from))
		n.must(n.node(from).Kill())
		_, others := n.numbers(job)
		asked := others[0]
		if asked == from {
			asked = others[1] // six nodes, four members: there are two others
		}
		byID, _ := n.ended(asked, job.ID)
		byRequest, _ := n.ended(asked, job.Request)
		if byID.State != jobs.Succeeded || byRequest.ID != job.ID {
			t.Fatalf("by id %s\nby request %s", states(byID), states(byRequest))
		}
		if out := n.output(asked, byID, "stdout"); out != "spun\n" {
			t.Fatalf("output: %q", out)
		}
		n.must(n.node(from).Start(n.ctx))
		n.must(n.Meet(n.ctx))
		if own, _ := n.ended(from, job.Request); own.ID != job.ID {
			t.Fatalf("back again, the submitter knows %s, want %s", own.ID, job.ID)
		}
		if again := n.submit(from, spin(t, 1<<25), fmt.Sprint("key ", from)); again.ID != job.ID {
			t.Fatalf("the same key made job %s, before %s", again.ID, job.ID)
		}
	}
}

func TestEveryAcknowledgedJobOutlivesACrashOfTheWholeNetwork(t *testing.T) {
	const total = 50
	n := up(t, testnet.Options{Nodes: 4, CPU: 100}) // a node runs one job at a time
	var mutex sync.Mutex
	acknowledged := map[int]string{}
	submit := func(i int) error {
		f := spin(t, 1<<20)
		f.Name = fmt.Sprint("spin ", i)
		job, err := n.client(1+i%4).Submit(n.ctx, f, client.SubmitOptions{Key: fmt.Sprint("crash ", i)})
		if err != nil {
			return err
		}
		mutex.Lock()
		defer mutex.Unlock()
		if before, ok := acknowledged[i]; ok && before != job.ID {
			return fmt.Errorf("submission %d was acknowledged as %s, and after the crash as %s", i, before, job.ID)
		}
		acknowledged[i] = job.ID
		return nil
	}
	var g errgroup.Group
	g.SetLimit(8)
	crashed := make(chan struct{})
	g.Go(func() error {
		n.await("half of the jobs are acknowledged", func() bool {
			mutex.Lock()
			defer mutex.Unlock()
			return len(acknowledged) >= total/2
		})
		for _, node := range n.Nodes {
			t.Logf("n%d crashes with %d open jobs", node.Number, n.open(node.Number))
		}
		close(crashed)
		for _, node := range n.Nodes {
			if err := node.Kill(); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range total {
		g.Go(func() error {
			err := submit(i)
			var p *jobs.Problem
			select {
			case <-crashed: // perhaps before it was acknowledged
				if errors.As(err, &p) && p.Code == jobs.CodeNodeDown {
					return nil
				}
			default:
			}
			return err
		})
	}
	n.must(g.Wait())
	t.Logf("%d jobs were acknowledged before the crash", len(acknowledged))
	for _, node := range n.Nodes {
		n.must(node.Start(n.ctx))
	}
	n.must(n.Meet(n.ctx))
	for i := range total { // whoever was not told asks again, and so do others
		n.must(submit(i))
	}
	results := map[string]bool{}
	for _, id := range acknowledged {
		for number := 1; number <= 4; number++ {
			job, _ := n.ended(number, id)
			if job.State != jobs.Succeeded {
				t.Fatalf("n%d: %s", number, states(job))
			}
			results[job.Outcome.Result] = true
		}
	}
	if len(acknowledged) != total || len(results) != 1 {
		t.Errorf("%d jobs with %d different results", len(acknowledged), len(results))
	}
	n.await("nothing is open any more", func() bool {
		return n.open(1)+n.open(2)+n.open(3)+n.open(4) == 0
	})
}

func TestAJobOutlivesAnExecutorThatDiesWhileItRuns(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4})
	job := n.submit(1, spin(t, 1<<26), "")
	victim := n.runningExecutor(1, job.ID)
	n.must(n.node(victim).Kill())
	asked := 1 + victim%4
	ended, cert := n.ended(asked, job.ID)
	if ended.State != jobs.Succeeded || n.output(asked, ended, "stdout") != "spun\n" {
		t.Fatal(states(ended))
	}
	called := slices.ContainsFunc(ended.Members, func(m jobs.Member) bool { return m.Role == "backup" && m.Activated == "an executor fell silent" })
	if !called {
		t.Errorf("no backup was called in because an executor fell silent\n%s", states(ended))
	}
	for _, seat := range cert.Verdict.Signers {
		if ended.Members[seat].Peer == n.node(victim).Peer {
			t.Errorf("n%d signed after its death", victim)
		}
	}
	n.must(n.node(victim).Start(n.ctx))
	if late, _ := n.ended(victim, job.ID); late.Outcome.Result != ended.Outcome.Result {
		t.Errorf("back again, n%d knows %s", victim, states(late))
	}
}

// runningExecutor waits until an executor runs the job, as a node sees it, and
// returns the executor. It is another node than the one asked.
func (n *network) runningExecutor(asked int, id string) int {
	n.t.Helper()
	found := 0
	n.until(asked, id, "an executor runs", func(job api.Job) bool {
		members, _ := n.numbers(job)
		for seat, m := range job.Members {
			if m.Run == "running" && members[seat] != asked {
				found = members[seat]
			}
		}
		if job.State.Terminal() {
			n.t.Fatalf("the job ended too early for this test: %s", states(job))
		}
		return found != 0
	})
	return found
}

func TestAJobWithoutAQuorumIsStalledUntilOneReturns(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4})
	job := n.submit(1, spin(t, 1<<26), "")
	n.runningExecutor(1, job.ID)
	n.must(n.node(3).Kill())
	n.must(n.node(4).Kill())
	want := []string{n.node(3).Name, n.node(4).Name}
	slices.Sort(want)
	stalled := n.until(2, job.ID, "the job is stalled", func(job api.Job) bool {
		if job.State.Terminal() {
			t.Fatalf("two of four decided: %s", states(job))
		}
		return job.Stalled != nil
	})
	if waiting := slices.Sorted(slices.Values(stalled.Stalled.Waiting)); !slices.Equal(waiting, want) || stalled.Stalled.Reason == "" {
		t.Errorf("stalled, waiting for %q because %q; want %q", waiting, stalled.Stalled.Reason, want)
	}
	if code, out, chatter := muster(t, "", "--socket", n.node(1).Socket, "status", job.ID); code != 0 || !strings.Contains(out, "stalled") || !strings.Contains(out, n.node(3).Name) {
		t.Errorf("status: exit %d\n%s%s", code, out, chatter)
	}
	n.must(n.node(3).Start(n.ctx))
	for _, number := range []int{1, 2, 3} {
		if ended, _ := n.ended(number, job.ID); ended.State != jobs.Succeeded || n.output(number, ended, "stdout") != "spun\n" {
			t.Fatalf("n%d: %s", number, states(ended))
		}
	}
}
