package runner

import (
	"crypto/sha256"
	"errors"
	"fmt"

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
	missed   []uint64
	unknown  []stashed
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
	ev := frameEvent{from: from, session: f.Session, seq: f.Seq, have: f.Have}
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
	r.cfg.Host.Offered(from, *n.Payload.Offer, nil)
}

// receiveOne sorts one message: to a watcher, to the loop, or among the
// unknown. What is invalid is dropped, and counts as taken: sending it again
// would not make it better.
func (r *Runner) receiveOne(ev *frameEvent, s stashed, position uint64) {
	if w, ok := r.watcher(s.job()); ok {
		r.tellWatcher(w, s)
	}
	info, ok := r.info(s.job())
	if !ok {
		if r.expects(s) {
			ev.unknown = append(ev.unknown, s)
			ev.missed = append(ev.missed, position)
		}
		return
	}
	in, err := r.check(info, s)
	if err != nil {
		return
	}
	ev.messages = append(ev.messages, jobMessage{s.job(), in})
}

// expects reports whether a message for a job that is not open is worth
// keeping, and answers it at once when the job has ended or a witness offers it.
func (r *Runner) expects(s stashed) bool {
	if s.note != nil && s.note.Note == consensus.NoteDecided && s.note.Payload == nil {
		return false // most of these come when the job has ended here, too
	}
	if d, ok := r.cfg.Host.Closed(s.job()); ok {
		if (s.note == nil || s.note.Note == consensus.NoteAsk) && r.told.may(s.from, s.job(), r.cfg.Clock(), r.cfg.Policy.Resend) {
			r.answer(event{speak: &Speech{To: s.from, Job: s.job(), Note: consensus.NoteDecided, Payload: &consensus.Payload{Decision: &d}}})
		}
		return false
	}
	if s.note != nil && s.note.Note == consensus.NoteAccepts && s.note.Payload != nil && s.note.Payload.Offer != nil {
		r.cfg.Host.Offered(s.from, *s.note.Payload.Offer, s.note.Payload.Accepts)
	}
	return s.note == nil || s.note.Note != consensus.NoteAsk
}

func (r *Runner) tellWatcher(w watcher, s stashed) {
	if s.note != nil {
		switch p := s.note.Payload; {
		case p == nil:
		case s.note.Note == consensus.NoteDecided && p.Decision != nil:
			if r.checkDecision(w.info, s.job(), *p.Decision) == nil {
				w.heard(Heard{From: s.from, Decision: p.Decision})
			}
		case s.note.Note == consensus.NoteAccepts && len(p.Accepts) <= len(w.info.charter.Roster):
			for _, v := range p.Accepts {
				if r.checkAccept(w.info, s.job(), v) == nil {
					seat := w.info.charter.Roster[v.Seat]
					w.heard(Heard{From: seat.Peer, Kind: consensus.KindAccept, Seat: int(v.Seat), Proof: v.Proof})
				}
			}
		}
		return
	}
	seat, ok := w.info.seats[s.from]
	if !ok || w.info.charter.Roster[seat].Incarnation != s.incarnation && s.item.Kind != consensus.KindRefuse {
		return
	}
	h := Heard{From: s.from, Kind: s.item.Kind, Seat: seat, Proof: s.proof}
	if p := s.item.Payload; p != nil && consensus.Hash(sha256.Sum256([]byte(p.Reason))) == s.item.Value {
		h.Reason = p.Reason
	}
	w.heard(h)
}

// check verifies that the sender has the seat, and everything that rides along.
func (r *Runner) check(info *charterInfo, s stashed) (bft.Input, error) {
	seat, ok := info.seats[s.from]
	if !ok {
		seat = -1 // anybody may relay what proves itself
	}
	if s.note != nil {
		return r.checkNote(info, seat, *s.note)
	}
	it := s.item
	if it.Kind == consensus.KindVoid {
		if s.from != info.charter.Submitter {
			return nil, errForeign
		}
		return bft.SubmitterVoid{Void: consensus.Void{Incarnation: s.incarnation, Proof: s.proof}}, nil
	}
	if seat < 0 || info.charter.Roster[seat].Incarnation != s.incarnation {
		return nil, errForeign
	}
	in := bft.Message{From: seat, Kind: it.Kind, Round: it.Round, Value: it.Value, Proof: s.proof, Payload: it.Payload}
	if it.Payload == nil {
		if it.Kind == consensus.KindReport || it.Kind == consensus.KindPropose {
			return in, errors.New("a report or proposal without its payload")
		}
		return in, nil
	}
	switch it.Kind {
	case consensus.KindReport, consensus.KindPropose, consensus.KindRoundChange:
		return in, r.checkPayload(info, it, s.from)
	case consensus.KindRefuse:
		in.Payload = &consensus.Payload{Reason: it.Payload.Reason[:min(len(it.Payload.Reason), maxReason)]}
	default:
		in.Payload = nil // these kinds have none
	}
	return in, nil
}

// maxReason bounds the reason of a refusal that is kept, in bytes.
const maxReason = 512

// answer says something from a reader's goroutine.
func (r *Runner) answer(ev event) {
	select {
	case r.inbox <- ev:
	case <-r.ended:
	}
}

