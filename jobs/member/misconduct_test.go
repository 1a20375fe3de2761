package member

import (
	"testing"
	"testing/synctest"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
)

// A report is its party's: a reserve that took a seat is beyond the roster.
func TestTheLieOfAReserveThatWasSeatedIsKeptAsEvidence(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(func(c *consensus.Charter) { c.Replace = 1 }, as)
		b.offer(j, nil)
		reserve := j.Charter.Reserves[0]
		lie := consensus.Report{Run: 1, Value: consensustest.Result("lie")}
		hash, err := lie.Hash(b.n.ID)
		if err != nil {
			t.Fatal(err)
		}
		s := consensus.Statement{Kind: consensus.KindReport, Network: b.n.ID, Job: j.ID, Previous: consensus.Hash(j.ID),
			Sender: reserve.Peer, Incarnation: reserve.Incarnation, Value: hash}
		proof := consensustest.Prove(b.n.Nodes[b.n.Index(reserve.Peer)], s)[0]
		chain, at := b.n.Chain(j, consensustest.Handover([2]uint64{3, 0}))
		b.m.Disagreed(j.ID, consensus.SignedReport{Seat: uint64(len(j.Charter.Roster)), Report: lie, Proof: proof})
		b.m.Decided(j.ID, consensus.Conclusion{Chain: chain, Outcome: b.n.DecideAt(at, consensustest.Result("truth"))}, Standing{}, nil)
		synctest.Wait()
		if len(b.accused) != 1 {
			t.Fatalf("%d pieces of evidence, want one", len(b.accused))
		}
		found, err := b.accused[0].Verify(b.n.Sealed)
		if err != nil || found.Peer != reserve.Peer || found.Misconduct != consensus.Disagreed || found.Job != j.ID {
			t.Errorf("the evidence says %+v: %v", found, err)
		}
	})
}
