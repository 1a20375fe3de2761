package sim

import "github.com/muster-network/muster/consensus/bft"

// What a job may keep besides the words of its parties. The value of each report
// may have been asked for, and be held; some more are certified, or handovers. Of
// own messages those are kept that would be said now, and those said since that
// was last gone through.
const (
	mostValues       = 8 // and four for each party
	mostAcknowledged = 48
)

// bounded is I11: what a member keeps of each peer does not grow with what that
// peer says.
func (c *checks) bounded(n *node) {
	if !n.honest() {
		return
	}
	k := n.core.Kept(c.w.job)
	switch {
	case k.Party > bft.MaxKept:
		c.w.fail("I11", "node %d keeps %d statements of one party", n.id, k.Party)
	case k.Values > mostValues+4*c.w.charter.Parties():
		c.w.fail("I11", "node %d keeps %d values", n.id, k.Values)
	case k.Acknowledged > mostAcknowledged:
		c.w.fail("I11", "node %d remembers %d acknowledged messages", n.id, k.Acknowledged)
	}
}
