package sim

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/runner"
)

// checks hold the invariants of protocol section 17 against everything that is
// signed, stored, decided and left undone. What they know of a member is what
// anybody sees: its disk and its words.
type checks struct {
	w       *world
	members []member
	tallies []tally
	reached []uint32        // by seat: the round of its highest round change
	outcome *consensus.Hash // the first that an honest member came to
}

// member is what an honest node has stored and said, in all its lives.
type member struct {
	kinds    uint32 // of records, durable
	slots    []slot // durable, in order
	said     []slot // signed: the first in its slot
	top      uint32 // the highest round of a slot that it signed
	lock     uint32 // the round of its lock + 1; 0: none
	locked   consensus.Hash
	voided   bool              // it said so
	forgot   bool              // at the deadline, what it had not started
	report   *consensus.Report // as it was shown
	proof    consensus.Proof
	decided  bool
	entered  uint32 // the round it was in when the network calmed down
	revealed bool
}

type slot struct {
	kind  consensus.Kind
	round uint32
	value consensus.Hash
}

// tally is who signed one statement, but for the sender.
type tally struct {
	slot
	seats uint32
}

func newChecks(w *world) checks {
	return checks{w: w, members: make([]member, w.t.N), reached: make([]uint32, w.t.N), tallies: make([]tally, 0, 32)}
}

// fail notes the first broken invariant.
func (w *world) fail(invariant, format string, args ...any) {
	if w.failure == nil {
		w.failure = &Failure{Invariant: invariant, At: w.now - epoch, Words: fmt.Sprintf(format, args...)}
		w.logf("FAILURE: %s", w.failure)
	}
}

// count notes who has signed what.
func (c *checks) count(seat int, claim *runner.Claim) {
	s := slot{claim.Kind, claim.Round, claim.Value}
	if claim.Kind == consensus.KindRoundChange {
		c.reached[seat] = max(c.reached[seat], claim.Round)
	}
	for i := range c.tallies {
		if c.tallies[i].slot == s {
			c.tallies[i].seats |= 1 << seat
			return
		}
	}
	c.tallies = append(c.tallies, tally{s, 1 << seat})
}

// voters are the seats that signed exactly this.
func (c *checks) voters(kind consensus.Kind, round uint32, value consensus.Hash) uint32 {
	s := slot{kind, round, value}
	for i := range c.tallies {
		if c.tallies[i].slot == s {
			return c.tallies[i].seats
		}
	}
	return 0
}

func (c *checks) has(seats uint32) bool { return bits.OnesCount32(seats) >= c.w.t.Quorum }

// certified reports whether q members prepared a value in some round from to
// below.
func (c *checks) certified(value consensus.Hash, from, below uint32) bool {
	for i := range c.tallies {
		t := &c.tallies[i]
		if t.kind == consensus.KindPrepare && t.value == value && t.round >= from && t.round < below && c.has(t.seats) {
			return true
		}
	}
	return false
}

// said holds every word of a correct machine against its disk, and against what
// it and others have said.
func (c *checks) said(n *node, m *mailed, s *runner.Say) {
	w := c.w
	if w.trace.words {
		w.logf("%d says %s to %v", n.id, describe(m), s.To)
	}
	w.trace.note(uint64(n.id), uint64(m.claim.Kind), uint64(m.claim.Note), uint64(m.claim.Round), uint64(m.claim.Value[0]))
	if m.claim.Kind != 0 {
		c.count(n.id, &m.claim)
	}
	if !n.honest() {
		return
	}
	if m.in == nil {
		w.fail("belief", "node %d says %s, and nobody may believe it", n.id, describe(m))
	}
	c.durableFirst(n, m)
	switch {
	case m.claim.Kind.Slot():
		c.oneVote(n, m)
		c.vote(n, m)
	case m.claim.Kind == consensus.KindStarted:
		c.starts(n)
	case m.claim.Kind == consensus.KindVoided:
		c.members[n.id].voided = !c.members[n.id].forgot
		c.w.cover.hit(SawVoided)
	case m.claim.Kind == consensus.KindReport:
		c.reveal(n, m)
	}
}

// starts: nobody starts without q accepts. It counts what a start means after
// somebody gave the job up.
func (c *checks) starts(n *node) {
	if !c.has(c.voters(consensus.KindAccept, 0, consensus.Hash{})) {
		c.w.fail("start", "node %d has started without q accepts", n.id)
	}
	if c.members[n.id].voided {
		c.w.cover.hit(SawStartAfterVoid)
	}
	for i := range c.members {
		if c.members[i].voided && i != n.id {
			c.w.cover.hit(SawRaceVoidStart)
			break
		}
	}
}

