package bft

import (
	"math"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/store/dagcbor"
)

// rounds is the voting at one height (protocol, section 6).
type rounds struct {
	round   uint32
	own     []slot       // own slots of this round, durable
	lock    *certificate // durable
	highest *certificate // never below the lock
	ballots []ballot     // the rounds before, at and after this one
	changes []change     // by seat: the highest round change
	leaders []int        // seats, in the order in which they lead; nil until wanted
	since   int64        // when this round was entered
	endsAt  int64        // when this round's time is over; 0: its timer does not run
	quorate int64        // when q members were known to have reached this round; 0: not yet
}

// lastRound is the last round that is entered: votes of the one after it are
// kept, too.
const lastRound = math.MaxUint32 - 1

// change is a seat's highest round change; round 0: none.
type change struct {
	round uint32
	vote  vote
}

func newRounds(n int) rounds {
	return rounds{ballots: window(0, n), changes: make([]change, n)}
}

// certify turns q prepares into a certificate: of whatever round they are.
func (m *Machine) certify() {
	for i := range m.rounds.ballots {
		b := &m.rounds.ballots[i]
		if h := m.rounds.highest; h != nil && h.set.Round >= b.round {
			continue
		}
		if set, ok := m.quorum(b.round, b.prepares); ok {
			if c, ok := m.known(set.Value); ok {
				m.learn(&certificate{c.value, set})
			}
		}
	}
}

// learn raises the highest certificate known.
func (m *Machine) learn(c *certificate) {
	if c != nil && (m.rounds.highest == nil || c.set.Round > m.rounds.highest.set.Round) {
		m.rounds.highest = c
	}
}

// heardCertificate takes a certificate that somebody shows.
func (m *Machine) heardCertificate(c *certificate) {
	if c != nil {
		m.heardSet(consensus.KindPrepare, c.set)
		m.learn(c)
	}
}

// decide decides on q commits of one round, and reports whether this height is
// decided.
func (m *Machine) decide() bool {
	for i := range m.rounds.ballots {
		b := &m.rounds.ballots[i]
		if set, ok := m.quorum(b.round, b.commits); ok {
			if c, ok := m.known(set.Value); ok {
				m.conclude(consensus.Decision{Height: m.at.Number, Value: c.value, Commits: set})
				return true
			}
		}
	}
	return false
}

// vote says in this round whatever can be said, each once.
func (m *Machine) vote() {
	if !m.acts() {
		return
	}
	m.propose()
	m.prepare()
	m.commit()
}

// propose makes the leader of a later round propose, a moment after q members
// reached the round: the value of the highest certificate they showed, or else
// its own.
func (m *Machine) propose() {
	r := &m.rounds
	if r.round == 0 || m.leader(r.round) != m.seat || r.said(consensus.KindPropose) {
		return
	}
	if r.quorate == 0 && m.reached(r.round) >= m.t.Quorum {
		r.quorate = m.now
	}
	if r.quorate == 0 || m.now < r.quorate+m.cfg.Timing.Round/8 {
		return
	}
	if h := r.highest; h != nil {
		if h.set.Round < r.round {
			m.cast(consensus.KindPropose, h.set.Value, h.payload())
		}
		return
	}
	if c, ok := m.nextBest(); ok {
		p := &consensus.Payload{Value: &c.value, Reports: m.proof(c)}
		p.Verdicts = m.verdicts(c, p.Reports)
		if c.value.Kind == consensus.Cancelled {
			p.Cancel, p.Void = m.evidence.cancel, m.entry.void
		}
		m.cast(consensus.KindPropose, c.hash, p)
	}
}

