package bft

import (
	"slices"

	"github.com/muster-network/muster/consensus"
)

// watch is who was heard at this height, who is suspected, and which reserves
// would take a seat (protocol, section 7). What it holds lapses with time, so a
// handover that was valid may be valid no more.
//
// It looks four times in a patience, at times that all jobs of a node share, so
// that what they say then shares frames.
type watch struct {
	parties   []standing
	asked     []int            // reserves that were asked to stand by, in order
	offered   bool             // a reserve said that it would take a seat
	names     []consensus.Hash // by party: what Suspect calls it; nil until wanted
	addressed int64            // when a member was last heard, whichever
	lookAt    int64            // when it looks next; 0: not begun
	repeatAt  int64            // when what lapses is said again
}

// standing is what is known of one party at this height. Times are 0 for never.
type standing struct {
	heard     int64   // last
	suspected bool    // by this member
	noted     bool    // the suspicion is durable
	gone      bool    // for good: it said that its present incarnation is another, or was revoked
	suspects  []int64 // by party: when its suspicion was last heard; nil until one was
	asked     int64   // of a reserve: since when it was asked to stand by
	askAgain  int64   // likewise: when it is asked again, unless it accepts
	accepted  int64   // likewise: when it last said that it would take a seat
}

// The watch in parts of a patience: how often it looks, how often what lapses is
// said again; in patiences: how long that counts, and how long a reserve stands
// by for members that it does not hear.
const (
	looks   = 4
	repeats = 2
	lapses  = 2
	standby = 6
)

func newWatch(at consensus.Height) watch {
	return watch{parties: make([]standing, at.Charter.Parties())}
}

// listen begins the watch, where there is something to watch for: nobody is
// silent yet. Nor is whom an earlier process suspected: when it last heard them,
// this one cannot know.
func (m *Machine) listen() {
	if m.cfg.Timing.Patience == 0 || m.seat >= 0 && m.replaceable() == 0 {
		return
	}
	for i := range m.watch.parties {
		m.watch.parties[i].heard = m.now
	}
	m.watch.addressed = m.now
	m.watch.lookAt = m.nextLook()
}

func (m *Machine) nextLook() int64 {
	every := max(m.cfg.Timing.Patience/looks, 1)
	return m.now - m.now%every + every
}

// hear notes a word from a party in the charter's incarnation: it takes every
// suspicion back.
func (m *Machine) hear(party int) {
	w := &m.watch
	if s := &w.parties[party]; party != m.cfg.Self {
		m.evidence.news = m.evidence.news || m.isSilent(party)
		s.heard, s.suspected = m.now, false
	}
	if m.seat < 0 && m.at.SeatOf(party) >= 0 {
		w.addressed = m.now
	}
}

// isSilent reports whether a party was not heard for a patience.
func (m *Machine) isSilent(party int) bool {
	s := &m.watch.parties[party]
	return party != m.cfg.Self && m.now >= max(s.heard, s.asked)+m.cfg.Timing.Patience
}

// replaceable returns how many members may still be replaced at this height.
func (m *Machine) replaceable() int {
	if m.cfg.Timing.Patience == 0 || m.t.N > consensus.LargeRoster && m.at.Number >= consensus.MaxHandovers {
		return 0
	}
	return min(int(m.cfg.Charter.F), int(m.cfg.Charter.Replace)-len(m.at.Replaced), len(m.cfg.Charter.Reserves)-len(m.at.Replaced))
}

// reserves are the parties that were never seated, in the order in which they
// are taken.
func (m *Machine) reserves() []int {
	var list []int
	for reserve := range m.cfg.Charter.Reserves {
		if !m.at.Used(reserve) {
			list = append(list, m.t.N+reserve)
		}
	}
	return list
}

