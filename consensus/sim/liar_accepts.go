package sim

import "github.com/muster-network/muster/consensus"

// acceptToSome accepts towards some members only, and tells the rest that it has
// started all the same.
func (l *liar) acceptToSome(to int, m mail) mail {
	var out mail
	for _, one := range m {
		if one.claim.Kind != consensus.KindAccept || to >= 0 && l.mask>>to&1 == 1 {
			out = append(out, one)
		}
	}
	return out
}

// inventAccepts shows accepts that nobody gave, one accept for every seat, or
// fewer than there are, and says that it has started.
func (l *liar) inventAccepts() {
	own := l.sign(consensus.KindAccept, 0, consensus.Hash{}, nil).claim.Proof
	var votes []consensus.Vote
	for seat := range l.w.t.N {
		votes = append(votes, consensus.Vote{Seat: uint64(seat), Proof: own})
	}
	switch l.src.below(3) {
	case 0: // one proof for all
	case 1: // its own, again and again
		for i := range votes {
			votes[i].Seat = uint64(l.n.id)
		}
	case 2: // those that are real, but too few
		set, _ := l.w.ledger.set(l.w.heights[0], consensus.KindAccept, 0, consensus.Hash{})
		votes = set.Votes[:len(set.Votes)/2]
	}
	l.tellSome(60, l.note(consensus.NoteAccepts, consensus.Hash{}, &consensus.Payload{Accepts: votes, Offer: &l.w.offer}))
	l.tellSome(30, l.sign(consensus.KindStarted, 0, consensus.Hash{}, nil))
}
