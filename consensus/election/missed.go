package election

import (
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

// Seen is a node as a member itself sees it, from adverts and connections.
type Seen struct {
	Peer        admission.Key
	Incarnation admission.Incarnation
	Since       int64 // seen continuously from this Unix time in milliseconds
	Credential  admission.Credential
	Total       map[string]uint64
	Features    []string // sorted
	Classes     []consensus.Class
	Group       string
}

// Tolerated returns how many nodes may be missing or misdescribed in the roll
// of a roster of n before a member refuses: views of a network differ.
func Tolerated(n int) int { return max(1, n/8) }

// MissedBy counts the nodes that should have stood before the roster's last
// member, that this member saw continuously for the policy's settling time
// before the roll was made, and that the roll leaves out or misdescribes. A
// member refuses a charter with more than Tolerated. drawn is what Check of the
// charter returned. seen is all that the member sees, itself included.
//
// In a network near the size at which rolls become samples, and for one bit
// more or less, submitter and member may differ on who belongs; then the doubt
// is the submitter's.
func MissedBy(roll *consensus.Roll, c *consensus.Charter, drawn Drawn, network admission.Network, policy admission.Policy, seen []Seen) int {
	ask := AskOf(c, network, policy)
	m := missing{rules: newRules(ask), last: drawn.Last, entries: make(map[admission.Key]*consensus.RollEntry, len(roll.Entries))}
	for i := range roll.Entries {
		m.entries[roll.Entries[i].Peer] = &roll.Entries[i]
	}
	who := newBounds(ask, seen)
	count := 0
	for i := range seen {
		settled := roll.Made-seen[i].Since >= policy.Settle
		if settled && who.sample.Belongs(seen[i].Peer, who.narrow) && m.misses(&seen[i]) {
			count++
		}
	}
	for i := range roll.Entries {
		if e := &roll.Entries[i]; !who.sample.Belongs(e.Peer, who.wide) && m.outranks(e) {
			count++
		}
	}
	return count
}

// bounds are the bits at which a peer surely belongs, and those at which one
// must belong at all.
type bounds struct {
	sample       Sample
	narrow, wide int
}

// newBounds takes a margin of an eighth about the size at which rolls become
// samples. Below it nothing is hashed: everybody belongs.
func newBounds(ask Ask, seen []Seen) (b bounds) {
	if len(seen) <= consensus.MaxRoll*7/8 {
		return b
	}
	peers := make([]admission.Key, len(seen))
	for i := range seen {
		peers[i] = seen[i].Peer
	}
	b.sample = NewSample(ask.Network, ask.Submitter, ask.Period)
	b.narrow = b.sample.bits(peers) + 1
	if len(seen) > consensus.MaxRoll*9/8 {
		b.wide = b.narrow - 2
	}
	return b
}

type missing struct {
	rules
	last    Place
	entries map[admission.Key]*consensus.RollEntry
}

// outranks reports whether a node so described may be drawn and stands before
// the roster's last member.
func (m *missing) outranks(e *consensus.RollEntry) bool {
	if _, short := m.lack(e); short {
		return false
	}
	return m.place(e).Compare(m.last) < 0
}

// misses reports whether s outranks the last one drawn, by this member's view or
// by the roll's, and the roll's description of it would change the draw.
func (m *missing) misses(s *Seen) bool {
	mine := &consensus.RollEntry{
		Peer: s.Peer, Incarnation: s.Incarnation, Credential: admission.SignedCredential{Body: s.Credential},
		Classes: s.Classes, Features: s.Features, Total: s.Total, Group: s.Group,
	}
	theirs, listed := m.entries[s.Peer]
	if !listed {
		return m.outranks(mine)
	}
	_, mineShort := m.lack(mine)
	_, theirsShort := m.lack(theirs)
	if mineShort && theirsShort {
		return false
	}
	if !m.outranks(mine) && !m.outranks(theirs) && s.Peer != m.last.Peer {
		return false
	}
	return mineShort != theirsShort || mine.Incarnation != theirs.Incarnation ||
		m.weight(mine) != m.weight(theirs) || m.runs(mine) != m.runs(theirs) ||
		m.ask.Policy.Spread && (mine.Credential.Body.Owner != theirs.Credential.Body.Owner || mine.Group != theirs.Group)
}
