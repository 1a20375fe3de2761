package testnet_test

import (
	"fmt"
	"testing"

	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/testnet"
)

func TestEveryPeerOfFiveTakesAJobAndAnswersForIt(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 5})
	t.Run("a job from each gets a certified result, the same from all", n.certifiesFromEach)
	t.Run("one job from two peers is one task with one result", n.sameTask)
}

func (n *network) certifiesFromEach(t *testing.T) {
	n = n.in(t)
	for from := 1; from <= 5; from++ {
		name := fmt.Sprint("Ada ", from)
		job := n.submit(from, hello(name, 4), "")
		var result string
		for _, node := range n.Nodes {
			ended, cert := n.ended(node.Number, job.ID)
			if ended.State != jobs.Succeeded {
				t.Fatalf("from n%d, says n%d: %s", from, node.Number, states(ended))
			}
			if tree, _ := cert.Result(); result != "" && tree != result {
				t.Fatalf("n%d has result %s, others %s", node.Number, tree, result)
			} else {
				result = tree
			}
			if out := n.output(node.Number, ended, "stdout"); out != "Hello, "+name+"\n" {
				t.Fatalf("output through n%d: %q", node.Number, out)
			}
			if byRequest, _ := n.ended(node.Number, job.Request); byRequest.ID != job.ID {
				t.Fatalf("request %s is job %s, want %s", job.Request, byRequest.ID, job.ID)
			}
		}
	}
}

func (n *network) sameTask(t *testing.T) {
	n = n.in(t)
	file := guest(t, "world")
	var task, result, printed string
	for _, from := range []int{2, 5} {
		job, _ := n.ended(from, n.submit(from, file, "").ID)
		if job.State != jobs.Succeeded {
			t.Fatalf("from n%d: %s", from, states(job))
		}
		out := n.output(1, job, "stdout")
		if task != "" && (job.Task != task || job.Outcome.Result != result || out != printed) {
			t.Fatalf("task %s result %s printed:\n%s\nbefore %s and %s:\n%s", job.Task, job.Outcome.Result, out, task, result, printed)
		}
		task, result, printed = job.Task, job.Outcome.Result, out
	}
}
