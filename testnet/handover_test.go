package testnet_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/testnet"
)

// long returns a job whose runs outlast a replacement.
func long(t *testing.T) *jobs.File {
	f := spin(t, 1<<28)
	f.Name = "long"
	return f
}

// replaced waits until a node says that a member was replaced, and returns the
// job as it then stood, and the number of the node that took the seat.
func (n *network) replaced(asked int, id string, victim int) (api.Job, int) {
	n.t.Helper()
	job := n.until(asked, id, "the member is replaced", func(job api.Job) bool {
		if job.State.Terminal() && len(job.Replaced) == 0 {
			n.t.Fatalf("the job ended too early for this test: %s", states(job))
		}
		return len(job.Replaced) > 0
	})
	r := job.Replaced[0]
	by := slices.IndexFunc(n.Nodes, func(node *testnet.Node) bool { return node.Peer == r.By })
	if len(job.Replaced) != 1 || r.Peer != n.node(victim).Peer || by < 0 || job.Members[r.Seat].Peer != r.By {
		n.t.Fatalf("replaced %+v, n%d was lost: %s", job.Replaced, victim, states(job))
	}
	return job, by + 1
}

// endedWithout wants the job certified, with a chain, and without a word of the
// member that was lost after it was replaced.
func (n *network) endedWithout(job api.Job, victim int, asked ...int) client.Certified {
	n.t.Helper()
	var cert client.Certified
	for _, number := range asked {
		var ended api.Job
		ended, cert = n.ended(number, job.ID)
		if ended.State != jobs.Succeeded || n.output(number, ended, "stdout") != "spun\n" {
			n.t.Fatalf("n%d: %s", number, states(ended))
		}
		at := cert.Verdict.Height
		if at.Number != 1 || len(at.Replaced) != 1 || at.Charter.Party(at.Replaced[0].Out).Peer.String() != n.node(victim).Peer {
			n.t.Errorf("n%d: the certificate says %+v", number, at.Replaced)
		}
		for _, seat := range cert.Verdict.Signers {
			if at.Holder(seat).Peer.String() == n.node(victim).Peer {
				n.t.Errorf("n%d signed after it was replaced", victim)
			}
		}
		if slices.ContainsFunc(ended.Members, func(m jobs.Member) bool { return m.Peer == n.node(victim).Peer }) {
			n.t.Errorf("n%d is a member still: %s", victim, states(ended))
		}
	}
	return cert
}

func TestAMemberKilledForGoodInALongRunIsReplacedAndTheJobEndsWithAChain(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 5})
	job := n.submit(1, long(t), "")
	members, _ := n.numbers(job)
	asked, victim := members[0], members[3] // the last seat: neither an executor nor a backup that is called soon
	n.runningExecutor(asked, job.ID)
	n.must(n.node(victim).Kill())
	job, reserve := n.replaced(asked, job.ID, victim)
	if _, out, _ := muster(t, "", "--socket", n.node(asked).Socket, "status", job.ID); !strings.Contains(out, "replaced: "+n.node(victim).Name+" by "+n.node(reserve).Name) {
		t.Errorf("status:\n%s", out)
	}
	cert := n.endedWithout(job, victim, asked, reserve)
	// Nobody but the genesis and the file is needed to see it.
	dir := t.TempDir()
	file, genesis := filepath.Join(dir, "job.cert"), filepath.Join(dir, "lab.genesis")
	n.must(os.WriteFile(file, cert.Bytes, 0o600))
	n.must(os.WriteFile(genesis, n.genesis, 0o600))
	code, out, chatter := muster(t, "", "verify", file, "--network", genesis)
	if code != 0 || !strings.Contains(out, "VALID") || !strings.Contains(out, "replaced: "+n.node(victim).Name+" by "+n.node(reserve).Name) {
		t.Errorf("verify: exit %d\n%s%s", code, out, chatter)
	}
	// Back again, the member that was replaced learns what became of the job.
	n.must(n.node(victim).Start(n.ctx))
	n.endedWithout(job, victim, victim)
}

func TestTheReserveOfAKilledExecutorExecutesInItsPlace(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 5})
	job := n.submit(1, long(t), "")
	members, _ := n.numbers(job)
	asked := members[3]
	victim := n.runningExecutor(asked, job.ID)
	n.must(n.node(victim).Kill())
	job, reserve := n.replaced(asked, job.ID, victim)
	seat := job.Replaced[0].Seat
	n.until(asked, job.ID, "the reserve executes", func(job api.Job) bool {
		m := job.Members[seat]
		if job.State.Terminal() && m.Run == "" && m.Report == "" {
			t.Fatalf("the job ended without it: %s", states(job))
		}
		return m.Peer == n.node(reserve).Peer && m.Role == "executor" && (m.Run == "running" || m.Report != "")
	})
	n.endedWithout(job, victim, asked, reserve)
}

func TestANodeThatLostItsJournalSaysSoAndIsReplaced(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 5})
	job := n.submit(1, long(t), "")
	members, _ := n.numbers(job)
	asked, victim := members[0], members[3]
	n.runningExecutor(asked, job.ID)
	n.must(n.node(victim).Kill())
	n.must(os.RemoveAll(filepath.Join(n.node(victim).Home, "journal")))
	n.must(n.node(victim).Start(n.ctx))
	job, reserve := n.replaced(asked, job.ID, victim)
	n.endedWithout(job, victim, asked, reserve, victim)
}
