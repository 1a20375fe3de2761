package testnet_test

import (
	"strings"
	"testing"

	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/testnet"
)

func TestAJobThatDidNotSucceedIsRetriedUnderItsRequest(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 5})
	at := func(number int, args ...string) []string {
		return append([]string{"--socket", n.node(number).Socket}, args...)
	}

	running := n.submit(2, spin(t, 1<<30), "the key")
	call{args: at(2, "retry", running.ID), exit: 1, code: jobs.CodeConflict, says: []string{"has not ended"}}.check(t)
	_, err := n.client(2).Cancel(n.ctx, running.ID)
	n.must(err)
	old, _ := n.ended(2, running.ID)
	call{args: at(3, "retry", old.ID), exit: 5, code: jobs.CodeDenied, says: []string{n.node(2).Name}}.check(t)
	call{args: at(2, "retry", strings.Repeat("0", 64)), exit: 4, code: jobs.CodeNotFound}.check(t)

	code, out, chatter := muster(t, "", at(2, "retry", old.ID)...)
	id := strings.TrimSpace(out)
	if code != 0 || id == old.ID || !strings.Contains(chatter, "supersedes "+jobs.Short(old.ID)) {
		t.Fatalf("retry: exit %d\n%s%s", code, out, chatter)
	}
	next, err := n.client(2).Job(n.ctx, id)
	n.must(err)
	if next.Request != old.Request || next.Task != old.Task || next.Supersedes != old.ID || next.State.Terminal() {
		t.Fatalf("%+v takes the place of %+v", next.Job, old.Job)
	}
	// Asked for again it is the same job, and so it is under the caller's key.
	if again, err := n.client(2).Retry(n.ctx, old.ID); err != nil || again.ID != id {
		t.Errorf("retried again: %s, %v", again.ID, err)
	}
	if again := n.submit(2, spin(t, 1<<30), "the key"); again.ID != id {
		t.Errorf("under the same key: %s, not %s", again.ID, id)
	}
	_, err = n.client(2).Cancel(n.ctx, id)
	n.must(err)
	next, _ = n.ended(2, id)
	call{args: at(2, "retry", old.ID), exit: 1, code: jobs.CodeConflict, says: []string{"took its place, and cancelled", "muster retry " + jobs.Short(id)}}.check(t)

	n.namesTheLast(next.Request, id)
	for _, node := range n.Nodes {
		n.must(node.Kill())
	}
	for _, node := range n.Nodes {
		n.must(node.Start(n.ctx))
	}
	n.must(n.Meet(n.ctx))
	n.namesTheLast(next.Request, id)
	n.ended(1, old.ID) // what it superseded keeps its certificate

	good, _ := n.ended(2, n.submit(2, hello("Ada", 4), "").ID)
	call{args: at(2, "retry", good.ID), exit: 1, code: jobs.CodeConflict, says: []string{"has succeeded"}}.check(t)
}

// namesTheLast checks that every node knows the job that lives by the request id.
func (n *network) namesTheLast(request, id string) {
	n.t.Helper()
	for number := range n.Nodes {
		n.await("the request names the last job", func() bool {
			job, err := n.client(number+1).Job(n.ctx, request)
			return err == nil && job.ID == id
		})
	}
}

// A program that fails is retried, and its retry, and so on: each a job of its
// own with a certificate, one request.
func TestEachRetrySupersedesTheOneBefore(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4})
	job, _ := n.ended(1, n.submit(1, guest(t, "exit", "3"), "").ID)
	seen := map[string]bool{job.ID: true}
	for range 3 {
		next, err := n.client(1).Retry(n.ctx, job.ID) // at once: members may not have put the old one away
		n.must(err)
		if next.Supersedes != job.ID || seen[next.ID] || next.Request != job.Request {
			t.Fatalf("%+v takes the place of %s", next.Job, job.ID)
		}
		before := job
		job, _ = n.ended(1, next.ID)
		if job.State != jobs.Failed || job.Outcome.Result != before.Outcome.Result {
			t.Fatal(states(job))
		}
		seen[job.ID] = true
	}
	n.namesTheLast(job.Request, job.ID)
}
