package bft

import (
	"slices"

	"github.com/muster-network/muster/consensus"
)

// ballot is what was said in one round: for each seat the first of each slot.
type ballot struct {
	round    uint32
	proposal *proposal
	prepares []*vote // by seat
	commits  []*vote // by seat
}

// vote is one seat's statement in a slot.
type vote struct {
	value consensus.Hash
	proof consensus.Proof
}

// proposal is the leader's, with the certificate or the reports it carries, if
// any.
type proposal struct {
	choice
	vote     vote
	cert     *certificate
	reports  [][]shown   // that it carries, by party; nil: none
	verdicts [][]verdict // likewise
}

// certificate is a prepare certificate with the value it is for.
type certificate struct {
	value consensus.Value
	set   consensus.VoteSet
}

func certificateOf(p *consensus.Payload) *certificate {
	if p == nil || p.Set == nil || p.Value == nil {
		return nil
	}
	return &certificate{*p.Value, *p.Set}
}

func (c *certificate) payload() *consensus.Payload {
	return &consensus.Payload{Set: &c.set, Value: &c.value}
}

// window returns empty ballots for the rounds before, at and after round: what
// is kept of votes (protocol, section 16).
func window(round uint32, n int) []ballot {
	first := max(round, 1) - 1
	list := make([]ballot, round+2-first)
	votes := make([]*vote, len(list)*2*n)
	for i := range list {
		of := votes[2*n*i : 2*n*(i+1)]
		list[i] = ballot{round: first + uint32(i), prepares: of[:n], commits: of[n:]}
	}
	return list
}

func (r *rounds) ballot(round uint32) *ballot {
	for i := range r.ballots {
		if r.ballots[i].round == round {
			return &r.ballots[i]
		}
	}
	return nil
}

// move shifts the window to another round and keeps the ballots in both.
func (r *rounds) move(round uint32, n int) {
	old := r.ballots
	r.round, r.ballots = round, window(round, n)
	for i := range r.ballots {
		at := slices.IndexFunc(old, func(b ballot) bool { return b.round == r.ballots[i].round })
		if at >= 0 {
			r.ballots[i] = old[at]
		}
	}
}

// quorum returns a set of exactly q votes for one value, if there are as many.
func (m *Machine) quorum(round uint32, votes []*vote) (consensus.VoteSet, bool) {
	for _, v := range votes[:m.t.N-m.t.Quorum+1] { // q votes have one among these
		if v == nil || count(votes, func(w *vote) bool { return w != nil && w.value == v.value }) < m.t.Quorum {
			continue
		}
		set := consensus.VoteSet{Round: round, Value: v.value, Votes: make([]consensus.Vote, 0, m.t.Quorum)}
		for seat, w := range votes {
			if w != nil && w.value == v.value && len(set.Votes) < m.t.Quorum {
				set.Votes = append(set.Votes, consensus.Vote{Seat: uint64(seat), Proof: w.proof})
			}
		}
		return set, true
	}
	return consensus.VoteSet{}, false
}

// proposed takes a proposal, if it comes from the leader of its round. The
// evidence in it is added to what is known; without a certificate it may stay
// pending until its value is valid here.
func (m *Machine) proposed(seat int, msg Message) {
	b := m.rounds.ballot(msg.Round)
	if b == nil || msg.Round == 0 || seat != m.leader(msg.Round) {
		return
	}
	v := vote{msg.Value, msg.Proof}
	if b.proposal != nil {
		m.compare(seat, msg, b.proposal.vote)
		return
	}
	b.proposal = &proposal{choice: choice{*msg.Payload.Value, msg.Value}, vote: v, cert: certificateOf(msg.Payload), reports: m.carried(msg.Payload.Reports), verdicts: m.carriedVerdicts(msg.Payload.Verdicts)}
	m.heardCertificate(b.proposal.cert)
	m.learnEvidence(msg.Payload)
}

// carried returns the reports that a proposal carries, by party: those that would
// count if no others were held.
func (m *Machine) carried(reports []consensus.SignedReport) [][]shown {
	if len(reports) == 0 {
		return nil
	}
	list := make([][]shown, len(m.evidence.reports))
	for _, r := range reports {
		m.keepShown(list, r)
	}
	return list
}

// provesItself reports whether what a proposal carries makes its value valid, by
// itself: a liar that shows more than two reports leaves members with others of
// them, and what is valid for one would never be for another (decision 006).
func (m *Machine) provesItself(p *proposal) (valid bool) {
	if p.reports != nil {
		m.by(p, func() { valid = m.isValid(p.choice) })
	}
	return valid
}

// by judges by the reports and verdicts that a proposal carries, in place of those
// held.
func (m *Machine) by(p *proposal, judge func()) {
	reports, verdicts := m.evidence.reports, m.evidence.verdicts
	m.evidence.reports, m.evidence.verdicts = p.reports, p.verdicts
	judge()
	m.evidence.reports, m.evidence.verdicts = reports, verdicts
}

// voted takes a prepare or a commit: the first in its slot counts.
func (m *Machine) voted(seat int, msg Message) {
	b := m.rounds.ballot(msg.Round)
	if b == nil {
		return
	}
	votes := b.prepares
	if msg.Kind == consensus.KindCommit {
		votes = b.commits
	}
	if votes[seat] != nil {
		m.compare(seat, msg, *votes[seat])
		return
	}
	votes[seat] = &vote{msg.Value, msg.Proof}
	if msg.Kind == consensus.KindPrepare {
		m.hearPrepare(seat, msg.Value)
	}
}

// heardSet takes the votes that a certificate shows like those that their
// senders said here: a sender that says one thing to some and another to others
// is found out by what they show each other.
func (m *Machine) heardSet(kind consensus.Kind, set consensus.VoteSet) {
	for _, v := range set.Votes {
		m.voted(int(v.Seat), Message{Kind: kind, Round: set.Round, Value: set.Value, Proof: v.Proof})
	}
}

// compare tells of a sender that said two things in one slot.
func (m *Machine) compare(seat int, msg Message, first vote) {
	holder := m.at.Members[seat]
	if first.value == msg.Value || m.accused[holder] {
		return
	}
	m.accused[holder] = true
	second := vote{msg.Value, msg.Proof}
	m.do(Equivocation{Seat: seat, First: m.signed(seat, msg, first), Second: m.signed(seat, msg, second)})
}

// signed is the statement that v is in the slot of msg.
func (m *Machine) signed(seat int, msg Message, v vote) consensus.Signed {
	return consensus.Signed{Proof: v.proof, Statement: m.at.Statement(msg.Kind, seat, msg.Round, v.value)}
}
