package sim

import (
	"math/bits"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/runner"
)

// submitter is the submitting side (protocol, section 4): it offers until f+1
// members have started, or withdraws. It is a process of its own, or a member's.
type submitter struct {
	w    *world
	node int // the member whose process it shares; -1: none

	acked     bool // durable
	withdrawn bool // durable
	started   uint32
	gaveUp    uint32
	decided   bool

	up       bool
	vanished bool
	life     int
	backoff  int64
}

func newSubmitter(w *world) submitter {
	return submitter{w: w, node: w.plan.Submitter, up: true}
}

func (s *submitter) begin() {
	s.backoff = resend
	s.speak()
}

// speak offers the charter to whoever has not started, or withdraws it, and
// again after a back-off.
func (s *submitter) speak() {
	if !s.up || s.decided {
		return
	}
	w := s.w
	if s.withdrawn {
		m := mail{s.void()}
		for to := range w.t.N {
			if s.gaveUp>>to&1 == 0 {
				w.post(s.node, to, -1, m)
			}
		}
	} else {
		for to, n := range w.nodes[:w.t.N] {
			if s.started>>to&1 == 0 {
				s.offer(n, to)
			}
		}
	}
	life := s.life
	w.after(s.backoff, func() {
		if s.life == life {
			s.speak()
		}
	})
	s.backoff = min(s.backoff*3/2, 10_000)
}

// offer brings the charter to a node, unless it is lost on the way.
func (s *submitter) offer(n *node, to int) {
	src := &s.w.links[to+1]
	if s.node != to && s.w.now < epoch+calm && (src.chance(s.w.plan.Loss) || s.w.isCut(s.node, to)) {
		return
	}
	s.w.after(s.w.delay(src), func() {
		if n.up {
			n.offered()
		}
	})
}

// void is the submitter's signed withdrawal.
func (s *submitter) void() *mailed {
	c := runner.Claim{From: s.w.charter.Submitter, Incarnation: admission.Incarnation{0xff}, Kind: consensus.KindVoid, Job: s.w.job}
	if s.node >= 0 {
		c.Incarnation = firstLife(s.node)
	}
	c.Proof = s.w.ledger.sign(c.From, statementOf(&c))
	return s.w.address(c)
}

// withdraw gives the job up: never after it was acknowledged.
func (s *submitter) withdraw() {
	if !s.up || s.acked || s.decided || s.withdrawn {
		return
	}
	s.w.logf("the submitter withdraws the job")
	s.w.cover.hit(SawWithdraw)
	s.withdrawn, s.backoff = true, resend
	s.life++
	s.speak()
}

// vanish ends the submitter for good: the process of a member goes on.
func (s *submitter) vanish() {
	s.w.logf("the submitter vanishes")
	s.up, s.vanished = false, true
	s.life++
	if s.node < 0 {
		return
	}
	s.node = -1
}

// ended, back and lost follow the process that the submitter shares.
func (s *submitter) ended(n *node) {
	if s.node == n.id {
		s.up = false
		s.life++
	}
}

func (s *submitter) back(n *node) {
	if s.node == n.id && !s.vanished {
		s.up, s.started, s.gaveUp, s.backoff = true, 0, 0, resend
		s.speak()
	}
}

func (s *submitter) lost(n *node) {
	if s.node == n.id {
		s.up, s.vanished = false, true
	}
}

func (s *submitter) receive(m mail) {
	for _, one := range m {
		s.hear(one)
	}
}

// hear takes what a member says to the submitter. f+1 starts acknowledge the job,
// durably, before the caller is told.
func (s *submitter) hear(m *mailed) {
	if !s.up || m.in == nil {
		return
	}
	seat := int(m.claim.From[0]) - 1
	if seat < 0 || seat >= len(s.w.nodes) {
		return
	}
	switch {
	case seat >= s.w.t.N && m.claim.Kind != 0: // a reserve acknowledges nothing
	case m.claim.Kind == consensus.KindStarted:
		s.started |= 1 << seat
		if bits.OnesCount32(s.started) >= s.w.t.Suspicion && !s.withdrawn && !s.acked {
			s.w.logf("the submitter acknowledges the job")
			s.w.cover.hit(SawAcknowledged)
			s.acked = true
		}
	case m.claim.Kind == consensus.KindVoided:
		s.gaveUp |= 1 << seat
	case m.claim.Kind == 0 && m.claim.Note == consensus.NoteDecided && m.claim.Payload != nil:
		s.decided = true
	}
}
