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

// revoked reports whether a node knows that the credential of another was revoked,
// and why.
func (n *network) revoked(number int, peer, reason string) bool {
	n.t.Helper()
	all, err := n.client(number).Members(n.ctx)
	n.must(err)
	return slices.ContainsFunc(all.Members, func(m api.Member) bool {
		return m.Peer == peer && m.State == "revoked" && m.Revoked > 0 && m.Reason == reason
	})
}

// company returns whom a node is connected to, and how.
func (n *network) company(number int) (met []string) {
	n.t.Helper()
	all, err := n.client(number).Peers(n.ctx)
	if n.ctx.Err() == nil {
		n.must(err)
	}
	for _, p := range all.Peers {
		if p.State == "alive" {
			met = append(met, strings.Join([]string{p.Name, p.Path, p.Address}, " "))
		}
	}
	return met
}

// awaitAlone waits until a node is connected to nobody.
func (n *network) awaitAlone(number int) {
	n.t.Helper()
	var met []string
	n.await(fmt.Sprintf("n%d is alone", number), func() bool {
		if now := n.company(number); n.ctx.Err() == nil {
			met = now
		}
		return len(met) == 0
	}, func() string { return fmt.Sprintf("with %q", met) })
}

func (n *network) revoke(victim int, reason string) {
	n.t.Helper()
	code, out, chatter := muster(n.t, "", "--socket", n.node(1).Socket, "network", "revoke", n.node(victim).Peer, "--reason", reason)
	if code != 0 || !strings.Contains(out, n.node(victim).Name+" is revoked") {
		n.t.Fatalf("revoke: exit %d\n%s%s", code, out, chatter)
	}
}

func TestARevokedMemberIsReplacedAndLetInAndDrawnNoMore(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 6})
	job := n.submit(1, long(t), "")
	members, _ := n.numbers(job)
	slices.Reverse(members) // first those that execute last
	members = slices.DeleteFunc(members, func(number int) bool { return number == 1 })
	victim, asked := members[0], members[1]
	n.runningExecutor(asked, job.ID)
	n.revoke(victim, "stolen")
	job, reserve := n.replaced(asked, job.ID, victim)
	n.endedWithout(job, victim, asked, reserve)

	// Who was away is told when it comes back, also who is let in by nobody.
	others := slices.DeleteFunc([]int{2, 3, 4, 5, 6}, func(number int) bool { return slices.Contains([]int{victim, asked, reserve}, number) })
	away, second := others[0], others[1]
	n.must(n.node(away).Kill())
	n.must(n.node(second).Kill())
	n.revoke(second, "lost")
	n.must(n.node(away).Start(n.ctx))
	n.must(n.node(second).Start(n.ctx))
	for _, number := range []int{1, asked, reserve, away} {
		n.await(fmt.Sprintf("n%d knows who is revoked", number), func() bool {
			return n.revoked(number, n.node(victim).Peer, "stolen") && n.revoked(number, n.node(second).Peer, "lost")
		})
	}
	n.awaitAlone(victim)
	n.awaitAlone(second)
	n.await("they know why", func() bool {
		return n.revoked(victim, n.node(victim).Peer, "stolen") && n.revoked(second, n.node(second).Peer, "lost")
	})
	call{args: []string{"--socket", n.node(victim).Socket, "run", "builtin:hello"}, exit: 5, code: jobs.CodeDenied,
		says: []string{"credential was revoked", "stolen", "new ticket"}}.check(t)

	n.must(n.node(1).Kill())
	n.must(n.node(1).Start(n.ctx))
	if !n.revoked(1, n.node(victim).Peer, "stolen") {
		t.Error("a restart forgets a revocation")
	}
	for try := range 4 {
		job, _ := n.ended(asked, n.submit(asked, hello(fmt.Sprint("Ada ", try), 4), "").ID)
		for _, m := range job.Members {
			if job.State != jobs.Succeeded || m.Peer == n.node(victim).Peer || m.Peer == n.node(second).Peer {
				t.Fatal(states(job))
			}
		}
	}
	if len(n.company(victim))+len(n.company(second)) > 0 {
		t.Error("who was revoked was let in")
	}
}

func TestOnlyAnAuthorityRevokesAndNoneIsRevoked(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 2})
	one, two := n.node(1), n.node(2)
	for _, c := range []call{
		{args: []string{"--socket", two.Socket, "network", "revoke", one.Name}, exit: 5, code: jobs.CodeDenied, says: []string{"no authority"}},
		{args: []string{"--socket", one.Socket, "network", "revoke", one.Name}, exit: 5, code: jobs.CodeDenied, says: []string{"an authority of the network"}},
		{args: []string{"--socket", one.Socket, "network", "revoke", "no-body"}, exit: 4, code: jobs.CodeNotFound, says: []string{"muster network members"}},
		{args: []string{"--socket", one.Socket, "network", "revoke", two.Name, "--reason", strings.Repeat("x", 257)}, exit: 2, code: jobs.CodeUsage, says: []string{"256 bytes"}},
	} {
		c.check(t)
	}
	if n.revoked(1, two.Peer, "") || len(n.company(2)) == 0 {
		t.Error("one of them was revoked all the same")
	}
}
