package testnet_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/testnet"
)

// freeze stops processes without ending them; the function it returns lets them
// go on.
func (n *network) freeze(numbers ...int) (thaw func()) {
	n.t.Helper()
	tell := func(s syscall.Signal) {
		for _, number := range numbers {
			n.must(syscall.Kill(n.node(number).PID, s))
		}
	}
	tell(syscall.SIGSTOP)
	n.t.Cleanup(func() { tell(syscall.SIGCONT) })
	return func() { tell(syscall.SIGCONT) }
}

// request is the id under which a node's submission with a key is found.
func (n *network) request(number int, key string) string {
	n.t.Helper()
	_, id, err := admission.OpenGenesis(n.genesis)
	n.must(err)
	owner, err := admission.ParseKey(n.node(number).Peer)
	n.must(err)
	request, err := consensus.NewRequestID(id, owner, key)
	n.must(err)
	return request.String()
}

func TestASubmissionOutlivesACrashBeforeItsAcknowledgement(t *testing.T) {
	p := policy()
	p.NoSubmitter = true // so that the submitter learns everything from others
	p.Accept, p.Start = 60_000, 60_000
	n := up(t, testnet.Options{Nodes: 5, Policy: p})
	thaw := n.freeze(2, 3, 4, 5)
	answered := make(chan error, 1)
	c, file := n.client(1), spin(t, 1<<20)
	go func() {
		_, err := c.Submit(n.ctx, file, client.SubmitOptions{Key: "key"})
		answered <- err
	}()
	request := n.request(1, "key")
	n.await("the charter is out", func() bool { // asked in vain, the node asks the frozen ones
		ctx, cancel := context.WithTimeout(n.ctx, 200*time.Millisecond)
		defer cancel()
		job, err := c.Job(ctx, request)
		return err == nil && job.State == jobs.Pending
	})
	n.must(n.node(1).Kill())
	var problem *jobs.Problem
	if err := <-answered; !errors.As(err, &problem) || problem.Code != jobs.CodeNodeDown {
		t.Fatalf("the caller hears %v", err)
	}
	thaw()
	n.must(n.node(1).Start(n.ctx))
	job, _ := n.ended(1, request)
	if job.State != jobs.Succeeded {
		t.Fatal(states(job))
	}
	if again := n.submit(1, spin(t, 1<<20), "key"); again.ID != job.ID {
		t.Errorf("the same key made job %s, before %s", again.ID, job.ID)
	}
	for number := 2; number <= 5; number++ {
		known := 0
		n.await(fmt.Sprintf("n%d knows of the job", number), func() bool { // three of four may have ended it
			list, err := n.client(number).Jobs(n.ctx, client.Query{})
			n.must(err)
			known = len(list.Jobs)
			return known > 0
		})
		if known != 1 {
			t.Errorf("n%d knows of %d jobs", number, known)
		}
	}
}
