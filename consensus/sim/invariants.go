package sim

import (
	"fmt"
	"math/bits"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/runner"
)

// checks hold the invariants of protocol section 17 against everything that is
// signed, stored, decided and left undone. What they know of a member is what
// anybody sees: its disk and its words.
type checks struct {
	w       *world
	members []member // by party
	tallies []tally
	reached [][]uint32       // by height and party: the round of its highest round change
	names   []consensus.Hash // by party: see nameOf
	acting  []acting         // by party, where runs act on the world
	runs    []acted          // that honest members began, there
	outcome *consensus.Hash  // the first that an honest member came to
}

// member is what an honest node has stored and said, in all its lives.
type member struct {
	kinds    uint32 // of records, durable
	height   uint64 // durable
	slots    []slot // durable, in order
	said     []slot // signed: the first in its slot
	top      uint32 // the highest round of a slot that it signed at this height
	lock     uint32 // the round of its lock at this height + 1; 0: none
	locked   consensus.Hash
	voided   bool              // it said so
	forgot   bool              // at the deadline, what it had not started
	report   *consensus.Report // as it was shown
	proof    consensus.Proof
	found    []found // durable
	decided  bool
	entered  slot // the height and round it was in when the network calmed down
	revealed bool
}

type slot struct {
	height uint64
	kind   consensus.Kind
	round  uint32
	value  consensus.Hash
}

func slotOf(c *runner.Claim) slot { return slot{c.Height, c.Kind, c.Round, c.Value} }

// with is the same of another kind.
func (s slot) with(kind consensus.Kind) slot {
	s.kind = kind
	return s
}

// tally is who signed one statement, but for the sender.
type tally struct {
	slot
	parties uint32
}

func newChecks(w *world) checks {
	c := checks{w: w, members: make([]member, len(w.nodes)), tallies: make([]tally, 0, 32)}
	if w.plan.Effects != "" {
		c.acting = make([]acting, len(w.nodes))
	}
	return c
}

// fail notes the first broken invariant.
func (w *world) fail(invariant, format string, args ...any) {
	if w.failure == nil {
		w.failure = &Failure{Invariant: invariant, At: w.now - epoch, Words: fmt.Sprintf(format, args...)}
		w.logf("FAILURE: %s", w.failure)
	}
}

// count notes who has signed what. What only a member of a height may say counts
// for nobody else.
func (c *checks) count(party int, claim *runner.Claim) {
	s := slotOf(claim)
	if claim.Kind.Slot() || claim.Kind == consensus.KindSuspect || claim.Kind == consensus.KindGrant {
		if s.height >= uint64(len(c.w.heights)) || c.w.heights[s.height].SeatOf(party) < 0 {
			return
		}
	}
	if claim.Kind == consensus.KindRoundChange {
		reached := c.reachedAt(s.height)
		reached[party] = max(reached[party], claim.Round)
	}
	for i := range c.tallies {
		if c.tallies[i].slot == s {
			c.tallies[i].parties |= 1 << party
			return
		}
	}
	c.tallies = append(c.tallies, tally{s, 1 << party})
}

// reachedAt are the rounds that the parties have reached at a height.
func (c *checks) reachedAt(height uint64) []uint32 {
	for uint64(len(c.reached)) <= height {
		c.reached = append(c.reached, make([]uint32, len(c.w.nodes)))
	}
	return c.reached[height]
}

// voters are the parties that signed exactly this.
func (c *checks) voters(s slot) uint32 {
	for i := range c.tallies {
		if c.tallies[i].slot == s {
			return c.tallies[i].parties
		}
	}
	return 0
}

func (c *checks) has(parties uint32) bool { return bits.OnesCount32(parties) >= c.w.t.Quorum }

