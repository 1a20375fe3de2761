package sim

import (
	"math/bits"

	"github.com/muster-network/muster/consensus"
)

// isValid is I3, judged by what honest members reported and what really happened:
// liars may have said anything besides.
func (c *checks) isValid(s *stock) bool {
	w := c.w
	switch {
	case s.value.Kind == consensus.Cancelled:
		return w.ledger.wished || w.submitter.withdrawn
	case s.value.Class == consensus.FailedDeadline:
		return c.deadlinePassed()
	case s.value.Class == consensus.FailedHost:
		return c.couldDiffer(true)
	case s.value.Class == consensus.FailedDisagreement:
		return c.couldDiffer(false)
	}
	for i := range c.members {
		if r := c.members[i].report; r != nil && same(r.Value, s.value) {
			return true
		}
	}
	return false
}

func (c *checks) deadlinePassed() bool {
	for _, n := range c.w.nodes {
		if n.honest() && n.now() > c.w.charter.Deadline {
			return true
		}
	}
	return false
}

// couldDiffer reports whether reports of q members could show no match: honest
// ones as they are, liars' as it suits. With failed, one must be of a host or a
// timeout.
func (c *checks) couldDiffer(failed bool) bool {
	count, soft := len(c.w.plan.Liars), len(c.w.plan.Liars) > 0
	for i := range c.members {
		r := c.members[i].report
		switch {
		case r == nil:
		case !r.Value.Matched():
			if failed {
				count, soft = count+1, true
			}
		case c.before(i) < c.w.t.Match-1:
			count++
		}
	}
	return count >= c.w.t.Quorum && (soft || !failed)
}

// reports are those that honest members have shown, with their proofs.
func (c *checks) reports() []consensus.SignedReport {
	var list []consensus.SignedReport
	for seat := range c.members {
		if c.members[seat].report != nil {
			list = append(list, consensus.SignedReport{Seat: uint64(seat), Report: *c.members[seat].report, Proof: c.members[seat].proof})
		}
	}
	return list
}

// anyCommit is what a member other than one has bound itself to.
func (c *checks) anyCommit(but int) (consensus.Hash, bool) {
	for i := range c.tallies {
		if c.tallies[i].kind == consensus.KindReportCommit && c.tallies[i].seats != 1<<but {
			return c.tallies[i].value, true
		}
	}
	return consensus.Hash{}, false
}

// before counts the members before one that reported the same.
func (c *checks) before(member int) int {
	n := 0
	for _, k := range c.members[:member] {
		if k.report != nil && same(k.report.Value, c.members[member].report.Value) {
			n++
		}
	}
	return n
}

func same(a, b consensus.Value) bool {
	return a.Kind == b.Kind && a.Class == b.Class && a.Code == b.Code && (a.Tree == nil) == (b.Tree == nil) && (a.Tree == nil || *a.Tree == *b.Tree)
}

// races counts what honest members did at the same time.
func (c *checks) races(n *node, s slot) {
	w := c.w
	switch s.kind {
	case consensus.KindPrepare:
		c.racesOfPrepare(s)
		if c.voters(consensus.KindPropose, s.round, s.value) != 0 {
			w.cover.hit(SawPrepareLed)
		} else if s.round == 0 {
			w.cover.hit(SawPrepareFirst)
		}
		if k := &c.members[n.id]; k.lock != 0 && k.locked != s.value {
			w.cover.hit(SawPrepareAgainstLock)
		}
		if n.life > 0 {
			w.cover.hit(SawRaceRestartVote)
		}
	case consensus.KindCommit:
		if c.voters(consensus.KindPrepare, s.round, s.value)>>n.id&1 == 0 {
			w.cover.hit(SawCommitUnprepared)
		}
		for _, r := range c.reached {
			if r > s.round {
				w.cover.hit(SawRaceRoundCommit)
				break
			}
		}
		if other := c.certifiedOther(s); other {
			w.cover.hit(SawRaceTwoCertificates)
		}
	case consensus.KindPropose:
		if c.certified(s.value, 0, s.round) {
			w.cover.hit(SawProposeCertified)
		} else {
			w.cover.hit(SawProposeOwn)
		}
	}
}

func (c *checks) racesOfPrepare(s slot) {
	both := func(a, b *stock) bool {
		return bits.OnesCount32(c.voters(consensus.KindPrepare, s.round, a.hash)) > 0 &&
			bits.OnesCount32(c.voters(consensus.KindPrepare, s.round, b.hash)) > 0
	}
	if both(&truth, &cancelled) {
		c.w.cover.hit(SawRaceCancelResult)
	}
	if both(&truth, &deadline) {
		c.w.cover.hit(SawRaceDeadlineResult)
	}
}

func (c *checks) certifiedOther(s slot) bool {
	for i := range c.tallies {
		t := &c.tallies[i]
		if t.kind == consensus.KindPrepare && t.value != s.value && c.has(t.seats) {
			return true
		}
	}
	return false
}
