package bft

import (
	"math"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/store/dagcbor"
)

// runs is who executes, and this member's own run (protocol, section 5).
type runs struct {
	active    int     // so many of Runners were called to execute, the first of them
	exhausted bool    // one more was wanted, and there was none
	called    int64   // when the last of them was called
	showFrom  int64   // since when reports can be shown: f+1 are bound, or no backup is left
	tracks    []track // by party

	run      uint64             // own: the number of the last run begun, durable
	running  bool               // as last told by the caller
	done     uint64             // tasks, likewise
	report   *consensus.Report  // own, durable
	commit   consensus.Hash     // what binds this member to it
	payload  *consensus.Payload // it, as it is shown
	hash     consensus.Hash     // likewise: what the statement carries
	revealed bool
	beatAt   int64 // when the next own beat is due
}

// track is what was heard of an executor, and when; 0: never.
type track struct {
	called    int64
	heard     int64
	running   int64
	run       uint64 // the number in its last beat
	done      uint64 // tasks of an array
	committed int64
	reported  int64
	why       string // a backup was called
}

const (
	patience = 3      // beats that an executor may miss
	grace    = 10_000 // milliseconds that a run may go on after its timeout
)

// blind reports whether reports are committed to before they are shown: where
// there is somebody to copy from, and something to be gained by it.
func (m *Machine) blind() bool { return m.cfg.Charter.Fault == consensus.Byzantine && m.t.Match > 1 }

// execute calls executors, begins or goes on with the own run, and shows its
// report when that is due.
func (m *Machine) execute() {
	if !m.acts() {
		return
	}
	m.callExecutors()
	switch {
	case m.hasEffects():
		m.takeTurns()
	case m.runs.run == 0 && m.isActive(m.seat) && m.canRun(m.seat):
		m.beginRun()
	}
	m.showReport()
	m.sendBeat()
}

func (m *Machine) callExecutors() {
	r := &m.runs
	for r.active < min(m.t.Match, len(m.cfg.Runners)) {
		m.call("")
	}
	for !r.exhausted {
		why, wanted := m.wantsBackup()
		if !wanted {
			break
		}
		if r.active == len(m.cfg.Runners) {
			r.exhausted = true
			break
		}
		m.call(why)
	}
	if r.showFrom == 0 && (count(m.at.Members, m.isBound) >= m.t.Suspicion || r.exhausted) {
		r.showFrom = m.now
	}
}

// isBound reports whether a party can report one thing only: it said what it binds
// itself to, or has shown its report without that.
func (m *Machine) isBound(party int) bool {
	return m.evidence.commits[party] != nil || len(m.evidence.reports[party]) > 0
}

func (m *Machine) call(why string) {
	t := m.track(m.cfg.Runners[m.runs.active])
	t.called, t.why = m.now, why
	m.runs.called = m.now
	m.runs.active++
}

func (m *Machine) isActive(seat int) bool {
	return slices.Contains(m.cfg.Runners[:m.runs.active], seat)
}

// wantsBackup reports whether one more executor is wanted, and why: the reports
// shown and still due can make nothing valid, or, where one report makes a value
// valid, the blocks of what is valid do not come.
func (m *Machine) wantsBackup() (why string, wanted bool) {
	due := 0
	why = "the reports do not match"
	for _, seat := range m.cfg.Runners[:m.runs.active] {
		if len(m.reportsOf(seat)) > 0 && !m.isJudged(seat) {
			continue
		}
		until, reason := m.dueUntil(seat)
		if m.turns.ended[m.at.Members[seat]] > 0 {
			why = "a run of an executor came to nothing"
		} else if m.now < until {
			due++
		} else {
			why = reason
		}
	}
	if !m.hasOutcome() && !m.canBecomeValid(due) {
		return why, true
	}
	if m.isDisputed() {
		return "members do not agree on the evidence", true
	}
	if !m.hasOutcome() {
		return "", false
	}
	f := m.fetching(m.valid[0].hash)
	return "the blocks do not come", m.t.Match == 1 && due == 0 && f != nil && !m.holds(f.choice) &&
		m.isStalled(f) && m.now >= m.runs.called+stalled*m.cfg.Timing.Beat
}

