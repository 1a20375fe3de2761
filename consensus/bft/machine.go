package bft

import (
	"fmt"
	"slices"

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
	turns    turns    // who may act on the world: effects.go
	evidence evidence // reports and what they prove: evidence.go
	valid    []choice // the values this member may take now, best first

	at     consensus.Height     // the present height: heights.go
	seat   int                  // own, at this height; -1: none
	chain  []consensus.Decision // the handovers before it
	watch  watch                // who is silent: suspect.go
	rounds rounds               // voting: agreement.go

	decision *consensus.Decision
	told     []int64 // by party: when it was last answered with a decision
	knows    []bool  // by party: it has shown the outcome
	accused  []bool  // by party: its equivocation was told

	ready    Ready      // of the step under way
	wakeAt   int64      // likewise
	standing []Outgoing // what Current says to every member; of the step before if stale
	stale    bool
}

// New returns the machine of a job of which nothing is durable yet.
func New(cfg Config) *Machine {
	t := cfg.Charter.Thresholds()
	n := cfg.Charter.Parties()
	m := &Machine{cfg: cfg, t: t, told: make([]int64, n), knows: make([]bool, n), accused: make([]bool, n)}
	m.entry = newEntry(n)
	m.runs = runs{tracks: make([]track, n)}
	m.turns = turns{ended: make([]uint64, n)}
	m.evidence = evidence{reports: make([][]shown, n), commits: make([]*consensus.Hash, n)}
	m.begin(consensus.FirstHeight(cfg.Network, cfg.Job, cfg.Charter))
	return m
}

// Step applies one input at a time in Unix milliseconds and returns what the
// caller must now do. It neither blocks nor reads a clock; a time before that
// of an earlier step counts as that one.
func (m *Machine) Step(now int64, in Input) Ready {
	m.now, m.stale = max(m.now, now), true
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
	m.ready, m.stale = Ready{}, true
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
		m.witness(in)
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
	for height := m.at.Number; ; height = m.at.Number {
		m.start()
		m.look()
		m.judge()
		m.execute()
		if m.agree(); m.decision != nil {
			return
		}
		if m.at.Number == height {
			break
		}
	}
	m.fetch()
}

// agree votes until there is nothing left to say, or this height has its
// decision.
func (m *Machine) agree() {
	for again := true; again; {
		if m.certify(); m.decide() {
			return
		}
		m.vote()
		again = m.leave()
	}
}

func (m *Machine) message(msg Message) {
	if msg.Note != 0 {
		m.note(msg)
		return
	}
	if msg.From < 0 || msg.From >= len(m.knows) {
		return
	}
	if msg.Kind == consensus.KindGone {
		m.watch.parties[msg.From].gone, m.evidence.news = true, true
		return
	}
	m.hear(msg.From)
	if msg.Kind == consensus.KindStarted || msg.Kind >= consensus.KindReportCommit {
		m.entry.shown[msg.From] = true
	}
	switch msg.Kind {
	case consensus.KindAccept:
		if msg.Height > 0 {
			m.willing(msg)
		} else {
			m.accept(msg.From, msg.Proof)
		}
	case consensus.KindRefuse:
		if msg.Payload != nil {
			m.entry.refused[msg.From] = msg.Payload.Reason
		}
	case consensus.KindVoided:
		m.entry.gaveUp[msg.From] = true
	case consensus.KindReportCommit:
		m.reportCommit(msg.From, msg.Value)
	case consensus.KindEnded:
		m.hearEnded(msg.From, uint64(msg.Round))
	case consensus.KindReport:
		m.report(consensus.SignedReport{Seat: uint64(msg.From), Report: *msg.Payload.Report, Proof: msg.Proof})
	default:
		m.atHeight(msg)
	}
}

// atHeight takes what belongs to a height: nothing counts but what a member of
// this one says of it.
func (m *Machine) atHeight(msg Message) {
	seat := m.at.SeatOf(msg.From)
	switch {
	case msg.Height < m.at.Number:
		m.answerOlder(msg.From)
	case msg.Height > m.at.Number || seat < 0:
	case msg.Kind == consensus.KindSuspect:
		m.suspect(msg.From, msg.Value)
	case msg.Kind == consensus.KindGrant:
		m.hearGrant(seat, msg)
	case msg.Kind == consensus.KindPropose:
		m.proposed(seat, msg)
	case msg.Kind == consensus.KindPrepare, msg.Kind == consensus.KindCommit:
		m.voted(seat, msg)
	case msg.Kind == consensus.KindRoundChange:
		m.changed(seat, msg)
	}
}

func (m *Machine) note(msg Message) {
	if msg.From >= 0 {
		m.hear(msg.From)
	}
	p := msg.Payload
	switch msg.Note {
	case consensus.NoteAccepts:
		for _, v := range p.Accepts {
			m.hold(int(v.Seat), v.Proof)
		}
		m.climb(p.Chain)
	case consensus.NoteHandover:
		m.climb(p.Chain)
	case consensus.NoteRunning:
		m.beat(msg.From, *p.Beat)
	case consensus.NoteEvidence:
		m.learnEvidence(p)
	case consensus.NoteHighest:
		if p.Height == m.at.Number {
			m.heardCertificate(certificateOf(p))
		}
	case consensus.NoteDecided:
		if msg.From >= 0 {
			m.knows[msg.From] = true
		}
		m.climb(p.Chain)
		m.climb([]consensus.Decision{*p.Decision})
	case consensus.NoteAsk:
		for _, out := range m.Current(msg.From) {
			out.To = []int{msg.From}
			m.ready.Say = append(m.ready.Say, out)
		}
	}
}

