package election_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/consensus/election"
)

// view is what a member sees of a network: everything that its roll would say.
func view(n *consensustest.Network) []election.Seen {
	var seen []election.Seen
	for _, m := range n.Nodes {
		e := consensustest.Entry(m)
		seen = append(seen, election.Seen{
			Peer: e.Peer, Incarnation: e.Incarnation, Since: consensustest.Now - n.Genesis.Policy.Settle,
			Credential: e.Credential.Body, Total: e.Total, Features: e.Features, Classes: e.Classes, Group: e.Group,
		})
	}
	return seen
}

func missed(t *testing.T, n *consensustest.Network, roll *consensus.Roll, c *consensus.Charter, seen []election.Seen) int {
	t.Helper()
	drawn, err := election.Draw(roll, election.AskOf(c, n.ID, n.Genesis.Policy))
	if err != nil {
		t.Fatal(err)
	}
	return election.MissedBy(roll, c, drawn, n.ID, n.Genesis.Policy, seen)
}

func TestAFaithfulRollMissesNobody(t *testing.T) {
	n := consensustest.New(20)
	if got := missed(t, n, n.RollMade, n.Job(consensus.Byzantine, 1).Charter, view(n)); got != 0 {
		t.Errorf("missed %d", got)
	}
}

func TestARollMissesWhoWouldHaveBeenDrawnAndNobodyElse(t *testing.T) {
	n := consensustest.New(20)
	whole := n.Job(consensus.Byzantine, 1)
	seen := view(n)
	// Leave out three members: the drawn roster moves down the ranks.
	n.RollMade.Entries = slices.DeleteFunc(n.RollMade.Entries, func(e consensus.RollEntry) bool {
		return slices.ContainsFunc(whole.Roster[:3], func(s consensus.Seat) bool { return s.Peer == e.Peer })
	})
	job := n.Job(consensus.Byzantine, 1)
	if got := missed(t, n, n.RollMade, job.Charter, seen); got != 3 {
		t.Errorf("missed %d of 3", got)
	}
	// Who ranks behind the last member is no loss.
	behind := *n.RollMade
	behind.Entries = slices.DeleteFunc(slices.Clone(behind.Entries), func(e consensus.RollEntry) bool { return job.Place(e.Peer) < 0 })
	if got := missed(t, n, &behind, job.Charter, seen); got != 3 {
		t.Errorf("missed %d of 3 with the rest left out", got)
	}
	// Nor is who came a millisecond too late to have settled, or cannot be drawn.
	late := slices.Clone(seen)
	for i, s := range late {
		switch s.Peer {
		case whole.Roster[0].Peer:
			late[i].Since++
		case whole.Roster[1].Peer:
			late[i].Credential.Weight = 0
		case whole.Roster[2].Peer:
			late[i].Classes = nil
		}
	}
	if got := missed(t, n, n.RollMade, job.Charter, late); got != 0 {
		t.Errorf("missed %d of those that need not be there", got)
	}
}

