package bft

import (
	"fmt"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/store/dagcbor"
)

// Machine is one member's state for one job. It is not safe for concurrent use.
type Machine struct {
	cfg Config
	t   consensus.Thresholds
	now int64 // Unix ms, never goes back

	entry    entry    // accepts, start, void: start.go
	runs     runs     // who executes, and what: execution.go
	evidence evidence // reports and what they prove: evidence.go
	valid    []choice // the values this member may take now, best first
	rounds   rounds   // voting: agreement.go

	decision *consensus.Decision
	told     []int64 // by seat: when it was last answered with the decision
	knows    []bool  // by seat: it has shown a decision
	accused  []bool  // by seat: its equivocation was told

	ready  Ready // of the step under way
	wakeAt int64 // likewise
}

// New returns the machine of a job of which nothing is durable yet.
func New(cfg Config) *Machine {
	t := cfg.Charter.Thresholds()
	m := &Machine{cfg: cfg, t: t, told: make([]int64, t.N), knows: make([]bool, t.N), accused: make([]bool, t.N)}
	m.entry = newEntry(t.N)
	m.runs = runs{tracks: make([]track, t.N)}
	m.evidence = evidence{reports: make([][]shown, t.N), commits: make([]*consensus.Hash, t.N)}
	m.rounds = newRounds(t.N)
	return m
}

// Step applies one input at a time in Unix milliseconds and returns what the
// caller must now do. It neither blocks nor reads a clock; a time before that
// of an earlier step counts as that one.
func (m *Machine) Step(now int64, in Input) Ready {
	m.now = max(m.now, now)
	if m.decision != nil {
		m.answer(in)
		return m.flush()
	}
	m.take(in)
	if m.decision == nil {
		m.advance()
	}
	return m.flush()
}

func (m *Machine) flush() Ready {
	ready := m.ready
	m.ready = Ready{}
	ready.Wake = m.wake()
	return ready
}

// Done reports whether the job is decided.
func (m *Machine) Done() bool { return m.decision != nil }

// take adds an input to what is known, and concludes nothing yet.
func (m *Machine) take(in Input) {
	switch in := in.(type) {
	case AcceptJob:
		m.acceptJob()
	case Witnessed:
		m.witness(in.Accepts)
	case SubmitterVoid:
		m.learnVoid(in.Void)
		m.answerVoid()
	case CancelWish:
		m.learnCancel(in.Cancel, true)
	case Ran:
		m.ran(in)
	case RunState:
		m.runState(in)
	case Held:
		m.holdsNow(in.Value)
	case Message:
		m.message(in)
	case Tick:
		m.evidence.news = true // of the deadline, perhaps
	default:
		panic(fmt.Sprintf("bft: input %T", in))
	}
}

// advance draws every conclusion from what is known now.
func (m *Machine) advance() {
	m.start()
	m.judge()
	m.execute()
	for again := true; again; {
		if m.certify(); m.decide() {
			return
		}
		m.vote()
		again = m.leave()
	}
	m.fetch()
}

func (m *Machine) message(msg Message) {
	if msg.Note != 0 {
		m.note(msg)
		return
	}
	if msg.From < 0 || msg.From >= m.t.N {
		return
	}
	if msg.Kind == consensus.KindStarted || msg.Kind >= consensus.KindReportCommit {
		m.entry.shown[msg.From] = true
	}
	switch msg.Kind {
	case consensus.KindAccept:
		m.accept(msg.From, msg.Proof)
	case consensus.KindRefuse:
		if msg.Payload != nil {
			m.entry.refused[msg.From] = msg.Payload.Reason
		}
	case consensus.KindVoided:
		m.entry.gaveUp[msg.From] = true
	case consensus.KindReportCommit:
		m.reportCommit(msg.From, msg.Value)
	case consensus.KindReport:
		m.report(consensus.SignedReport{Seat: uint64(msg.From), Report: *msg.Payload.Report, Proof: msg.Proof})
	case consensus.KindPropose:
		m.proposed(msg)
	case consensus.KindPrepare, consensus.KindCommit:
		m.voted(msg)
	case consensus.KindRoundChange:
		m.changed(msg)
	}
}

func (m *Machine) note(msg Message) {
	p := msg.Payload
	switch msg.Note {
	case consensus.NoteAccepts:
		for _, v := range p.Accepts {
			m.hold(int(v.Seat), v.Proof)
		}
	case consensus.NoteRunning:
		m.beat(msg.From, *p.Beat)
	case consensus.NoteEvidence:
		m.learnEvidence(p)
	case consensus.NoteHighest:
		m.heardCertificate(certificateOf(p))
	case consensus.NoteDecided:
		if msg.From >= 0 {
			m.knows[msg.From] = true
		}
		if m.decision == nil {
			m.heardSet(consensus.KindCommit, p.Decision.Commits)
			m.conclude(*p.Decision)
		}
	case consensus.NoteAsk:
		m.ready.Say = append(m.ready.Say, m.Current(msg.From)...)
	}
}