// isDisputed reports whether f+1 leaders had their turn with nothing certified,
// and fewer members were called than rounds were entered; or whether q members do
// not even follow this one into its round. An executor that binds itself to
// different reports before different members makes a value valid for some and
// never for others: then every correct member has to run. A member that waits
// for blocks knows a better reason for the delay.
func (m *Machine) isDisputed() bool {
	_, held := m.best()
	failed := m.rounds.round > uint32(m.t.Suspicion) && uint32(m.runs.active) < m.rounds.round
	alone := m.isAlone() && m.now >= m.aloneUntil()
	return (failed || alone) && m.rounds.highest == nil && (held || !m.hasOutcome())
}

// isAlone reports whether this member is ahead of so many that its round cannot
// come to an end.
func (m *Machine) isAlone() bool {
	byzantine := m.cfg.Charter.Fault == consensus.Byzantine // else the others follow one that is ahead
	return byzantine && !m.hasEffects() && m.rounds.round > 0 && m.reached(m.rounds.round) < m.t.Quorum
}

func (m *Machine) aloneUntil() int64 {
	return max(m.rounds.since, m.runs.called) + patience*m.cfg.Timing.Beat
}

// canBecomeValid reports whether so many reports more could make any value valid.
// Cancelled is not among them: after the submitter's Void it takes no report, and
// still is another's to propose.
func (m *Machine) canBecomeValid(due int) bool {
	var few [4]choice // mostly there are no more
	return due >= m.t.Match || slices.ContainsFunc(m.candidates(few[:0]), func(c choice) bool {
		reports, need := m.support(c)
		return c.value.Kind != consensus.Cancelled && len(reports)+due >= need
	})
}

// dueUntil returns the time until which a called executor's report is awaited,
// and why no longer.
func (m *Machine) dueUntil(seat int) (int64, string) {
	t, timing := m.track(seat), m.cfg.Timing
	wait := patience * timing.Beat
	if m.isJudged(seat) {
		return m.checkUntil(seat)
	}
	if !m.canRun(seat) {
		return 0, "a member that cannot execute took the seat of one that could"
	}
	if t.committed != 0 {
		if m.runs.showFrom == 0 {
			return math.MaxInt64, ""
		}
		return max(t.committed, m.runs.showFrom) + wait, "an executor did not show its report"
	}
	until, why := max(t.called, t.heard)+wait, "an executor fell silent"
	limit, reason := max(m.cfg.Charter.StartBy, t.called+wait), "an executor did not start in time"
	if t.running != 0 {
		limit, reason = t.running+timing.Timeout+grace, "an executor ran for too long"
	}
	if limit < until {
		return limit, reason
	}
	return until, why
}

// beginRun begins the next own run.
func (m *Machine) beginRun() {
	m.runs.run++
	m.runs.done = 0
	m.runs.beatAt = m.now
	m.record(RecordRun, &m.runs.run)
	m.do(Execute{Run: m.runs.run})
}

func (m *Machine) isRunning() bool { return m.runs.run > 0 && m.runs.report == nil && !m.turns.cut }

func (m *Machine) runState(in RunState) {
	if !m.isRunning() || in.Run != m.runs.run {
		return
	}
	m.runs.done = in.Done
	if in.Running != m.runs.running {
		m.runs.running = in.Running
		m.runs.beatAt = m.now
	}
}

// ran makes the own report durable and binds this member to it.
func (m *Machine) ran(in Ran) {
	r := &m.runs
	if !m.isRunning() || in.Run != r.run {
		return
	}
	if m.once() && in.Begun && !in.Value.Matched() {
		m.turns.cut = true // also after a restart: what began and left no report is
		return
	}
	m.keepReport(&consensus.Report{Run: in.Run, Salt: m.salt(in.Run), Value: in.Value, Use: in.Use, Normal: in.Normal})
	m.record(RecordReport, r.report)
	if m.blind() {
		m.sayAll(consensus.KindReportCommit, r.commit)
	}
	if m.hasEffects() && !in.Value.Matched() {
		m.endRuns(in.Run) // it came to nothing: another run may
	}
}

