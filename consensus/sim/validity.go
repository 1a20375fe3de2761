package sim

import (
	"slices"

	"github.com/muster-network/muster/consensus"
)

// isValid is I3, judged by what honest members reported and what really happened:
// liars may have said anything besides.
func (c *checks) isValid(s *stock, at consensus.Height) bool {
	w := c.w
	switch {
	case s.value.Kind == consensus.Cancelled:
		return w.ledger.wished || w.submitter.withdrawn
	case s.value.Class == consensus.FailedDeadline:
		return c.deadlinePassed()
	case s.value.Class == consensus.FailedHost:
		return c.couldDiffer(true, at)
	case s.value.Class == consensus.FailedDisagreement:
		return !w.plan.Checked.On && c.couldDiffer(false, at)
	case s.value.Class == consensus.FailedRejected:
		return w.plan.Checked.On && c.isRejected(at)
	case w.plan.Checked.On && s.value.Matched():
		return c.isEndorsed(s, at)
	case w.charter.Assurance == consensus.Single && s.value.Matched() && c.hasLiar(at):
		return true // one report is enough, whoever's
	}
	form := w.plan.formOf(s)
	for _, party := range at.Members {
		r := c.members[party].report
		switch {
		case r == nil:
		case form == nil && same(r.Value, s.value), form != nil && r.Normal != nil && *r.Normal == *form:
			return true
		}
	}
	return false
}

func (c *checks) hasLiar(at consensus.Height) bool {
	return slices.ContainsFunc(at.Members, func(party int) bool { return c.w.nodes[party].liar != nil })
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
func (c *checks) couldDiffer(failed bool, at consensus.Height) bool {
	count, soft := 0, false
	for _, party := range at.Members {
		r := c.members[party].report
		switch {
		case c.w.nodes[party].liar != nil:
			count, soft = count+1, true
		case r == nil:
		case !r.Value.Matched():
			if failed {
				count, soft = count+1, true
			}
		case c.w.plan.Checked.On:
			if c.isBad(r) {
				count++
			}
		case c.before(party, at) < c.w.t.Match-1:
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
		if c.tallies[i].kind == consensus.KindReportCommit && c.tallies[i].parties != 1<<but {
			return c.tallies[i].value, true
		}
	}
	return consensus.Hash{}, false
}

// before counts the members of a height before one that reported the same.
func (c *checks) before(party int, at consensus.Height) int {
	n := 0
	for _, other := range at.Members {
		if other == party {
			break
		}
		if r := c.members[other].report; r != nil && alike(r, c.members[party].report) {
			n++
		}
	}
	return n
}

// alike reports whether two reports match: by their forms, where they have them.
func alike(a, b *consensus.Report) bool {
	if a.Normal != nil && b.Normal != nil {
		return *a.Normal == *b.Normal
	}
	return same(a.Value, b.Value)
}

func same(a, b consensus.Value) bool {
	return a.Kind == b.Kind && a.Class == b.Class && a.Code == b.Code && (a.Tree == nil) == (b.Tree == nil) && (a.Tree == nil || *a.Tree == *b.Tree)
}

// races counts what honest members did at the same time.
func (c *checks) races(n *node, s slot) {
	w := c.w
	for i := range c.tallies {
		if t := &c.tallies[i]; t.height < s.height && t.kind.Slot() && handovers[t.value] == nil {
			w.cover.hit(SawRaceHeights)
			break
		}
	}
	switch s.kind {
	case consensus.KindPrepare:
		c.racesOfPrepare(s)
		if c.voters(s.with(consensus.KindPropose)) != 0 {
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
		if c.voters(s.with(consensus.KindPrepare))>>n.id&1 == 0 {
			w.cover.hit(SawCommitUnprepared)
		}
		for _, r := range c.reachedAt(s.height) {
			if r > s.round {
				w.cover.hit(SawRaceRoundCommit)
				break
			}
		}
		if other := c.certifiedOther(s); other {
			w.cover.hit(SawRaceTwoCertificates)
		}
	case consensus.KindPropose:
		if c.certified(s.height, s.value, 0, s.round) {
			w.cover.hit(SawProposeCertified)
		} else {
			w.cover.hit(SawProposeOwn)
		}
	}
}

func (c *checks) racesOfPrepare(s slot) {
	if c.w.plan.Equal.On {
		c.racesOfEquals(s)
	}
	prepared := func(v *stock) bool {
		return c.voters(slot{s.height, consensus.KindPrepare, s.round, v.hash}) != 0
	}
	both := func(a, b *stock) bool { return prepared(a) && prepared(b) }
	if both(&truth, &cancelled) {
		c.w.cover.hit(SawRaceCancelResult)
	}
	if both(&truth, &deadline) {
		c.w.cover.hit(SawRaceDeadlineResult)
	}
	if handovers[s.value] == nil {
		return
	}
	if prepared(&truth) {
		c.w.cover.hit(SawRaceHandoverResult)
	}
	if prepared(&cancelled) {
		c.w.cover.hit(SawRaceHandoverCancel)
	}
}

func (c *checks) certifiedOther(s slot) bool {
	for i := range c.tallies {
		t := &c.tallies[i]
		if t.height == s.height && t.kind == consensus.KindPrepare && t.value != s.value && c.has(t.parties) {
			return true
		}
	}
	return false
}
