package testnet_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/testnet"
)

// self is what a node says of itself.
func (n *network) self(number int) api.Node {
	n.t.Helper()
	info, err := n.client(number).Node(n.ctx)
	n.must(err)
	return info
}

// file reads a file of a node's data directory.
func (n *network) file(number int, name string) []byte {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.node(number).Home, name))
	n.must(err)
	return data
}

func TestARestartKeepsWhoANodeIsAndWhomItKnows(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4})
	ended, _ := n.ended(3, n.submit(3, hello("Ada", 4), "key").ID)
	before := n.self(3)
	identity, credential := n.file(3, "identity"), n.file(3, "credential")
	if info, err := os.Stat(filepath.Join(n.node(3).Home, "identity")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the private key: %v %v", info.Mode(), err)
	}
	n.must(n.node(3).Stop())
	n.must(n.node(1).Kill()) // who invited it, and the only authority
	for _, end := range []func(*testnet.Node) error{(*testnet.Node).Kill, (*testnet.Node).Stop} {
		n.must(n.node(3).Start(n.ctx))
		n.must(n.Meet(n.ctx)) // the three that are left remember each other
		after := n.self(3)
		if after.Peer != before.Peer || after.Incarnation != before.Incarnation || after.Network != before.Network || before.Incarnation == "" {
			t.Fatalf("it is %+v, was %+v", after, before)
		}
		n.must(end(n.node(3)))
	}
	if !bytes.Equal(identity, n.file(3, "identity")) || !bytes.Equal(credential, n.file(3, "credential")) {
		t.Error("identity or credential was written again")
	}
	n.must(n.node(3).Start(n.ctx))
	n.must(n.node(1).Start(n.ctx))
	n.must(n.Meet(n.ctx))
	if kept, _ := n.ended(3, ended.Request); kept.ID != ended.ID || kept.Outcome.Result != ended.Outcome.Result {
		t.Errorf("it knows %s, knew %s", states(kept), states(ended))
	}
	if job, _ := n.ended(1, n.submit(3, hello("Bob", 4), "").ID); job.State != jobs.Succeeded {
		t.Error(states(job))
	}
}

func TestANodeThatLostItsJournalIsAnotherAndDoesNotVoteInOldJobs(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4})
	before := n.self(4)
	job := n.submit(1, spin(t, 1<<26), "")
	n.until(1, job.ID, "all have started", func(job api.Job) bool {
		return !slices.ContainsFunc(job.Members, func(m jobs.Member) bool { return !m.Started })
	})
	n.must(n.node(3).Kill())
	n.must(n.node(4).Kill())
	n.must(os.RemoveAll(filepath.Join(n.node(4).Home, "journal")))
	n.must(n.node(4).Start(n.ctx))
	if after := n.self(4); after.Incarnation == before.Incarnation || after.Peer != before.Peer {
		t.Fatalf("without its journal it is %+v, was %+v", after, before)
	}
	n.must(n.Meet(n.ctx))
	// What it takes to decide is there, but for a third vote.
	want := []string{n.node(3).Name, n.node(4).Name}
	slices.Sort(want)
	stuck := n.until(1, job.ID, "two members have reported, and the job is stalled for want of the others", func(job api.Job) bool {
		if job.State.Terminal() {
			t.Fatalf("decided without a quorum: %s", states(job))
		}
		reports := 0
		for _, m := range job.Members {
			if m.Report != "" {
				reports++
			}
		}
		return reports == 2 && job.Stalled != nil && len(job.Stalled.Waiting) == 2
	})
	if waiting := slices.Sorted(slices.Values(stuck.Stalled.Waiting)); !slices.Equal(waiting, want) {
		t.Errorf("stalled, waiting for %q, want %q", waiting, want)
	}
	// The new incarnation takes part in what is drawn now.
	fresh := hello("Ada", 3)
	fresh.Run.Quorum.Faults = jobs.FaultsCrash
	if ended, _ := n.ended(4, n.submit(4, fresh, "").ID); ended.State != jobs.Succeeded {
		t.Fatal(states(ended))
	}
	if now, err := n.client(1).Job(n.ctx, job.ID); err != nil || now.State.Terminal() {
		t.Fatalf("decided without a quorum: %v %s", err, states(now))
	}
	n.must(n.node(3).Start(n.ctx))
	for number := 1; number <= 4; number++ {
		ended, cert := n.ended(number, job.ID)
		if ended.State != jobs.Succeeded {
			t.Fatalf("n%d: %s", number, states(ended))
		}
		for _, seat := range cert.Verdict.Signers {
			if ended.Members[seat].Peer == n.node(4).Peer {
				t.Errorf("n%d signed what it had lost", 4)
			}
		}
	}
}

// Nobody but the node that took a job may be left to ask.
func TestTheNodeThatTookAJobKnowsOfItWhenAllItsMembersAreGone(t *testing.T) {
	p := policy()
	p.NoSubmitter = true
	n := up(t, testnet.Options{Nodes: 5, Policy: p})
	job := n.submit(1, spin(t, 1<<26), "key")
	for number := 2; number <= 5; number++ {
		n.must(n.node(number).Kill())
	}
	for _, id := range []string{job.ID, job.Request} {
		n.until(1, id, "it is open, and waits for its members", func(now api.Job) bool {
			return now.ID == job.ID && !now.State.Terminal() && now.Stalled != nil
		})
	}
	n.must(n.node(1).Kill())
	n.must(n.node(1).Start(n.ctx))
	for _, id := range []string{job.ID, job.Request} {
		if now, err := n.client(1).Job(n.ctx, id); err != nil || now.ID != job.ID {
			t.Fatalf("after a restart: %v %s", err, states(now))
		}
	}
	for number := 2; number <= 5; number++ {
		n.must(n.node(number).Start(n.ctx))
	}
	if ended, _ := n.ended(1, job.Request); ended.State != jobs.Succeeded {
		t.Error(states(ended))
	}
}