// durableFirst is I6: nothing leaves before its record is durable.
func (c *checks) durableFirst(n *node, m *mailed) {
	k := &c.members[n.id]
	var need bft.RecordKind
	switch m.claim.Kind {
	case consensus.KindAccept:
		need = bft.RecordAccept
	case consensus.KindStarted:
		need = bft.RecordStarted
	case consensus.KindVoided:
		need = bft.RecordVoid
	case consensus.KindReportCommit, consensus.KindReport:
		need = bft.RecordReport
	case 0:
		if m.claim.Note == consensus.NoteDecided {
			need = bft.RecordDecided
		}
	default:
		need = bft.RecordStarted
		found := false
		for i := range k.slots {
			found = found || k.slots[i] == slot{m.claim.Kind, m.claim.Round, m.claim.Value}
		}
		if !found {
			c.w.fail("I6", "node %d says %s, and it is not on its disk", n.id, describe(m))
		}
	}
	if need != 0 && k.kinds>>need&1 == 0 {
		c.w.fail("I6", "node %d says %s without a record of kind %d", n.id, describe(m), need)
	}
}

// oneVote is I4: one vote for each slot, in all lives of a disk, and none in a
// round that was left.
func (c *checks) oneVote(n *node, m *mailed) {
	k := &c.members[n.id]
	s := slot{m.claim.Kind, m.claim.Round, m.claim.Value}
	for i := range k.said {
		if k.said[i].kind == s.kind && k.said[i].round == s.round {
			if k.said[i] != s {
				c.w.fail("I4", "node %d says two things in %s of round %d", n.id, s.kind, s.round)
			}
			return
		}
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
	switch m.claim.Kind {
	case consensus.KindPrepare:
		if s, ok := stockOf(value); !ok || s.value.Tree != nil && !n.disk.holds(value) {
			c.w.fail("blocks", "node %d prepares %s, whose blocks it does not hold", n.id, nameOf(value))
		}
		if k.lock != 0 && k.lock <= round && k.locked != value && !c.certified(value, k.lock-1, round) {
			c.w.fail("I5", "node %d prepares %s in round %d, locked on %s in round %d", n.id, nameOf(value), round, nameOf(k.locked), k.lock-1)
		}
		if k.voided && value != cancelled.hash && !c.certified(value, 0, round+1) {
			c.w.fail("void", "node %d gave the job up and prepares %s", n.id, nameOf(value))
		}
	case consensus.KindCommit:
		if !c.has(c.voters(consensus.KindPrepare, round, value)) {
			c.w.fail("I8", "node %d commits %s in round %d, which q have not prepared", n.id, nameOf(value), round)
		}
	case consensus.KindRoundChange:
		c.roundChange(n, round)
	}
}

// roundChange: a member enters a round when its time before is over, which runs
// only once q members are there, or when many are ahead.
func (c *checks) roundChange(n *node, round uint32) {
	ahead, with := 0, 0
	for seat, r := range c.reached {
		if seat != n.id && r >= round {
			ahead++
		}
		if seat == n.id || r+1 >= round {
			with++
		}
	}
	switch {
	case ahead >= c.w.t.Skip:
		c.w.cover.hit(SawRoundJump)
	case round == 1 || with >= c.w.t.Quorum:
		c.w.cover.hit(SawRoundTimer)
	default:
		c.w.fail("I10", "node %d runs ahead, to round %d: %v", n.id, round, c.reached)
	}
}

// reveal: a report is shown when f+1 commits are in, or everybody was called.
func (c *checks) reveal(n *node, m *mailed) {
	k := &c.members[n.id]
	k.report, k.proof = m.claim.Payload.Report, m.claim.Proof
	if k.revealed || c.w.t.N == 1 || c.w.plan.Scenario.Fault == consensus.Crash {
		return
	}
	k.revealed = true
	commits := uint32(0)
	for i := range c.tallies {
		if c.tallies[i].kind == consensus.KindReportCommit {
			commits |= c.tallies[i].seats
		}
	}
	if bits.OnesCount32(commits) >= c.w.t.Suspicion {
		c.w.cover.hit(SawRevealed)
		return
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

// recorded holds a record that becomes durable against those before it: I5, locks
// only advance, and a commit comes with its lock.
func (c *checks) recorded(n *node, e runner.Entry) {
	k := &c.members[n.id]
	c.w.trace.note(uint64(n.id), uint64(e.Record.Kind), e.Seq)
	k.kinds |= 1 << e.Record.Kind
	if e.Seq != uint64(len(n.disk.journal)) {
		c.w.fail("I6", "node %d writes record %d after %d records", n.id, e.Seq, len(n.disk.journal))
	}
	switch e.Record.Kind {
	case bft.RecordSlot:
		s := readSlot(e.Record.Data)
		if s.kind == consensus.KindCommit && (k.lock != s.round+1 || k.locked != s.value) && n.honest() {
			c.w.fail("I6", "node %d commits in round %d without its lock", n.id, s.round)
		}
		k.slots = append(k.slots, s)
	case bft.RecordLock:
		round, value := readLock(e.Record.Data)
		if round+1 <= k.lock && n.honest() {
			c.w.fail("I5", "node %d locks on round %d after round %d", n.id, round, k.lock-1)
		}
		if c.w.cover.hit(SawLock); k.lock != 0 {
			c.w.cover.hit(SawLockAgain)
		}
		k.lock, k.locked = round+1, value
	}
}

// forgotten: a job that never started leaves nothing.
func (c *checks) forgotten(n *node) {
	k := &c.members[n.id]
	if k.kinds>>bft.RecordStarted&1 != 0 {
		c.w.fail("I7", "node %d forgets a job that it started", n.id)
	}
	k.voided, k.forgot = false, true
	c.w.cover.hit(SawExpire)
}

// executes: nobody executes before q accepts are durable.
func (c *checks) executes(n *node) {
	if c.members[n.id].kinds>>bft.RecordStarted&1 == 0 || c.members[n.id].kinds>>bft.RecordRun&1 == 0 {
		c.w.fail("I6", "node %d executes before its start is durable", n.id)
	}
}

// accused: evidence of equivocation is two signed statements, and never against an
// honest member.
func (c *checks) accused(n *node, e bft.Equivocation) {
	c.w.cover.hit(SawAccused)
	if !n.honest() {
		return
	}
	bad := e.First.Statement == e.Second.Statement || c.w.ledger.verify(e.First.Proof, e.First.Statement) != nil ||
		c.w.ledger.verify(e.Second.Proof, e.Second.Statement) != nil
	if bad || c.w.nodes[e.Seat].honest() {
		c.w.fail("evidence", "node %d accuses node %d of %s", n.id, e.Seat, e.First.Statement.Kind)
	}
}

// decided holds a decision against the others, and against what makes values
// valid: I1 and I2 (one decision, one outcome), I3, I8, I10.
func (c *checks) decided(n *node, d consensus.Decision) {
	if !n.honest() {
		return
	}
	k := &c.members[n.id]
	s, ok := stockOf(d.Commits.Value)
	if !ok {
		c.w.fail("I3", "node %d decides what nobody runs", n.id)
		return
	}
	c.w.logf("%d DECIDES %s in round %d", n.id, s.name, d.Commits.Round)
	if c.outcome != nil && *c.outcome != s.hash {
		c.w.fail("I1", "node %d decides %s, another decided %s", n.id, s.name, nameOf(*c.outcome))
	}
	if !c.provenBy(d) {
		c.w.fail("I8", "node %d decides %s by commits that q members did not sign", n.id, s.name)
	}
	if c.outcome == nil {
		c.outcome, c.w.outcome = &s.hash, &s.value
		c.w.cover.outcome(s.value)
		if !c.isValid(s) {
			c.w.fail("I3", "%s is decided, and nothing makes it valid", s.name)
		}
	}
	if c.w.now > epoch+calm && d.Commits.Round > k.entered+within {
		c.w.fail("I10", "node %d decides in round %d, and was in round %d when the network calmed down", n.id, d.Commits.Round, k.entered)
	}
	k.decided = true
	if c.has(c.voters(consensus.KindCommit, d.Commits.Round, s.hash)) && c.voters(consensus.KindCommit, d.Commits.Round, s.hash)>>n.id&1 != 0 {
		c.w.cover.hit(SawDecideVoted)
	}
	if k.top > d.Commits.Round {
		c.w.cover.hit(SawDecideLate)
	}
	for i := range c.members {
		if i != n.id && c.members[i].top > d.Commits.Round {
			c.w.cover.hit(SawRaceRoundDecide)
			break
		}
	}
}

// provenBy: a decision is commits of q distinct members for its value in one
// round, each signed.
func (c *checks) provenBy(d consensus.Decision) bool {
	seats := uint32(0)
	for _, v := range d.Commits.Votes {
		at := c.w.charter.Roster[v.Seat]
		s := consensus.Statement{Kind: consensus.KindCommit, Network: network, Job: c.w.job, Previous: consensus.Hash(c.w.job),
			Round: d.Commits.Round, Sender: at.Peer, Incarnation: at.Incarnation, Value: d.Commits.Value}
		if c.w.ledger.verify(v.Proof, s) == nil {
			seats |= 1 << v.Seat
		}
	}
	return c.has(seats)
}

// calm notes where everybody stands when the network begins to behave.
func (c *checks) calm() {
	for i, n := range c.w.nodes {
		if n.isOpen() {
			if v, ok := n.core.View(c.w.job); ok {
				c.members[i].entered = v.Round
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