// look draws the conclusions that follow from time alone: who is silent, which
// reserves are needed, what lapses and is said again. A job that is decided
// before the first look says nothing of this.
func (m *Machine) look() {
	w := &m.watch
	if w.lookAt == 0 || m.now < w.lookAt {
		return
	}
	// Time in which this process slept is nobody else's silence.
	if late := m.now - w.lookAt; late > m.cfg.Timing.Patience/2 {
		for i := range w.parties {
			w.parties[i].heard = min(w.parties[i].heard+late, m.now)
		}
		w.addressed = min(w.addressed+late, m.now)
	}
	w.lookAt = m.nextLook()
	repeat := m.now >= w.repeatAt
	if repeat {
		w.repeatAt = m.now + m.cfg.Timing.Patience/repeats
	}
	m.evidence.news = true
	switch {
	case m.seat < 0:
		m.standBy(repeat)
	case m.replaceable() > 0:
		m.sayAlive()
		m.suspectSilent(repeat)
		m.askReserves()
	}
}

// sayAlive keeps this member from being suspected: one that runs says so anyhow.
// Reserves hear by it that they are still wanted.
func (m *Machine) sayAlive() {
	to := slices.Clone(m.watch.asked)
	if !m.isRunning() {
		to = append(m.others(), to...)
	}
	if len(to) > 0 {
		m.say(Outgoing{To: to, Note: consensus.NoteAlive})
	}
}

// suspectSilent suspects the members, and the reserves that were asked, that
// were not heard for a patience.
func (m *Machine) suspectSilent(repeat bool) {
	for _, party := range append(m.others(), m.watch.asked...) {
		s := &m.watch.parties[party]
		again := s.suspected && repeat
		if s.gone || !again && (s.suspected || !m.isSilent(party)) {
			continue
		}
		if !s.noted {
			m.record(RecordSuspect, &suspicion{Height: m.at.Number, Party: uint64(party)})
		}
		s.suspected, s.noted = true, true
		m.say(m.bound(Outgoing{Kind: consensus.KindSuspect, Value: m.nameOf(party)}))
		if !again { // whoever lives in another incarnation says so when it is shown the job
			m.entry.shown[party] = false
			m.say(m.shareAcceptsWith(party))
		}
	}
}

// suspicion is the body of a record: a party that this member suspects.
type suspicion struct {
	_      struct{} `cbor:",toarray"`
	Height uint64
	Party  uint64
}

func (m *Machine) nameOf(party int) consensus.Hash {
	if m.watch.names == nil {
		for party := range m.watch.parties {
			name, err := m.cfg.Charter.Party(party).Hash()
			if err != nil {
				panic(err) // a key and an incarnation always encode
			}
			m.watch.names = append(m.watch.names, name)
		}
	}
	return m.watch.names[party]
}

// suspect takes a member's suspicion of a party.
func (m *Machine) suspect(from int, name consensus.Hash) {
	m.nameOf(from)
	target := slices.Index(m.watch.names, name)
	if target < 0 || target == from {
		return
	}
	s := &m.watch.parties[target]
	if s.suspects == nil {
		s.suspects = make([]int64, len(m.watch.parties))
	}
	s.suspects[from] = m.now
	m.evidence.news = true
}

// isSuspected reports whether f+1 members suspect a party now.
func (m *Machine) isSuspected(party int) bool {
	s := &m.watch.parties[party]
	return s.suspects != nil && m.t.Suspicion <= count(m.at.Members, func(member int) bool { return m.lasts(s.suspects[member]) })
}

// lasts reports whether what lapses and was said at a time still counts.
func (m *Machine) lasts(said int64) bool {
	return said != 0 && m.now < said+lapses*m.cfg.Timing.Patience
}

// lose takes word that a party is lost for good, whoever may hear it.
func (m *Machine) lose(party int) {
	if party != m.cfg.Self {
		m.watch.parties[party].gone, m.evidence.news = true, true
	}
}

// isLost reports whether a member may be replaced, as far as this one can tell.
func (m *Machine) isLost(party int) bool {
	return m.watch.parties[party].gone || m.isSilent(party) && m.isSuspected(party)
}

// isWilling reports whether a reserve would take a seat at the next height. What it
// said before it was lost counts no more.
func (m *Machine) isWilling(party int) bool {
	s := &m.watch.parties[party]
	return !s.gone && m.lasts(s.accepted)
}

