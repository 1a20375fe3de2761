package consensus_test

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/consensus/election"
	codec "github.com/muster-network/muster/store/dagcbor"
)

// draw is a roll, a charter drawn from it, and what is reckoned on the way; or a
// roll and a charter that does not follow from it, with the step of section 11 that
// says so.
type draw struct {
	Name    string      `json:"name"`
	Refuse  int         `json:"refuse,omitempty"`
	Genesis string      `json:"genesis"`
	Roll    string      `json:"roll"`
	Charter string      `json:"charter"` // sealed; it holds roster and reserves
	Seed    string      `json:"seed,omitempty"`
	Runners []int       `json:"runners,omitempty"`
	Scores  []drawScore `json:"scores,omitempty"` // by the order of the roll
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
	all = append(all, drawn(t, plain, "n=1 of 9: no reserve", plain.Job(consensus.Byzantine, 0)))
	all = append(all, refusedDraws(t)...)
	matches(t, "testdata/draws.json", all)
}

// refusedDraws are of charters that are valid, and drawn from the roll by what was
// changed in them or in it afterwards.
func refusedDraws(t *testing.T) (all []draw) {
	n := consensustest.New(6)
	refuse := func(step int, why string, roll []byte, c *consensus.Charter) {
		sealed, err := codec.Seal(consensus.TagCharter, n.ID[:], c)
		check(t, err)
		check(t, c.Validate())
		r, err := consensus.OpenRoll(n.Genesis, n.ID, roll)
		if step == 18 {
			check(t, err)
			_, err = election.Check(r, codec.LinkTo(codec.CID(roll)), c, n.ID, n.Genesis.Policy)
		}
		if err == nil {
			t.Errorf("accepted: %s", why)
		}
		all = append(all, draw{Name: why, Refuse: step, Genesis: hex.EncodeToString(n.Sealed), Roll: hex.EncodeToString(roll), Charter: hex.EncodeToString(sealed)})
	}
	charter := func(why string, change func(*consensus.Charter)) {
		c := n.Charter(consensus.Byzantine, 1)
		n.Draw(c)
		change(c)
		refuse(18, why, n.RollSealed, c)
	}
	charter("two seats changed", func(c *consensus.Charter) { c.Roster[0], c.Roster[1] = c.Roster[1], c.Roster[0] })
	charter("the reserve for the last member", func(c *consensus.Charter) { c.Roster[3], c.Reserves[0] = c.Reserves[0], c.Roster[3] })
	charter("no reserve, where there is one", func(c *consensus.Charter) { c.Reserves = nil })
	charter("another incarnation than the roll's", func(c *consensus.Charter) { c.Roster[2].Incarnation[0] ^= 1 })
	charter("another attempt", func(c *consensus.Charter) { c.Attempt = 1 })
	charter("another period than that of issue", func(c *consensus.Charter) { c.Period++ })
	charter("another policy", func(c *consensus.Charter) { c.Policy[0] ^= 1 })
	charter("another submitter than the roll's maker", func(c *consensus.Charter) { c.Submitter = n.Nodes[1].Key() })
	charter("issued before the roll was made", func(c *consensus.Charter) { c.Issued-- })
	charter("a class that no entry has", func(c *consensus.Charter) { c.Class = "arch/none" })
	charter("credentials that do not last to the end", func(c *consensus.Charter) { c.End = n.Nodes[0].Credential.Body.Until + 1 })
	for _, bad := range []struct {
		why    string
		change func(*consensus.Roll)
	}{
		{"a roll of another version", func(r *consensus.Roll) { r.V = 2 }},
		{"a roll that was made at no time", func(r *consensus.Roll) { r.Made = 0 }},
		{"entries out of order", func(r *consensus.Roll) { slices.Reverse(r.Entries) }},
		{"an entry twice", func(r *consensus.Roll) { r.Entries[1] = r.Entries[0] }},
		{"features out of order", func(r *consensus.Roll) { r.Entries[0].Features = []string{"b", "a"} }},
		{"another's credential", func(r *consensus.Roll) { r.Entries[0].Credential = r.Entries[1].Credential }},
		{"a user's credential", func(r *consensus.Roll) {
			r.Entries[0].Credential = n.Badge(r.Entries[0].Peer, admission.KindUser)
		}},
		{"a credential that is not signed", func(r *consensus.Roll) { r.Entries[0].Credential.Signature[0] ^= 1 }},
		{"a group of 65 bytes", func(r *consensus.Roll) { r.Entries[0].Group = strings.Repeat("g", 65) }},
	} {
		roll := *n.RollMade
		roll.Entries = slices.Clone(roll.Entries)
		bad.change(&roll)
		sealed, err := codec.Seal(consensus.TagRoll, n.ID[:], roll)
		check(t, err)
		c := n.Charter(consensus.Byzantine, 1)
		n.Draw(c)
		c.Roll = codec.LinkTo(codec.CID(sealed))
		refuse(17, "a bad roll: "+bad.why, sealed, c)
	}
	return all
}

func reroll(t *testing.T, n *consensustest.Network) {
	t.Helper()
	var err error
	n.RollSealed, n.RollLink, err = n.RollMade.Seal(n.ID)
	check(t, err)
}
