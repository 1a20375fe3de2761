package sim

import (
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
)

// acting is what a member has stored of runs that act on the world (protocol,
// section 8, and decision 017), in all its lives.
type acting struct {
	grants []granting
	begun  uint64 // the last own run
	height uint64 // likewise: at which it was granted
	life   int    // likewise: of the process that began it
	over   uint64 // own runs up to this one are
	closed bool   // it grants nothing more at this height
	broke  bool   // the last own run had begun, and came to nothing
	silent int64  // since when it is held up, and does not say so; 0: it is not
}

// granting is a run that a member granted, to whom and when.
type granting struct {
	run uint64
	to  int
	at  int64
}

// acted is a run that an honest member began.
type acted struct {
	party  int
	run    uint64
	height uint64 // at which it was granted
}

func (a *acting) last() granting {
	if len(a.grants) == 0 {
		return granting{}
	}
	return a.grants[len(a.grants)-1]
}

// settleEffects lets runs act on the world, by draws from a source of its own.
func (s *Schedule) settleEffects() {
	rng := newSource(s.Seed, 3)
	if s.Equal.On || !rng.chance(12) {
		return
	}
	s.Effects = consensus.Once
	if rng.chance(40) {
		s.Effects = consensus.AtLeastOnce
	}
	if rng.chance(25) { // some runs come to nothing
		s.Truth = endsHost
	}
	if s.Reserves == 0 && s.Scenario.F > 0 && rng.chance(40) {
		s.settleReserves(&rng)
		s.settleSilence(&rng)
		s.Skew = append(s.Skew, make([]int64, s.Reserves)...)
	}
	if rng.chance(50) { // a process ends in its run
		s.Faults = append(s.Faults, Fault{At: 200 + rng.until(3_000), Kind: Crash, Node: rng.below(2) % s.Seats, For: rng.until(8_000)})
	}
	if s.Deadline > calm && rng.chance(50) {
		s.Deadline = calm + patient + rng.until(20_000)
	}
	for i := range s.Liars {
		if rng.chance(50) {
			s.Liars[i].Kind = LieGrants + Lie(rng.below(2))
		}
	}
}

// longest is how long a run may take once it has begun, with the grace that others
// give it, and some beats, in milliseconds.
const longest = 20_000

// patient is how long after the network calms down somebody loses patience with
// what stands still, in milliseconds, and every is how long until the next look.
const (
	patient = 40_000
	every   = 10_000
)

// acts reports whether a kind of statement is about runs that act.
func acts(kind consensus.Kind) bool {
	return kind == consensus.KindGrant || kind == consensus.KindEnded
}

// recordedTurn holds a record about runs that act against those before it.
func (c *checks) recordedTurn(n *node, r bft.Record) {
	a := &c.acting[n.id]
	switch r.Kind {
	case bft.RecordGrant:
		_, rest := item(r.Data)
		run, rest := item(rest)
		party, _ := item(rest)
		g := granting{run, int(party), c.w.now}
		if n.honest() {
			c.grants(n, g)
		}
		a.grants = append(a.grants, g)
	case bft.RecordBegun:
		_, rest := item(r.Data)
		a.life, a.broke = n.life, false
		a.begun, rest = item(rest)
		a.height, rest = item(rest)
		if grants, _ := item(rest); int(grants) != c.w.t.Quorum {
			c.w.fail("grant", "node %d writes down %d grants of run %d", n.id, grants, a.begun)
		}
	case bft.RecordEnded:
		run, _ := item(r.Data)
		c.endsRuns(n, run)
		a.over = run
	case bft.RecordClosed:
		a.closed = true
		c.w.cover.hit(SawClosed)
	}
}

// recordsTurn reports whether what a member says of runs is on its disk.
func (c *checks) recordsTurn(n *node, m *mailed) bool {
	a, run := &c.acting[n.id], uint64(m.claim.Round)
	if m.claim.Kind == consensus.KindEnded {
		return run <= a.over
	}
	return slices.ContainsFunc(a.grants, func(g granting) bool { return g.run == run && c.nameOf(g.to) == m.claim.Value })
}

