package consensus

import (
	"errors"
	"fmt"
	"slices"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// MaxHandovers bounds the handovers of a job whose roster is larger than
// LargeRoster: each puts q commits more into its certificate.
const (
	MaxHandovers = 2
	LargeRoster  = 13
)

// Height is one height of a job's chain: what its statements are bound to, and
// who its members are. It is a function of the charter and of the decisions
// before it: see FirstHeight and Next. A Height does not change.
//
// Peers are named by party: a member of the charter's roster by its place there,
// a reserve by n and its place among the reserves. A party is one peer in one
// incarnation for the whole job; a seat may have several holders, one after the
// other.
type Height struct {
	Network  admission.Network
	Job      JobID
	Charter  *Charter // validated
	Number   uint64
	Previous Hash       // the decision before this height; at height 0 the job id
	Members  []int      // by seat: the party that holds it
	Replaced []Replaced // at all heights before this one, in order
}

// Replaced is a member that lost its seat to a reserve.
type Replaced struct {
	Height  uint64 // whose decision it was
	Seat    int
	Out, In int // parties
}

// FirstHeight returns height 0 of a job, whose members are the charter's roster.
func FirstHeight(network admission.Network, job JobID, c *Charter) Height {
	h := Height{Network: network, Job: job, Charter: c, Previous: Hash(job), Members: make([]int, len(c.Roster))}
	for seat := range h.Members {
		h.Members[seat] = seat
	}
	return h
}

// Parties returns how many peers a charter names: its roster and its reserves.
func (c *Charter) Parties() int { return len(c.Roster) + len(c.Reserves) }

// Party returns who a party is: the roster's members first, then the reserves.
func (c *Charter) Party(party int) Seat {
	if party < len(c.Roster) {
		return c.Roster[party]
	}
	return c.Reserves[party-len(c.Roster)]
}

// PartyOf returns the party that a peer is, or -1.
func (c *Charter) PartyOf(peer admission.Key) int {
	for party := range c.Parties() {
		if c.Party(party).Peer == peer {
			return party
		}
	}
	return -1
}

// SeatOf returns the seat that a party holds at this height, or -1.
func (h Height) SeatOf(party int) int { return slices.Index(h.Members, party) }

// Holder returns who holds a seat at this height.
func (h Height) Holder(seat int) Seat { return h.Charter.Party(h.Members[seat]) }

// Roster returns the holders of all seats at this height.
func (h Height) Roster() []Seat {
	roster := make([]Seat, len(h.Members))
	for seat := range roster {
		roster[seat] = h.Holder(seat)
	}
	return roster
}

// Used reports whether a reserve was seated before this height. Nobody is
// seated twice.
func (h Height) Used(reserve int) bool {
	party := len(h.Charter.Roster) + reserve
	return slices.ContainsFunc(h.Replaced, func(r Replaced) bool { return r.In == party })
}

// Next returns the height that follows when v is decided at this one. It refuses
// a v that ends the job, and a handover that this job may not have at this
// height: more pairs than f or than the charter's bound leaves, a seat or a
// reserve that does not exist, a reserve seated before, a third handover in a
// roster of more than 13 (protocol, section 7).
func (h Height) Next(v Value) (Height, error) {
	if v.Kind != Handover {
		return Height{}, fmt.Errorf("height %d: %s ends a job", h.Number, v)
	}
	if err := v.Validate(); err != nil {
		return Height{}, err
	}
	n := len(h.Charter.Roster)
	switch {
	case len(v.Pairs) > int(h.Charter.F):
		return Height{}, fmt.Errorf("height %d: %d members replaced at once, at most f = %d", h.Number, len(v.Pairs), h.Charter.F)
	case len(h.Replaced)+len(v.Pairs) > int(h.Charter.Replace):
		return Height{}, fmt.Errorf("height %d: more than %d members replaced", h.Number, h.Charter.Replace)
	case n > LargeRoster && h.Number >= MaxHandovers:
		return Height{}, fmt.Errorf("height %d: at most %d handovers in a roster of more than %d", h.Number, MaxHandovers, LargeRoster)
	}
	hash, err := v.Hash(h.Network)
	if err != nil {
		return Height{}, err
	}
	next := h
	next.Number++
	next.Members, next.Replaced = slices.Clone(h.Members), slices.Clone(h.Replaced)
	if next.Previous, err = h.decided(hash); err != nil {
		return Height{}, err
	}
	for _, p := range v.Pairs {
		switch {
		case p.Seat >= uint64(n) || p.Reserve >= uint64(len(h.Charter.Reserves)):
			return Height{}, fmt.Errorf("height %d: a handover of a seat or to a reserve that does not exist", h.Number)
		case h.Used(int(p.Reserve)):
			return Height{}, fmt.Errorf("height %d: reserve %d was seated before", h.Number, p.Reserve)
		}
		in := n + int(p.Reserve)
		next.Replaced = append(next.Replaced, Replaced{Height: h.Number, Seat: int(p.Seat), Out: h.Members[p.Seat], In: in})
		next.Members[p.Seat] = in
	}
	return next, nil
}

// decided is what the next height's statements carry of this one's decision:
// H(tag, job, height, previous, value hash), without round or signers.
func (h Height) decided(value Hash) (Hash, error) {
	sum, err := dagcbor.SumSealed(TagChain, h.Network[:], &struct {
		_        struct{} `cbor:",toarray"`
		Job      JobID
		Height   uint64
		Previous Hash
		Value    Hash
	}{Job: h.Job, Height: h.Number, Previous: h.Previous, Value: value})
	return Hash(sum), err
}

// Statement returns what the holder of a seat says at this height.
func (h Height) Statement(kind Kind, seat int, round uint32, value Hash) Statement {
	holder := h.Holder(seat)
	return Statement{Kind: kind, Network: h.Network, Job: h.Job, Height: h.Number, Previous: h.Previous, Round: round,
		Sender: holder.Peer, Incarnation: holder.Incarnation, Value: value}
}

// Hash names a seat's holder: what Suspect carries of its target, and Gone of
// the incarnation that is no more.
func (s Seat) Hash() (Hash, error) {
	data, err := dagcbor.Marshal(struct {
		_    struct{} `cbor:",toarray"`
		Tag  string
		Seat Seat
	}{Tag: "muster/seat/1", Seat: s})
	return Hash(dagcbor.Sum(data)), err
}

// ErrChain is returned for decisions that do not follow from each other.
var ErrChain = errors.New("the decisions do not follow from each other")

// Check verifies that set holds votes of the kind for one value by q distinct
// members of this height, by ascending seat. proof checks each: Proof.Check, or
// a verifier that remembers what it has verified.
func (set VoteSet) Check(at Height, kind Kind, proof func(Proof, Statement) error) error {
	t := at.Charter.Thresholds()
	if len(set.Votes) != t.Quorum {
		return fmt.Errorf("certificate: %d votes, it takes %d", len(set.Votes), t.Quorum)
	}
	for i, v := range set.Votes {
		if v.Seat >= uint64(t.N) || i > 0 && set.Votes[i-1].Seat >= v.Seat {
			return errors.New("certificate: its voters are not distinct members in order")
		}
		if err := proof(v.Proof, at.Statement(kind, int(v.Seat), set.Round, set.Value)); err != nil {
			return fmt.Errorf("certificate: seat %d: %w", v.Seat, err)
		}
	}
	return nil
}

// Check verifies that d was decided at this height: a value that a job of these
// thresholds can have, with q commits for it.
func (d Decision) Check(at Height, proof func(Proof, Statement) error) error {
	if d.Height != at.Number {
		return fmt.Errorf("decision: of height %d, at height %d: %w", d.Height, at.Number, ErrChain)
	}
	if err := d.Value.Validate(); err != nil {
		return err
	}
	hash, err := d.Value.Hash(at.Network)
	if err != nil {
		return err
	}
	if hash != d.Commits.Value {
		return errors.New("certificate: the commits are for another value")
	}
	if !d.Value.Fits(at.Charter) {
		return fmt.Errorf("certificate: %s, in a quorum where one report counts", d.Value)
	}
	return d.Commits.Check(at, KindCommit, proof)
}

// Climb checks decisions that follow from each other, the first of this height,
// and returns the height that they lead to. Each but an outcome is a handover,
// so no list of them is longer than the charter's bound.
func (h Height) Climb(chain []Decision, proof func(Proof, Statement) error) (Height, error) {
	for _, d := range chain {
		if err := d.Check(h, proof); err != nil {
			return Height{}, err
		}
		next, err := h.Next(d.Value)
		if err != nil {
			return Height{}, err
		}
		h = next
	}
	return h, nil
}

// Conclusion is how a job ended: its outcome, and the handovers before it.
type Conclusion struct {
	Chain   []Decision
	Outcome Decision
}

// Check verifies that a job ended so, and returns the height at which it did.
func (c Conclusion) Check(first Height, proof func(Proof, Statement) error) (Height, error) {
	last, err := first.Climb(c.Chain, proof)
	if err != nil {
		return Height{}, err
	}
	if c.Outcome.Value.Kind == Handover {
		return Height{}, errors.New("certificate: a handover is no outcome")
	}
	return last, c.Outcome.Check(last, proof)
}
