package sim

import "github.com/muster-network/muster/consensus"

// showStale shows the oldest certificate there is as if it were the highest: in
// round changes, in proposals, and as a hint.
func (l *liar) showStale() {
	set, s, ok := l.oldest()
	if !ok {
		return
	}
	p := &consensus.Payload{Set: &set, Value: &s.value}
	highest, err := consensus.HighestHash(set.Round, set.Value)
	if err != nil {
		panic(err) // a round and a hash always encode
	}
	for round := max(l.top(), 1); round <= l.top()+1; round++ {
		l.tellSome(60, l.sign(consensus.KindRoundChange, round, highest, p))
		l.tellSome(60, l.sign(consensus.KindPropose, round, s.hash, p))
	}
	l.tellSome(60, l.note(consensus.NoteHighest, s.hash, p))
}

func (l *liar) oldest() (set consensus.VoteSet, s *stock, ok bool) {
	for range 3 {
		if other, t, found := l.buildSet(consensus.KindPrepare); found && (!ok || other.Round < set.Round) {
			set, s, ok = other, t, true
		}
	}
	return set, s, ok
}
