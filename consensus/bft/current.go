package bft

import (
	"slices"

	"github.com/muster-network/muster/consensus"
)

// tellDecided tells the outcome here, and to all parties but those excepted.
func (m *Machine) tellDecided(except func(party int) bool) {
	m.do(Decided{consensus.Conclusion{Chain: m.chain, Outcome: *m.decision}})
	to := slices.DeleteFunc(append(m.parts(), m.watch.asked...), func(party int) bool { return party == m.cfg.Self || except(party) })
	if len(to) > 0 {
		m.say(m.decided(to))
	}
}

func (m *Machine) decided(to []int) Outgoing {
	return Outgoing{To: to, Note: consensus.NoteDecided, Value: m.decision.Commits.Value,
		Payload: &consensus.Payload{Chain: m.chain, Decision: m.decision}}
}

// answer tells whoever still votes what was decided: each party at most once in
// a round's time (protocol, section 16).
func (m *Machine) answer(in Input) {
	if _, ok := in.(SubmitterVoid); ok {
		out := m.decided([]int{})
		out.Submitter = true
		m.say(out)
	}
	msg, ok := in.(Message)
	if !ok || msg.From < 0 || msg.From >= len(m.knows) || msg.From == m.cfg.Self {
		return
	}
	vote := msg.Kind == consensus.KindPrepare || msg.Kind == consensus.KindCommit
	if seat := m.at.SeatOf(msg.From); vote && seat >= 0 && msg.Height == m.at.Number {
		m.voted(seat, msg) // it counts no more, but may contradict what its sender said before
	}
	switch {
	case msg.Note == consensus.NoteDecided:
		m.knows[msg.From] = true
	case msg.Note == consensus.NoteAsk:
		m.knows[msg.From] = false
		m.say(m.decided([]int{msg.From}))
	case msg.Kind.Slot() && msg.Kind != consensus.KindCommit && !m.knows[msg.From] && m.now >= m.told[msg.From]+m.cfg.Timing.Round:
		m.told[msg.From] = m.now
		m.say(m.decided([]int{msg.From}))
	}
}

// Current returns what this member would say now to a party that has heard
// nothing: the decision, or everything it stands for until there is one. The
// caller says it again, to that party alone and with back-off, but for what the
// party has acknowledged. Of all this nothing may leave before the Records of
// earlier steps are durable. The list is the machine's own, and lasts until the
// next Step.
func (m *Machine) Current(to int) []Outgoing {
	if to == m.cfg.Self || to < 0 || to >= len(m.knows) {
		return nil
	}
	member := m.at.SeatOf(to) >= 0
	if !member && !m.hadPart(to) || m.decision != nil && m.knows[to] {
		return nil
	}
	if m.stale {
		m.standing, m.stale = m.stands(m.standing[:0]), false
	}
	switch {
	case m.decision != nil:
	case !member:
		return m.standing[:min(len(m.chain), 1)]
	case m.acts() && !m.entry.shown[to]:
		at := min(len(m.chain), 1) // the handovers come first
		return slices.Insert(slices.Clone(m.standing), at, m.shareAccepts())
	}
	return m.standing
}

// stands appends what this member says to every member that has not heard it:
// the outcome, or the handovers and everything that it stands for.
func (m *Machine) stands(out []Outgoing) []Outgoing {
	if m.decision != nil {
		return append(out, m.decided(nil))
	}
	if len(m.chain) > 0 {
		out = append(out, m.handedOver(nil))
	}
	out = m.statements(out)
	out = m.hints(out)
	for i := range out {
		out[i].To, out[i].Submitter = nil, false
	}
	return out
}

// statements appends all that this member has signed and still stands for.
func (m *Machine) statements(out []Outgoing) []Outgoing {
	switch {
	case m.isReserve() && m.entry.started != nil:
		return append(out, m.offerOneself())
	case m.seat < 0:
		return out
	}
	out = m.entryStatements(out)
	out = m.runStatements(out)
	for _, s := range m.rounds.own {
		out = append(out, m.slot(s))
	}
	return out
}

// hints appends what helps others to vote: a certificate learnt since the round
// change, the evidence for the value preferred, a cancellation.
func (m *Machine) hints(out []Outgoing) []Outgoing {
	if h := m.rounds.highest; h != nil && m.acts() {
		p := h.payload()
		p.Height = m.at.Number
		out = append(out, Outgoing{Note: consensus.NoteHighest, Height: m.at.Number, Round: h.set.Round, Value: h.set.Value, Payload: p})
	}
	if len(m.valid) > 0 {
		if reports := m.proof(m.valid[0]); len(reports) > 0 {
			p := &consensus.Payload{Reports: reports, Verdicts: m.verdicts(m.valid[0], reports)}
			out = append(out, Outgoing{Note: consensus.NoteEvidence, Value: m.valid[0].hash, Payload: p})
		}
	}
	if c := m.evidence.cancel; c != nil {
		out = append(out, m.cancelNote(*c))
	}
	if m.hasEffects() && m.entry.voided && m.acts() { // it grants nothing: see isWithdrawn
		out = append(out, Outgoing{Note: consensus.NoteEvidence, Payload: &consensus.Payload{Void: m.entry.void}})
	}
	return out
}
