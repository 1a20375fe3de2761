package sim

import "github.com/muster-network/muster/consensus"

// grantToMany grants every executor a run that it may be asking for, out of turn,
// and tells the others that it granted somebody else the same.
func (l *liar) grantToMany() {
	if l.w.plan.Effects == "" {
		return
	}
	at := l.w.last()
	for seat, party := range at.Members {
		run := l.aRun(seat, 2)
		l.tell(party, l.signAt(at, consensus.KindGrant, run, l.w.checks.nameOf(party), nil))
		other := at.Members[l.src.below(len(at.Members))]
		l.tellSome(40, l.signAt(at, consensus.KindGrant, run, l.w.checks.nameOf(other), nil))
	}
}

// aRun is one of the numbers of a seat, up to so many turns after those that honest
// members have granted.
func (l *liar) aRun(seat, turns int) uint32 {
	k := len(l.w.runners)
	turn := int(l.w.checks.topRun())/k - 1 + l.src.below(turns+2)
	return uint32(max(turn, 0)*k + seat + 1)
}
