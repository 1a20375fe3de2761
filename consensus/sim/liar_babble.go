package sim

import "github.com/muster-network/muster/consensus"

// babble says one of the things that a member can say, of any round and value, to
// some.
func (l *liar) babble() {
	s, round := l.anything(), uint32(l.src.below(int(l.top())+3))
	var m *mailed
	switch l.src.below(10) {
	case 0:
		m = l.sign(consensus.KindAccept, 0, consensus.Hash{}, nil)
	case 1:
		m = l.sign(consensus.KindReportCommit, 0, consensus.Hash{byte(l.src.below(3))}, nil)
	case 2, 3:
		m = l.anyReport(s)
	case 4:
		m = l.sign(consensus.KindPrepare, round, s.hash, nil)
	case 5:
		m = l.sign(consensus.KindCommit, round, s.hash, nil)
	case 6:
		if l.src.chance(20) {
			round = 1 << 31
		}
		m = l.sign(consensus.KindRoundChange, round, consensus.Hash{}, nil)
	case 7:
		m = l.proposal(round)
	case 8:
		set, t, ok := l.buildSet(consensus.KindCommit)
		if !ok {
			return
		}
		m = l.note(consensus.NoteDecided, t.hash, &consensus.Payload{Decision: &consensus.Decision{Value: t.value, Commits: set}})
	default:
		m = l.note(consensus.NoteRunning, consensus.Hash{}, &consensus.Payload{Beat: &consensus.Beat{Run: 1, Running: l.src.chance(50)}})
	}
	l.tellSome(60, m)
}

// anyReport is a report of whatever a run can end in.
func (l *liar) anyReport(s *stock) *mailed {
	r := consensus.Report{Run: 1 + uint64(l.src.below(2)), Value: s.value}
	if r.Validate() != nil {
		s = &anotherLie
		r.Value = s.value
	}
	if r.Normal = l.w.plan.formOf(s); r.Normal != nil && l.src.chance(40) {
		r.Normal = l.honestForm() // not what it comes to, or none
	}
	return l.sign(consensus.KindReport, 0, reportHash(r), &consensus.Payload{Report: &r})
}
