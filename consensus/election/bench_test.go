package election_test

import (
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/consensus/election"
)

// What a member does for each job of a small network.
func BenchmarkAMembersChecks(b *testing.B) {
	n := consensustest.New(4)
	job := n.Job(consensus.Byzantine, 1)
	seen := view(n)
	drawn, err := election.Check(n.RollMade, n.RollLink, job.Charter, n.ID, n.Genesis.Policy)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("open charter", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := job.Signed.Open(n.ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("check draw", func(b *testing.B) {
		for b.Loop() {
			if _, err := election.Check(n.RollMade, n.RollLink, job.Charter, n.ID, n.Genesis.Policy); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("missed", func(b *testing.B) {
		for b.Loop() {
			if election.MissedBy(n.RollMade, job.Charter, drawn, n.ID, n.Genesis.Policy, seen) != 0 {
				b.Fatal("somebody was missed")
			}
		}
	})
	b.Run("digest", func(b *testing.B) {
		for b.Loop() {
			if _, err := n.Genesis.Policy.Digest(n.ID); err != nil {
				b.Fatal(err)
			}
		}
	})
}