// endsRuns: runs are over when they never began, or came to nothing before their program did.
// Of one that was cut off, or came to an outcome, an executor says so only at-least-once.
func (c *checks) endsRuns(n *node, run uint64) {
	a := &c.acting[n.id]
	nothing := c.members[n.id].kinds>>bft.RecordReport&1 != 0 && !c.w.plan.endOf(n.id).value.Matched() &&
		!(a.broke && c.w.plan.Effects == consensus.Once)
	switch {
	case a.begun <= a.over || run < a.begun:
		c.w.cover.hit(SawGivesWay)
	case nothing:
		c.w.cover.hit(SawCameToNothing)
	case c.w.plan.Effects == consensus.AtLeastOnce:
		c.w.cover.hit(SawCutRunOver)
	case n.honest():
		c.w.fail("once", "node %d says that run %d is over, and nobody knows how it ended", n.id, a.begun)
	}
}

// grants: the runs that a member grants are of ascending numbers, not led away by
// liars, and under once each comes when the last is over.
func (c *checks) grants(n *node, g granting) {
	w, a := c.w, &c.acting[n.id]
	last := a.last()
	w.cover.hit(SawGrant)
	if last.run != 0 {
		w.cover.hit(SawGrantAgain)
	}
	most := c.topRun()
	if g.run <= last.run || g.run > most+2*uint64(len(w.runners)) {
		w.fail("grant", "node %d grants run %d after run %d; honest members have granted up to %d", n.id, g.run, last.run, most)
	}
	if c.members[n.id].voided {
		w.fail("void", "node %d gave the job up and grants run %d", n.id, g.run)
	}
	if w.plan.Effects == consensus.Once && (a.closed || !c.isOver(n, last)) {
		w.fail("once", "node %d grants run %d after run %d of node %d, which is not over; closed %v", n.id, g.run, last.run, last.to, a.closed)
	}
	for i := range c.acting {
		if other := c.acting[i].last(); i != n.id && other.run != g.run && other.run != 0 && !c.saidOver(other) {
			w.cover.hit(SawRaceGrants)
			break
		}
	}
}

// topRun is the highest run that an honest member has granted.
func (c *checks) topRun() uint64 {
	top := uint64(0)
	for i := range c.acting {
		if c.w.nodes[i].liar == nil {
			top = max(top, c.acting[i].last().run)
		}
	}
	return top
}

// isOver reports whether a grant can be followed by another under once: its
// executor said so, or has no seat where the member is.
func (c *checks) isOver(n *node, g granting) bool {
	height := c.members[n.id].height
	if g.run == 0 || c.saidOver(g) || height == uint64(len(c.w.heights)) { // who holds its seats is told in a moment
		return true
	}
	return c.w.heights[height].SeatOf(g.to) < 0
}

// saidOver reports whether an executor signed that a run is over.
func (c *checks) saidOver(g granting) bool {
	for i := range c.tallies {
		if t := &c.tallies[i]; t.kind == consensus.KindEnded && uint64(t.round) >= g.run && t.parties>>g.to&1 != 0 {
			return true
		}
	}
	return false
}

// breaks reports whether of a run that acts, and comes to nothing, the program had begun.
func (n *node) breaks(s *stock) bool {
	if n.w.plan.Effects == "" || s.value.Matched() {
		return false
	}
	broke := n.host.chance(50)
	if n.w.checks.acting[n.id].broke = broke; broke {
		n.w.cover.hit(SawBroke)
	}
	return broke
}

// begins holds a run that acts against protocol section 8: q members of one height
// granted it, no other of that height has its number, and under once all runs before it are over
// by their executors' durable word, and nobody was replaced since it was granted.
func (c *checks) begins(n *node, run uint64) {
	w, a := c.w, &c.acting[n.id]
	w.cover.hit(SawActs)
	if !n.honest() {
		return
	}
	if a.begun != run || !c.has(c.voters(slot{a.height, consensus.KindGrant, uint32(run), c.nameOf(n.id)})) {
		w.fail("grant", "node %d begins run %d, which q members have not granted at height %d", n.id, run, a.height)
	}
	if n.flushed > w.charter.Deadline {
		w.fail("grant", "node %d begins run %d, and its deadline has passed", n.id, run)
	}
	once := w.plan.Effects == consensus.Once
	for _, before := range c.runs {
		switch over := c.acting[before.party].over >= before.run; {
		case before.run == run && before.height == a.height:
			w.fail("grant", "run %d of height %d begins at node %d, and began at node %d", run, a.height, n.id, before.party)
		case once && !over:
			w.fail("once", "run %d begins at node %d, and run %d of node %d is not over", run, n.id, before.run, before.party)
		case !over && !w.nodes[before.party].ended:
			w.cover.hit(SawRaceRuns)
		}
	}
	if once && a.height != w.last().Number {
		w.fail("once", "run %d begins at node %d by grants of height %d, which others have left", run, n.id, a.height)
	}
	if len(c.runs) > 0 {
		w.cover.hit(SawActsAgain)
	}
	c.runs = append(c.runs, acted{n.id, run, a.height})
}