// conclude takes the decision of this height, from own votes or shown by
// somebody: a handover begins the next height, all else ends the job.
func (m *Machine) conclude(d consensus.Decision) {
	if d.Value.Kind == consensus.Handover {
		m.handOver(d)
		return
	}
	m.decision = &d
	m.record(RecordDecided, &d)
	m.accuse(d.Value)
	m.tellDecided(func(party int) bool { return m.knows[party] })
}

// tellDecided tells the outcome here, and to all parties but those excepted.
func (m *Machine) tellDecided(except func(party int) bool) {
	m.do(Decided{consensus.Conclusion{Chain: m.chain, Outcome: *m.decision}})
	to := slices.DeleteFunc(append(m.parts(), m.watch.asked...), func(party int) bool { return party == m.cfg.Self || except(party) })
	if len(to) > 0 {
		m.say(m.decided(to))
	}
}

func (m *Machine) decided(to []int) Outgoing {
	return Outgoing{To: to, Note: consensus.NoteDecided, Value: m.decision.Commits.Value,
		Payload: &consensus.Payload{Chain: m.chain, Decision: m.decision}}
}

// answer tells whoever still votes what was decided: each party at most once in
// a round's time (protocol, section 16).
func (m *Machine) answer(in Input) {
	if _, ok := in.(SubmitterVoid); ok {
		out := m.decided([]int{})
		out.Submitter = true
		m.say(out)
	}
	msg, ok := in.(Message)
	if !ok || msg.From < 0 || msg.From >= len(m.knows) || msg.From == m.cfg.Self {
		return
	}
	vote := msg.Kind == consensus.KindPrepare || msg.Kind == consensus.KindCommit
	if seat := m.at.SeatOf(msg.From); vote && seat >= 0 && msg.Height == m.at.Number {
		m.voted(seat, msg) // it counts no more, but may contradict what its sender said before
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

// Current returns what this member would say now to a party that has heard
// nothing: the decision, or everything it stands for until there is one. The
// caller says it again, to that party alone and with back-off, but for what the
// party has acknowledged. Of all this nothing may leave before the Records of
// earlier steps are durable. The list is the machine's own, and lasts until the
// next Step.
func (m *Machine) Current(to int) []Outgoing {
	if to == m.cfg.Self || to < 0 || to >= len(m.knows) {
		return nil
	}
	member := m.at.SeatOf(to) >= 0
	if !member && !m.hadPart(to) || m.decision != nil && m.knows[to] {
		return nil
	}
	if m.stale {
		m.standing, m.stale = m.stands(m.standing[:0]), false
	}
	switch {
	case m.decision != nil:
	case !member:
		return m.standing[:min(len(m.chain), 1)]
	case m.acts() && !m.entry.shown[to]:
		at := min(len(m.chain), 1) // the handovers come first
		return slices.Insert(slices.Clone(m.standing), at, m.shareAccepts())
	}
	return m.standing
}

// stands appends what this member says to every member that has not heard it:
// the outcome, or the handovers and everything that it stands for.
func (m *Machine) stands(out []Outgoing) []Outgoing {
	if m.decision != nil {
		return append(out, m.decided(nil))
	}
	if len(m.chain) > 0 {
		out = append(out, m.handedOver(nil))
	}
	out = m.statements(out)
	out = m.hints(out)
	for i := range out {
		out[i].To, out[i].Submitter = nil, false
	}
	return out
}

// statements appends all that this member has signed and still stands for.
func (m *Machine) statements(out []Outgoing) []Outgoing {
	switch {
	case m.isReserve() && m.entry.started != nil:
		return append(out, m.offerOneself())
	case m.seat < 0:
		return out
	}
	out = m.entryStatements(out)
	out = m.runStatements(out)
	for _, s := range m.rounds.own {
		out = append(out, m.slot(s))
	}
	return out
}

// hints appends what helps others to vote: a certificate learnt since the round
// change, the evidence for the value preferred, a cancellation.
func (m *Machine) hints(out []Outgoing) []Outgoing {
	if h := m.rounds.highest; h != nil && m.acts() {
		p := h.payload()
		p.Height = m.at.Number
		out = append(out, Outgoing{Note: consensus.NoteHighest, Height: m.at.Number, Round: h.set.Round, Value: h.set.Value, Payload: p})
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

// say says a message; to every member of this height, self included, where it
// does not say to whom.
func (m *Machine) say(out Outgoing) {
	if out.To == nil && m.at.Number > 0 {
		out.To = m.at.Members
	}
	m.ready.Say = append(m.ready.Say, out)
}

// bound binds a statement to this height.
func (m *Machine) bound(out Outgoing) Outgoing {
	out.Height, out.Previous = m.at.Number, m.at.Previous
	return out
}

// sayAll says a statement without payload to every seat, self included.
func (m *Machine) sayAll(kind consensus.Kind, value consensus.Hash) {
	m.say(Outgoing{Kind: kind, Value: value})
}

func (m *Machine) do(e Effect) { m.ready.Do = append(m.ready.Do, e) }

// record records what body points to.
func (m *Machine) record(kind RecordKind, body any) {
	data, err := dagcbor.Marshal(body)
	if err != nil {
		panic(err) // everything recorded was checked, or made here
	}
	m.ready.Records = append(m.ready.Records, Record{Kind: kind, Data: data})
}

// others are all members of this height but this one, by seat; never nil.
func (m *Machine) others() []int {
	parties := make([]int, 0, m.t.N)
	for _, party := range m.at.Members {
		if party != m.cfg.Self {
			parties = append(parties, party)
		}
	}
	return parties
}

// wake returns the earliest time to come at which something follows from the
// time alone; 0 when nothing does.
func (m *Machine) wake() int64 {
	m.wakeAt = 0
	if m.decision == nil {
		m.entryAlarms()
		m.runAlarms()
		m.roundAlarms()
		m.alarm(m.watch.lookAt)
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
