package bft

import (
	"slices"

	"github.com/muster-network/muster/consensus"
)

// Phase says how far a job is.
type Phase string

// The phases.
const (
	PhaseAccepting Phase = "accepting" // short of q accepts
	PhaseVoided    Phase = "voided"    // the submitter withdrew it before it started
	PhaseRunning   Phase = "running"   // started, no value is valid yet
	PhaseChecking  Phase = "checking"  // likewise, and members check what one of them left
	PhaseFetching  Phase = "fetching"  // a value is valid, its blocks are on their way
	PhaseAgreeing  Phase = "agreeing"  // votes are being exchanged
	PhaseDecided   Phase = "decided"
)

// Role is what a seat does in a job besides voting.
type Role string

// The roles.
const (
	RoleVoter    Role = "voter"
	RoleExecutor Role = "executor"
	RoleBackup   Role = "backup"
)

// View is a snapshot of a machine for people. Times are Unix milliseconds.
type View struct {
	Phase    Phase
	Height   consensus.Height
	Round    uint32
	Executed bool // this member's own report is durable
	Seats    []SeatView
	Waiting  []int            // seats whose next word would bring the job on
	Stuck    *StuckRun        // of what acts once: it holds the job up
	Closed   *ClosedSeats     // likewise
	Valid    *consensus.Value // the value this member prefers
	Decision *consensus.Decision
}

// StuckRun is a run of which nobody knows how far it came: its executor was cut
// off in it, or is lost, and has not signed that it is over.
type StuckRun struct {
	Seat  int
	Run   uint64
	Since int64  // Unix milliseconds
	Why   string // for people
}

// ClosedSeats prepared a handover which was not decided: so many, as far as this
// member knows, that no run is granted at this height. The handover's decision, if it still comes, a
// cancellation or the deadline ends that.
type ClosedSeats struct {
	Seats []int
	Since int64 // Unix milliseconds
}

// SeatView is what this member knows of one seat and of who holds it.
type SeatView struct {
	Role      Role
	Silent    bool   // suspected by this member
	Activated bool   // called to execute
	Granted   uint64 // the run that this member granted it last, unless it is over; 0: none
	Why       string // a backup was called in
	Accepted  bool
	Refused   string // its reason, if it refused
	Voided    bool
	Started   bool
	Running   bool
	Done      uint64 // tasks of an array that have ended, by the last beat
	LastBeat  int64  // 0: never heard
	Committed bool   // sent a report commit
	Report    *consensus.Value
	Use       map[string]uint64 // what it says the run took
	Disagrees bool              // it reported, and not the decided or preferred value; where there is a check, what that rejected
	Endorsed  int               // other members whose check found good what it reported, f+1 at most
	Rejected  int               // likewise, and bad
	Round     uint32
	Prepared  *consensus.Hash // in this member's round
	CommitFor *consensus.Hash // in this member's round
}

// View returns a snapshot for people. What it holds must not be changed.
func (m *Machine) View() View {
	v := View{Phase: m.phase(), Height: m.at, Round: m.rounds.round, Executed: m.runs.report != nil, Decision: m.decision}
	if len(m.valid) > 0 {
		value := m.valid[0].value // the list is judged anew in its place
		v.Valid = &value
	}
	if v.Closed = m.closedSeats(); v.Closed == nil {
		v.Stuck = m.stuckRun()
	}
	for seat := range m.t.N {
		v.Seats = append(v.Seats, m.viewSeat(seat))
		if m.awaits(seat, v.Phase) {
			v.Waiting = append(v.Waiting, seat)
		}
	}
	return v
}

func (m *Machine) phase() Phase {
	switch {
	case m.decision != nil:
		return PhaseDecided
	case m.entry.voided:
		return PhaseVoided
	case m.entry.started == nil:
		return PhaseAccepting
	case !m.hasOutcome() && m.rounds.highest == nil:
		if slices.ContainsFunc(m.cfg.Runners[:m.runs.active], m.awaitsVerdicts) {
			return PhaseChecking
		}
		return PhaseRunning
	}
	if _, ok := m.best(); !ok && m.hasOutcome() {
		return PhaseFetching
	}
	return PhaseAgreeing
}

func (m *Machine) viewSeat(seat int) SeatView {
	e, t, party := &m.entry, m.track(seat), m.at.Members[seat]
	s := SeatView{Role: m.role(seat), Silent: m.watch.parties[party].suspected, Activated: m.isActive(seat), Why: t.why,
		Accepted: party >= m.t.N || e.accepts[party] != nil, Refused: e.refused[party], Voided: e.gaveUp[party],
		Started: e.shown[party], Running: t.running != 0, Done: t.done, LastBeat: t.heard, Committed: m.evidence.commits[party] != nil,
		Round: m.rounds.changes[seat].round}
	if g := m.turns.granted; int(g.Party) == party && !m.isOver(g) {
		s.Granted = uint64(g.Run)
	}
	if reports := m.reportsOf(seat); len(reports) > 0 {
		s.Report = &reports[0].Report.Value
		s.Use = reports[0].Report.Use
		s.Disagrees = m.disagrees(reports)
		if m.isJudged(seat) {
			s.Endorsed = len(m.verdictsOn(seat, reports[0].hash, true))
			s.Rejected = len(m.verdictsOn(seat, reports[0].hash, false))
			s.Disagrees = s.Rejected == m.t.Suspicion
		}
	}
	b := m.rounds.ballot(m.rounds.round)
	if v := b.prepares[seat]; v != nil {
		s.Prepared = &v.value
	}
	if v := b.commits[seat]; v != nil {
		s.CommitFor = &v.value
	}
	return s
}

func (m *Machine) role(seat int) Role {
	switch at := slices.Index(m.cfg.Runners, seat); {
	case at < 0:
		return RoleVoter
	case at < m.t.Match:
		return RoleExecutor
	}
	return RoleBackup
}

func (m *Machine) disagrees(reports []shown) bool {
	var hash consensus.Hash
	switch {
	case m.decision != nil:
		hash = m.decision.Commits.Value
	case len(m.valid) > 0:
		hash = m.valid[0].hash
	default:
		return false
	}
	return !slices.ContainsFunc(reports, func(r shown) bool { return r.hash == hash || m.alike(r, hash) })
}

// awaits reports whether the job waits, among others, for a seat.
func (m *Machine) awaits(seat int, phase Phase) bool {
	switch phase {
	case PhaseAccepting:
		return m.entry.accepts[seat] == nil // at height 0, where seats are parties
	case PhaseRunning:
		if m.hasEffects() && !m.isOver(m.turns.granted) {
			return m.at.Members[seat] == int(m.turns.granted.Party)
		}
		bound := m.evidence.commits[m.at.Members[seat]] != nil && m.runs.showFrom == 0 // it waits for others
		return m.isActive(seat) && len(m.reportsOf(seat)) == 0 && !bound
	case PhaseChecking:
		return slices.ContainsFunc(m.cfg.Runners[:m.runs.active], func(of int) bool {
			return of != seat && m.awaitsVerdicts(of) && !m.hasJudged(m.at.Members[seat], m.reportsOf(of)[0].hash)
		})
	case PhaseFetching:
		return seat == m.seat
	case PhaseAgreeing:
		return m.rounds.ballot(m.rounds.round).prepares[seat] == nil
	}
	return false
}
