package member

import (
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

// look is a job that is being looked at.
type look struct {
	from      []admission.Key // who brought it
	submitter admission.Key   // whose place here it takes; zero until that is known
	opened    bool            // by one of these looks, or being opened
}

func (m *Member) begin(id consensus.JobID, from admission.Key) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	l := m.intake[id]
	switch {
	case m.open[id] != nil || l != nil && slices.Contains(l.from, from):
		return false
	case l == nil:
		l = &look{}
		m.intake[id] = l
	}
	l.from = append(l.from, from)
	return true
}

// reserve keeps a job, until end of this node's own key, from being opened by what
// anybody shows of it.
func (m *Member) reserve(id consensus.JobID) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.intake[id] = &look{from: []admission.Key{m.cfg.Self}, opened: true}
}

func (m *Member) end(id consensus.JobID, from admission.Key) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	l := m.intake[id]
	if l.from = slices.DeleteFunc(l.from, func(k admission.Key) bool { return k == from }); len(l.from) == 0 {
		delete(m.intake, id)
	}
}

// came reports whether a job was opened by what another showed of it, or is being.
func (m *Member) came(id consensus.JobID) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.intake[id].opened
}

// claim reports whether this look is to open the job. Only one of those that
// overlap does, so that what has ended meanwhile is not opened again.
func (m *Member) claim(j *job) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	l := m.intake[j.id]
	if l.opened {
		return false
	}
	l.opened = true
	m.open[j.id] = j
	return true
}

// unclaim takes a claim back: the job could not be opened.
func (m *Member) unclaim(id consensus.JobID) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.intake[id].opened = false
	delete(m.open, id)
}
