package sim

import (
	"math/bits"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
)

// checked is what the job's check finds, where it has one (endorsed, decision 018).
type checked struct {
	On     bool
	Differ bool   // each node's runs end in something else
	Bad    uint32 // parties whose runs, or all whose runs, end in what it finds bad
}

// finds is what the check finds of a value: of what no honest run ends in, nothing
// good.
func (s *Schedule) finds(v *stock) (good bool) {
	switch {
	case v == &lie || v == &anotherLie:
		return false
	case v.run > 0:
		return s.Checked.Bad>>(v.run-1)&1 == 0
	}
	return bits.OnesCount32(s.Checked.Bad) < s.parties()
}

// settleChecked lets results be checked, by draws from a source of its own.
func (s *Schedule) settleChecked() {
	rng := newSource(s.Seed, 4)
	if s.Scenario.Fault != consensus.Byzantine || s.Scenario.F == 0 || s.Equal.On || s.Effects != "" || !rng.chance(16) {
		return
	}
	c := checked{On: true, Differ: rng.chance(70)}
	switch at := rng.below(100); {
	case at < 30:
		c.Bad = uint32(rng.below(1 << s.parties()))
	case at < 45:
		c.Bad = 1<<s.parties() - 1
	}
	for i := range s.Liars {
		if rng.chance(40) {
			s.Liars[i].Kind = LieVerdicts
		}
	}
	s.Checked = c
}

// found is a verdict that a member has stored.
type found struct {
	value consensus.Hash
	good  bool
}

// check runs the check on a value, now and then on a machine that cannot.
func (n *node) check(e bft.Check) {
	s, _ := stockOf(e.Hash)
	if n.honest() && !n.disk.holds(e.Hash) {
		n.w.fail("blocks", "node %d checks %s, whose blocks it does not hold", n.id, s.name)
	}
	if n.host.chance(6) {
		n.w.cover.hit(SawNoVerdict)
		return
	}
	good := n.w.plan.finds(s)
	if n.liar != nil {
		good = n.liar.src.chance(50)
	}
	n.later(5+n.host.until(400), func() { n.input(bft.Checked{Value: e.Hash, Endorses: good}) })
}

// recordedFound holds a verdict that becomes durable against what the check finds,
// and against those before it, in all lives of a disk: one on a value.
func (c *checks) recordedFound(n *node, data []byte) {
	_, rest := item(data)
	_, rest = item(rest)
	_, rest = item(rest)
	v := found{consensus.Hash(rest[:32]), rest[32] == 0xf5}
	if c.w.cover.hit(SawFoundBad); v.good {
		c.w.cover.hit(SawFoundGood)
	}
	k := &c.members[n.id]
	if s, ok := stockOf(v.value); n.honest() && (!ok || c.w.plan.finds(s) != v.good) {
		c.w.fail("check", "node %d writes down of %s: good %v", n.id, nameOf(v.value), v.good)
	}
	for _, before := range k.found {
		if before.value == v.value {
			c.w.fail("I4", "node %d writes down two verdicts on %s", n.id, nameOf(v.value))
		}
	}
	k.found = append(k.found, v)
}

// recordsFound reports whether a verdict that a member says is on its disk.
func (c *checks) recordsFound(n *node, m *mailed) bool {
	for _, v := range c.members[n.id].found {
		if v.value == m.claim.Value && v.good == (m.claim.Kind == consensus.KindEndorse) {
			return true
		}
	}
	return false
}

// isEndorsed: the check finds a value good, and f+1 members of a height may have
// said so, one of them honest.
func (c *checks) isEndorsed(s *stock, at consensus.Height) bool {
	honest, liars := 0, 0
	for _, party := range at.Members {
		if c.w.nodes[party].liar != nil {
			liars++
		}
		for _, v := range c.members[party].found {
			if v.value == s.hash && v.good && c.w.nodes[party].liar == nil {
				honest++
			}
		}
	}
	return c.w.plan.finds(s) && honest > 0 && honest+liars >= c.w.t.Suspicion
}

// isRejected: f+1 members of a height may have reported what the check finds bad,
// and an honest one did.
func (c *checks) isRejected(at consensus.Height) bool {
	honest, liars := 0, 0
	for _, party := range at.Members {
		switch r := c.members[party].report; {
		case c.w.nodes[party].liar != nil:
			liars++
		case r != nil && c.isBad(r):
			honest++
		}
	}
	return honest > 0 && honest+liars >= c.w.t.Suspicion
}

// isBad reports whether a report is of what the check finds bad.
func (c *checks) isBad(r *consensus.Report) bool {
	for _, s := range []*stock{&truth, &exits} {
		if same(s.value, r.Value) {
			return !c.w.plan.finds(s)
		}
	}
	for i := range differs {
		if same(differs[i].value, r.Value) {
			return !c.w.plan.finds(&differs[i])
		}
	}
	return false
}
