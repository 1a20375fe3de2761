package sim

import (
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
)

// forgeHandover wants members replaced that are there: it suspects them, votes for
// their handover and proposes it, says of itself that it is gone, lets reserves
// accept that did not, and acts at a height that nobody has decided.
func (l *liar) forgeHandover() {
	at := l.w.last()
	v := l.anyHandover()
	if v == nil {
		return
	}
	victim := at.Members[v.value.Pairs[0].Seat]
	round := l.top()
	switch l.src.below(7) {
	case 0, 1:
		l.tellSome(80, l.sign(consensus.KindSuspect, 0, l.w.checks.nameOf(victim), nil))
	case 2:
		l.tellSome(70, l.sign(consensus.KindPrepare, round, v.hash, nil))
		l.tellSome(70, l.sign(consensus.KindCommit, round, v.hash, nil))
	case 3:
		l.tellSome(80, l.sign(consensus.KindPropose, max(round, 1), v.hash, &consensus.Payload{Value: &v.value}))
	case 4:
		gone := l.n.claim(bft.Outgoing{Kind: consensus.KindGone, Value: l.w.checks.nameOf(l.n.id)})
		gone.Incarnation = secondLife(l.n.id)
		l.tellSome(30, l.signed(gone))
		other := l.n.claim(bft.Outgoing{Kind: consensus.KindGone, Value: l.w.checks.nameOf(victim)})
		other.From, other.Incarnation = keyOf(victim), secondLife(victim)
		l.tellSome(60, l.w.address(other)) // nobody signed that
	case 5:
		reserve := l.w.t.N + l.src.below(l.w.plan.Reserves)
		accept := l.w.nodes[reserve].claim(bft.Outgoing{Kind: consensus.KindAccept, Height: at.Number + 1, Previous: at.Previous})
		l.tellSome(60, l.w.address(accept)) // nor that
	case 6:
		l.actAhead(at, v)
	}
}

// actAhead shows a handover with whatever votes there are, none of them enough,
// and votes at the height that would follow.
func (l *liar) actAhead(at consensus.Height, v *stock) {
	commits, _ := l.w.ledger.set(at, consensus.KindPrepare, l.top(), v.hash)
	if len(commits.Votes) == 0 {
		own := l.sign(consensus.KindCommit, l.top(), v.hash, nil).claim.Proof
		for seat := range l.w.t.Quorum {
			commits.Votes = append(commits.Votes, consensus.Vote{Seat: uint64(seat), Proof: own})
		}
	}
	decision := consensus.Decision{Height: at.Number, Value: v.value, Commits: commits}
	l.tellSome(60, l.note(consensus.NoteHandover, v.hash, &consensus.Payload{Chain: []consensus.Decision{decision}}))
	if next, err := at.Next(v.value); err == nil {
		l.tellSome(60, l.signAt(next, consensus.KindPrepare, 0, truth.hash, nil))
		l.tellSome(60, l.signAt(next, consensus.KindCommit, 0, truth.hash, nil))
	}
}

// anyHandover is one that the charter has room for, or nearly.
func (l *liar) anyHandover() *stock {
	if l.w.plan.Reserves == 0 {
		return nil
	}
	v := consensus.Value{Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: uint64(l.src.below(l.w.t.N)), Reserve: uint64(l.src.below(l.w.plan.Reserves))}}}
	hash, err := v.Hash(network)
	if err != nil {
		panic(err) // one pair always encodes
	}
	return handovers[hash]
}
