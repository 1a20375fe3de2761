package bft

import (
	"fmt"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/store/dagcbor"
)

// turns is who may act on the world now, of a job whose runs do (protocol, section
// 8, and decision 017). One member at a time runs, in a run that q members have
// granted it. Two quorums share a correct member, and a member that granted a run
// grants no other until that one is over.
//
// Runs have one numbering in the whole job. The i-th of k seats that may execute
// has the numbers i+1, i+1+k, ... for its own, so no two ever ask for the same. An
// executor that was called asks by its beats; what is granted later has a higher
// number. Of those who ask, the lowest number is served first.
type turns struct {
	granted grant    // this member's last, durable
	closed  bool     // it prepared a handover of this height, and grants nothing more at it; durable
	heard   []heard  // by seat: the last grant of each at this height
	ended   []uint64 // by party: the last run of its that it signed to be over

	prepared []prepared // by seat: what each prepared last at this height
	closedAt int64      // when this member prepared its handover, as far as this process knows

	begun uint64 // the last own run that was granted, durable
	over  uint64 // no own run up to this goes on, or will begin; durable
	cut   bool   // the last own run was cut off, by a restart or by what came to nothing in it, and will never be over
	since int64  // when the present number was first asked for
}

// grant is a run and whose it is: the body of a record.
type grant struct {
	_     struct{} `cbor:",toarray"`
	Run   uint32
	Party uint64
}

// prepared is a value that a member of this height prepared, and when that was
// heard; 0: never.
type prepared struct {
	value consensus.Hash
	at    int64
}

// heard is the last grant that a member of this height gave, and the last that it
// gave to this one: at-least-once others may follow that while it still counts.
type heard struct {
	run   uint32
	party int
	own   uint32
	proof consensus.Proof // of the latter
}

// begun is the body of a record: an own run, and the q grants for it.
type begun struct {
	_      struct{} `cbor:",toarray"`
	Run    uint32
	Height uint64
	Grants []consensus.Vote
}

// ahead is how many numbers of its own an executor may be ahead of what a correct
// member has granted: a liar's grants lead nobody further.
const ahead = 2

func (m *Machine) hasEffects() bool { return m.cfg.Charter.Effects != "" }
func (m *Machine) once() bool       { return m.cfg.Charter.Effects == consensus.Once }

// takeTurns grants a run to who asks for one, and asks for or begins the own.
func (m *Machine) takeTurns() {
	m.grantRun()
	m.seekRun()
}

// grantRun grants the lowest run that is asked for, when the last one is over.
func (m *Machine) grantRun() {
	t := &m.turns
	if m.entry.voided || t.closed || m.mustEnd() || !m.isOver(t.granted) {
		return
	}
	next := grant{}
	for _, seat := range m.cfg.Runners[:m.runs.active] {
		if run := m.track(seat).run; m.mayGrant(seat, run) && (next.Run == 0 || run < uint64(next.Run)) {
			next = grant{Run: uint32(run), Party: uint64(m.at.Members[seat])}
		}
	}
	if next.Run == 0 {
		return
	}
	t.granted, m.evidence.news = next, true
	m.record(RecordGrant, &next)
	tr := &m.runs.tracks[next.Party]
	tr.called, tr.running = m.now, 0 // it is given its time
	m.say(m.grantStatement())
}

// mustEnd reports whether the job is to end without another run: its deadline has
// passed, or its owner wishes so.
func (m *Machine) mustEnd() bool {
	return m.now > m.cfg.Charter.Deadline || m.evidence.cancel != nil
}

// mayGrant reports whether a seat asks for a run that this member could grant:
// one of its own numbers, above all that were granted here, and not far above
// what a correct member has granted.
func (m *Machine) mayGrant(seat int, run uint64) bool {
	t, tr, party := &m.turns, m.track(seat), m.at.Members[seat]
	last := uint64(t.granted.Run)
	most := max(m.base(), last) + ahead*uint64(len(m.cfg.Runners))
	return run > max(last, t.ended[party]) && run <= min(most, lastRound) && m.owns(seat, run) && m.canRun(seat) &&
		len(m.reportsOf(seat)) == 0 && m.now < tr.heard+patience*m.cfg.Timing.Beat
}

// isOver reports whether a run of the last grant can be followed by another: its
// executor signed that it is over; or the policy is at-least-once, and the
// executor is lost. Who lost its seat has no run: under once no handover is
// decided while a run is open that q members granted (see mayMove).
func (m *Machine) isOver(g grant) bool {
	seat := m.at.SeatOf(int(g.Party))
	if g.Run == 0 || seat < 0 || m.turns.ended[g.Party] >= uint64(g.Run) {
		return true
	}
	if m.once() {
		return false
	}
	if reports := m.reportsOf(seat); len(reports) > 0 {
		if !reports[0].Report.Value.Matched() {
			return true // it came to nothing, and a liar need not say more of it
		}
		f := m.fetching(reports[0].hash)
		return f != nil && !m.holds(f.choice) && m.isStalled(f)
	}
	until, _ := m.dueUntil(seat)
	return m.now >= until
}

