package bft

import (
	"slices"

	"github.com/muster-network/muster/consensus"
)

// stuckRun returns the last grant where, under once, it holds the job up: its
// executor is lost, or was cut off, and has not said that its run is over.
func (m *Machine) stuckRun() *StuckRun {
	g := m.turns.granted
	if m.decision != nil || !m.once() || m.isOver(g) || m.hasOutcome() {
		return nil
	}
	s := &StuckRun{Seat: m.at.SeatOf(int(g.Party)), Run: uint64(g.Run), Since: m.runs.tracks[g.Party].heard, Why: "its executor was cut off in it"}
	if m.turns.cut && int(g.Party) == m.cfg.Self {
		return s
	}
	until, why := m.dueUntil(s.Seat)
	if m.now < until {
		return nil
	}
	s.Since, s.Why = until, why
	return s
}

// hearPrepare notes what a seat prepares: under once it matters after its round,
// too.
func (m *Machine) hearPrepare(seat int, value consensus.Hash) {
	if m.once() {
		m.turns.prepared[seat] = prepared{value, m.now}
	}
}

// closedSeats returns, under once, who prepared a handover of this height where
// that holds the job up: they grant nothing at it, those left are no quorum, and
// the handover has not been decided for a while (decision 017). A member that came
// back may know of its own handover only, and waits longer before it says so.
func (m *Machine) closedSeats() *ClosedSeats {
	if m.decision != nil || !m.once() || m.hasOutcome() {
		return nil
	}
	c := &ClosedSeats{}
	var since []int64
	for seat, p := range m.turns.prepared {
		switch {
		case seat == m.seat && m.turns.closed:
			p.at = m.turns.closedAt
		case p.at == 0 || !m.isMove(p.value):
			continue
		}
		c.Seats, since = append(c.Seats, seat), append(since, p.at)
	}
	slices.Sort(since)
	switch most := m.t.N - m.t.Quorum; {
	case len(since) > most && m.now >= since[most]+patience*m.cfg.Timing.Beat:
		c.Since = since[most]
	case m.turns.closed && m.now >= m.turns.closedAt+lapses*m.cfg.Timing.Patience && !m.isGranted():
		c.Since = m.turns.closedAt
	default:
		return nil
	}
	return c
}
