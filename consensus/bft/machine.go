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
	if m.isEndorsed() {
		m.evidence.verdicts = make([][]verdict, n)
	}
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
	case Checked:
		m.checked(in)
	case Held:
		m.holdsNow(in)
	case Revoked:
		m.lose(in.Party)
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
		m.judge() // a run that was granted just now keeps members from being replaced
		if m.agree(); m.decision != nil {
			return
		}
		if m.at.Number == height {
			break
		}
	}
	m.fetch()
	m.askChecks()
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
		m.lose(msg.From)
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
	case consensus.KindEndorse, consensus.KindReject:
		m.hearVerdict(msg.From, verdict{msg.Value, msg.Kind == consensus.KindEndorse, msg.Proof})
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
