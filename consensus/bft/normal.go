package bft

import "github.com/muster-network/muster/consensus"

// Under assurance majority-equal two ends are equal when they come to the same
// normal form, which an executor reports beside its result. One report says what
// the value is, and others, for other values, that it is right. Whether a value
// comes to the form reported is found out by whoever holds its blocks: a member
// does not hold, and so never prepares, a value that does not (decision 015).

// equal returns the reports that speak for a value: one of it, which comes
// first, and one of each other seat that comes to the same.
func (m *Machine) equal(hash consensus.Hash) []*shown {
	var most []*shown
	for seat := range m.at.Members {
		reports := m.reportsOf(seat)
		for i := range reports {
			r := &reports[i]
			if r.hash != hash {
				continue
			}
			list := []*shown{r}
			for other := range m.at.Members {
				if s := m.comesTo(other, r.key); s != nil && other != seat {
					list = append(list, s)
				}
			}
			if len(list) > len(most) {
				most = list
			}
		}
	}
	return most
}

// comesTo returns a seat's report that is matched by key, if there is one.
func (m *Machine) comesTo(seat int, key consensus.Hash) *shown {
	reports := m.reportsOf(seat)
	for i := range reports {
		if reports[i].key == key {
			return &reports[i]
		}
	}
	return nil
}

// normals returns the normal forms that make a value valid, each of which f+1
// members report. For a value that is certified there are none: of those who
// prepared it some were correct, and held it.
func (m *Machine) normals(hash consensus.Hash) []consensus.Hash {
	if h := m.rounds.highest; m.cfg.Charter.Assurance != consensus.MajorityEqual || h != nil && h.set.Value == hash {
		return nil
	}
	var forms []consensus.Hash
	for holder := range m.at.Members {
		for _, r := range m.reportsOf(holder) {
			members := 0
			for seat := range m.at.Members {
				if m.comesTo(seat, r.key) != nil {
					members++
				}
			}
			if r.hash == hash && r.Report.Normal != nil && members >= m.t.Match {
				forms = append(forms, r.key)
			}
		}
	}
	return forms
}

// holdAgain begins a height with the own result alone: other values are held for
// forms that members reported, and who was a member need not be one any more. Their
// blocks are here; what is valid is asked for again, to come to a form of this height.
func (m *Machine) holdAgain() {
	if m.cfg.Charter.Assurance != consensus.MajorityEqual {
		return
	}
	m.evidence.held, m.evidence.fetches = nil, nil
	if r := m.runs.report; r != nil {
		m.evidence.held = append(m.evidence.held, m.choice(r.Value).hash)
	}
}

// first returns the value to prepare in round 0, when there is one. Members that
// ran hold different values that are equal: each waits for the blocks of the one
// that all prefer, rather than prepare its own.
func (m *Machine) first() (choice, bool) {
	if m.cfg.Charter.Assurance == consensus.MajorityEqual && len(m.valid) > 0 && m.valid[0].value.Matched() && !m.holds(m.valid[0]) {
		return choice{}, false
	}
	return m.best()
}

// alike reports whether a report comes to the same as somebody's of a value.
func (m *Machine) alike(r shown, hash consensus.Hash) bool {
	for _, reports := range m.evidence.reports {
		for _, other := range reports {
			if r.Report.Normal != nil && other.hash == hash && other.key == r.key {
				return true
			}
		}
	}
	return false
}
