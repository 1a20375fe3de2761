package testnet_test

import (
	"context"
	"errors"
	"testing"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/testnet"
)

func TestWhatARunningProgramPrintsIsSeenFromEveryPeer(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 5})
	job := n.submit(1, guest(t, "loop"), "")
	errSeen := errors.New("seen")
	for number := range n.Nodes {
		err := n.client(number+1).Logs(n.ctx, job.ID, client.LogOptions{Follow: true}, func(c api.LogChunk) error {
			if string(c.Data) != "looping\n" || c.Stream != "stdout" || c.Member == "" {
				t.Errorf("n%d shows %+v", number+1, c)
			}
			return errSeen
		})
		if !errors.Is(err, errSeen) {
			t.Errorf("n%d: %v", number+1, err)
		}
	}
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	ended := make(chan error, 1)
	follower := n.client(5)
	go func() {
		ended <- follower.Logs(ctx, job.ID, client.LogOptions{Follow: true}, func(api.LogChunk) error { return nil })
	}()
	_, err := n.client(1).Cancel(n.ctx, job.ID)
	n.must(err)
	if err := <-ended; err != nil {
		t.Errorf("the logs of a job that was cancelled end with %v", err)
	}
}

func TestANodeStoppedInOrderWhileItRunsAJobComesBackToIt(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4})
	job := n.submit(1, spin(t, 1<<26), "")
	stopped := n.runningExecutor(1, job.ID)
	if code, _, chatter := muster(t, "", "--socket", n.node(stopped).Socket, "node", "stop"); code != 0 {
		t.Fatalf("node stop: exit %d\n%s", code, chatter)
	}
	if n.node(stopped).Running() {
		t.Error("the node is said to have stopped, and runs")
	}
	n.must(n.node(stopped).Start(n.ctx))
	for number := range n.Nodes {
		if ended, _ := n.ended(number+1, job.ID); ended.State != jobs.Succeeded {
			t.Errorf("n%d: %s", number+1, states(ended))
		}
	}
}
