package testnet_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

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
