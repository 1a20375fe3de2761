package sim

import "github.com/muster-network/muster/consensus"

// askFarAhead asks for runs that nobody has come to, grants them to itself, and says
// of what it may have been granted that it is over.
func (l *liar) askFarAhead() {
	at := l.w.last()
	seat := at.SeatOf(l.n.id)
	if l.w.plan.Effects == "" || seat < 0 {
		return
	}
	run := l.aRun(seat, 4)
	if l.src.chance(30) {
		run = uint32(1<<(8+l.src.below(24))/len(l.w.runners)*len(l.w.runners) + seat + 1)
	}
	l.tellSome(70, l.note(consensus.NoteRunning, consensus.Hash{}, &consensus.Payload{Beat: &consensus.Beat{Run: uint64(run), Running: l.src.chance(50)}}))
	if l.src.chance(40) {
		l.tellSome(60, l.signAt(at, consensus.KindGrant, run, l.w.checks.nameOf(l.n.id), nil))
	}
	if l.src.chance(20) {
		l.tellSome(60, l.sign(consensus.KindEnded, l.aRun(seat, 2), consensus.Hash{}, nil))
	}
}