// mayMove reports whether members may be replaced as far as grants go. Under once
// who granted a run that is not over prepares no handover, and who prepared one
// grants nothing more at its height: so a run that q members granted is over
// before its height is.
func (m *Machine) mayMove() bool { return !m.once() || m.isOver(m.turns.granted) }

// isWithdrawn reports whether the submitter gave up a job that acts, and no run goes
// on that q members granted. Who gave it up, too, grants nothing, so there may never
// be one: rounds go by until such a member proposes Cancelled (decision 007).
func (m *Machine) isWithdrawn() bool {
	return m.hasEffects() && m.entry.void != nil && !m.isGranted()
}

// closeTurns is told what this member prepares.
func (m *Machine) closeTurns(v consensus.Value) {
	if v.Kind == consensus.Handover && m.once() && !m.turns.closed {
		m.turns.closed, m.turns.closedAt = true, m.now
		m.record(RecordClosed, &mark{})
	}
}

// base is the highest run that a correct member is known to have granted.
func (m *Machine) base() uint64 {
	runs := make([]uint32, 0, m.t.N)
	for _, h := range m.turns.heard {
		runs = append(runs, h.run)
	}
	slices.Sort(runs)
	return uint64(runs[m.t.N-m.t.Skip])
}

func (m *Machine) owns(seat int, run uint64) bool {
	k := uint64(len(m.cfg.Runners))
	return run > 0 && m.cfg.Runners[(run-1)%k] == seat
}

// ownAfter returns the first number above run that is this member's own.
func (m *Machine) ownAfter(run uint64) uint64 {
	for run++; !m.owns(m.seat, run); run++ {
	}
	return run
}

// grantStatement says, at this height, what this member granted last: it is said
// again at the next, whose members have not heard it.
func (m *Machine) grantStatement() Outgoing {
	g := m.turns.granted
	return m.bound(Outgoing{Kind: consensus.KindGrant, Round: g.Run, Value: m.nameOf(int(g.Party))})
}

func (m *Machine) endedStatement() Outgoing {
	return Outgoing{Kind: consensus.KindEnded, Round: uint32(m.turns.over)}
}

// endRuns gives up, durably, all own runs up to one.
func (m *Machine) endRuns(run uint64) {
	if run > m.turns.over {
		m.turns.over = run
		over := uint32(run)
		m.record(RecordEnded, &over)
		m.say(m.endedStatement())
	}
}

// hearGrant takes a member's grant.
func (m *Machine) hearGrant(seat int, msg Message) {
	m.nameOf(0)
	party := slices.Index(m.watch.names, msg.Value)
	h := &m.turns.heard[seat]
	if party == m.cfg.Self && msg.Round > h.own {
		h.own, h.proof = msg.Round, msg.Proof
	}
	if party >= 0 && msg.Round > h.run {
		h.run, h.party = msg.Round, party
	}
}

// hearEnded takes an executor's word that its runs up to one are over.
func (m *Machine) hearEnded(party int, run uint64) {
	m.turns.ended[party] = max(m.turns.ended[party], run)
	m.evidence.news = true // a handover may be valid now
}

// seekRun asks for a run, or begins the one that was granted.
func (m *Machine) seekRun() {
	t, r := &m.turns, &m.runs
	if r.report != nil || t.begun > t.over || !m.isActive(m.seat) || !m.canRun(m.seat) {
		return
	}
	if m.isUnheard() {
		m.endRuns(r.run)
	}
	if m.entry.voided && t.over > 0 {
		return
	}
	// A number is kept for a beat: else those who hear of each other's grants, and
	// not of each other, would outbid each other as fast as messages go.
	if m.now >= t.since+m.cfg.Timing.Beat {
		if base := m.base(); r.run < base || r.run <= t.over {
			m.ask(m.ownAfter(max(base, t.over)))
		} else if m.isCrowdedOut() {
			m.ask(m.ownAfter(r.run))
		}
	}
	for _, h := range t.heard { // who granted what will not begin waits for a word
		if h.party == m.cfg.Self && uint64(h.run) < r.run {
			m.endRuns(r.run - 1)
		}
	}
	if grants := m.ownGrants(); len(grants) == m.t.Quorum && r.run > t.over && !m.mustEnd() {
		t.begun = r.run
		m.record(RecordBegun, &begun{Run: uint32(r.run), Height: m.at.Number, Grants: grants})
		m.do(Execute{Run: r.run})
	}
}

