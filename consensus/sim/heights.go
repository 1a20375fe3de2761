package sim

import (
	"math/bits"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
)

// reaches holds a height that a node has reached against those that others have:
// I1, one decision for each height. Of the first, the handover is held against
// what was really said: I3.
func (c *checks) reaches(n *node, h consensus.Height) {
	w := c.w
	if h.Number == 0 {
		return
	}
	if k := &c.members[n.id]; n.honest() && (k.height < h.Number || k.kinds>>bft.RecordHandover&1 == 0) {
		w.fail("I6", "node %d acts at height %d, which is not on its disk", n.id, h.Number)
	}
	if h.Number < uint64(len(w.heights)) {
		if h.Previous != w.heights[h.Number].Previous {
			w.fail("I1", "node %d reaches another height %d than others", n.id, h.Number)
		}
		return
	}
	if h.Number > uint64(len(w.heights)) {
		w.fail("height", "node %d reaches height %d, and nobody was at the one before", n.id, h.Number)
		return
	}
	w.logf("height %d: %v hold the seats", h.Number, h.Members)
	c.replaced(h)
	c.leavesOpen()
	w.heights = append(w.heights, h)
	w.judge.Reach(h)
}

// replaced holds a handover against protocol section 7: q members decided it, it
// stays within the charter's bound, f+1 of them miss each member that is removed
// or it is gone or revoked, and each reserve would take a seat.
func (c *checks) replaced(h consensus.Height) {
	w, before := c.w, c.w.last()
	w.cover.hit(SawReplaced)
	if h.Number > 1 {
		w.cover.hit(SawReplacedAgain)
	}
	if len(h.Replaced) > w.plan.Replace {
		w.fail("handover", "%d members were replaced, %d may be", len(h.Replaced), w.plan.Replace)
	}
	if !c.decidedHandover(before.Number) {
		w.fail("I8", "height %d is left, and q members have not committed any handover", before.Number)
	}
	pairs := 0
	for _, r := range h.Replaced {
		if r.Height != before.Number {
			continue
		}
		pairs++
		missed := bits.OnesCount32(c.voters(slot{before.Number, consensus.KindSuspect, 0, c.nameOf(r.Out)}))
		gone := c.voters(slot{kind: consensus.KindGone, value: c.nameOf(r.Out)}) != 0
		revoked := w.revoked>>r.Out&1 != 0
		if revoked && missed < w.t.Suspicion && !gone {
			w.cover.hit(SawRevoked)
		}
		if missed < w.t.Suspicion && !gone && !revoked {
			w.fail("I3", "node %d was replaced, and %d members miss it", r.Out, missed)
		}
		if c.voters(slot{height: h.Number, kind: consensus.KindAccept})>>r.In&1 == 0 {
			w.fail("I3", "node %d got a seat that it did not accept", r.In)
		}
		if w.nodes[r.In].liar != nil {
			w.cover.hit(SawLiarSeated)
		}
		for party := w.t.N; party < r.In; party++ {
			if !h.Used(party - w.t.N) {
				w.cover.hit(SawPassedOver)
			}
		}
	}
	if pairs > 1 {
		w.cover.hit(SawReplacedAtOnce)
	}
}

func (c *checks) decidedHandover(height uint64) bool {
	for i := range c.tallies {
		t := &c.tallies[i]
		if t.height == height && t.kind == consensus.KindCommit && handovers[t.value] != nil && c.has(t.parties) {
			return true
		}
	}
	return false
}

// handsOver: nobody prepares a handover of a member that it heard within one
// patience, but with a certificate for it.
func (c *checks) handsOver(n *node, s slot) {
	h := handovers[s.value]
	if h == nil || n.stepped || c.certified(s.height, s.value, 0, s.round+1) {
		return
	}
	at := c.w.heights[s.height]
	for _, p := range h.value.Pairs {
		out := at.Members[p.Seat]
		gone := c.voters(slot{kind: consensus.KindGone, value: c.nameOf(out)}) != 0
		if heard := n.before[out]; heard != 0 && n.flushed < heard+c.w.plan.Patience && !gone && n.knows>>out&1 == 0 {
			c.w.fail("handover", "node %d would replace node %d, which it heard %d ms ago", n.id, out, n.flushed-heard)
		}
	}
}

// seatsAt are the parties that hold a seat at a height.
func (c *checks) seatsAt(height uint64) uint32 {
	parties := uint32(0)
	for _, party := range c.w.heights[height].Members {
		parties |= 1 << party
	}
	return parties
}

// nameOf is what Suspect and Gone call a party.
func (c *checks) nameOf(party int) consensus.Hash {
	if c.names == nil {
		for party := range c.w.nodes {
			name, err := c.w.charter.Party(party).Hash()
			if err != nil {
				panic(err) // a key and an incarnation always encode
			}
			c.names = append(c.names, name)
		}
	}
	return c.names[party]
}
