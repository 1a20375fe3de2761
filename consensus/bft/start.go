package bft

import "github.com/muster-network/muster/consensus"

// entry is how a job comes to life here (protocol, section 4).
type entry struct {
	accepted  bool               // durable
	witnessed bool               // durable
	void      *consensus.Void    // the submitter's, durable
	voided    bool               // it came before the start
	abandoned bool               // the place in the queue was given up
	expired   bool               // all of it was
	accepts   []*consensus.Proof // by seat of the charter's roster
	started   []consensus.Vote   // q accepts, durable; nil before the start
	shown     []bool             // by party: it has shown that it started
	refused   []string           // by party: its reason
	gaveUp    []bool             // by party: it said Voided
	shareAt   []int64            // by seat: until when it is not shown all accepts again
}

func newEntry(n int) entry {
	return entry{accepts: make([]*consensus.Proof, n), shown: make([]bool, n), refused: make([]string, n), gaveUp: make([]bool, n), shareAt: make([]int64, n)}
}

func (m *Machine) acceptJob() {
	e := &m.entry
	if e.accepted || e.void != nil || m.now > m.cfg.Charter.AcceptBy {
		return
	}
	e.accepted = true
	m.record(RecordAccept, &mark{})
	m.say(Outgoing{Submitter: true, Kind: consensus.KindAccept})
}

func (m *Machine) witness(in Witnessed) {
	for _, v := range in.Accepts {
		m.hold(int(v.Seat), v.Proof)
	}
	if !m.entry.witnessed {
		m.entry.witnessed = true
		m.record(RecordWitness, &mark{})
	}
	m.climb(in.Chain) // before the start: it may begin with a seat
}

// accept takes a member's accept. One that is sent again comes from a member
// short of q: it is answered with all accepts held, once in a beat.
func (m *Machine) accept(seat int, proof consensus.Proof) {
	if seat >= m.t.N {
		return
	}
	if m.entry.accepts[seat] != nil && seat != m.cfg.Self && !m.entry.shown[seat] && m.now >= m.entry.shareAt[seat] {
		m.entry.shareAt[seat] = m.now + m.cfg.Timing.Beat
		m.say(m.shareAcceptsWith(seat))
	}
	m.hold(seat, proof)
}

func (m *Machine) hold(seat int, proof consensus.Proof) {
	if m.entry.accepts[seat] == nil {
		m.entry.accepts[seat] = &proof
	}
}

// heldAccepts are the accepts held, by ascending seat.
func (m *Machine) heldAccepts() []consensus.Vote {
	votes := make([]consensus.Vote, 0, m.t.N)
	for seat, proof := range m.entry.accepts {
		if proof != nil {
			votes = append(votes, consensus.Vote{Seat: uint64(seat), Proof: *proof})
		}
	}
	return votes
}

// shareAccepts shows all accepts held, and the handovers so far: q accepts make a
// witness of a member who sees them, and let a reserve stand by. Round and Height
// tell notes with more of them from notes with fewer.
func (m *Machine) shareAccepts() Outgoing {
	votes := m.heldAccepts()
	return Outgoing{Note: consensus.NoteAccepts, Height: m.at.Number, Round: uint32(len(votes)),
		Payload: &consensus.Payload{Accepts: votes, Chain: m.chain}}
}

func (m *Machine) shareAcceptsWith(party int) Outgoing {
	out := m.shareAccepts()
	out.To = []int{party}
	return out
}

// start starts the job when q accepts are held, even after accept_by. A member
// without q at accept_by gives up the place in its queue.
func (m *Machine) start() {
	e := &m.entry
	if e.started != nil || !e.accepted && !e.witnessed {
		return
	}
	if count(e.accepts, func(p *consensus.Proof) bool { return p != nil }) >= m.t.Quorum {
		e.started = m.heldAccepts()[:m.t.Quorum]
		m.record(RecordStarted, &e.started)
		m.evidence.news = true
		m.listen()
		if m.isReserve() {
			m.say(m.offerOneself())
		}
		if m.seat < 0 {
			return
		}
		m.say(Outgoing{Submitter: true, Kind: consensus.KindStarted})
		m.do(StartedJob{})
		return
	}
	if m.cfg.Self >= m.t.N {
		return // a reserve was shown q accepts: they follow
	}
	if m.now > m.cfg.Charter.AcceptBy && !e.abandoned {
		e.abandoned = true
		m.do(Abandon{})
	}
	if m.now > m.cfg.Charter.Deadline {
		m.expire()
	}
}

func (m *Machine) expire() {
	if !m.entry.expired {
		m.entry.expired = true
		m.do(Expire{})
	}
}

// learnVoid gives a job up that has not started here: the Void comes from the
// submitter itself or with a proposal. One that has started goes on, and prepares
// Cancelled only where another proposes it (decision 007).
func (m *Machine) learnVoid(v consensus.Void) {
	e := &m.entry
	if e.void == nil {
		e.void, e.voided, m.evidence.news = &v, e.started == nil, true
		m.record(RecordVoid, &v)
	}
}

// answerVoid tells the submitter whether the job is given up here, or why not.
func (m *Machine) answerVoid() {
	if m.entry.voided {
		m.say(Outgoing{To: []int{}, Submitter: true, Kind: consensus.KindVoided})
		return
	}
	out := m.shareAccepts()
	out.To, out.Submitter = []int{}, true
	m.say(out)
	m.say(Outgoing{To: []int{}, Submitter: true, Kind: consensus.KindStarted})
}

// ForSubmitter returns what this member would say now to a submitter that has
// heard nothing.
func (m *Machine) ForSubmitter() []Outgoing {
	out := m.entryStatements(nil)
	if m.decision != nil {
		out = []Outgoing{m.decided([]int{})}
	}
	for i := range out {
		out[i].To, out[i].Submitter = []int{}, true
	}
	return out
}

func (m *Machine) entryStatements(out []Outgoing) []Outgoing {
	if m.entry.accepted {
		out = append(out, Outgoing{Submitter: true, Kind: consensus.KindAccept})
	}
	if m.acts() {
		out = append(out, Outgoing{Submitter: true, Kind: consensus.KindStarted})
	}
	return out
}

func (m *Machine) entryAlarms() {
	if m.entry.started == nil && m.cfg.Self < m.t.N {
		m.alarm(m.cfg.Charter.AcceptBy + 1)
		m.alarm(m.cfg.Charter.Deadline + 1)
	}
}
