package sim

import "github.com/muster-network/muster/consensus"

// judgeBoth finds a value good before some and bad before others, and shows some
// what it says, with reports, as if it were evidence.
func (l *liar) judgeBoth() {
	if !l.w.plan.Checked.On {
		return
	}
	s := l.anything()
	good, bad := l.sign(consensus.KindEndorse, 0, s.hash, nil), l.sign(consensus.KindReject, 0, s.hash, nil)
	for to := range l.w.nodes {
		if l.mask>>to&1 == 1 {
			l.tell(to, good)
		} else {
			l.tell(to, bad)
		}
	}
	p := l.evidence()
	p.Verdicts = []consensus.SignedVerdict{{Seat: uint64(l.n.id), Value: s.hash, Endorses: true, Proof: good.claim.Proof}}
	l.tellSome(40, l.note(consensus.NoteEvidence, s.hash, p))
	if l.src.chance(30) {
		l.tellSome(50, l.anyReport(s))
	}
}
