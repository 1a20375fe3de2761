// Package election draws a job's roster from a roll, and checks such a draw. It
// is pure: the same roll and the same ask give the same roster everywhere
// (protocol, section 9).
//
// The draw is weighted rendezvous hashing (Thaler and Ravishankar, 1998): each
// node gets a score from the seed, its key and its weight; lowest first. It
// bounds what a submitter can choose; it does not convince third parties that
// nothing was chosen, since the submitter made the roll and may try the seeds
// of a period.
package election

import (
	"errors"
	"fmt"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// Tags of what is hashed here.
const (
	TagSeed   = "muster/seed/1"
	TagBucket = "muster/bucket/1"
	TagRank   = "muster/rank/1"
	TagSample = "muster/sample/1"
	TagKeeper = "muster/keeper/1"
)

// PeriodLength is the time in which a submitter has the same seeds, in
// milliseconds.
const PeriodLength = 600_000

// MaxAttempt is the last of the draws that one job may try.
const MaxAttempt = 3

// Period returns the period of a charter issued at the given Unix time in
// milliseconds.
func Period(issued int64) uint64 { return uint64(max(issued, 0)) / PeriodLength }

// Ask is what a draw depends on beside the roll.
type Ask struct {
	Network   admission.Network
	Submitter admission.Key
	Issued    int64 // Unix milliseconds
	End       int64 // Unix milliseconds: credentials must last until then
	Period    uint64
	Spec      dagcbor.Link
	Nonce     consensus.Hash
	Attempt   uint64
	Beacon    []byte
	Fault     consensus.Fault
	F         uint64
	Class     consensus.Class // a member lists it among its classes
	Needs     consensus.Needs // of every member
	RunNeeds  consensus.Needs // of the Runners members who may execute
	Runners   uint64          // 1 to n
	Policy    admission.Policy
}

// AskOf returns the ask that a charter answers.
func AskOf(c *consensus.Charter, network admission.Network, policy admission.Policy) Ask {
	return Ask{
		Network: network, Submitter: c.Submitter, Issued: c.Issued, End: c.End, Period: c.Period,
		Spec: c.Spec, Nonce: c.Nonce, Attempt: c.Attempt, Beacon: c.Beacon, Fault: c.Fault, F: c.F,
		Class: c.Class, Needs: c.Needs, RunNeeds: c.RunNeeds, Runners: c.Runners, Policy: policy,
	}
}

// Place is where a node stands in a draw: by score, ties by peer.
type Place struct {
	Score uint64
	Peer  admission.Key
}

// Compare orders places; the lower is drawn first.
func (p Place) Compare(q Place) int {
	if p.Score != q.Score {
		if p.Score < q.Score {
			return -1
		}
		return 1
	}
	return slices.Compare(p.Peer[:], q.Peer[:])
}

// Drawn is the answer to an ask.
type Drawn struct {
	Roster   []consensus.Seat // n, in draw order
	Reserves []consensus.Seat // the next, up to f, as many as remain
	Runners  []int            // the seats of the roster that meet RunNeeds, ascending
	Spares   []int            // the reserves that do, as parties (see consensus.Height), ascending
	Last     Place            // of the roster's last member
}

// Draw draws a roster and its reserves. It returns a *ShortError if the roll
// has too few nodes that fit, and another error for an ask that no charter
// could carry. It does not check the roll's credentials: OpenRoll did.
func Draw(roll *consensus.Roll, ask Ask) (Drawn, error) {
	return draw(roll, newRules(ask))
}

func draw(roll *consensus.Roll, r rules) (Drawn, error) {
	ask := &r.ask
	t, err := ask.validate()
	if err != nil {
		return Drawn{}, err
	}
	var lacks lacking
	ranked := make([]candidate, 0, len(roll.Entries))
	for i := range roll.Entries {
		e := &roll.Entries[i]
		if lack, short := r.lack(e); short {
			lacks.add(lack)
			continue
		}
		ranked = append(ranked, candidate{r.place(e), e})
	}
	slices.SortFunc(ranked, func(a, b candidate) int { return a.Compare(b.Place) })

	w := walk{rules: &r, places: t.N, owed: int(ask.Runners), spread: ask.Policy.Spread}
	for _, c := range ranked {
		if w.full() && len(w.drawn.Reserves) == int(ask.F) {
			break
		}
		if lack, skipped := w.offer(c); skipped {
			lacks.add(lack)
		}
	}
	if !w.full() {
		return Drawn{}, &ShortError{Needed: t.N, Eligible: len(w.drawn.Roster), Lacks: lacks.sorted()}
	}
	return w.drawn, nil
}

func (ask Ask) validate() (consensus.Thresholds, error) {
	t, err := ask.Fault.For(ask.F)
	switch {
	case err != nil:
		return t, fmt.Errorf("draw: %w", err)
	case ask.Issued <= 0 || ask.Period != Period(ask.Issued):
		return t, fmt.Errorf("draw: period %d is not that of %d ms", ask.Period, ask.Issued)
	case ask.Attempt > MaxAttempt:
		return t, fmt.Errorf("draw: attempt %d of at most %d", ask.Attempt, MaxAttempt)
	case ask.Runners == 0 || ask.Runners > uint64(t.N):
		return t, fmt.Errorf("draw: %d runners among %d members", ask.Runners, t.N)
	}
	return t, nil
}

type candidate struct {
	Place
	entry *consensus.RollEntry
}

// walk seats candidates in rank order.
type walk struct {
	*rules
	places int // seats in the roster
	owed   int // of them, to runners not yet drawn
	spread bool
	taken  []*consensus.RollEntry
	drawn  Drawn
}

func (w *walk) full() bool { return len(w.drawn.Roster) == w.places }

// offer seats c, or says why it is skipped. Reserves follow the roster and are
// owed to nobody.
func (w *walk) offer(c candidate) (Lack, bool) {
	if w.spread && w.grouped(c.entry) {
		return Lack{Reason: LacksSpread}, true
	}
	seat := consensus.Seat{Peer: c.entry.Peer, Incarnation: c.entry.Incarnation}
	if w.full() {
		if w.runs(c.entry) {
			w.drawn.Spares = append(w.drawn.Spares, len(w.drawn.Roster)+len(w.drawn.Reserves))
		}
		w.drawn.Reserves = append(w.drawn.Reserves, seat)
		w.taken = append(w.taken, c.entry)
		return Lack{}, false
	}
	if runs := w.runs(c.entry); runs {
		w.drawn.Runners = append(w.drawn.Runners, len(w.drawn.Roster))
		w.owed = max(w.owed-1, 0)
	} else if w.places-len(w.drawn.Roster) <= w.owed {
		return Lack{Reason: LacksRunNeeds}, true
	}
	w.drawn.Roster = append(w.drawn.Roster, seat)
	w.drawn.Last = c.Place
	w.taken = append(w.taken, c.entry)
	return Lack{}, false
}

// grouped reports whether e shares its owner or its address group with somebody
// already taken. An empty group is unknown, and shared with nobody.
func (w *walk) grouped(e *consensus.RollEntry) bool {
	for _, t := range w.taken {
		if t.Credential.Body.Owner == e.Credential.Body.Owner || e.Group != "" && t.Group == e.Group {
			return true
		}
	}
	return false
}

// ErrDraw is returned for a charter whose roster is not what its roll and seed
// give.
var ErrDraw = errors.New("the roster is not the one drawn")

// Check verifies a charter's draw against its roll, which was opened from the
// bytes that link names: link, maker, age, policy, period, seed, filter and
// order. Anyone with the roll can; whether the roll is complete only those
// can judge who were there (see MissedBy). It returns what was drawn.
func Check(roll *consensus.Roll, link dagcbor.Link, c *consensus.Charter, network admission.Network, policy admission.Policy) (Drawn, error) {
	digest, err := policy.Digest(network)
	if err != nil {
		return Drawn{}, err
	}
	switch {
	case !link.Defined() || !c.Roll.Equals(link.Cid):
		return Drawn{}, errors.New("draw: the charter names another roll")
	case c.Policy != digest:
		return Drawn{}, errors.New("draw: the charter names another policy")
	case roll.Maker != c.Submitter:
		return Drawn{}, errors.New("draw: the roll is another submitter's")
	case roll.Made > c.Issued || roll.Made < c.Issued-policy.RollAge: // issued is bounded, made is whatever its maker wrote
		return Drawn{}, fmt.Errorf("draw: the roll is not of the %d ms before the charter", policy.RollAge)
	}
	drawn, err := Draw(roll, AskOf(c, network, policy))
	if err != nil {
		return Drawn{}, err
	}
	if !slices.Equal(drawn.Roster, c.Roster) {
		return Drawn{}, fmt.Errorf("draw: %w", ErrDraw)
	}
	if !slices.Equal(drawn.Reserves, c.Reserves) {
		return Drawn{}, fmt.Errorf("draw: reserves: %w", ErrDraw)
	}
	return drawn, nil
}
