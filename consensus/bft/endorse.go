package bft

import (
	"fmt"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/store/dagcbor"
)

// Under assurance endorsed one member runs the task, and the others run the job's
// check on what it left: what f+1 of them find good is valid, and what f+1 find
// bad was a vain run, after which the next member is called (decision 018). A
// verdict is about a value, whoever reported it; of nobody does it count for its
// own report. Whom nobody called to execute, nobody checks.

// verdict is what a party found of a value.
type verdict struct {
	value    consensus.Hash
	endorses bool
	proof    consensus.Proof
}

// check is a value that this member was asked to check, or has checked.
type check struct {
	party int // whose report it was
	value consensus.Hash
	since int64 // when it was asked for last
	found bool  // it has a verdict, durable
	good  bool
}

// found is the body of a record: an own verdict.
type found struct {
	_        struct{} `cbor:",toarray"`
	Party    uint64
	Value    consensus.Hash
	Endorses bool
}

func (m *Machine) isEndorsed() bool { return m.cfg.Charter.Assurance == consensus.Endorsed }

// keepVerdict adds a verdict to those of its party, and reports whether it did.
// The first on a value counts. A correct member checks one value of each party.
func (m *Machine) keepVerdict(verdicts [][]verdict, party int, v verdict) bool {
	if !m.isEndorsed() {
		return false
	}
	held := verdicts[party]
	if len(held) == len(verdicts) || slices.ContainsFunc(held, func(w verdict) bool { return w.value == v.value }) {
		return false
	}
	verdicts[party] = append(held, v)
	return true
}

// carriedVerdicts returns the verdicts that a proposal carries, by party: those
// that would count if no others were held.
func (m *Machine) carriedVerdicts(verdicts []consensus.SignedVerdict) [][]verdict {
	if !m.isEndorsed() {
		return nil
	}
	list := make([][]verdict, len(m.evidence.verdicts))
	for _, v := range verdicts {
		m.keepVerdict(list, int(v.Seat), verdict{v.Value, v.Endorses, v.Proof})
	}
	return list
}

// hasJudged reports whether a party has a verdict on a value: then it holds it.
func (m *Machine) hasJudged(party int, value consensus.Hash) bool {
	return m.isEndorsed() && slices.ContainsFunc(m.evidence.verdicts[party], func(v verdict) bool { return v.value == value })
}

func (m *Machine) hearVerdict(party int, v verdict) {
	if m.keepVerdict(m.evidence.verdicts, party, v) {
		m.evidence.news = true
	}
}

// verdictsOn returns the verdicts of members on a value, but for that of the one
// whose report is judged: f+1 at most.
func (m *Machine) verdictsOn(seat int, value consensus.Hash, endorses bool) []consensus.SignedVerdict {
	var list []consensus.SignedVerdict
	for other, party := range m.at.Members {
		for _, v := range m.evidence.verdicts[party] {
			if other != seat && v.value == value && v.endorses == endorses && len(list) < m.t.Suspicion {
				list = append(list, consensus.SignedVerdict{Seat: uint64(party), Value: value, Endorses: endorses, Proof: v.proof})
			}
		}
	}
	return list
}

func (m *Machine) isFound(seat int, r *shown, good bool) bool {
	return len(m.verdictsOn(seat, r.hash, good)) == m.t.Suspicion
}

// endorsed appends a report of a value that was found good, if there is one.
func (m *Machine) endorsed(list []*shown, hash consensus.Hash) []*shown {
	for seat := range m.at.Members {
		reports := m.reportsOf(seat)
		for i := range reports {
			if r := &reports[i]; r.hash == hash && m.isFound(seat, r, true) {
				return append(list, r)
			}
		}
	}
	return list
}

// rejected appends the first reports that were found bad, one of each seat.
func (m *Machine) rejected(list []*shown) []*shown {
	for seat := range m.at.Members {
		if reports := m.reportsOf(seat); len(reports) > 0 && m.isFound(seat, &reports[0], false) {
			list = append(list, &reports[0])
		}
	}
	return list
}

// verdicts returns those that reports need to prove a value: that it was found
// good, or that they were found bad.
func (m *Machine) verdicts(c choice, reports []consensus.SignedReport) (list []consensus.SignedVerdict) {
	if !m.isEndorsed() {
		return nil
	}
	for _, r := range reports {
		seat := m.at.SeatOf(int(r.Seat))
		if list = append(list, m.verdictsOn(seat, m.choice(r.Report.Value).hash, c.value.Matched())...); c.value.Matched() {
			break
		}
	}
	return list
}

// duty is a value that this member is to check, and whose report it is.
type duty struct {
	choice
	party int
}

// mayOwe reports whether this member has something to check, perhaps. One that gave
// the job up takes no result, but others may need its word for one; so they may
// when what is valid here was not agreed on in the first round, for it may be valid
// here only (decision 006).
func (m *Machine) mayOwe() bool {
	return m.isEndorsed() && m.acts() && (m.entry.voided || !m.hasOutcome() || m.rounds.round > 0)
}