// certified reports whether q members of a height prepared a value in some round
// from to below.
func (c *checks) certified(height uint64, value consensus.Hash, from, below uint32) bool {
	for i := range c.tallies {
		t := &c.tallies[i]
		if t.height == height && t.kind == consensus.KindPrepare && t.value == value && t.round >= from && t.round < below && c.has(t.parties) {
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
	case m.claim.Note == consensus.NoteRunning:
		c.progress(n, m)
	case m.claim.Kind == consensus.KindSuspect:
		w.cover.hit(SawSuspect)
	case m.claim.Kind == consensus.KindAccept && m.claim.Height > 0:
		w.cover.hit(SawReserveOffers)
	}
}

// starts: nobody starts without q accepts. It counts what a start means after
// somebody gave the job up.
func (c *checks) starts(n *node) {
	if !c.has(c.voters(slot{kind: consensus.KindAccept})) {
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
		if need = bft.RecordAccept; m.claim.Height > 0 { // a reserve's, which was shown the job
			need = bft.RecordStarted
		}
	case consensus.KindSuspect:
		need = bft.RecordSuspect
	case consensus.KindStarted:
		need = bft.RecordStarted
	case consensus.KindVoided:
		need = bft.RecordVoid
	case consensus.KindGrant, consensus.KindEnded:
		need = bft.RecordGrant
		if m.claim.Kind == consensus.KindEnded {
			need = bft.RecordEnded
		}
		if !c.recordsTurn(n, m) {
			c.w.fail("I6", "node %d says %s, and it is not on its disk", n.id, describe(m))
		}
	case consensus.KindReportCommit, consensus.KindReport:
		need = bft.RecordReport
	case consensus.KindEndorse, consensus.KindReject:
		if need = bft.RecordFound; !c.recordsFound(n, m) {
			c.w.fail("I6", "node %d says %s, and it is not on its disk", n.id, describe(m))
		}
	case 0:
		switch m.claim.Note {
		case consensus.NoteDecided:
			need = bft.RecordDecided
		case consensus.NoteHandover:
			need = bft.RecordHandover
		}
	default:
		need = bft.RecordStarted
		found := false
		for i := range k.slots {
			found = found || k.slots[i] == slotOf(&m.claim)
		}
		if !found {
			c.w.fail("I6", "node %d says %s, and it is not on its disk", n.id, describe(m))
		}
	}
	if need != 0 && k.kinds>>need&1 == 0 {
		c.w.fail("I6", "node %d says %s without a record of kind %d", n.id, describe(m), need)
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
		s.height = k.height
		if s.kind == consensus.KindPrepare && n.honest() {
			c.handsOver(n, s)
			c.handsOverOpen(n, s)
		}
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
	case bft.RecordHandover:
		k.height++
		k.top, k.lock = 0, 0
		if c.acting != nil {
			c.acting[n.id].closed = false
		}
	case bft.RecordFound:
		c.recordedFound(n, e.Record.Data)
	case bft.RecordGrant, bft.RecordBegun, bft.RecordEnded, bft.RecordClosed:
		c.recordedTurn(n, e.Record)
	}
}

// forgotten: a job that never started leaves nothing, and neither does one for
// which a reserve stood by in vain. Who had a seat forgets nothing.
func (c *checks) forgotten(n *node) {
	k := &c.members[n.id]
	reserve := n.id >= c.w.t.N && !c.w.heights[k.height].Used(n.id-c.w.t.N)
	if reserve {
		c.w.cover.hit(SawReserveForgets)
		*k = member{decided: k.decided}
		if c.acting != nil {
			c.acting[n.id] = acting{}
		}
		return
	}
	if k.kinds>>bft.RecordStarted&1 != 0 {
		c.w.fail("I7", "node %d forgets a job that it started", n.id)
	}
	k.voided, k.forgot = false, true
	c.w.cover.hit(SawExpire)
}

// executes: nobody executes before q accepts are durable, and where runs act on the
// world, q grants.
func (c *checks) executes(n *node, run uint64) {
	begun := bft.RecordRun
	if c.acting != nil {
		begun = bft.RecordBegun
		c.begins(n, run)
	}
	if c.members[n.id].kinds>>bft.RecordStarted&1 == 0 || c.members[n.id].kinds>>begun&1 == 0 {
		c.w.fail("I6", "node %d executes before its start is durable", n.id)
	}
}

// contradicted: a report contradicts an outcome only where one task has one end,
// and no honest member's does.
func (c *checks) contradicted(n *node, e bft.Disagreement) {
	c.w.cover.hit(SawDisagrees)
	differ := c.w.plan.Truth == endsDiverse || c.w.plan.Truth == endsHost
	if party := int(e.Report.Seat); c.w.charter.Assurance != consensus.Replicated || c.w.nodes[party].honest() && !differ && n.honest() {
		c.w.fail("evidence", "node %d says that node %d disagrees", n.id, party)
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
	if accused := int(e.First.Statement.Sender[0]) - 1; bad || c.w.nodes[accused].honest() {
		c.w.fail("evidence", "node %d accuses node %d of %s", n.id, accused, e.First.Statement.Kind)
	}
}
