package sim

import "github.com/muster-network/muster/consensus"

// reportToOne shows its report to one member only, and is silent afterwards.
func (l *liar) reportToOne(to int, m mail) mail {
	shows := false
	for _, one := range m {
		shows = shows || one.claim.Kind == consensus.KindReport
	}
	if !shows {
		return m
	}
	chosen := int(l.mask) % l.w.t.N
	if chosen == l.n.id {
		chosen = (chosen + 1) % l.w.t.N
	}
	if to == chosen {
		return m
	}
	if to == len(l.w.nodes)-1 || to < 0 {
		l.quiet = true
	}
	return nil
}