// leavesOpen: under once a run is over before its height is.
func (c *checks) leavesOpen() {
	for _, r := range c.runs {
		switch over := c.acting[r.party].over >= r.run; {
		case !over && c.w.plan.Effects == consensus.Once:
			c.w.fail("once", "members are replaced while run %d of node %d is open", r.run, r.party)
		case !over:
			c.w.cover.hit(SawReplacedOpen)
		default:
			c.w.cover.hit(SawReplacedOver)
		}
	}
}

// handsOverOpen: under once nobody prepares a handover while a run that it granted
// is open, but with a certificate for it.
func (c *checks) handsOverOpen(n *node, s slot) {
	if c.w.plan.Effects != consensus.Once || handovers[s.value] == nil || c.certified(s.height, s.value, 0, s.round+1) {
		return
	}
	if g := c.acting[n.id].last(); !c.isOver(n, g) {
		c.w.fail("once", "node %d prepares a handover, and run %d of node %d, which it granted, is open", n.id, g.run, g.to)
	}
}

// lookOn ends a job that acts once and stands still for a reason that decision 017
// names: the owner cancels it, or its deadline comes. Without a reason it is left
// to stand, and found out by I7.
func (w *world) lookOn() {
	if w.checks.outcome != nil || !w.checks.standsStill() {
		w.after(every, w.lookOn)
		return
	}
	if w.cover.hit(SawStandsStill); len(w.checks.runs) == 0 {
		w.cover.hit(SawStandsUnbegun)
	}
	if w.plan.Deadline > calm+bound { // else it ends by that
		w.insist()
	}
}

// insist lets the owner wish that the job end, again and again.
func (w *world) insist() {
	w.logf("the owner has lost patience")
	w.ledger.wished = true
	for _, n := range w.nodes {
		n.wish()
	}
	w.after(every, w.insist)
}

// standsStill reports whether too few members can grant a run for one to begin:
// the others have granted one whose executor is lost, lies or was cut off in it,
// or prepared a handover. Who is held up by a run says so, once the run has had its
// time: it may have begun long after it was granted.
func (c *checks) standsStill() bool {
	free, silent := 0, false
	for i, n := range c.w.nodes {
		if !n.honest() || !n.isOpen() || c.w.last().SeatOf(i) < 0 || c.members[i].height != c.w.last().Number {
			continue
		}
		a := &c.acting[i]
		g := a.last()
		held := !c.isOver(n, g) && c.isLost(g.to)
		told := g.run != 0 && c.w.nodes[g.to].faulty() // it may have told others only that its run is over
		if !held && !told && !a.closed {
			free++
		}
		v, ok := n.core.View(c.w.job)
		if held && ok && v.Stuck == nil && v.Closed == nil && v.Valid == nil && c.w.now > g.at+patient && c.w.now < epoch+c.w.plan.Deadline-every {
			if a.silent == 0 {
				a.silent = c.w.now
			}
			silent = true
			if c.w.now > a.silent+longest {
				c.w.fail("stuck", "node %d is held up by run %d of node %d, and does not say so", i, g.run, g.to)
			}
		} else {
			a.silent = 0
		}
	}
	return free < c.w.t.Quorum && !silent
}

// isLost reports whether a party may leave a run open for ever.
func (c *checks) isLost(party int) bool {
	n, a := c.w.nodes[party], &c.acting[party]
	return n.faulty() || a.begun > a.over && (a.life != n.life || a.broke) && c.members[party].kinds>>bft.RecordReport&1 == 0
}