// keepReport keeps the own report, with all that is said of it.
func (m *Machine) keepReport(report *consensus.Report) {
	r := &m.runs
	r.report, r.payload = report, &consensus.Payload{Report: report}
	var err error
	if r.hash, err = report.Hash(m.cfg.Network); err != nil {
		panic(err) // a durable report encodes
	}
	if m.blind() {
		r.commit = m.commitHash(m.cfg.Self, *report)
	}
	m.evidence.held = append(m.evidence.held, m.choice(report.Value).hash)
}

// salt keeps what a ReportCommit binds to from being guessed.
func (m *Machine) salt(run uint64) [16]byte {
	data, err := dagcbor.Seal("muster/salt/1", m.cfg.Network[:], struct {
		_    struct{} `cbor:",toarray"`
		Salt [16]byte
		Job  consensus.JobID
		Run  uint64
	}{Salt: m.cfg.Salt, Job: m.cfg.Job, Run: run})
	if err != nil {
		panic(err) // fixed fields always encode
	}
	sum := dagcbor.Sum(data)
	return [16]byte(sum[:16])
}

// showReport shows the own report once nobody can copy it: when f+1 members are
// bound, or no backup is left. Lost patience alone never shows it.
func (m *Machine) showReport() {
	r := &m.runs
	if r.report == nil || r.revealed || m.blind() && r.showFrom == 0 {
		return
	}
	r.revealed = true
	m.say(m.reportStatement())
}

func (m *Machine) reportStatement() Outgoing {
	return Outgoing{Kind: consensus.KindReport, Value: m.runs.hash, Payload: m.runs.payload}
}

func (m *Machine) sendBeat() {
	r := &m.runs
	if !m.isRunning() || m.now < r.beatAt {
		return
	}
	r.beatAt = m.now + m.cfg.Timing.Beat
	beat := consensus.Beat{Run: r.run, Running: r.running, Done: r.done}
	m.beat(m.cfg.Self, beat)
	if others := m.others(); len(others) > 0 {
		m.say(Outgoing{To: others, Note: consensus.NoteRunning, Payload: &consensus.Payload{Beat: &beat}})
	}
}

func (m *Machine) beat(party int, b consensus.Beat) {
	if party < 0 {
		return
	}
	t := &m.runs.tracks[party]
	t.heard, t.run, t.done = m.now, b.Run, b.Done
	if b.Running && t.running == 0 {
		t.running = m.now
	}
	m.entry.shown[party] = true
}

func (m *Machine) runStatements(out []Outgoing) []Outgoing {
	if m.turns.granted.Run > 0 {
		out = append(out, m.grantStatement())
	}
	if m.turns.over > 0 {
		out = append(out, m.endedStatement())
	}
	if m.runs.report != nil && m.blind() {
		out = append(out, Outgoing{Kind: consensus.KindReportCommit, Value: m.runs.commit})
	}
	if m.runs.revealed {
		out = append(out, m.reportStatement())
	}
	return m.checkStatements(out)
}

func (m *Machine) runAlarms() {
	if !m.acts() {
		return
	}
	m.alarm(m.cfg.Charter.Deadline + 1)
	if m.isRunning() {
		m.alarm(m.runs.beatAt)
	}
	if !m.hasOutcome() && !m.runs.exhausted {
		for _, seat := range m.cfg.Runners[:m.runs.active] {
			if len(m.reportsOf(seat)) == 0 {
				until, _ := m.dueUntil(seat)
				m.alarm(until)
			}
		}
	}
	if m.isAlone() {
		m.alarm(m.aloneUntil())
	}
	m.turnAlarms()
	m.checkAlarms()
	for _, f := range m.evidence.fetches {
		if !m.holds(f.choice) {
			m.alarm(f.since + stalled*m.cfg.Timing.Beat)
			m.alarm(f.asked + stalled*m.cfg.Timing.Beat)
			m.alarm(m.runs.called + stalled*m.cfg.Timing.Beat)
		}
	}
}
