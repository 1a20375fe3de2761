package testnet_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/testnet"
)

func TestAMemberThatRefusedStandsInForOneThatDied(t *testing.T) {
	p := policy()
	p.MaxJobs = 1
	n := up(t, testnet.Options{Nodes: 4, Policy: p})
	busy, own := n.occupyOne()
	from := 1 + busy%4
	job := n.submit(from, spin(t, 1<<26), "")
	seat := slices.IndexFunc(job.Members, func(m jobs.Member) bool { return m.Peer == n.node(busy).Peer })
	if job.Members[seat].Accepted {
		t.Fatalf("n%d is full, and accepted\n%s", busy, states(job))
	}
	victim := 1 + from%4
	if victim == busy {
		victim = 1 + busy%4
	}
	if victim == from {
		t.Fatalf("n%d submits, n%d is busy, nobody is left", from, busy)
	}
	n.must(n.node(victim).Kill())
	ended, cert := n.ended(from, job.ID)
	if ended.State != jobs.Succeeded {
		t.Fatal(states(ended))
	}
	for _, signer := range cert.Verdict.Signers {
		if ended.Members[signer].Peer == n.node(victim).Peer {
			t.Errorf("n%d signed after its death", victim)
		}
	}
	if !slices.Contains(cert.Verdict.Signers, seat) {
		t.Errorf("n%d, which had refused, has not signed: %v", busy, cert.Verdict.Signers)
	}
	if now, err := n.client(busy).Job(n.ctx, own); err != nil || now.State != jobs.Running {
		t.Errorf("what n%d was busy with is %s: %v", busy, now.State, err)
	}
}

// occupyOne makes one node full with a job of its own, and returns both. Which
// node that is, the draw decides.
func (n *network) occupyOne() (busy int, job string) {
	n.t.Helper()
	file := spin(n.t, 1<<30)
	file.Run.Quorum.Size = 1
	j := n.submit(1, file, "")
	members, _ := n.numbers(j)
	n.until(members[0], j.ID, "it runs", func(job api.Job) bool { return job.State == jobs.Running })
	return members[0], j.ID
}

func TestAJobThatEnoughMembersRefuseIsRefusedWithTheirReasons(t *testing.T) {
	p := policy()
	p.MaxJobs = 1
	n := up(t, testnet.Options{Nodes: 4, Policy: p})
	busy := map[int]string{}
	for len(busy) < 2 {
		number, id := n.occupyOne()
		busy[number] = id
	}
	code, _, chatter := muster(t, "", "--socket", n.node(1).Socket, "run", "builtin:hello")
	if code != 6 || !strings.Contains(chatter, "busy") {
		t.Errorf("exit %d\n%s", code, chatter)
	}
	for number, id := range busy {
		_, err := n.client(1).Cancel(n.ctx, id)
		n.must(err)
		n.ended(number, id)
	}
	// The two that had accepted gave up their place when it was withdrawn.
	n.await("all have room again", func() bool {
		return n.open(1)+n.open(2)+n.open(3)+n.open(4) == 0
	}, func() string { return fmt.Sprint(n.open(1), n.open(2), n.open(3), n.open(4)) })
	if job, _ := n.ended(1, n.submit(1, hello("Ada", 4), "").ID); job.State != jobs.Succeeded {
		t.Error(states(job))
	}
}