// prepare prepares in round 0 the best own value, in later rounds the leader's,
// once, and only with its blocks durable.
func (m *Machine) prepare() {
	r := &m.rounds
	if r.said(consensus.KindPrepare) {
		return
	}
	if r.round == 0 {
		if c, ok := m.first(); ok && (r.lock == nil || r.lock.set.Value == c.hash) {
			m.closeTurns(c.value)
			m.cast(consensus.KindPrepare, c.hash, nil)
		}
		return
	}
	if p := r.ballot(r.round).proposal; p != nil && m.mayPrepare(p) && m.holds(p.choice) {
		m.closeTurns(p.value)
		m.cast(consensus.KindPrepare, p.hash, nil)
	}
}

// mayPrepare applies the lock rule, and asks for evidence where no certificate
// replaces it. A member that gave the job up wants one for all but Cancelled.
func (m *Machine) mayPrepare(p *proposal) bool {
	lock := m.rounds.lock
	locked := lock != nil && lock.set.Value == p.hash
	certified, at := locked, uint32(0)
	for _, c := range []*certificate{p.cert, m.rounds.highest} {
		if c != nil && c.set.Value == p.hash && c.set.Round < m.rounds.round {
			certified, at = true, max(at, c.set.Round)
		}
	}
	if lock != nil && !locked && !(certified && lock.set.Round <= at) {
		return false
	}
	return certified || (!m.entry.voided || p.value.Kind == consensus.Cancelled) && (m.isValid(p.choice) || m.provesItself(p))
}

// commit locks and commits on a certificate of this round. Certificates of other
// rounds only raise the highest. It takes no blocks, and no own prepare.
func (m *Machine) commit() {
	r := &m.rounds
	h := r.highest
	if h == nil || h.set.Round != r.round || r.said(consensus.KindCommit) {
		return
	}
	if r.lock == nil || r.lock.set.Round < h.set.Round {
		r.lock = h
		m.record(RecordLock, &lockRecord{Value: h.value, Set: h.set})
	}
	m.cast(consensus.KindCommit, h.set.Value, nil)
}

// cast makes a slot durable and says it, exactly once.
func (m *Machine) cast(kind consensus.Kind, value consensus.Hash, payload *consensus.Payload) {
	s := slot{Kind: kind, Round: m.rounds.round, Value: value, Payload: payload}
	m.rounds.own = append(m.rounds.own, s)
	m.record(RecordSlot, &s)
	m.say(m.slot(s))
}

// slot is an own statement of this height.
func (m *Machine) slot(s slot) Outgoing {
	return m.bound(Outgoing{Kind: s.Kind, Round: s.Round, Value: s.Value, Payload: s.Payload})
}

func (r *rounds) said(kind consensus.Kind) bool {
	return slices.ContainsFunc(r.own, func(s slot) bool { return s.Kind == kind })
}

// leave enters another round when many members are ahead, or this one's time is
// over, and reports whether it did.
func (m *Machine) leave() bool {
	if !m.acts() {
		return false
	}
	r := &m.rounds
	if ahead := m.ahead(); ahead > r.round {
		m.enter(ahead)
		return true
	}
	if r.endsAt == 0 && m.timed() {
		r.endsAt = m.now + m.duration(r.round)
	}
	if r.endsAt == 0 || m.now < r.endsAt || r.round == lastRound {
		return false
	}
	m.enter(r.round + 1)
	return true
}

// ahead returns the highest round that a skip's worth of members reached, if it
// is later than this one.
func (m *Machine) ahead() uint32 {
	ahead := m.rounds.round
	for i := range m.rounds.changes {
		if round := m.rounds.changes[i].round; round > ahead && m.reached(round) >= m.t.Skip {
			ahead = round
		}
	}
	return ahead
}

// reached counts the members known to have reached a round.
func (m *Machine) reached(round uint32) int {
	n := 0
	for i := range m.rounds.changes {
		if m.rounds.changes[i].round >= round {
			n++
		}
	}
	return n
}

// timed reports whether this round's timer may run: not before a value is
// known that could be voted for, and in a later round not before q members,
// this one included, are known to have reached it. Otherwise a member that
// learnt the value early would run ahead for ever.
func (m *Machine) timed() bool {
	r := &m.rounds
	if len(m.valid) == 0 && r.highest == nil && !m.isWithdrawn() {
		return false
	}
	return r.round == 0 || r.changes[m.seat].round >= r.round && m.reached(r.round) >= m.t.Quorum
}

