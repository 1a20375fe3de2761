package runner

import (
	"crypto/sha256"
	"errors"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
)

// frameEvent is what the loop gets of one frame: everything in it was verified.
type frameEvent struct {
	from     admission.Key
	session  uint64
	seq      uint64
	have     []have
	messages []jobMessage
	unknown  []stashed
	missed   []uint64 // where the unknown stood
	unheard  []uint64 // where those stood whose sender is muted
}

type jobMessage struct {
	job consensus.JobID
	in  bft.Input
}

// stashed is a message for a job that is not open here, kept in case its
// charter is on the way. Its batch signature was verified.
type stashed struct {
	from        admission.Key
	incarnation admission.Incarnation
	item        item // of a statement
	proof       consensus.Proof
	note        *note // of a note
	size        int   // bytes, about; of one that is kept
}

func (s stashed) job() consensus.JobID {
	if s.note != nil {
		return s.note.Job
	}
	return s.item.Job
}

// errForeign is returned for a message from somebody without the seat it claims.
var errForeign = errors.New("the sender has no seat in this job, or another incarnation has")

// Receive checks a frame from a peer whose identity the connection proved, and
// hands what is good to the loop. An error means that the peer broke the
// protocol. It blocks while the loop is behind: that is the back-pressure on
// the peer's stream.
func (r *Runner) Receive(from admission.Key, data []byte) error {
	f, b, err := decodeFrame(data)
	if err != nil {
		return err
	}
	ev := frameEvent{from: from, session: f.Session, seq: f.Seq, have: f.Have, messages: make([]jobMessage, 0, len(b.Items)+len(b.Notes))}
	proofs, err := b.proofs(r.cfg.Network, from, r.roots)
	if err != nil {
		return err
	}
	// Offers first: statements in the same frame may be about them.
	for i := range b.Notes {
		if n := &b.Notes[i]; n.Note == consensus.NoteOffer {
			if n.Payload == nil || n.Payload.Offer == nil {
				return errFrame
			}
			r.offered(from, n)
		}
	}
	for i, it := range b.Items {
		r.receiveOne(&ev, stashed{from: from, incarnation: b.Incarnation, item: it, proof: proofs[i]}, uint64(i))
	}
	for i := range b.Notes {
		if n := &b.Notes[i]; n.Note != consensus.NoteOffer {
			r.receiveOne(&ev, stashed{from: from, incarnation: b.Incarnation, note: n}, uint64(len(b.Items)+i))
		}
	}
	select {
	case r.frames <- ev:
	case <-r.ended:
	}
	return nil
}

// offered hands over a charter. A submitter that offers what is open has not
// heard, or has forgotten, what became of it.
func (r *Runner) offered(from admission.Key, n *note) {
	if info, ok := r.info(n.Job); ok && info.charter.Submitter == from {
		r.answer(event{job: n.Job, again: true})
		return
	}
	r.cfg.Host.Offered(from, *n.Payload.Offer, nil, nil)
}

// receiveOne sorts one message: to a watcher, to the loop, or among the
// unknown. What is invalid is dropped, and counts as taken: sending it again
// would not make it better. What comes while its sender is muted does not.
func (r *Runner) receiveOne(ev *frameEvent, s stashed, position uint64) {
	if !r.hears(s) {
		ev.unheard = append(ev.unheard, position)
		return
	}
	if w, ok := r.watcher(s.job()); ok {
		r.tellWatcher(w, s)
	}
	info, ok := r.info(s.job())
	if !ok || info.isAhead(s) {
		if ok || r.expects(s) {
			ev.unknown = append(ev.unknown, s.kept())
			ev.missed = append(ev.missed, position)
		}
		return
	}
	in, err := r.believe(info, s)
	if err != nil {
		return
	}
	if p := s.item.Payload; s.item.Kind == consensus.KindReport && len(p.Blocks) > 0 {
		r.cfg.Host.Blocks(s.item.Job, p.Blocks)
	}
	ev.messages = append(ev.messages, jobMessage{s.job(), in})
}

// expects reports whether a message for a job that is not open is worth
// keeping, and answers it at once when the job has ended or a witness offers it.
func (r *Runner) expects(s stashed) bool {
	if s.note != nil && s.note.Note == consensus.NoteDecided && s.note.Payload == nil {
		return false // most of these come when the job has ended here, too
	}
	if ended, ok := r.cfg.Host.Closed(s.job()); ok {
		if s.note == nil || s.note.Note == consensus.NoteAsk {
			r.Conclude(s.from, s.job(), ended)
		}
		return false
	}
	if s.note != nil && s.note.Note == consensus.NoteAccepts && s.note.Payload != nil && s.note.Payload.Offer != nil {
		r.cfg.Host.Offered(s.from, *s.note.Payload.Offer, s.note.Payload.Accepts, s.note.Payload.Chain)
	}
	return s.note == nil || s.note.Note != consensus.NoteAsk && s.note.Note != consensus.NoteAlive
}

// Conclude tells a peer how a job ended that is closed here: once in a back-off, however
// often it asks (protocol, section 16).
func (r *Runner) Conclude(to admission.Key, job consensus.JobID, ended consensus.Conclusion) {
	now := r.cfg.Clock()
	if r.told.within(to, job, now, r.cfg.Policy.Resend) {
		return
	}
	r.told.note(to, job, now)
	r.answer(event{speak: &Speech{To: to, Job: job, Note: consensus.NoteDecided, Payload: &consensus.Payload{Chain: ended.Chain, Decision: &ended.Outcome}}})
}

func (r *Runner) tellWatcher(w watcher, s stashed) {
	if s.note != nil {
		switch p := s.note.Payload; {
		case p == nil:
		case s.note.Note == consensus.NoteDecided && p.Decision != nil:
			ended := consensus.Conclusion{Chain: p.Chain, Outcome: *p.Decision}
			_, err := ended.Check(w.info.heights[0], r.checker.Proof)
			if r.accuse(s, proved(err)); err == nil {
				w.heard(Heard{From: s.from, Ended: &ended})
			}
		case s.note.Note == consensus.NoteAccepts && len(p.Accepts) <= len(w.info.charter.Roster):
			for _, v := range p.Accepts {
				err := r.checker.checkAccept(w.info, s.job(), v)
				if r.accuse(s, err); err == nil {
					seat := w.info.charter.Roster[v.Seat]
					w.heard(Heard{From: seat.Peer, Kind: consensus.KindAccept, Seat: int(v.Seat), Proof: v.Proof})
				}
			}
		}
		return
	}
	seat, ok := w.info.parties[s.from]
	if !ok || !isPlain(s.item) || seat >= len(w.info.charter.Roster) || s.item.Height > 0 || w.info.charter.Roster[seat].Incarnation != s.incarnation && s.item.Kind != consensus.KindRefuse {
		return
	}
	h := Heard{From: s.from, Kind: s.item.Kind, Seat: seat, Proof: s.proof}
	if p := s.item.Payload; p != nil && consensus.Hash(sha256.Sum256([]byte(p.Reason))) == s.item.Value {
		h.Reason = p.Reason
	}
	w.heard(h)
}

// answer says something from a reader's goroutine.
func (r *Runner) answer(ev event) {
	select {
	case r.inbox <- ev:
	case <-r.ended:
	}
}
