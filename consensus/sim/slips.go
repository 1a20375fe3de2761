package sim

import "slices"

// slip says what a party's runs end in, whatever others' end in.
type slip uint8

const (
	slipsNot slip = iota
	slipsTimeout
	slipsHost
)

func (s *Schedule) slips() bool {
	return slices.ContainsFunc(s.Slips, func(to slip) bool { return to != slipsNot })
}

// settleSlips lets runs of some parties time out, or fail by their hosts, where those
// of others do not, by draws from a source of its own.
func (s *Schedule) settleSlips() {
	rng := newSource(s.Seed, 6)
	s.Slips = make([]slip, s.parties())
	if !rng.chance(10) {
		return
	}
	for i := range s.Slips {
		if rng.chance(30) {
			s.Slips[i] = slipsTimeout + slip(rng.below(2))
		}
	}
}

// slipDecided counts an outcome beside a run that timed out, or that its host broke.
func (c *checks) slipDecided(s *stock) {
	for party, to := range c.w.plan.Slips {
		if to != slipsNot && s.value.Matched() && c.members[party].report != nil {
			c.w.cover.hit(SawSlip)
			return
		}
	}
}