// duration is T0 * 1.5^min(r,10), at most RoundMax, in milliseconds.
func (m *Machine) duration(round uint32) int64 {
	d := m.cfg.Timing.Round
	for range min(round, 10) {
		d = min(d+d/2, m.cfg.Timing.RoundMax)
	}
	return min(d, m.cfg.Timing.RoundMax)
}

// enter enters a later round, durably: the round change is the record of it.
func (m *Machine) enter(round uint32) {
	r := &m.rounds
	r.move(round, m.t.N)
	r.own, r.since, r.endsAt, r.quorate = nil, m.now, 0, 0
	if r.highest == nil {
		m.cast(consensus.KindRoundChange, consensus.Hash{}, nil)
		return
	}
	hash, err := consensus.HighestHash(r.highest.set.Round, r.highest.set.Value)
	if err != nil {
		panic(err) // a round and a hash always encode
	}
	m.cast(consensus.KindRoundChange, hash, r.highest.payload())
}

// changed takes a round change: the highest of each seat counts.
func (m *Machine) changed(seat int, msg Message) {
	if msg.Round == 0 || msg.Round > lastRound {
		return
	}
	c := &m.rounds.changes[seat]
	m.heardCertificate(certificateOf(msg.Payload))
	switch {
	case msg.Round == c.round:
		m.compare(seat, msg, c.vote)
	case msg.Round > c.round:
		before := c.round
		*c = change{msg.Round, vote{msg.Value, msg.Proof}}
		m.catchUp(seat, before)
	}
}

// catchUp says this round's slots again to a seat that comes up from so far
// below that it kept nothing of this round.
func (m *Machine) catchUp(seat int, before uint32) {
	r := &m.rounds
	if seat == m.seat || before+1 >= r.round || r.changes[seat].round+1 < r.round {
		return
	}
	for _, s := range r.own {
		out := m.slot(s)
		out.To = []int{m.at.Members[seat]}
		m.say(out)
	}
}

// leader returns who proposes in a round above 0: the seats take turns in an
// order that job and height give.
func (m *Machine) leader(round uint32) int {
	if m.rounds.leaders == nil {
		m.rounds.leaders = leaders(m.cfg.Job, m.at.Number, m.t.N)
	}
	return m.rounds.leaders[uint64(round)%uint64(m.t.N)]
}

// leaders orders n seats by a hash of job, height and seat.
func leaders(job consensus.JobID, height uint64, n int) []int {
	order := make([]int, n)
	rank := make([]consensus.Hash, n)
	for seat := range n {
		data, err := dagcbor.Marshal(struct {
			_      struct{} `cbor:",toarray"`
			Tag    string
			Job    consensus.JobID
			Height uint64
			Seat   uint64
		}{Tag: "muster/leader/1", Job: job, Height: height, Seat: uint64(seat)})
		if err != nil {
			panic(err) // fixed fields always encode
		}
		order[seat], rank[seat] = seat, dagcbor.Sum(data)
	}
	slices.SortFunc(order, func(a, b int) int { return slices.Compare(rank[a][:], rank[b][:]) })
	return order
}

func (m *Machine) roundAlarms() {
	r := &m.rounds
	m.alarm(r.endsAt)
	if r.quorate != 0 {
		m.alarm(r.quorate + m.cfg.Timing.Round/8)
	}
}

// turn is which of its valid values the leader of a round above 0 proposes,
// modulo their number: the first in rounds 1 to f+1, so that an honest leader
// has proposed it, and then another in each round, and for each leader the next
// when it leads again, so that liars are not always those whose turn it is.
func turn(t consensus.Thresholds, round uint32) int {
	later, n := max(int64(round)-int64(t.Suspicion), 0), int64(t.N)
	return int(later%n + later/n)
}
