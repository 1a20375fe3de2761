package sim

import (
	"crypto/sha256"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
)

// receive takes one message of a frame: as consensus/runner does, by whether the
// job is open here, has ended, or is not known yet. It reports whether the message
// is acknowledged.
func (n *node) receive(from int, m *mailed) bool {
	if n.w.submitter.node == n.id {
		n.w.submitter.hear(m)
	}
	switch {
	case n.gone:
		n.sayGone(from, m)
	case n.isOpen():
		if !n.judges(m) {
			n.keep(m)
			return false
		}
		n.hear(m)
	case n.decided != nil:
		n.answer(from, m)
	case m.claim.Note == consensus.NoteAsk:
	default:
		// it waits for its charter, and is not acknowledged
		if p := m.claim.Payload; m.claim.Note == consensus.NoteAccepts && m.in != nil && p.Offer != nil {
			n.witness(from, p.Accepts, p.Chain)
		}
		n.keep(m)
		return false
	}
	return true
}

// hear gives the machine a message that this node can judge.
func (n *node) hear(m *mailed) {
	if m.in == nil {
		return
	}
	n.w.cover.received(n, m)
	if party := int(m.claim.From[0]) - 1; party < len(n.heard) && m.claim.Incarnation == firstLife(party) && m.claim.Kind != consensus.KindVoid {
		n.heard[party] = n.now()
	}
	n.step(m.in)
}

// keep puts a message aside that cannot be judged here yet.
func (n *node) keep(m *mailed) {
	if len(n.stash) < 64 {
		n.stash = append(n.stash, m)
	}
}

// judges reports whether the height of a statement was reached here. A reserve's
// accept precedes its height.
func (n *node) judges(m *mailed) bool {
	height := m.claim.Height
	if m.claim.Kind == consensus.KindAccept && height > 0 {
		height--
	}
	return height <= n.height
}

// reach notes that members were replaced, and takes what came too early.
func (n *node) reach(h consensus.Height) {
	n.height = h.Number
	stash := n.stash
	n.stash = nil
	for _, m := range stash {
		if n.judges(m) {
			n.hear(m)
		} else {
			n.keep(m)
		}
	}
}

// sayGone answers whoever shows the job to a node that lost its disk: the member
// that it was is no more (protocol, section 7).
func (n *node) sayGone(from int, m *mailed) {
	if from < 0 || m.claim.Note != consensus.NoteAccepts || m.in == nil {
		return
	}
	c := n.claim(bft.Outgoing{Kind: consensus.KindGone, Value: n.w.checks.nameOf(n.id)})
	c.Incarnation = secondLife(n.id)
	n.w.cover.hit(SawGone)
	n.w.post(n.id, from, n.life, mail{n.sign(c)})
}

// answer tells whoever still works on a job that has ended here.
func (n *node) answer(from int, m *mailed) {
	if from < 0 || m.claim.Kind == 0 && m.claim.Note != consensus.NoteAsk || n.told[from] != 0 && n.w.now < n.told[from]+resend {
		return
	}
	n.told[from] = n.w.now
	n.w.cover.hit(SawClosedAnswer)
	n.w.post(n.id, from, n.life, mail{n.decision()})
}

// offered takes the submitter's charter: a member accepts unless it is busy, late
// or another incarnation than the roster's.
func (n *node) offered() {
	switch {
	case n.gone:
	case n.isOpen():
		n.core.Repeat(n.now(), n.w.job)
		n.settle()
	case n.decided != nil:
		n.w.post(n.id, -1, n.life, mail{n.decision()})
	case n.busy || n.now() > n.w.charter.AcceptBy:
		n.w.cover.hit(SawRefusal)
	default:
		n.take(bft.AcceptJob{}, nil)
	}
}

// witness takes a charter that comes with q accepts, whatever the member
// answered before.
func (n *node) witness(from int, accepts []consensus.Vote, chain []consensus.Decision) {
	if len(accepts) < n.w.t.Quorum || !slices.IsSortedFunc(accepts, func(a, b consensus.Vote) int { return int(a.Seat) - int(b.Seat) }) {
		return
	}
	if len(slices.CompactFunc(slices.Clone(accepts), func(a, b consensus.Vote) bool { return a.Seat == b.Seat })) != len(accepts) {
		return
	}
	at, err := n.w.heights[0].Climb(chain, n.w.ledger.verify)
	switch {
	case err != nil:
		return
	case n.id >= n.w.t.N && n.busy && at.SeatOf(n.id) < 0:
		reason := "busy"
		n.w.cover.hit(SawReserveRefuses)
		n.w.post(n.id, from, n.life, mail{n.sign(n.claim(bft.Outgoing{Kind: consensus.KindRefuse,
			Value: sha256.Sum256([]byte(reason)), Payload: &consensus.Payload{Reason: reason}}))})
		return
	case at.SeatOf(n.id) < 0 && (n.id < n.w.t.N || at.Used(n.id-n.w.t.N)):
		return // it has no part any more
	}
	n.take(bft.Witnessed{Accepts: accepts, Chain: chain}, accepts)
}
