package bft

// Kept returns how many statements and reports of a party this machine keeps:
// for each party at most MaxKept, whatever it says, and as many verdicts as there
// are parties (protocol, section 16).
func (m *Machine) Kept(party int) int {
	kept := len(m.evidence.reports[party])
	if m.evidence.commits[party] != nil {
		kept++
	}
	if party < m.t.N && m.entry.accepts[party] != nil {
		kept++
	}
	if seat := m.at.SeatOf(party); seat >= 0 {
		kept += m.rounds.kept(seat, m.leader)
	}
	return kept
}

// MaxKept is two reports and what binds their sender to one, an accept, a round
// change, and of each of three rounds a proposal, a prepare and a commit.
const MaxKept = 2 + 1 + 1 + 1 + 3*3

// kept counts a seat's votes; leader says whose a round's proposal is.
func (r *rounds) kept(seat int, leader func(uint32) int) int {
	kept := 0
	if r.changes[seat].round > 0 {
		kept++
	}
	for _, b := range r.ballots {
		if b.prepares[seat] != nil {
			kept++
		}
		if b.commits[seat] != nil {
			kept++
		}
		if b.proposal != nil && leader(b.round) == seat {
			kept++
		}
	}
	return kept
}

// KeptValues returns how many values this machine keeps whose blocks it has or
// has asked for, and handovers that it has judged.
func (m *Machine) KeptValues() int {
	return len(m.evidence.held) + len(m.evidence.fetches) + len(m.evidence.moves)
}
