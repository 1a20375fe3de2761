package sim

import (
	"fmt"
	"strings"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
)

// decided holds a decision against the others, and against what makes values
// valid: I1 and I2 (one decision, one outcome), I3, I8, I10.
func (c *checks) decided(n *node, ended consensus.Conclusion) {
	if !n.honest() {
		return
	}
	k, d := &c.members[n.id], ended.Outcome
	s, ok := stockOf(d.Commits.Value)
	if !ok {
		c.w.fail("I3", "node %d decides what nobody runs", n.id)
		return
	}
	c.w.logf("%d DECIDES %s at height %d in round %d", n.id, s.name, d.Height, d.Commits.Round)
	if c.outcome != nil && *c.outcome != s.hash {
		c.w.fail("I2", "node %d decides %s, another decided %s", n.id, s.name, nameOf(*c.outcome))
	}
	at, err := ended.Check(c.w.heights[0], c.w.ledger.verify)
	switch {
	case err != nil:
		c.w.fail("I8", "node %d decides %s by commits that q members did not sign: %v", n.id, s.name, err)
		return
	case at.Number >= uint64(len(c.w.heights)) || at.Previous != c.w.heights[at.Number].Previous:
		c.w.fail("I1", "node %d decides %s at a height that no honest member has reached", n.id, s.name)
		return
	}
	if c.outcome == nil {
		c.outcome, c.w.outcome = &s.hash, &s.value
		c.w.cover.outcome(s.value)
		if c.w.plan.Equal.On && s.value.Matched() {
			c.equalsDecided(s, at)
		}
		c.arrayDecided(s, at)
		c.slipDecided(s)
		if !c.isValid(s, at) {
			c.w.fail("I3", "%s is decided, and nothing makes it valid", s.name)
		}
	}
	if e := k.entered; c.w.now > epoch+calm && (d.Height > e.height && d.Commits.Round > within || d.Height == e.height && d.Commits.Round > e.round+within) {
		c.w.fail("I10", "node %d decides in round %d, and was in round %d when the network calmed down", n.id, d.Commits.Round, e.round)
	}
	k.decided = true
	commits := slot{d.Height, consensus.KindCommit, d.Commits.Round, s.hash}
	if c.has(c.voters(commits)) && c.voters(commits)>>n.id&1 != 0 {
		c.w.cover.hit(SawDecideVoted)
	}
	if k.height == d.Height && k.top > d.Commits.Round {
		c.w.cover.hit(SawDecideLate)
	}
	if at.SeatOf(n.id) < 0 && c.seatsAt(0)>>n.id&1 != 0 {
		c.w.cover.hit(SawRemovedDecides)
	}
	for i := range c.members {
		if i != n.id && c.members[i].height == d.Height && c.members[i].top > d.Commits.Round {
			c.w.cover.hit(SawRaceRoundDecide)
			break
		}
	}
}

// calm notes where everybody stands when the network begins to behave.
func (c *checks) calm() {
	for i, n := range c.w.nodes {
		if n.isOpen() {
			if v, ok := n.core.View(c.w.job); ok {
				c.members[i].entered = slot{height: n.height, round: v.Round}
			}
		}
	}
}

// finished reports whether every honest member that is not lost has decided, or
// nothing obliges it to. One that never opened the job has nothing to decide when
// others have.
func (c *checks) finished() bool {
	some := false
	for i, n := range c.w.nodes {
		switch {
		case !n.honest() || n.ended:
		case c.members[i].decided:
			some = true
		case n.disk.charter || n.isOpen():
			return c.w.now > epoch+calm+resend && !c.obliged()
		}
	}
	return some || c.w.now > epoch+calm+resend && !c.obliged()
}

// obliged reports whether the job has to end: it was acknowledged, or a member
// that is not lost has started it.
func (c *checks) obliged() bool {
	if c.w.submitter.acked {
		return true
	}
	for i, n := range c.w.nodes {
		if n.honest() && !n.ended && c.members[i].kinds>>bft.RecordStarted&1 != 0 {
			return true
		}
	}
	return false
}

// outOfTime is I7 and I10: an acknowledged job ends, and so does one that an
// honest member started.
func (c *checks) outOfTime() {
	invariant := "I10"
	if c.w.submitter.acked {
		invariant = "I7"
	}
	c.w.fail(invariant, "not every honest member has decided%s", c.stand())
}

// end checks what can be checked of a whole run.
func (c *checks) end() {
	if c.w.failure == nil && !c.finished() && c.obliged() {
		c.outOfTime()
	}
	if c.w.failure == nil {
		c.cancelAfterDecide()
	}
	c.w.cover.Runs++
	c.w.cover.Steps += uint64(c.w.steps)
}

// cancelAfterDecide is I9: a wish or a Void that comes after the decision changes
// nothing.
func (c *checks) cancelAfterDecide() {
	for _, n := range c.w.nodes {
		if !n.up || !n.honest() || n.decided == nil || !n.isOpen() {
			continue
		}
		n.core.Flush()
		n.core.Input(n.now(), c.w.job, bft.CancelWish{Cancel: c.w.cancel()})
		n.core.Input(n.now(), c.w.job, bft.SubmitterVoid{})
		b := n.core.Flush()
		for _, s := range b.Says {
			if s.Out.Note != consensus.NoteDecided || s.Out.Payload != nil && s.Out.Payload.Decision.Commits.Value != *c.outcome {
				c.w.fail("I9", "node %d says something after a late cancel: %s %d", n.id, s.Out.Kind, s.Out.Note)
			}
		}
		if len(b.Entries) > 0 {
			c.w.fail("I9", "node %d records something after a late cancel", n.id)
		}
	}
}

func (c *checks) stand() string {
	var b strings.Builder
	for _, n := range c.w.nodes {
		fmt.Fprintf(&b, "\n node %d honest %v up %v", n.id, n.honest(), n.up)
		if n.isOpen() {
			if v, ok := n.core.View(c.w.job); ok {
				fmt.Fprintf(&b, ": %s round %d valid %v waiting %v", v.Phase, v.Round, v.Valid, v.Waiting)
			}
		}
	}
	return b.String()
}