// conclude takes a decision, from own votes or shown by somebody.
func (m *Machine) conclude(d consensus.Decision) {
	m.decision = &d
	m.record(RecordDecided, d)
	m.accuse(d.Value)
	m.do(Decided{Decision: d})
	var to []int
	for _, seat := range m.others() {
		if !m.knows[seat] {
			to = append(to, seat)
		}
	}
	if len(to) > 0 {
		m.say(m.decided(to))
	}
}

func (m *Machine) decided(to []int) Outgoing {
	return Outgoing{To: to, Note: consensus.NoteDecided, Value: m.decision.Commits.Value, Payload: &consensus.Payload{Decision: m.decision}}
}

// answer tells whoever still votes what was decided: each seat at most once in
// a round's time (protocol, section 16).
func (m *Machine) answer(in Input) {
	if _, ok := in.(SubmitterVoid); ok {
		out := m.decided([]int{})
		out.Submitter = true
		m.say(out)
	}
	msg, ok := in.(Message)
	if !ok || msg.From < 0 || msg.From >= m.t.N || msg.From == m.cfg.Self {
		return
	}
	if msg.Kind == consensus.KindPrepare || msg.Kind == consensus.KindCommit {
		m.voted(msg) // it counts no more, but may contradict what its sender said before
	}
	switch {
	case msg.Note == consensus.NoteDecided:
		m.knows[msg.From] = true
	case msg.Note == consensus.NoteAsk:
		m.knows[msg.From] = false
		m.say(m.decided([]int{msg.From}))
	case msg.Kind.Slot() && msg.Kind != consensus.KindCommit && !m.knows[msg.From] && m.now >= m.told[msg.From]+m.cfg.Timing.Round:
		m.told[msg.From] = m.now
		m.say(m.decided([]int{msg.From}))
	}
}

// Current returns what this member would say now to a seat that has heard
// nothing: the decision, or everything it stands for until there is one. The
// caller says it again, with back-off, but for what the seat has acknowledged.
// Of all this nothing may leave before the Records of earlier steps are durable.
func (m *Machine) Current(to int) []Outgoing {
	if to == m.cfg.Self || to < 0 || to >= m.t.N {
		return nil
	}
	if m.decision != nil {
		if m.knows[to] {
			return nil
		}
		return []Outgoing{m.decided([]int{to})}
	}
	var out []Outgoing
	if m.entry.started != nil && !m.entry.shown[to] {
		out = append(out, m.shareAccepts())
	}
	out = append(out, m.statements()...)
	out = append(out, m.hints()...)
	for i := range out {
		out[i].To, out[i].Submitter = []int{to}, false
	}
	return out
}

// statements are all that this member has signed and still stands for.
func (m *Machine) statements() []Outgoing {
	out := m.entryStatements()
	out = append(out, m.runStatements()...)
	for _, s := range m.rounds.own {
		out = append(out, s.outgoing())
	}
	return out
}

// hints are what helps others to vote: a certificate learnt since the round
// change, the evidence for the value preferred, a cancellation.
func (m *Machine) hints() []Outgoing {
	var out []Outgoing
	if h := m.rounds.highest; h != nil && m.entry.started != nil {
		out = append(out, Outgoing{Note: consensus.NoteHighest, Round: h.set.Round, Value: h.set.Value, Payload: h.payload()})
	}
	if len(m.valid) > 0 {
		if reports := m.proof(m.valid[0]); len(reports) > 0 {
			out = append(out, Outgoing{Note: consensus.NoteEvidence, Value: m.valid[0].hash, Payload: &consensus.Payload{Reports: reports}})
		}
	}
	if c := m.evidence.cancel; c != nil {
		out = append(out, m.cancelNote(*c))
	}
	return out
}

func (m *Machine) say(out Outgoing) { m.ready.Say = append(m.ready.Say, out) }

// sayAll says a statement without payload to every seat, self included.
func (m *Machine) sayAll(kind consensus.Kind, value consensus.Hash) {
	m.say(Outgoing{Kind: kind, Value: value})
}

func (m *Machine) do(e Effect) { m.ready.Do = append(m.ready.Do, e) }

func (m *Machine) record(kind RecordKind, body any) {
	data, err := dagcbor.Marshal(body)
	if err != nil {
		panic(err) // everything recorded was checked, or made here
	}
	m.ready.Records = append(m.ready.Records, Record{Kind: kind, Data: data})
}

// others are all seats but the own, in order; never nil.
func (m *Machine) others() []int {
	seats := make([]int, 0, m.t.N)
	for seat := range m.t.N {
		if seat != m.cfg.Self {
			seats = append(seats, seat)
		}
	}
	return seats
}

// wake returns the earliest time to come at which something follows from the
// time alone; 0 when nothing does.
func (m *Machine) wake() int64 {
	m.wakeAt = 0
	if m.decision == nil {
		m.entryAlarms()
		m.runAlarms()
		m.roundAlarms()
	}
	return m.wakeAt
}

func (m *Machine) alarm(at int64) {
	if at > m.now && (m.wakeAt == 0 || at < m.wakeAt) {
		m.wakeAt = at
	}
}

func count[T any](list []T, is func(T) bool) int {
	n := 0
	for _, x := range list {
		if is(x) {
			n++
		}
	}
	return n
}
