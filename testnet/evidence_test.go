package testnet_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/node"
	"github.com/muster-network/muster/testnet"
)

// evidence is what a node says it can prove.
func (n *network) evidence(number int, of string) []api.Evidence {
	n.t.Helper()
	list, err := n.client(number).Evidence(n.ctx, of)
	n.must(err)
	return list.Evidence
}

// bars reports whether a node holds proof that a peer equivocated.
func (n *network) bars(number int, peer string) bool {
	return slices.ContainsFunc(n.evidence(number, ""), func(e api.Evidence) bool { return e.Barred && e.Peer == peer })
}

// A node that votes twice is found out, told of everywhere, and not drawn again
// by anybody, also after a restart.
func TestANodeThatVotesTwiceIsFoundOutAndNotDrawnAgain(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 6, Lie: 1, Liars: node.LieTwice})
	liar := n.Nodes[5]
	var job api.Job
	for try := range lieTries {
		job, _ = n.ended(1, n.submit(1, hello(fmt.Sprint("Ada ", try), 4), "").ID)
		if job.State != jobs.Succeeded {
			t.Fatal(states(job))
		}
		if slices.ContainsFunc(job.Members, func(m jobs.Member) bool { return m.Peer == liar.Peer }) {
			break
		}
	}
	for number := 1; number <= 5; number++ { // members saw it, the others are told
		n.await(fmt.Sprintf("n%d bars the liar", number), func() bool { return n.bars(number, liar.Peer) })
		for _, e := range n.evidence(number, "") {
			if e.Peer != liar.Peer || e.Misconduct != "equivocation" {
				t.Errorf("n%d accuses %+v", number, e)
			}
			proven, err := n.client(number).EvidenceFile(n.ctx, e.ID)
			n.must(err)
			if proven.Finding.Peer.String() != liar.Peer {
				t.Errorf("n%d proves %+v", number, proven.Finding)
			}
		}
	}
	n.await("status names the liar", func() bool {
		code, out, chatter := muster(t, "", "--socket", n.Nodes[1].Socket, "status", job.ID)
		return code == 0 && strings.Contains(out, "EQUIVOCATED") && strings.Contains(chatter, "muster evidence")
	})
	n.checkEvidenceFile(liar)

	n.must(n.Nodes[0].Kill())
	n.must(n.Nodes[0].Start(n.ctx))
	n.must(n.Meet(n.ctx))
	if !n.bars(1, liar.Peer) {
		t.Error("a restart forgets the evidence")
	}
	for try := range lieTries { // members do not miss whoever was left out
		job, _ := n.ended(1+try%5, n.submit(1+try%5, hello(fmt.Sprint("Eve ", try), 4), "").ID)
		if job.State != jobs.Succeeded || slices.ContainsFunc(job.Members, func(m jobs.Member) bool { return m.Peer == liar.Peer }) {
			t.Fatal(states(job))
		}
	}
	// Five are left of six: seven were never there, and the reason is told.
	call{args: []string{"--socket", n.Nodes[0].Socket, "run", "--quorum", "7", "builtin:hello"}, exit: 6, code: jobs.CodePlaceCapacity,
		says: []string{"5 can be drawn", "not drawn for equivocation: 1"}}.check(t)
	code, out, _ := muster(t, "", "--socket", n.Nodes[0].Socket, "peers")
	if code != 0 || !strings.Contains(out, "barred") {
		t.Errorf("peers: exit %d\n%s", code, out)
	}
}

// checkEvidenceFile saves what is held against a node, and checks the file with
// the genesis only; one altered byte, and it proves nothing.
func (n *network) checkEvidenceFile(liar *testnet.Node) {
	n.t.Helper()
	t, at := n.t, n.Nodes[1].Socket
	dir := t.TempDir()
	file, genesis := filepath.Join(dir, "lie.evidence"), filepath.Join(n.Nodes[0].Home, "genesis")
	id := n.evidence(2, liar.Name)[0].ID
	if code, _, chatter := muster(t, "", "--socket", at, "evidence", id, "--save", file); code != 0 || !strings.Contains(chatter, "equivocation of "+liar.Name) {
		t.Fatalf("evidence --save: exit %d\n%s", code, chatter)
	}
	code, out, chatter := muster(t, "", "verify", file, "--network", genesis)
	if code != 0 || !strings.Contains(out, "VALID, checked offline") || !strings.Contains(out, liar.Name) {
		t.Errorf("verify: exit %d\n%s%s", code, out, chatter)
	}
	data, err := os.ReadFile(file)
	n.must(err)
	data[len(data)-3] ^= 1
	n.must(os.WriteFile(file, data, 0o600))
	if code, out, chatter = muster(t, "", "verify", file, "--network", genesis); code != 8 || !strings.Contains(chatter, jobs.CodeCertificate) {
		t.Errorf("verify of an altered file: exit %d\n%s%s", code, out, chatter)
	}
	code, out, _ = muster(t, "", "--socket", at, "evidence", liar.Peer, "-o", "json")
	var list api.EvidenceList
	if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil || list.Schema != api.SchemaEvidenceList || len(list.Evidence) == 0 {
		t.Errorf("evidence -o json: exit %d, %v\n%s", code, err, out)
	}
	code, out, _ = muster(t, "", "--socket", at, "evidence", n.Nodes[0].Name, "-q")
	if code != 0 || out != "" {
		t.Errorf("evidence of an honest node: exit %d\n%s", code, out)
	}
	call{args: []string{"--socket", at, "evidence", "bxyz"}, exit: 4, code: jobs.CodeNotFound}.check(t)
}

// A disagreement is kept by those who saw it, proves itself, and bars nobody.
func TestAReportThatWasNotCertifiedIsKeptAsEvidenceAndBarsNobody(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4, Lie: 1})
	liar := n.Nodes[3]
	n.await("the liar disagreed", func() bool {
		job, _ := n.ended(1, n.submit(1, hello("Ada", 4), "").ID)
		n.await("the job is put away", func() bool { return n.open(1) == 0 })
		return len(n.evidence(1, job.ID)) > 0
	})
	for _, e := range n.evidence(1, "") {
		if e.Peer != liar.Peer || e.Misconduct != "disagreement" || e.Barred || e.Reported == e.Certified {
			t.Errorf("accuses %+v", e)
		}
		proven, err := n.client(1).EvidenceFile(n.ctx, e.ID)
		n.must(err)
		if f := proven.Finding; f.Peer.String() != liar.Peer || f.Job.String() != e.Job || f.Reported.String() != e.Reported {
			t.Errorf("proves %+v of %+v", f, e)
		}
	}
	job, _ := n.ended(2, n.submit(2, hello("Eve", 4), "").ID)
	if !slices.ContainsFunc(job.Members, func(m jobs.Member) bool { return m.Peer == liar.Peer }) {
		t.Error("who disagreed is not drawn any more")
	}
}