// duties returns what this member is to check: of each executor that was called
// the first that it reported, unless one of that executor's was checked. Who gave
// the job up calls nobody, and checks them all.
func (m *Machine) duties() []duty {
	if !m.mayOwe() {
		return nil
	}
	called := m.cfg.Runners
	if !m.entry.voided {
		called = called[:m.runs.active]
	}
	var list []duty
	for _, seat := range called {
		reports, party := m.reportsOf(seat), m.at.Members[seat]
		if !m.isJudged(seat) || party == m.cfg.Self {
			continue
		}
		d := duty{choice{reports[0].Report.Value, reports[0].hash}, party}
		if !slices.ContainsFunc(m.evidence.checks, func(k check) bool { return k.found && (k.party == party || k.value == d.hash) }) {
			list = append(list, d)
		}
	}
	return list
}

// askChecks asks for the check of what is held, and again where no verdict comes:
// the machine that runs it may have failed.
func (m *Machine) askChecks() {
	for _, d := range m.duties() {
		at := slices.IndexFunc(m.evidence.checks, func(k check) bool { return k.value == d.hash })
		if !m.holds(d.choice) || at >= 0 && m.now < m.evidence.checks[at].since+m.checkTime() {
			continue
		}
		if at < 0 {
			at = len(m.evidence.checks)
			m.evidence.checks = append(m.evidence.checks, check{party: d.party, value: d.hash})
		}
		m.evidence.checks[at].since = m.now
		m.do(Check{Value: d.value, Hash: d.hash})
	}
}

// checkTime is how long a verdict is waited for, its place in the queue included.
func (m *Machine) checkTime() int64 { return m.cfg.Timing.Check + grace + stalled*m.cfg.Timing.Beat }

// checked makes an own verdict durable and says it.
func (m *Machine) checked(in Checked) {
	at := slices.IndexFunc(m.evidence.checks, func(k check) bool { return k.value == in.Value })
	if at < 0 || m.evidence.checks[at].found || !m.acts() {
		return
	}
	k := &m.evidence.checks[at]
	k.found, k.good = true, in.Endorses
	m.record(RecordFound, &found{Party: uint64(k.party), Value: k.value, Endorses: k.good})
	m.say(k.statement())
}

func (k *check) statement() Outgoing {
	if k.good {
		return Outgoing{Kind: consensus.KindEndorse, Value: k.value}
	}
	return Outgoing{Kind: consensus.KindReject, Value: k.value}
}

func (m *Machine) checkStatements(out []Outgoing) []Outgoing {
	for i := range m.evidence.checks {
		if k := &m.evidence.checks[i]; k.found {
			out = append(out, k.statement())
		}
	}
	return out
}

// isJudged reports whether what a seat reported is judged by the check.
func (m *Machine) isJudged(seat int) bool {
	reports := m.reportsOf(seat)
	return m.isEndorsed() && len(reports) > 0 && reports[0].Report.Value.Matched()
}

// awaitsVerdicts reports whether f+1 members have found neither that a seat's
// report is good nor that it is bad.
func (m *Machine) awaitsVerdicts(seat int) bool {
	if !m.isJudged(seat) {
		return false
	}
	r := &m.reportsOf(seat)[0]
	return !m.isFound(seat, r, true) && !m.isFound(seat, r, false)
}

// checkUntil returns the time until which verdicts on a seat's report are awaited,
// and why no longer.
func (m *Machine) checkUntil(seat int) (int64, string) {
	if !m.awaitsVerdicts(seat) {
		return 0, "the check rejected what an executor left"
	}
	if f := m.fetching(m.reportsOf(seat)[0].hash); f != nil && !m.holds(f.choice) {
		return f.since + stalled*m.cfg.Timing.Beat, "the blocks do not come"
	}
	return m.track(seat).reported + stalled*m.cfg.Timing.Beat + m.checkTime(), "the check does not come to an end"
}

func (m *Machine) checkAlarms() {
	if !m.mayOwe() {
		return
	}
	for _, k := range m.evidence.checks {
		if !k.found {
			m.alarm(k.since + m.checkTime())
		}
	}
	for _, seat := range m.cfg.Runners[:m.runs.active] {
		if m.awaitsVerdicts(seat) && !m.runs.exhausted {
			until, _ := m.checkUntil(seat)
			m.alarm(until)
		}
	}
}

// replayFound reads back an own verdict.
func (m *Machine) replayFound(data []byte) error {
	var f found
	if err := dagcbor.Unmarshal(data, &f); err != nil {
		return err
	}
	if f.Party >= uint64(m.cfg.Charter.Parties()) {
		return fmt.Errorf("a verdict on what party %d reported: %w", f.Party, errJournal)
	}
	m.evidence.checks = append(m.evidence.checks, check{party: int(f.Party), value: f.Value, found: true, good: f.Endorses})
	return nil
}
