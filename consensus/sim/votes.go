package sim

import (
	"math/bits"

	"github.com/muster-network/muster/consensus"
)

// oneVote is I4: one vote for each slot, in all lives of a disk, and none in a
// round that was left.
func (c *checks) oneVote(n *node, m *mailed) {
	k := &c.members[n.id]
	s := slotOf(&m.claim)
	if s.height > k.height {
		c.w.fail("height", "node %d says %s at height %d, and is at height %d", n.id, describe(m), s.height, k.height)
	}
	for i := range k.said {
		if k.said[i].height == s.height && k.said[i].kind == s.kind && k.said[i].round == s.round {
			if k.said[i] != s {
				c.w.fail("I4", "node %d says two things in %s of round %d", n.id, s.kind, s.round)
			}
			return
		}
	}
	if s.height < k.height { // durable before the handover, in the same batch
		k.said = append(k.said, s)
		return
	}
	if s.round < k.top {
		c.w.fail("I4", "node %d says %s, and has been in round %d", n.id, describe(m), k.top)
	}
	k.top = max(k.top, s.round)
	k.said = append(k.said, s)
	c.races(n, s)
}

// vote holds the rules of protocol section 6 against a new slot.
func (c *checks) vote(n *node, m *mailed) {
	k := &c.members[n.id]
	round, value := m.claim.Round, m.claim.Value
	height := m.claim.Height
	switch m.claim.Kind {
	case consensus.KindPrepare:
		if s, ok := stockOf(value); !ok || s.value.Tree != nil && !n.disk.holds(value) {
			c.w.fail("blocks", "node %d prepares %s, whose blocks it does not hold", n.id, nameOf(value))
		} else if c.w.plan.formOf(s) != nil && s != c.w.plan.endOf(n.id) && !c.certified(height, value, 0, round+1) && !c.isValid(s, c.w.heights[height]) {
			c.w.fail("I3", "node %d prepares %s, and no honest member came to its form", n.id, s.name)
		}
		if k.lock != 0 && height == k.height && k.lock <= round && k.locked != value && !c.certified(height, value, k.lock-1, round) {
			c.w.fail("I5", "node %d prepares %s in round %d, locked on %s in round %d", n.id, nameOf(value), round, nameOf(k.locked), k.lock-1)
		}
		if k.voided && value != cancelled.hash && !c.certified(height, value, 0, round+1) {
			c.w.fail("void", "node %d gave the job up and prepares %s", n.id, nameOf(value))
		}
	case consensus.KindCommit:
		if !c.has(c.voters(slotOf(&m.claim).with(consensus.KindPrepare))) {
			c.w.fail("I8", "node %d commits %s in round %d, which q have not prepared", n.id, nameOf(value), round)
		}
	case consensus.KindRoundChange:
		c.roundChange(n, height, round)
	}
}

// roundChange: a member enters a round when its time before is over, which runs
// only once q members are there, or when many are ahead.
func (c *checks) roundChange(n *node, height uint64, round uint32) {
	ahead, with := 0, 0
	reached := c.reachedAt(height)
	for _, party := range c.w.heights[height].Members {
		r := reached[party]
		if party != n.id && r >= round {
			ahead++
		}
		if party == n.id || r+1 >= round {
			with++
		}
	}
	switch {
	case ahead >= c.w.t.Skip:
		c.w.cover.hit(SawRoundJump)
	case round == 1 || with >= c.w.t.Quorum:
		c.w.cover.hit(SawRoundTimer)
	default:
		c.w.fail("I10", "node %d runs ahead, to round %d: %v", n.id, round, reached)
	}
}

// reveal: a report is shown when f+1 commits are in, or everybody was called.
func (c *checks) reveal(n *node, m *mailed) {
	k := &c.members[n.id]
	k.report, k.proof = m.claim.Payload.Report, m.claim.Proof
	if k.revealed || c.w.t.Match == 1 { // there is nobody to copy from
		return
	}
	k.revealed = true
	commits := uint32(0)
	for i := range c.tallies {
		if kind := c.tallies[i].kind; kind == consensus.KindReportCommit || kind == consensus.KindReport {
			commits |= c.tallies[i].parties
		}
	}
	// Once f+1 of a height are bound, reports can be shown, also when some of those
	// have lost their seats since.
	for height := range k.height + 1 {
		if bits.OnesCount32(commits&c.seatsAt(height)) >= c.w.t.Suspicion {
			c.w.cover.hit(SawRevealed)
			return
		}
	}
	if v, ok := n.core.View(c.w.job); ok {
		for _, seat := range c.w.runners {
			if !v.Seats[seat].Activated {
				c.w.fail("blind", "node %d shows its report while others could still copy it", n.id)
				return
			}
		}
	}
}
