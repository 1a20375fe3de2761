package sim

import "github.com/muster-network/muster/consensus"

// voteForAll prepares and commits, in any round, whatever anybody votes for, and
// tells each to some: everybody's accomplice.
func (l *liar) voteForAll() {
	for _, t := range l.w.checks.tallies {
		if (t.kind == consensus.KindPrepare || t.kind == consensus.KindCommit) && t.height == l.w.last().Number && t.round+1 >= l.top() {
			l.tellSome(50, l.signAt(l.w.last(), consensus.KindPrepare, t.round, t.value, nil))
			l.tellSome(50, l.signAt(l.w.last(), consensus.KindCommit, t.round, t.value, nil))
		}
	}
	if l.src.chance(30) {
		l.tellSome(60, l.sign(consensus.KindRoundChange, l.top(), consensus.Hash{}, nil))
	}
	if round := l.top(); round > 0 && l.src.chance(50) {
		l.tellSome(60, l.proposal(round))
	}
}
