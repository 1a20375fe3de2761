package bft

import (
	"slices"

	"github.com/muster-network/muster/consensus"
)

// A job is a chain of heights (protocol, section 7). At each one value is
// decided; a handover leaves the job to the next height, whose members follow
// from it, and everything else ends it. Rounds, votes and locks belong to a
// height. Reports, cancellations, blocks and the start belong to the job, and
// are kept by party: they count while their party holds a seat.

// begin makes a height the current one.
func (m *Machine) begin(at consensus.Height) {
	m.at, m.seat = at, at.SeatOf(m.cfg.Self)
	m.rounds = newRounds(m.t.N)
	m.turns.closed, m.turns.heard, m.turns.prepared = false, make([]heard, m.t.N), make([]prepared, m.t.N)
	m.valid, m.evidence.moves, m.evidence.news = nil, nil, true
	m.holdAgain()
	before := m.watch
	m.watch = newWatch(at)
	for party, s := range before.parties {
		m.watch.parties[party].gone = s.gone
	}
	if m.entry.started != nil {
		m.listen()
	}
	for _, r := range at.Replaced {
		if r.Height+1 == at.Number {
			// A reserve inherits whether its place was called to execute.
			m.runs.tracks[r.In].called = m.now
		}
	}
}

// handOver takes a decided handover: from here on only the next height's members
// count. It is told to the members of both.
func (m *Machine) handOver(d consensus.Decision) {
	next, err := m.at.Next(d.Value)
	if err != nil {
		return // q members decided what no job may have: more than f are liars
	}
	was := m.seat
	m.record(RecordHandover, &d)
	m.chain = append(m.chain, d)
	m.begin(next)
	m.do(Reached{Height: next})
	if was < 0 && m.acts() {
		m.do(StartedJob{})
	}
	to := slices.DeleteFunc(m.parts(), func(party int) bool { return party == m.cfg.Self })
	m.say(m.handedOver(to))
	if m.turns.granted.Run > 0 && m.acts() {
		m.say(m.grantStatement())
	}
}

// handedOver shows the handovers so far: who sees them knows the height and its
// members.
func (m *Machine) handedOver(to []int) Outgoing {
	last := m.chain[len(m.chain)-1]
	return Outgoing{To: to, Note: consensus.NoteHandover, Value: last.Commits.Value, Payload: &consensus.Payload{Chain: m.chain}}
}

// climb takes decisions that somebody shows, those that are news here: they are
// checked, and follow from each other.
func (m *Machine) climb(chain []consensus.Decision) {
	for _, d := range chain {
		if m.decision == nil && d.Height == m.at.Number {
			m.heardSet(consensus.KindCommit, d.Commits)
			m.conclude(d)
		}
	}
}

// Heights returns the heights that were reached, from height 0 to the present one.
func (m *Machine) Heights() []consensus.Height {
	heights := make([]consensus.Height, 0, len(m.chain)+1)
	at := consensus.FirstHeight(m.cfg.Network, m.cfg.Job, m.cfg.Charter)
	for _, d := range m.chain {
		heights = append(heights, at)
		next, err := at.Next(d.Value)
		if err != nil {
			panic(err) // it did before
		}
		at = next
	}
	return append(heights, at)
}

// acts reports whether this member votes and executes: the job has started, and
// it holds a seat at this height.
func (m *Machine) acts() bool { return m.entry.started != nil && m.seat >= 0 }

// isReserve reports whether this node holds no seat and could still get one.
func (m *Machine) isReserve() bool {
	return m.seat < 0 && m.cfg.Self >= m.t.N && !m.at.Used(m.cfg.Self-m.t.N)
}

// parts are the parties that hold or held a seat, self included.
func (m *Machine) parts() []int {
	parts := make([]int, m.t.N, m.t.N+len(m.at.Replaced))
	for party := range parts {
		parts[party] = party
	}
	for _, r := range m.at.Replaced {
		parts = append(parts, r.In)
	}
	return parts
}

// Members returns the parties that hold the seats at this height.
func (m *Machine) Members() []int { return m.at.Members }

// Audience returns the parties to whom a job's outcome is told: those that hold
// or held a seat, and reserves that were asked to stand by; nil where these are
// the charter's roster.
func (m *Machine) Audience() []int {
	if m.at.Number == 0 && len(m.watch.asked) == 0 {
		return nil
	}
	return append(m.parts(), m.watch.asked...)
}

// hadPart reports whether a party that is no member was one, or was asked to
// stand by.
func (m *Machine) hadPart(party int) bool {
	return slices.Contains(m.parts(), party) || slices.Contains(m.watch.asked, party)
}

// reportsOf returns the reports of a seat's holder. A removed member's are kept,
// and never count.
func (m *Machine) reportsOf(seat int) []shown { return m.evidence.reports[m.at.Members[seat]] }

// track returns what was heard of a seat's holder as an executor.
func (m *Machine) track(seat int) *track { return &m.runs.tracks[m.at.Members[seat]] }

// canRun reports whether a seat's holder may execute: who took the seat of one
// who could need not be able to.
func (m *Machine) canRun(seat int) bool {
	holder := m.at.Members[seat]
	return holder < m.t.N || slices.Contains(m.cfg.Spares, holder)
}

// answerOlder answers a vote for a height that has been decided with its decision,
// each party once in a round's time.
func (m *Machine) answerOlder(party int) {
	if party != m.cfg.Self && m.now >= m.told[party]+m.cfg.Timing.Round {
		m.told[party] = m.now
		m.say(m.handedOver([]int{party}))
	}
}