// isPassedOver reports whether the reserves after this one may be taken.
func (m *Machine) isPassedOver(party int) bool {
	return m.entry.refused[party] != "" || m.watch.parties[party].gone || m.isSuspected(party)
}

// willing takes a reserve's accept: see standBy.
func (m *Machine) willing(msg Message) {
	if msg.Height == m.at.Number+1 && msg.From >= m.t.N && msg.From != m.cfg.Self {
		m.watch.parties[msg.From].accepted, m.entry.refused[msg.From] = m.now, ""
		m.watch.offered, m.evidence.news = true, true
	}
}

// askReserves asks as many reserves to stand by as members are lost, in order,
// but for those passed over. Who has not accepted is asked again.
func (m *Machine) askReserves() {
	w := &m.watch
	need := min(count(m.at.Members, m.isLost), m.replaceable())
	if need == 0 {
		w.asked = nil
		return
	}
	for _, party := range m.reserves() {
		if need == 0 {
			break
		}
		s := &w.parties[party]
		if !slices.Contains(w.asked, party) {
			w.asked, s.asked, s.askAgain = append(w.asked, party), m.now, m.now
		}
		if !m.isWilling(party) && m.now >= s.askAgain {
			s.askAgain = m.now + m.cfg.Timing.Patience
			m.say(m.shareAcceptsWith(party))
		}
		if m.isWilling(party) || !m.isPassedOver(party) {
			need--
		}
	}
}

// handover returns what this member would hand over, if anything: the lost
// members' seats, lowest first, to the willing reserves, in order.
func (m *Machine) handover() (consensus.Value, bool) {
	v := consensus.Value{Kind: consensus.Handover}
	if !m.watch.offered || !m.mayMove() {
		return v, false
	}
	var willing []int
	for _, party := range m.reserves() {
		if m.isWilling(party) {
			willing = append(willing, party)
		} else if !m.isPassedOver(party) {
			break
		}
	}
	most := min(m.replaceable(), len(willing))
	for seat, party := range m.at.Members {
		if n := len(v.Pairs); n < most && m.isLost(party) {
			v.Pairs = append(v.Pairs, consensus.Pair{Seat: uint64(seat), Reserve: uint64(willing[n] - m.t.N)})
		}
	}
	return v, len(v.Pairs) > 0
}

// mayHandOver reports whether the evidence for a handover, this member's own or
// another's, is here: all members are lost, all reserves willing, and those
// between them passed over.
func (m *Machine) mayHandOver(v consensus.Value) bool {
	if _, err := m.at.Next(v); err != nil || m.replaceable() == 0 || !m.mayMove() {
		return false
	}
	taken := make([]int, len(v.Pairs))
	for i, p := range v.Pairs {
		taken[i] = m.t.N + int(p.Reserve)
		if !m.isLost(m.at.Members[p.Seat]) || !m.isWilling(taken[i]) {
			return false
		}
	}
	for _, party := range m.reserves() {
		if party < taken[len(taken)-1] && !slices.Contains(taken, party) && !m.isPassedOver(party) {
			return false
		}
	}
	return true
}

// standBy is what a node without a seat does. A reserve says that it would take
// one as long as members speak to it, and forgets the job when they do not, since
// it never voted. Who did keeps what it knows until the job's end.
func (m *Machine) standBy(repeat bool) {
	unheard := m.now - m.watch.addressed
	switch {
	case m.isReserve() && unheard >= standby*m.cfg.Timing.Patience, m.now > m.cfg.Charter.End:
		m.expire()
	case m.isReserve() && repeat && unheard < lapses*m.cfg.Timing.Patience:
		m.say(m.offerOneself())
	}
}

// offerOneself is a reserve's accept of a seat at the next height. It is bound
// to the decision before this one: which handover will seat it is open.
func (m *Machine) offerOneself() Outgoing {
	return Outgoing{To: m.others(), Kind: consensus.KindAccept, Height: m.at.Number + 1, Previous: m.at.Previous}
}
