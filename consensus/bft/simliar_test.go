package bft

import (
	"fmt"

	"github.com/muster-network/muster/consensus"
)

// addLiar gives the liar's seat one of the ways to lie.
func (w *world) addLiar() {
	n := w.nodes[w.liar]
	if w.contested {
		n.first, w.accomplice = nil, true
		for turn := 1 + w.rng.IntN(3); leaders(w.job, 0, w.t.N)[turn] != w.liar; {
			w.job[1]++
		}
		w.after(w.rng.Int64N(1_000), w.babble)
		return
	}
	switch w.rng.IntN(4) {
	case 0: // silent
		n.first = nil
	case 1: // two faces, each a correct machine with another outcome, each for its own audience
		n.face = 1 + w.rng.IntN(1<<w.t.N-1)
		n.value = result("lie")
		twin := w.addNode(w.liar, false, ^n.face)
		if w.chance(50) {
			twin.value = result("another lie")
		}
	case 2: // says anything
		n.first = nil
		w.after(w.rng.Int64N(1_000), w.babble)
	case 3: // follows the protocol with a wrong result, and says anything besides
		n.face = -1
		n.value = result("lie")
		w.after(w.rng.Int64N(1_000), w.babble)
	}
}

// hears reports whether a seat is in the audience of a liar's face.
func (w *world) hears(from *node, seat int) bool { return from.face&(1<<seat) != 0 }

// babble makes the liar say something to somebody, and again and again.
func (w *world) babble() {
	msg := w.lie()
	msg.From = w.liar
	msg.Proof = consensus.Proof{Count: 1, Index: uint64(w.liar)}
	for _, n := range w.nodes {
		if n.honest && n.up && w.chance(60) {
			w.logf("liar to %d: %s/%d round %d %.4s", n.seat, msg.Kind, msg.Note, msg.Round, msg.Value)
			w.after(w.rng.Int64N(40), func() { n.step(msg) })
		}
	}
	if w.steps < 60_000 {
		w.after(w.rng.Int64N(150), w.babble)
	}
}

// assist makes the liar vote for whatever anybody votes for, before some.
func (w *world) assist(out Outgoing) {
	msgs := []Message{}
	switch out.Kind {
	case consensus.KindPrepare, consensus.KindCommit:
		msgs = append(msgs, Message{Kind: consensus.KindPrepare, Round: out.Round, Value: out.Value},
			Message{Kind: consensus.KindCommit, Round: out.Round, Value: out.Value})
	case consensus.KindRoundChange:
		order := leaders(w.job, 0, w.t.N)
		msgs = append(msgs, Message{Kind: out.Kind, Round: out.Round})
		if order[int(out.Round)%w.t.N] == w.liar {
			msgs = append(msgs, w.contradict(out.Round))
		}
	}
	for _, msg := range msgs {
		msg.From = w.liar
		for _, n := range w.nodes {
			if n.honest && w.chance(60) {
				w.after(w.rng.Int64N(100), func() { n.step(msg) })
			}
		}
	}
}

// contradict proposes what others have not voted for lately: with an old
// certificate, if there is one, or else with evidence.
func (w *world) contradict(round uint32) Message {
	var last consensus.Hash
	for _, u := range w.order {
		if u.kind == consensus.KindCommit {
			last = u.value
		}
	}
	if set, value, ok := w.buildSet(consensus.KindPrepare); ok && set.Value != last && w.chance(70) {
		return Message{Kind: consensus.KindPropose, Round: round, Value: set.Value, Payload: &consensus.Payload{Set: &set, Value: &value}}
	}
	c := w.anyChoice()
	for range 5 {
		if c.hash == last {
			c = w.anyChoice()
		}
	}
	p := &consensus.Payload{Value: &c.value}
	for seat := range w.t.N {
		if r, ok := w.signed[seat]; ok {
			p.Reports = append(p.Reports, r)
		}
	}
	return Message{Kind: consensus.KindPropose, Round: round, Value: c.hash, Payload: p}
}

