package sim

import (
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
)

// equals is what runs come to where results are compared by their normal forms
// (majority-equal, decision 015): different bytes, mostly of one form.
type equals struct {
	On    bool
	Runs  []int // by party: which of the ends that differ its runs end in
	Forms []int // by such an end: which form it comes to
}

// formOf is what the blocks of a value come to, where ends are compared by that;
// nil: nothing. What no honest run ends in is of a form of its own.
func (s *Schedule) formOf(v *stock) *consensus.Hash {
	switch {
	case !s.Equal.On || !v.value.Matched():
		return nil
	case v.run == 0 || v.run > len(s.Equal.Forms):
		return &v.form
	case v.value.Kind == consensus.Failed:
		return &exitsDiffer[s.Equal.Forms[v.run-1]].form
	}
	return &differs[s.Equal.Forms[v.run-1]].form
}

// settleEqual lets ends be compared by their forms. All that it draws comes from a
// source of its own: other schedules are what they would be without it.
func (s *Schedule) settleEqual() {
	if s.Scenario.Fault != consensus.Byzantine || s.Scenario.F == 0 {
		return // where one report counts there is nothing to be equal to
	}
	rng := newSource(s.Seed, 2)
	if !rng.chance(18) {
		return
	}
	e := equals{On: true, Runs: make([]int, s.parties()), Forms: make([]int, s.parties())}
	sides := rng.below(100)
	for i := range s.parties() {
		if e.Runs[i] = i; rng.chance(15) {
			e.Runs[i] = rng.below(s.parties()) // the same bytes as another
		}
		switch {
		case s.Truth == endsDiverse || sides < 10: // each to its own
			e.Forms[i] = i
		case sides < 45: // runs fall on two sides of a boundary
			e.Forms[i] = rng.below(2)
		}
	}
	for i := range s.Liars {
		if rng.chance(40) {
			s.Liars[i].Kind = LieFalseForm
		}
	}
	s.Equal = e
}

// equalsDecided counts an outcome that others came to by other bytes, or beside
// others' forms.
func (c *checks) equalsDecided(s *stock, at consensus.Height) {
	form, bytes, forms := c.w.plan.formOf(s), false, false
	for _, party := range at.Members {
		if r := c.members[party].report; r != nil && r.Normal != nil {
			bytes = bytes || *r.Normal == *form && !same(r.Value, s.value)
			forms = forms || *r.Normal != *form
		}
	}
	if bytes {
		c.w.cover.hit(SawEquals)
	}
	if forms {
		c.w.cover.hit(SawMajority)
	}
}

// racesOfEquals counts two values of one form that are both prepared in a round.
func (c *checks) racesOfEquals(s slot) {
	v, _ := stockOf(s.value)
	form := c.w.plan.formOf(v)
	for i := range c.tallies {
		t := &c.tallies[i]
		if t.kind != consensus.KindPrepare || t.round != s.round || t.height != s.height || t.value == s.value || form == nil {
			continue
		}
		if other, ok := stockOf(t.value); ok && other.value.Matched() && *c.w.plan.formOf(other) == *form {
			c.w.cover.hit(SawRaceEquals)
			return
		}
	}
}

// hold holds a value whose blocks are here, unless it comes to none of the forms
// that it was asked for with: its bytes are kept, and nobody votes for it.
func (n *node) hold(e bft.Fetch) {
	if s, _ := stockOf(e.Hash); len(e.Normals) > 0 && !slices.Contains(e.Normals, *n.w.plan.formOf(s)) {
		n.w.cover.hit(SawFalseForm)
		n.w.logf("%d does not hold %s, which comes to another form", n.id, s.name)
		return
	}
	n.input(bft.Held{Value: e.Hash, Normals: e.Normals})
}
