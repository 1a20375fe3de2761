package election

import (
	"fmt"
	"slices"
	"strings"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

// Capacity is the quantity by which a network draws whose policy says so:
// milli-CPU.
const Capacity = "cpu"

// Reason is why a node of the roll was not drawn.
type Reason int

// The reasons, in the order in which the filter asks; a node counts under the
// first that holds. The last two arise in the walk, from who was drawn before.
const (
	LacksCredential Reason = iota + 1 // not valid from issue to end
	LacksRole                         // an observer
	LacksPlace                        // the submitter, where the policy forbids it
	LacksWeight                       // weight zero
	LacksClass
	LacksLabel
	LacksQuantity
	LacksSpread
	LacksRunNeeds
)

var reasonNames = [...]string{"", "credential", "role", "submitter", "weight", "class", "label", "quantity", "spread", "run_needs"}

// String names the reason in one stable word.
func (r Reason) String() string {
	if r >= 1 && int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", int(r))
}

// Lack is how many nodes were passed over for one reason.
type Lack struct {
	Reason Reason
	Name   string // of the label, quantity or class; empty otherwise
	Nodes  int
}

// ShortError says that a roll has too few nodes for a roster. Eligible and the
// nodes of all Lacks add up to the roll.
type ShortError struct {
	Needed   int
	Eligible int
	Lacks    []Lack // by reason, then name
}

// Error says it in one line: 4 needed, 2 fit; 1 label gpu; 2 quantity memory.
func (e *ShortError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "draw: %d needed, %d fit", e.Needed, e.Eligible)
	for _, l := range e.Lacks {
		fmt.Fprintf(&b, "; %d lack %s", l.Nodes, l.Reason)
		if l.Name != "" {
			b.WriteString(" " + l.Name)
		}
	}
	return b.String()
}

// lacking counts lacks; there are few kinds.
type lacking []Lack

func (l *lacking) add(lack Lack) {
	for i, have := range *l {
		if have.Reason == lack.Reason && have.Name == lack.Name {
			(*l)[i].Nodes++
			return
		}
	}
	lack.Nodes = 1
	*l = append(*l, lack)
}

func (l lacking) sorted() []Lack {
	slices.SortFunc(l, func(a, b Lack) int {
		if a.Reason != b.Reason {
			return int(a.Reason - b.Reason)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return l
}

type quantity struct {
	name  string
	least uint64
}

// needs are consensus.Needs in an order, so that the first lack is always the
// same one.
type needs struct {
	labels     []string
	quantities []quantity
}

func newNeeds(n consensus.Needs) needs {
	out := needs{labels: n.Labels}
	for name, least := range n.Quantities {
		out.quantities = append(out.quantities, quantity{name, least})
	}
	slices.SortFunc(out.quantities, func(a, b quantity) int { return strings.Compare(a.name, b.name) })
	return out
}

// lack returns the first need that e does not meet. Labels are features that
// the node advertises or its credential grants; quantities are totals.
func (n needs) lack(e *consensus.RollEntry) (Lack, bool) {
	for _, label := range n.labels {
		if !has(e.Features, label) && !has(e.Credential.Body.Features, label) {
			return Lack{Reason: LacksLabel, Name: label}, true
		}
	}
	for _, q := range n.quantities {
		if e.Total[q.name] < q.least {
			return Lack{Reason: LacksQuantity, Name: q.name}, true
		}
	}
	return Lack{}, false
}

func has(sorted []string, s string) bool {
	_, found := slices.BinarySearch(sorted, s)
	return found
}

// rules are an ask's conditions on one node.
type rules struct {
	ask        Ask
	needs, run needs
	rank       pair // of the seed and a peer
}

func newRules(ask Ask) rules {
	return rules{ask: ask, needs: newNeeds(ask.Needs), run: newNeeds(ask.RunNeeds), rank: newPair(TagRank, Seed(ask))}
}

// place returns where e stands among those that fit.
func (r *rules) place(e *consensus.RollEntry) Place {
	return Place{Score: r.rank.score(e.Peer, r.weight(e)), Peer: e.Peer}
}

// lack returns the first reason why e cannot be a member, if there is one.
func (r *rules) lack(e *consensus.RollEntry) (Lack, bool) {
	c := &e.Credential.Body
	switch {
	case c.Kind != admission.KindNode || !c.Covers(r.ask.Issued, r.ask.End):
		return Lack{Reason: LacksCredential}, true
	case c.Role == admission.RoleObserver:
		return Lack{Reason: LacksRole}, true
	case r.ask.Policy.NoSubmitter && e.Peer == r.ask.Submitter:
		return Lack{Reason: LacksPlace}, true
	case r.weight(e) == 0:
		return Lack{Reason: LacksWeight}, true
	case !slices.Contains(e.Classes, r.ask.Class):
		return Lack{Reason: LacksClass, Name: string(r.ask.Class)}, true
	}
	return r.needs.lack(e)
}

// runs reports whether e may execute.
func (r *rules) runs(e *consensus.RollEntry) bool {
	_, lacks := r.run.lack(e)
	return !lacks
}

// weight is the credential's, or by policy the advertised capacity, of which
// the credential counts no more than its weight.
func (r *rules) weight(e *consensus.RollEntry) uint64 {
	w := e.Credential.Body.Weight
	if r.ask.Policy.ByCapacity {
		w = min(w, e.Total[Capacity])
	}
	return w
}
