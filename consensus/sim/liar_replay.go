package sim

import (
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/runner"
)

// replay shows what honest members really signed elsewhere: for another job,
// height, network or incarnation, one of them wrong and all else right. Nothing of
// it counts here.
func (l *liar) replay() {
	value := l.anything()
	elsewhere := l.src.below(4)
	round := uint32(l.src.below(int(l.top()) + 2))
	prepares, commits := l.setFrom(elsewhere, consensus.KindPrepare, round, value.hash), l.setFrom(elsewhere, consensus.KindCommit, round, value.hash)
	decision := consensus.Decision{Value: value.value, Commits: commits}
	l.tellSome(60, l.note(consensus.NoteDecided, value.hash, &consensus.Payload{Decision: &decision}))
	l.tellSome(60, l.note(consensus.NoteHighest, value.hash, &consensus.Payload{Set: &prepares, Value: &value.value}))
	accepts := l.setFrom(elsewhere, consensus.KindAccept, 0, consensus.Hash{})
	l.tellSome(60, l.note(consensus.NoteAccepts, consensus.Hash{}, &consensus.Payload{Accepts: accepts.Votes, Offer: &l.w.offer}))
	for _, v := range commits.Votes[:1] {
		c := runner.Claim{From: keyOf(int(v.Seat)), Incarnation: firstLife(int(v.Seat)), Kind: consensus.KindCommit, Job: l.w.job, Round: round,
			Value: value.hash, Proof: v.Proof}
		l.tellSome(60, l.w.address(c))
	}
}

// setFrom lets all honest members sign elsewhere, as they would have in another
// job, and collects it as if it were of this one.
func (l *liar) setFrom(elsewhere int, kind consensus.Kind, round uint32, value consensus.Hash) consensus.VoteSet {
	set := consensus.VoteSet{Round: round, Value: value}
	for seat := range l.w.t.N {
		if len(set.Votes) == l.w.t.Quorum {
			break
		}
		s := consensus.Statement{Kind: kind, Network: network, Job: l.w.job, Previous: consensus.Hash(l.w.job), Round: round,
			Sender: keyOf(seat), Incarnation: firstLife(seat), Value: value}
		switch elsewhere {
		case 0:
			s.Job[31]++
		case 1:
			s.Height, s.Previous = 1, consensus.Hash{1}
		case 2:
			s.Network = admission.Network{2}
		case 3:
			s.Incarnation = admission.Incarnation{byte(seat + 1), 2}
		}
		set.Votes = append(set.Votes, consensus.Vote{Seat: uint64(seat), Proof: l.w.ledger.sign(s.Sender, s)})
	}
	return set
}
