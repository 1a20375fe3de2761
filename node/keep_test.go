package node

import (
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/store/journal"
)

func TestAnOutcomeIsKeptWhereItRanksAndWhenAMemberOfItBringsIt(t *testing.T) {
	n := consensustest.New(60)
	job := n.Job(consensus.Byzantine, 0)
	certificate, err := n.Certify(job, n.Decide(job, consensustest.Result("out"))).Encode()
	if err != nil {
		t.Fatal(err)
	}
	data := encoded(t, member.Closed{Certificate: certificate, Seats: []member.Seat{{}}})
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Options{Host: journal.Host{MachineID: "m"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	node := listener(n)
	node.member, err = member.New(member.Config{Network: n.ID, Genesis: n.Genesis, Policy: n.Genesis.Policy, Journal: j,
		Clock: func() int64 { return consensustest.Now }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var all []admission.Key
	for _, m := range n.Nodes {
		ad := advertOf(m)
		signed := consensus.SignedAdvert{Advert: ad, Credential: m.Credential, Signature: m.Sign(sealed(t, n, consensus.TagAdvert, ad))}
		if err := node.adverts.hear(signed); err != nil {
			t.Fatal(err)
		}
		all = append(all, m.Key())
	}
	by := job.Roster[0].Peer
	ranked := append(election.RankFor(job.ID, all, 2*keepers), election.RankFor(job.Request, all, 2*keepers)...)
	kept := 0
	for _, m := range n.Nodes {
		key := m.Key()
		node.home.identity = p2p.Identity{Signer: m.KeySigner}
		want := slices.Contains(ranked, key) && key != by && key != job.Submitter
		if err := node.keep(t.Context(), by, data); (err == nil) != want {
			t.Errorf("%s: %v, want it kept: %v", key.Name(), err, want)
		}
		if want {
			kept++
			if stranger := n.Nodes[(n.Index(by)+1)%len(n.Nodes)].Key(); node.keep(t.Context(), stranger, data) == nil {
				t.Errorf("%s takes it from a stranger", key.Name())
			}
		}
	}
	if kept < 2*keepers-2 || kept == len(n.Nodes) {
		t.Errorf("%d of %d keep it", kept, len(n.Nodes))
	}
	for _, key := range node.keepersOf(job.ID, job.Charter, []admission.Key{by}, keepers) {
		if !slices.Contains(ranked, key) {
			t.Errorf("%s is to be brought it, and does not rank", key.Name())
		}
	}
	keeper := slices.IndexFunc(n.Nodes, func(m consensustest.Node) bool {
		return slices.Contains(ranked, m.Key()) && m.Key() != by && m.Key() != job.Submitter
	})
	node.home.identity = p2p.Identity{Signer: n.Nodes[keeper].KeySigner}
	for turn := 0; node.keep(t.Context(), by, data) == nil; turn++ {
		if turn == 10_000 {
			t.Fatal("it is brought on and on")
		}
	}
}
