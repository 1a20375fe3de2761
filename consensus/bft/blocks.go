package bft

import (
	"slices"

	"github.com/muster-network/muster/consensus"
)

// fetch is a value whose blocks were asked for.
type fetch struct {
	choice choice
	since  int64 // when somebody who claims it was asked for the first time
	asked  int64 // when it was asked for last
	from   []int

	normals []consensus.Hash // what it was asked to come to
}

// stalled is the number of beats after which a fetch counts as stalled.
const stalled = 10

// fetch asks for the blocks of every value that is valid, certified, to be
// checked, or proposed with what makes it valid, and not held: again and again,
// for who could not be reached may be there by now, and others may hold them.
func (m *Machine) fetch() {
	for i := range m.valid {
		m.want(&m.valid[i])
	}
	for _, d := range m.duties() {
		m.want(&d.choice)
	}
	if h := m.rounds.highest; h != nil {
		m.want(&choice{h.value, h.set.Value})
	}
	if p := m.pending(); p != nil && !m.isValid(p.choice) && m.provesItself(p) {
		m.by(p, func() { m.want(&p.choice) }) // who claims it, and what it has to come to, say its reports
	}
}

// pending is the proposal of this round, if it was made.
func (m *Machine) pending() *proposal {
	if b := m.rounds.ballot(m.rounds.round); b != nil {
		return b.proposal
	}
	return nil
}

func (m *Machine) want(c *choice) {
	if m.holds(*c) {
		return
	}
	f := m.fetching(c.hash)
	if f != nil && m.now < f.asked+stalled*m.cfg.Timing.Beat {
		return
	}
	from, normals := m.claimers(c.hash), m.normals(c.hash)
	if f == nil {
		m.evidence.fetches = append(m.evidence.fetches, fetch{choice: *c, since: m.now})
		f = &m.evidence.fetches[len(m.evidence.fetches)-1]
	} else if slices.ContainsFunc(from, func(party int) bool { return !slices.Contains(f.from, party) }) {
		f.since = m.now
	}
	f.asked, f.from, f.normals = m.now, from, normals
	m.do(Fetch{Value: c.value, Hash: c.hash, Normals: normals, From: from})
}

func (m *Machine) isStalled(f *fetch) bool { return m.now >= f.since+stalled*m.cfg.Timing.Beat }

func (m *Machine) fetching(hash consensus.Hash) *fetch {
	for i := range m.evidence.fetches {
		if f := &m.evidence.fetches[i]; f.choice.hash == hash {
			return f
		}
	}
	return nil
}

// claimers are the parties that reported a value, judged or prepared it: all say
// that its blocks are durable there.
func (m *Machine) claimers(hash consensus.Hash) []int {
	var parties []int
	for seat, party := range m.at.Members {
		if party != m.cfg.Self && m.claims(seat, hash) {
			parties = append(parties, party)
		}
	}
	return parties
}

func (m *Machine) claims(seat int, hash consensus.Hash) bool {
	if slices.ContainsFunc(m.reportsOf(seat), func(r shown) bool { return r.hash == hash }) || m.hasJudged(m.at.Members[seat], hash) {
		return true
	}
	for _, b := range m.rounds.ballots {
		if v := b.prepares[seat]; v != nil && v.value == hash {
			return true
		}
	}
	h := m.rounds.highest
	return h != nil && h.set.Value == hash &&
		slices.ContainsFunc(h.set.Votes, func(v consensus.Vote) bool { return v.Seat == uint64(seat) })
}

// holdsNow notes that the blocks of a value that was fetched are durable. An answer
// to what was asked before, at another height, perhaps, may be about other forms.
func (m *Machine) holdsNow(in Held) {
	f := m.fetching(in.Value)
	if f == nil || !slices.Equal(f.normals, in.Normals) || slices.Contains(m.evidence.held, in.Value) {
		return
	}
	m.evidence.held = append(m.evidence.held, in.Value)
	m.record(RecordHeld, &in.Value)
}
