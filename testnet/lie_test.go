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

// lieTries bounds the jobs that are run until a liar was drawn as executor. Of
// four members two execute, so that thirty in vain are one in a billion.
const lieTries = 30

func TestALyingExecutorIsOutvotedAndNamed(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4, Lie: 1})
	liar := n.Nodes[3]
	for try := range lieTries {
		job, _ := n.ended(1, n.submit(1, hello(fmt.Sprint("Ada ", try), 4), "").ID)
		if job.State != jobs.Succeeded {
			t.Fatal(states(job))
		}
		if out := n.output(2, job, "stdout"); out != fmt.Sprintf("Hello, Ada %d\n", try) {
			t.Fatalf("a lie is certified: %q", out)
		}
		seat := slices.IndexFunc(job.Members, func(m jobs.Member) bool { return m.Peer == liar.Peer })
		if job.Members[seat].Role != "executor" {
			continue
		}
		checkOutvoted(t, job, seat)
		n.agrees(2, liar.Peer)
		if code, out, _ := muster(t, "", "--socket", n.Nodes[1].Socket, "status", job.ID); code != 0 || !strings.Contains(out, "DISAGREES") {
			t.Fatalf("status: exit %d\n%s", code, out)
		}
		return
	}
	t.Fatalf("in %d jobs the liar was never an executor", lieTries)
}

// agrees checks that a node shows a liar's reports as what they are, and that the
// others' were certified.
func (n *network) agrees(number int, liar string) {
	n.t.Helper()
	n.await("the liar's report is counted", func() bool {
		peers, err := n.client(number).Peers(n.ctx)
		n.must(err)
		counted := false
		for _, p := range peers.Peers {
			if p.Agreed == nil {
				continue
			}
			if counted = counted || p.Peer == liar; (p.Peer == liar) != (*p.Agreed == 0) || p.Peer != liar && *p.Agreed != 1 {
				n.t.Fatalf("of the reports of %s a share of %v was certified", p.Name, *p.Agreed)
			}
		}
		return counted
	})
}

// checkOutvoted checks that a backup was called in because the reports did not
// match, and that the liar, and nobody else, disagrees and has not signed.
func checkOutvoted(t *testing.T, job api.Job, liar int) {
	t.Helper()
	backups := 0
	for seat, m := range job.Members {
		if m.Disagrees != (seat == liar) {
			t.Errorf("seat %d disagrees: %v; the liar has seat %d\n%s", seat, m.Disagrees, liar, states(job))
		}
		if m.Role == "backup" && m.Report == job.Outcome.Result && m.Activated == "the reports do not match" {
			backups++
		}
	}
	if backups == 0 {
		t.Errorf("no backup was called in because the reports do not match\n%s", states(job))
	}
	if job.Members[liar].Signed {
		t.Errorf("the liar has signed\n%s", states(job))
	}
}

// Whoever submitted a job, and had no part in it, is told by its members what
// they did: the certificate says who signed, and no more.
func TestALiarIsNamedByTheNodeThatSubmittedAndWasNotDrawn(t *testing.T) {
	p := policy()
	p.NoSubmitter = true
	n := up(t, testnet.Options{Nodes: 5, Lie: 1, Policy: p})
	liar := n.Nodes[4]
	for try := range lieTries {
		id := n.submit(1, hello(fmt.Sprint("Ada ", try), 4), "").ID
		n.ended(1, id)
		n.ended(2, id) // one that knows
		job, err := n.client(1).Job(n.ctx, id)
		n.must(err)
		seat := slices.IndexFunc(job.Members, func(m jobs.Member) bool { return m.Peer == liar.Peer })
		for _, m := range job.Members {
			if m.Role == "" || m.Peer == n.node(1).Peer {
				t.Fatalf("a seat without a role, or the submitter's\n%s", states(job))
			}
		}
		if job.Members[seat].Role != "executor" {
			continue
		}
		checkOutvoted(t, job, seat)
		n.await("the submitter can prove it", func() bool {
			list := n.evidence(1, id)
			return len(list) == 1 && list[0].Peer == liar.Peer && list[0].Misconduct == "disagreement"
		})
		code, out, chatter := muster(t, "", "--socket", n.node(1).Socket, "wait", id, "-o", "json")
		if code != 0 || !strings.Contains(out, `"disagrees": true`) {
			t.Errorf("wait: exit %d\n%s%s", code, out, chatter)
		}
		n.must(n.node(2).Kill()) // others remember it, too
		again, err := n.client(1).Job(n.ctx, job.ID)
		n.must(err)
		checkOutvoted(t, again, seat)
		return
	}
	t.Fatalf("in %d jobs the liar was never an executor", lieTries)
}

func TestTwoLiarsOfSevenAreOutvotedTogether(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 7, Lie: 2}) // both tell the same lie
	executed := false
	for try := range lieTries {
		job, _ := n.ended(1, n.submit(1+try%7, hello(fmt.Sprint("Ada ", try), 7), "").ID)
		if job.State != jobs.Succeeded {
			t.Fatal(states(job))
		}
		if out := n.output(3, job, "stdout"); out != fmt.Sprintf("Hello, Ada %d\n", try) {
			t.Fatalf("a lie is certified: %q", out)
		}
		liars := 0
		for _, m := range job.Members {
			lies := m.Peer == n.node(6).Peer || m.Peer == n.node(7).Peer
			if lies && m.Signed || !lies && m.Disagrees {
				t.Errorf("%s: a liar has signed, or an honest member disagrees\n%s", m.Name, states(job))
			}
			if lies && m.Disagrees {
				liars++
			}
		}
		if executed = executed || liars == 2; executed {
			return
		}
	}
	t.Fatalf("in %d jobs the liars were never executors together", lieTries)
}