// ownGrants returns the grants that were heard for the present number, at most q.
func (m *Machine) ownGrants() []consensus.Vote {
	var grants []consensus.Vote
	for seat, h := range m.turns.heard {
		if uint64(h.own) == m.runs.run && len(grants) < m.t.Quorum {
			grants = append(grants, consensus.Vote{Seat: uint64(seat), Proof: h.proof})
		}
	}
	return grants
}

// isUnheard reports whether this member gave the job up and has asked for its number
// in vain. It asks for no other: the words of q that granted this one may never come,
// and whoever has heard them waits for the run (see isWithdrawn).
func (m *Machine) isUnheard() bool {
	run := m.runs.run
	return m.entry.voided && run > m.turns.over && m.now >= m.askUntil(slices.Index(m.cfg.Runners, m.seat)) && len(m.ownGrants()) < m.t.Quorum
}

func (m *Machine) ask(run uint64) {
	if run <= lastRound {
		m.runs.run, m.runs.done, m.runs.beatAt, m.turns.since = run, 0, m.now, m.now
	}
}

// isCrowdedOut reports whether the present number has been asked for in vain, and
// somebody granted another that is not lower. Executors wait the longer for it the
// later they are called, so that not all give way at once.
func (m *Machine) isCrowdedOut() bool {
	r, at := &m.runs, slices.Index(m.cfg.Runners, m.seat)
	k := uint64(len(m.cfg.Runners))
	return m.now >= m.askUntil(at) && r.run+k <= m.base()+ahead*k && slices.ContainsFunc(m.turns.heard, func(h heard) bool {
		return uint64(h.run) > r.run || uint64(h.run) == r.run && h.party != m.cfg.Self
	})
}

func (m *Machine) askUntil(at int) int64 {
	return m.turns.since + int64(at+1)*patience*m.cfg.Timing.Beat
}

// resumeTurns goes on after a restart. A run that was cut off has an end that
// nobody knows: under once it is never said to be over.
func (m *Machine) resumeTurns() {
	t := &m.turns
	if m.runs.report != nil || t.begun <= t.over {
		return
	}
	if m.once() {
		t.cut, m.runs.run = true, t.begun
		return
	}
	m.endRuns(t.begun)
}

// isGranted reports whether a run that is not over is known to have q grants.
func (m *Machine) isGranted() bool {
	return slices.ContainsFunc(m.turns.heard, func(h heard) bool {
		return h.run > 0 && m.turns.ended[h.party] < uint64(h.run) &&
			count(m.turns.heard, func(g heard) bool { return g.run == h.run && g.party == h.party }) >= m.t.Quorum
	})
}

// isMove reports whether a value that was prepared is a handover: one that is
// known here, or, since a prepare carries only a hash, one of a single pair.
func (m *Machine) isMove(value consensus.Hash) bool {
	if c, ok := m.known(value); ok {
		return c.value.Kind == consensus.Handover
	}
	for seat := range m.at.Members {
		for _, party := range m.reserves() {
			pair := consensus.Pair{Seat: uint64(seat), Reserve: uint64(party - m.t.N)}
			if m.choice(consensus.Value{Kind: consensus.Handover, Pairs: []consensus.Pair{pair}}).hash == value {
				return true
			}
		}
	}
	return false
}

func (m *Machine) turnAlarms() {
	if !m.hasEffects() {
		return
	}
	if g := m.turns.granted; !m.isOver(g) {
		until, _ := m.dueUntil(m.at.SeatOf(int(g.Party)))
		m.alarm(until)
	}
	if at := slices.Index(m.cfg.Runners, m.seat); at >= 0 && m.turns.begun <= m.turns.over && m.isRunning() {
		m.alarm(m.askUntil(at))
	}
}

// replayTurn reads back what this member granted and ran.
func (m *Machine) replayTurn(r Record) error {
	t := &m.turns
	switch r.Kind {
	case RecordGrant:
		before := t.granted.Run
		if err := dagcbor.Unmarshal(r.Data, &t.granted); err != nil {
			return err
		}
		if t.granted.Run <= before || t.granted.Party >= uint64(m.cfg.Charter.Parties()) {
			return fmt.Errorf("run %d of party %d granted after run %d: %w", t.granted.Run, t.granted.Party, before, errJournal)
		}
		return nil
	case RecordClosed:
		t.closed, t.closedAt = true, m.now
		return dagcbor.Unmarshal(r.Data, &mark{})
	case RecordBegun:
		var b begun
		err := dagcbor.Unmarshal(r.Data, &b)
		t.begun, m.runs.run = uint64(b.Run), uint64(b.Run)
		return err
	}
	var run uint32
	err := dagcbor.Unmarshal(r.Data, &run)
	t.over = uint64(run)
	return err
}