func (r *Runner) checkPayload(info *charterInfo, it item, from admission.Key) error {
	p := it.Payload
	switch it.Kind {
	case consensus.KindReport:
		if p.Report == nil {
			return errors.New("a report without its payload")
		}
		if err := r.checkReport(*p.Report, it.Value); err != nil {
			return err
		}
		if _, mine := info.seats[from]; mine && len(p.Blocks) > 0 {
			r.cfg.Host.Blocks(it.Job, p.Blocks)
		}
		return nil
	case consensus.KindPropose:
		if p.Value == nil {
			return errors.New("a proposal without its value")
		}
		if err := r.checkValue(*p.Value, it.Value); err != nil {
			return err
		}
		if p.Set != nil {
			if p.Set.Value != it.Value {
				return errors.New("a proposal whose certificate is for another value")
			}
			if err := r.checkSet(info, it.Job, *p.Set); err != nil {
				return err
			}
		}
		return r.checkEvidence(info, it.Job, p)
	case consensus.KindRoundChange:
		if p.Set == nil {
			return nil
		}
		want, err := consensus.HighestHash(p.Set.Round, p.Set.Value)
		if err != nil || want != it.Value {
			return errors.New("a round change that shows another certificate than it signs")
		}
		return r.checkHighest(info, it.Job, p)
	}
	return nil
}

func (r *Runner) checkNote(info *charterInfo, seat int, n note) (bft.Message, error) {
	in := bft.Message{From: seat, Note: n.Note, Payload: n.Payload}
	p := n.Payload
	if n.Note == consensus.NoteAsk {
		if seat < 0 {
			return in, errForeign
		}
		return in, nil
	}
	if n.Note == consensus.NoteDecided && p == nil && seat >= 0 {
		return in, nil // it has decided, and needs nothing
	}
	if p == nil {
		return in, errFrame
	}
	switch n.Note {
	case consensus.NoteRunning:
		if seat < 0 || p.Beat == nil {
			return in, errForeign
		}
		return in, nil
	case consensus.NoteAccepts:
		if len(p.Accepts) > len(info.charter.Roster) {
			return in, errFrame
		}
		for _, v := range p.Accepts {
			if err := r.checkAccept(info, n.Job, v); err != nil {
				return in, err
			}
		}
		return in, nil
	case consensus.NoteEvidence:
		return in, r.checkEvidence(info, n.Job, p)
	case consensus.NoteHighest:
		if p.Set == nil {
			return in, errFrame
		}
		return in, r.checkHighest(info, n.Job, p)
	case consensus.NoteDecided:
		if p.Decision == nil {
			return in, errFrame
		}
		return in, r.checkDecision(info, n.Job, *p.Decision)
	}
	return in, fmt.Errorf("note %d: %w", n.Note, consensus.ErrUnsupported)
}

func (r *Runner) checkAccept(info *charterInfo, job consensus.JobID, v consensus.Vote) error {
	if v.Seat >= uint64(len(info.charter.Roster)) {
		return errForeign
	}
	seat := info.charter.Roster[v.Seat]
	return r.roots.proof(v.Proof, consensus.Statement{Kind: consensus.KindAccept, Network: r.cfg.Network, Job: job,
		Previous: consensus.Hash(job), Sender: seat.Peer, Incarnation: seat.Incarnation})
}

func (r *Runner) checkReport(report consensus.Report, hash consensus.Hash) error {
	if err := report.Validate(); err != nil {
		return err
	}
	want, err := report.Hash(r.cfg.Network)
	if err != nil {
		return err
	}
	if want != hash {
		return errors.New("a report that is not the one signed")
	}
	return nil
}

func (r *Runner) checkValue(v consensus.Value, hash consensus.Hash) error {
	if err := v.Validate(); err != nil {
		return err
	}
	want, err := v.Hash(r.cfg.Network)
	if err != nil {
		return err
	}
	if want != hash {
		return errors.New("a value that does not have the hash voted for")
	}
	return nil
}

func (r *Runner) checkEvidence(info *charterInfo, job consensus.JobID, p *consensus.Payload) error {
	if len(p.Reports) > 2*len(info.charter.Roster) {
		return errFrame
	}
	for _, signed := range p.Reports {
		if signed.Seat >= uint64(len(info.charter.Roster)) {
			return errForeign
		}
		if err := signed.Report.Validate(); err != nil {
			return err
		}
		hash, err := signed.Report.Hash(r.cfg.Network)
		if err != nil {
			return err
		}
		seat := info.charter.Roster[signed.Seat]
		if err := r.roots.proof(signed.Proof, consensus.Statement{Kind: consensus.KindReport, Network: r.cfg.Network, Job: job,
			Previous: consensus.Hash(job), Sender: seat.Peer, Incarnation: seat.Incarnation, Value: hash}); err != nil {
			return err
		}
	}
	if p.Cancel != nil {
		if err := p.Cancel.Check(r.cfg.Genesis, r.cfg.Network, job, info.charter); err != nil {
			return err
		}
	}
	if p.Void != nil {
		return r.roots.proof(p.Void.Proof, p.Void.Statement(r.cfg.Network, job, info.charter))
	}
	return nil
}

func (r *Runner) checkSet(info *charterInfo, job consensus.JobID, set consensus.VoteSet) error {
	return set.CheckWith(r.cfg.Network, job, info.charter, consensus.KindPrepare, r.roots.proof)
}

func (r *Runner) checkHighest(info *charterInfo, job consensus.JobID, p *consensus.Payload) error {
	if p.Value == nil {
		return errors.New("a certificate without its value")
	}
	if err := r.checkValue(*p.Value, p.Set.Value); err != nil {
		return err
	}
	return r.checkSet(info, job, *p.Set)
}

func (r *Runner) checkDecision(info *charterInfo, job consensus.JobID, d consensus.Decision) error {
	if d.Height != 0 {
		return fmt.Errorf("decision: height %d: %w", d.Height, consensus.ErrUnsupported)
	}
	if err := r.checkValue(d.Value, d.Commits.Value); err != nil {
		return err
	}
	return d.Commits.CheckWith(r.cfg.Network, job, info.charter, consensus.KindCommit, r.roots.proof)
}
