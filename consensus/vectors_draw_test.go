package consensus_test

import (
	"encoding/hex"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/consensus/election"
)

// draw is a roll, a charter drawn from it, and what is reckoned on the way.
type draw struct {
	Name    string      `json:"name"`
	Genesis string      `json:"genesis"`
	Roll    string      `json:"roll"`
	Charter string      `json:"charter"` // sealed; it holds roster and reserves
	Seed    string      `json:"seed"`
	Runners []int       `json:"runners"`
	Scores  []drawScore `json:"scores"` // by the order of the roll
}

type drawScore struct {
	Peer   string `json:"peer"`
	Weight uint64 `json:"weight"`
	Score  uint64 `json:"score,string"` // of 64 bits, too long for a JSON number
}

func drawn(t *testing.T, n *consensustest.Network, name string, job consensustest.Job) draw {
	result, err := election.Check(n.RollMade, n.RollLink, job.Charter, n.ID, n.Genesis.Policy)
	check(t, err)
	seed := election.Seed(election.AskOf(job.Charter, n.ID, n.Genesis.Policy))
	d := draw{Name: name, Genesis: hex.EncodeToString(n.Sealed), Roll: hex.EncodeToString(n.RollSealed),
		Charter: hex.EncodeToString(job.Signed.Bytes), Seed: seed.String(), Runners: result.Runners}
	for _, e := range n.RollMade.Entries {
		weight := e.Credential.Body.Weight
		if n.Genesis.Policy.ByCapacity {
			weight = min(weight, e.Total[election.Capacity])
		}
		d.Scores = append(d.Scores, drawScore{hex.EncodeToString(e.Peer[:]), weight, election.Score(seed, e.Peer, weight)})
	}
	return d
}

func TestDrawsMatchTheirRolls(t *testing.T) {
	var all []draw
	plain := consensustest.New(9)
	all = append(all, drawn(t, plain, "n=4 of 9", plain.Job(consensus.Byzantine, 1)))
	all = append(all, drawn(t, plain, "n=7 of 9, attempt 2", plain.Job(consensus.Byzantine, 2, func(c *consensus.Charter) { c.Attempt = 2 })))
	all = append(all, drawn(t, plain, "crash-only n=3 of 9, another nonce", plain.Job(consensus.Crash, 1, func(c *consensus.Charter) { c.Nonce = consensus.Hash{7} })))
	varied := consensustest.New(12)
	for i := range varied.RollMade.Entries {
		e := &varied.RollMade.Entries[i]
		e.Credential = varied.Badge(e.Peer, admission.KindNode, func(c *admission.Credential) {
			c.Weight = uint64(1) << (i % 5)
			if i == 2 {
				c.Weight = 0
			}
			if i == 4 {
				c.Role = admission.RoleObserver
			}
			if i == 6 {
				c.Until = consensustest.Now + consensustest.Day
			}
		})
		if i%3 == 0 {
			e.Features = []string{"gpu"}
		}
	}
	reroll(t, varied)
	all = append(all, drawn(t, varied, "weights, a filter, two runners with a gpu", varied.Job(consensus.Byzantine, 1, func(c *consensus.Charter) {
		c.Runners = 2
		c.RunNeeds = consensus.Needs{Labels: []string{"gpu"}, Quantities: map[string]uint64{}}
	})))
	spread := consensustest.New(12, func(g *admission.Genesis) {
		g.Policy.Spread, g.Policy.ByCapacity, g.Policy.NoSubmitter = true, true, true
	})
	for i := range spread.RollMade.Entries {
		e := &spread.RollMade.Entries[i]
		e.Group = []string{"", "10.0.0.0/16", "10.1.0.0/16"}[i%3]
		e.Total = map[string]uint64{"cpu": uint64(1+i) * 1_000, "memory": 8 << 30}
		e.Credential = spread.Badge(e.Peer, admission.KindNode, func(c *admission.Credential) { c.Weight = 6_000 })
	}
	reroll(t, spread)
	all = append(all, drawn(t, spread, "by capacity, spread, without the submitter", spread.Job(consensus.Byzantine, 1)))
	matches(t, "testdata/draws.json", all)
}

func reroll(t *testing.T, n *consensustest.Network) {
	t.Helper()
	var err error
	n.RollSealed, n.RollLink, err = n.RollMade.Seal(n.ID)
	check(t, err)
}
