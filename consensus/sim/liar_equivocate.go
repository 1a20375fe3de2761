package sim

import "github.com/muster-network/muster/consensus"

// equivocate proposes one value to some members and another to the rest, in
// every round that the liar leads; in all others the proposals are refused.
func (l *liar) equivocate() {
	round := l.top() + uint32(l.src.below(2))
	if round == 0 {
		round = 1
	}
	a, b := l.proposal(round), l.proposal(round)
	for to := range l.w.nodes {
		if l.mask>>to&1 == 1 {
			l.tell(to, a)
		} else {
			l.tell(to, b)
		}
	}
	l.tellSome(70, l.sign(consensus.KindRoundChange, round, consensus.Hash{}, nil))
}

// proposal proposes some value with whatever speaks for it: a certificate that
// could be had, or all the evidence.
func (l *liar) proposal(round uint32) *mailed {
	if set, s, ok := l.buildSet(consensus.KindPrepare); ok && l.src.chance(60) {
		return l.sign(consensus.KindPropose, round, s.hash, &consensus.Payload{Set: &set, Value: &s.value})
	}
	s, p := l.anything(), l.evidence()
	p.Value = &s.value
	return l.sign(consensus.KindPropose, round, s.hash, p)
}