func TestADescriptionThatChangesTheDrawIsAMiss(t *testing.T) {
	n := consensustest.New(20, func(g *admission.Genesis) { g.Policy.Spread = true })
	job := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) {
		c.RunNeeds = consensus.Needs{Quantities: map[string]uint64{"memory": 8 << 30}}
		c.Needs = consensus.Needs{Quantities: map[string]uint64{"cpu": 2_000}}
	})
	member := job.Roster[2].Peer
	last := job.Roster[3].Peer
	var outside admission.Key
	for _, m := range n.Nodes {
		if k := m.Key(); job.Place(k) < 0 {
			outside = k
		}
	}
	for _, tc := range []struct {
		name   string
		peer   admission.Key
		change func(*election.Seen)
		want   int
	}{
		{"incarnation", member, func(s *election.Seen) { s.Incarnation[0] ^= 1 }, 1},
		{"too small to be a member", member, func(s *election.Seen) { s.Total = map[string]uint64{"cpu": 1_999, "memory": 8 << 30} }, 1},
		{"too small to run", member, func(s *election.Seen) { s.Total = map[string]uint64{"cpu": 2_000, "memory": 1} }, 1},
		{"weight", member, func(s *election.Seen) { s.Credential.Weight = 2 }, 1},
		{"owner", member, func(s *election.Seen) { s.Credential.Owner = n.User.Key() }, 1},
		{"group", member, func(s *election.Seen) { s.Group = "10.0.0.0/16" }, 1},
		{"the last member", last, func(s *election.Seen) { s.Incarnation[0] ^= 1 }, 1},
		{"size, of no matter", member, func(s *election.Seen) { s.Total = map[string]uint64{"cpu": 2_000, "memory": 9 << 30} }, 0},
		{"free text, of no matter", member, func(s *election.Seen) { s.Features = []string{"gpu"} }, 0},
		{"somebody not drawn", outside, func(s *election.Seen) { s.Incarnation[0] ^= 1 }, 0},
		{"somebody who should have been drawn", outside, func(s *election.Seen) { s.Credential.Weight = admission.MaxWeight }, 1},
		{"not settled", member, func(s *election.Seen) { s.Incarnation[0] ^= 1; s.Since++ }, 0},
	} {
		seen := view(n)
		i := slices.IndexFunc(seen, func(s election.Seen) bool { return s.Peer == tc.peer })
		tc.change(&seen[i])
		if got := missed(t, n, n.RollMade, job.Charter, seen); got != tc.want {
			t.Errorf("%s: missed %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestOneMissIsToleratedInASmallRosterAndThreeInTheLargest(t *testing.T) {
	for n, want := range map[int]int{1: 1, 4: 1, 13: 1, 16: 2, 31: 3} {
		if got := election.Tolerated(n); got != want {
			t.Errorf("n = %d: %d, want %d", n, got, want)
		}
	}
}

// crowd returns many keys, to which nobody holds the secret.
func crowd(size int) []admission.Key {
	peers := make([]admission.Key, size)
	for i := range peers {
		peers[i] = sha256.Sum256(fmt.Append(nil, "crowd ", i))
	}
	return peers
}

func TestASampleLeavesAtLeast128AndOneBitMoreWouldNot(t *testing.T) {
	n := consensustest.New(1)
	for _, size := range []int{513, 1_000, 3_000} {
		peers := crowd(size)
		for period := range uint64(5) {
			sample := election.NewSample(n.ID, n.Nodes[0].Key(), period)
			bits := sample.Bits(peers)
			count := func(bits int) (belong int) {
				for _, p := range peers {
					if sample.Belongs(p, bits) {
						belong++
					}
				}
				return belong
			}
			if count(bits) < 128 || count(bits+1) >= 128 {
				t.Errorf("%d peers: %d belong at %d bits, %d at one more", size, count(bits), bits, count(bits+1))
			}
			if count(bits) > consensus.MaxRoll {
				t.Errorf("%d peers: %d belong, more than a roll holds", size, count(bits))
			}
			spare := count(bits) - 128
			exact := slices.DeleteFunc(slices.Clone(peers), func(p admission.Key) bool {
				if spare == 0 || !sample.Belongs(p, bits) {
					return false
				}
				spare--
				return true
			})
			if got := sample.Bits(exact); len(exact) > consensus.MaxRoll && got != bits {
				t.Errorf("%d peers of whom 128 belong at %d bits: %d bits", len(exact), bits, got)
			}
		}
	}
}

func TestInANetworkOf512EverybodyBelongs(t *testing.T) {
	n := consensustest.New(1)
	sample := election.NewSample(n.ID, n.Nodes[0].Key(), 1)
	if bits := sample.Bits(crowd(512)); bits != 0 || !sample.Belongs(admission.Key{}, bits) {
		t.Errorf("%d bits", bits)
	}
}

// A member that sees 700 nodes accepts samples a bit wider or narrower than its
// own, no whole network, and no strangers to the sample in front places.
func TestInALargeNetworkOnlyTheSampleIsMissed(t *testing.T) {
	n := consensustest.New(500)
	for i := range 200 {
		m := n.NewNode(fmt.Sprint("more ", i))
		n.Nodes = append(n.Nodes, m)
		n.RollMade.Entries = append(n.RollMade.Entries, consensustest.Entry(m))
	}
	var peers []admission.Key
	for _, m := range n.Nodes {
		peers = append(peers, m.Key())
	}
	sample := election.NewSample(n.ID, n.Nodes[0].Key(), election.Period(consensustest.Now))
	bits := sample.Bits(peers)
	whole := n.RollMade.Entries
	at := func(bits int) int {
		n.RollMade.Entries = slices.DeleteFunc(slices.Clone(whole), func(e consensus.RollEntry) bool { return !sample.Belongs(e.Peer, bits) })
		job := n.Job(consensus.Byzantine, 10, func(c *consensus.Charter) { c.Runners = 31 })
		return missed(t, n, n.RollMade, job.Charter, view(n))
	}
	for _, b := range []int{bits - 1, bits, bits + 1} {
		if got := at(b); got != 0 {
			t.Errorf("at %d bits for %d: missed %d", b, bits, got)
		}
	}
	if got := at(bits + 2); got <= election.Tolerated(31) {
		t.Errorf("two bits narrower: missed %d", got)
	}
	n.RollMade.Entries = whole // more than a roll holds, but the draw does not ask
	job := n.Job(consensus.Byzantine, 10, func(c *consensus.Charter) { c.Runners = 31 })
	if got := missed(t, n, n.RollMade, job.Charter, view(n)); got <= election.Tolerated(31) {
		t.Errorf("everybody in the roll: missed %d", got)
	}
}
