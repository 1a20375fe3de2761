package sim

import (
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/runner"
)

// mailed is one message on its way.
type mailed struct {
	claim runner.Claim
	in    bft.Input // what it is to a machine; nil: nobody may believe it
	key   runner.SayKey
	hint  bool // it is not acknowledged
}

// mail is what one frame brings.
type mail []*mailed

// cut is a partition that lasts until a time.
type cut struct {
	mask  uint32
	until int64
}

// address checks a message as frames are checked, once for all who receive it:
// the check knows nothing of its receiver. What was believed once is believed
// whenever it is said again, as it was.
func (w *world) address(c runner.Claim) *mailed {
	at, signed := w.ledger.numberOf(&c.Proof)
	if signed {
		if m := w.ledger.mailed[at]; m != nil && m.says(&c) {
			return m
		}
	}
	m := w.check(c)
	if signed && m.in != nil {
		w.ledger.mailed[at] = m
	}
	return m
}

// says reports whether a message is exactly this claim, proven alike.
func (m *mailed) says(c *runner.Claim) bool {
	d := &m.claim
	return d.Kind == c.Kind && d.Note == c.Note && d.Round == c.Round && d.Height == c.Height && d.Payload == c.Payload &&
		d.Value == c.Value && d.From == c.From && d.Incarnation == c.Incarnation && d.Job == c.Job && d.Previous == c.Previous
}

func (w *world) check(c runner.Claim) *mailed {
	m := &mailed{claim: c, hint: c.Kind == 0 && (c.Note == consensus.NoteDecided && c.Payload == nil || c.Note == consensus.NoteAsk)}
	m.key = runner.KeyOf(bft.Outgoing{Kind: c.Kind, Note: c.Note, Round: c.Round, Value: c.Value})
	if in, err := w.judge.Check(c); err == nil {
		m.in = in
	}
	return m
}

// post sends a frame, to arrive, or not, or twice. To and from are nodes, -1 the
// submitter.
func (w *world) post(from, to, life int, m mail) {
	if len(m) == 0 {
		return
	}
	src := &w.links[(from+1)*(len(w.nodes)+1)+to+1]
	copies := 1
	if w.now < epoch+calm {
		switch {
		case w.isCut(from, to) || src.chance(w.plan.Loss) || w.plan.Contested && m.tellsDecision() && src.chance(90) ||
			w.plan.Deaf > 0 && m.votes(w.plan.Deafer) && src.chance(w.plan.Deaf):
			w.cover.hit(SawLoss)
			return
		case src.chance(w.plan.Twice):
			w.cover.hit(SawTwice)
			copies = 2
		}
	}
	for range copies {
		w.queue.push(event{at: w.now + w.delay(src), kind: evFrame, node: to, from: from, life: life, mail: m})
	}
}

func (m mail) tellsDecision() bool {
	return slices.ContainsFunc(m, func(m *mailed) bool { return m.claim.Kind == 0 && m.claim.Note == consensus.NoteDecided })
}

func (m mail) votes(prepares bool) bool {
	return slices.ContainsFunc(m, func(m *mailed) bool {
		return m.claim.Kind == consensus.KindCommit || prepares && m.claim.Kind == consensus.KindPrepare
	})
}

func (w *world) delay(src *source) int64 {
	if w.now >= epoch+calm {
		return 1 + src.until(50)
	}
	if src.chance(w.plan.Slow) {
		return src.until(6_000)
	}
	return 1 + src.until(60)
}

func (w *world) isCut(from, to int) bool {
	for _, c := range w.cuts {
		if w.now < c.until && c.mask>>(from+1)&1 != c.mask>>(to+1)&1 {
			return true
		}
	}
	return false
}

// deliver brings a frame to a node, and its acknowledgement back.
func (w *world) deliver(e *event, to *node) {
	if !to.up {
		return
	}
	taken := uint64(0) // what is acknowledged
	for i, m := range e.mail {
		if w.trace.words {
			w.logf("   %d hears %d: %s", to.id, e.from, describe(m))
		}
		if to.receive(e.from, m) && !m.hint {
			taken |= 1 << i
		}
	}
	if e.from < 0 {
		to.settle()
		return
	}
	from := w.nodes[e.from]
	to.meet(from, e.life)
	life := to.life
	if to.settle(); to.life != life {
		return // it ended with the acknowledgement unsaid
	}
	src := &w.links[(to.id+1)*(len(w.nodes)+1)+e.from+1]
	if !from.up || from.life != e.life || to.gone || w.now < epoch+calm && (w.isCut(to.id, from.id) || src.chance(w.plan.Loss/2)) {
		return
	}
	from.meet(to, life)
	for i, m := range e.mail {
		if taken>>i&1 != 0 {
			from.core.Acknowledged(w.job, to.id, m.key)
		}
	}
	from.settle()
}