func (w *world) lie() Message {
	top := uint32(0)
	for _, u := range w.order {
		top = max(top, u.round)
	}
	round := uint32(w.rng.IntN(int(top) + 3))
	c := w.anyChoice()
	switch w.rng.IntN(12) {
	case 0:
		return Message{Kind: consensus.KindAccept}
	case 1:
		return Message{Kind: consensus.KindReportCommit, Value: consensus.Hash{byte(w.rng.IntN(3))}}
	case 2, 3:
		return w.lieReport()
	case 4, 5:
		return Message{Kind: consensus.KindPrepare, Round: round, Value: c.hash}
	case 6, 7:
		return Message{Kind: consensus.KindCommit, Round: round, Value: c.hash}
	case 8:
		return w.lieChange(round)
	case 9:
		return w.liePropose(c, top)
	case 10:
		if set, value, ok := w.buildSet(consensus.KindCommit); ok {
			return Message{Note: consensus.NoteDecided, Payload: &consensus.Payload{Decision: &consensus.Decision{Value: value, Commits: set}}}
		}
	}
	return Message{Note: consensus.NoteRunning, Payload: &consensus.Payload{Beat: &consensus.Beat{Run: 1, Running: w.chance(50)}}}
}

func (w *world) anyChoice() choice {
	values := []consensus.Value{w.truth, result("lie"), result("another lie"), failed(consensus.FailedTimeout),
		failed(consensus.FailedHost), failed(consensus.FailedDisagreement), failed(consensus.FailedDeadline), {Kind: consensus.Cancelled}}
	if w.contested {
		values = []consensus.Value{w.truth, {Kind: consensus.Cancelled}, failed(consensus.FailedDeadline)}
	}
	for seat := range w.t.N {
		if v, ok := w.reports[seat]; ok && !w.contested {
			values = append(values, v)
		}
	}
	v := values[w.rng.IntN(len(values))]
	return choice{v, mustHash(v)}
}

func (w *world) lieSigned() consensus.SignedReport {
	v := w.anyChoice().value
	if v.Kind == consensus.Cancelled || v.Class > consensus.FailedHost {
		v = result(fmt.Sprint("lie ", w.rng.IntN(3)))
	}
	return consensus.SignedReport{Seat: uint64(w.liar), Report: consensus.Report{Run: 1 + w.rng.Uint64N(2), Value: v}}
}

func (w *world) lieReport() Message {
	r := w.lieSigned().Report
	return Message{Kind: consensus.KindReport, Payload: &consensus.Payload{Report: &r}}
}

func (w *world) lieChange(round uint32) Message {
	msg := Message{Kind: consensus.KindRoundChange, Round: round}
	if w.chance(20) {
		msg.Round = 1 << 31
	}
	if set, value, ok := w.buildSet(consensus.KindPrepare); ok && w.chance(70) {
		msg.Value, _ = consensus.HighestHash(set.Round, set.Value)
		msg.Payload = &consensus.Payload{Set: &set, Value: &value}
	}
	return msg
}

// liePropose proposes something in a round near the top that the liar leads.
func (w *world) liePropose(c choice, top uint32) Message {
	order := leaders(w.job, 0, w.t.N)
	msg := Message{Kind: consensus.KindPropose, Value: c.hash, Payload: &consensus.Payload{Value: &c.value}}
	for r := max(top, 2) - 1; r < top+uint32(w.t.N); r++ {
		if order[int(r)%w.t.N] == w.liar {
			msg.Round = r
			break
		}
	}
	if set, value, ok := w.buildSet(consensus.KindPrepare); ok && w.chance(70) {
		msg.Value, msg.Payload = set.Value, &consensus.Payload{Set: &set, Value: &value}
		return msg
	}
	msg.Payload.Reports = append(msg.Payload.Reports, w.lieSigned())
	for seat := range w.t.N {
		if r, ok := w.signed[seat]; ok && w.chance(60) {
			msg.Payload.Reports = append(msg.Payload.Reports, r)
		}
	}
	return msg
}

// buildSet builds one of the sets that can be had from what honest members said
// and the liar's own signature.
func (w *world) buildSet(kind consensus.Kind) (consensus.VoteSet, consensus.Value, bool) {
	for range 4 {
		if len(w.order) == 0 {
			break
		}
		u := w.order[w.rng.IntN(len(w.order))]
		set := consensus.VoteSet{Round: u.round, Value: u.value}
		for seat := range w.t.N {
			if len(set.Votes) < w.t.Quorum && (seat == w.liar || w.said[utterance{seat, kind, u.round, u.value}]) {
				set.Votes = append(set.Votes, consensus.Vote{Seat: uint64(seat)})
			}
		}
		value, known := w.values[u.value]
		if len(set.Votes) == w.t.Quorum && known {
			return set, value, true
		}
	}
	return consensus.VoteSet{}, consensus.Value{}, false
}
