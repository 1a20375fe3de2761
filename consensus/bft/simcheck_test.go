package bft

import (
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/store/dagcbor"
)

// check holds every word that an honest node lets out against its journal and
// against what it said before (invariants I4, I5 and I6), and notes what was
// said, so that sets of votes can be held against it.
func (w *world) check(n *node, out Outgoing) {
	if n.machine == nil {
		return
	}
	w.logf("%d says %s/%d round %d %.4s to %v", n.seat, out.Kind, out.Note, out.Round, out.Value, out.To)
	if out.Kind.Slot() || out.Kind == consensus.KindAccept {
		u := utterance{n.seat, out.Kind, out.Round, out.Value}
		if !w.said[u] {
			w.said[u] = true
			w.order = append(w.order, u)
		}
		if c, ok := n.machine.known(out.Value); ok {
			w.values[c.hash] = c.value
		}
	}
	if !n.honest {
		return
	}
	w.checkDurable(n, out)
	if w.accomplice {
		w.assist(out)
	}
	if out.Kind.Slot() {
		key, u := slotKey{n.seat, out.Kind, out.Round}, utterance{n.seat, out.Kind, out.Round, out.Value}
		if first, ok := w.slots[key]; ok && first != u {
			w.fail("I4: seat %d says two things in %s of round %d", n.seat, out.Kind, out.Round)
		}
		w.slots[key] = u
	}
	if out.Kind == consensus.KindPrepare {
		w.checkBlocks(n, out.Value)
	}
	if out.Kind == consensus.KindReport {
		r := *out.Payload.Report
		w.reports[n.seat] = r.Value
		w.signed[n.seat] = consensus.SignedReport{Seat: uint64(n.seat), Report: r}
	}
	if p := out.Payload; p != nil {
		if p.Set != nil {
			w.checkSet(n, consensus.KindPrepare, *p.Set)
		}
		if p.Decision != nil {
			w.checkSet(n, consensus.KindCommit, p.Decision.Commits)
		}
	}
}

// needs says which record must be durable before which word.
var needs = map[consensus.Kind]RecordKind{
	consensus.KindAccept: RecordAccept, consensus.KindStarted: RecordStarted, consensus.KindVoided: RecordVoid,
	consensus.KindReportCommit: RecordReport, consensus.KindReport: RecordReport,
}

func (w *world) checkDurable(n *node, out Outgoing) {
	need, ok := needs[out.Kind]
	slot := utterance{n.seat, out.Kind, out.Round, out.Value}
	if ok && !n.kinds[need] || out.Kind.Slot() && (!n.slots[slot] || !n.kinds[RecordStarted]) || out.Note == consensus.NoteDecided && !n.kinds[RecordDecided] {
		w.fail("I6: seat %d says %s/%d of round %d before its record is durable", n.seat, out.Kind, out.Note, out.Round)
	}
}

// checkRecord holds a record that becomes durable against those before it.
func (w *world) checkRecord(n *node, r Record) {
	n.kinds[r.Kind] = true
	switch r.Kind {
	case RecordSlot:
		var s slot
		if err := dagcbor.Unmarshal(r.Data, &s); err != nil {
			w.fail("seat %d: slot: %v", n.seat, err)
		}
		if s.Kind == consensus.KindCommit && (len(n.journal) == 0 || n.journal[len(n.journal)-1].Kind != RecordLock || n.locks != s.Round+1) {
			w.fail("I6: seat %d commits without its lock", n.seat)
		}
		n.slots[utterance{n.seat, s.Kind, s.Round, s.Value}] = true
	case RecordLock:
		var l lockRecord
		if err := dagcbor.Unmarshal(r.Data, &l); err != nil {
			w.fail("seat %d: lock: %v", n.seat, err)
		}
		if l.Set.Round+1 <= n.locks {
			w.fail("I5: seat %d locks on round %d again", n.seat, l.Set.Round)
		}
		n.locks = l.Set.Round + 1
	}
}

func (w *world) checkBlocks(n *node, value consensus.Hash) {
	for _, c := range n.machine.fixed() {
		if c.hash == value {
			return
		}
	}
	if !n.blocks[value] {
		w.fail("seat %d prepares a value whose blocks it does not hold", n.seat)
	}
}

// checkSet holds a set of votes against what was really said; a liar says
// anything.
func (w *world) checkSet(n *node, kind consensus.Kind, set consensus.VoteSet) {
	if len(set.Votes) != w.t.Quorum {
		w.fail("seat %d shows a set of %d votes", n.seat, len(set.Votes))
	}
	for i, v := range set.Votes {
		seat := int(v.Seat)
		if i > 0 && set.Votes[i-1].Seat >= v.Seat {
			w.fail("seat %d shows a set that is not in order", n.seat)
		}
		if seat != w.liar && !w.said[utterance{seat, kind, set.Round, set.Value}] {
			w.fail("I8: seat %d shows a %s that seat %d never said", n.seat, kind, seat)
		}
	}
}

// decided checks that there is one outcome, and that it is a valid one
// (invariants I1 and I3), reached in time (I10).
func (w *world) decided(n *node, d consensus.Decision) {
	n.decided = &d
	if !n.honest {
		return
	}
	hash := mustHash(d.Value)
	w.logf("%d DECIDES %s in round %d", n.seat, d.Value, d.Commits.Round)
	if hash != d.Commits.Value {
		w.fail("seat %d decides on one value with commits for another", n.seat)
	}
	w.checkSet(n, consensus.KindCommit, d.Commits)
	if w.outcome != nil && *w.outcome != hash {
		w.fail("I1: seat %d decides %s, another decided otherwise", n.seat, d.Value)
	}
	w.outcome = &hash
	if !w.isValid(d.Value) {
		w.fail("I3: %s is decided, and nothing makes it valid", d.Value)
	}
	if w.now > calm && d.Commits.Round > n.entered+within {
		w.fail("I10: decided in round %d, in round %d when the network calmed down", d.Commits.Round, n.entered)
	}
}

func (w *world) isValid(v consensus.Value) bool {
	switch {
	case v.Kind == consensus.Cancelled:
		return w.cancels
	case v.Class == consensus.FailedDeadline:
		return w.now > w.charter.Deadline
	case v.Class == consensus.FailedHost || v.Class == consensus.FailedDisagreement:
		return w.diverse
	}
	for _, n := range w.nodes {
		if r, ok := w.reports[n.seat]; ok && n.honest && mustHash(r) == mustHash(v) {
			return true
		}
	}
	return false
}
