package sim

import "github.com/muster-network/muster/consensus"

// fallSilent follows the protocol until its word would complete something, and
// never speaks again: the commit that makes a quorum, the proposal of the round
// that it leads, the report that others wait for.
func (l *liar) fallSilent(m mail) mail {
	worst := []consensus.Kind{consensus.KindAccept, consensus.KindReport, consensus.KindPropose, consensus.KindPrepare, consensus.KindCommit,
		consensus.KindRoundChange, consensus.KindStarted}[l.mask%7]
	for _, one := range m {
		if one.claim.Kind == worst {
			l.quiet = true
			return nil
		}
	}
	return m
}
