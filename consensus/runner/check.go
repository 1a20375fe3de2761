package runner

import (
	"errors"
	"fmt"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
)

// checker decides what a machine may believe of what peers say. It is pure:
// Verifier says whether a signature holds.
type checker struct {
	network admission.Network
	Verifier
}

// Verifier verifies signatures.
type Verifier struct {
	Proof  func(consensus.Proof, consensus.Statement) error                  // that a statement was signed
	Cancel func(consensus.Cancel, consensus.JobID, *consensus.Charter) error // that owner or authority signed it
}

// Claim is one message as a peer brings it. Kind is 0 for a note, which nobody
// signs.
type Claim struct {
	From        admission.Key
	Incarnation admission.Incarnation
	Kind        consensus.Kind
	Note        consensus.Note
	Job         consensus.JobID
	Height      uint64
	Previous    consensus.Hash // above height 0
	Round       uint32
	Value       consensus.Hash
	Payload     *consensus.Payload
	Proof       consensus.Proof
}

// Judge checks claims about one job by the rules by which a Runner checks
// frames, with a verifier of its user's: a simulator's. It is pure.
type Judge struct {
	checker checker
	info    *charterInfo
}

// NewJudge returns a judge of a valid charter's job.
func NewJudge(network admission.Network, job consensus.JobID, charter *consensus.Charter, verifier Verifier) *Judge {
	return &Judge{checker{network, verifier}, newCharterInfo(network, job, charter)}
}

// Reach tells the judge that the job's members were replaced: it knows the
// statements of this height from now on, too.
func (j *Judge) Reach(h consensus.Height) { j.info = j.info.reach(h) }

// Check returns what a claim is to a machine, or an error where it is not what
// a member may say, or where anything in it does not prove itself.
func (j *Judge) Check(claim Claim) (bft.Input, error) {
	s := stashed{from: claim.From, incarnation: claim.Incarnation, proof: claim.Proof}
	if claim.Kind == 0 {
		s.note = &note{Note: claim.Note, Job: claim.Job, Payload: claim.Payload}
		return j.checker.check(j.info, s)
	}
	s.item = item{Kind: claim.Kind, Job: claim.Job, Height: claim.Height, Round: claim.Round, Value: claim.Value, Payload: claim.Payload}
	if claim.Height > 0 {
		previous := claim.Previous
		s.item.Previous = &previous
	}
	if !j.info.reached(s.item) {
		return nil, errAhead
	}
	if err := j.checker.Proof(claim.Proof, s.item.statement(j.checker.network, claim.From, claim.Incarnation)); err != nil {
		return nil, err
	}
	return j.checker.check(j.info, s)
}

// maxReason bounds the reason of a refusal that is kept, in bytes.
const maxReason = 512

// errAhead is returned for a statement of a height that was not reached here.
var errAhead = errors.New("of a height that is not known here yet")

// check verifies that the sender may say this, and everything that rides along.
// A statement is of a height that was reached.
func (c *checker) check(info *charterInfo, s stashed) (bft.Input, error) {
	party, ok := info.parties[s.from]
	if !ok {
		party = -1 // anybody may relay what proves itself
	}
	present := ok && info.charter.Party(party).Incarnation == s.incarnation
	if s.note != nil {
		if !present {
			party = -1
		}
		return c.checkNote(info, party, *s.note)
	}
	it := s.item
	switch {
	case !isPlain(it):
		return nil, errForeign
	case it.Kind == consensus.KindVoid && it.Height == 0:
		if s.from != info.charter.Submitter {
			return nil, errForeign
		}
		return bft.SubmitterVoid{Void: consensus.Void{Incarnation: s.incarnation, Proof: s.proof}}, nil
	case it.Kind == consensus.KindGone && it.Height == 0:
		if !ok || present {
			return nil, errForeign
		}
		return bft.Message{From: party, Kind: it.Kind}, checkName(info.charter.Party(party), it.Value)
	case !present:
		return nil, errForeign
	}
	if err := checkStanding(info, party, it); err != nil {
		return nil, err
	}
	in := bft.Message{From: party, Kind: it.Kind, Height: it.Height, Round: it.Round, Value: it.Value, Proof: s.proof, Payload: it.Payload}
	if it.Payload == nil {
		if it.Kind == consensus.KindReport || it.Kind == consensus.KindPropose {
			return in, errors.New("a report or proposal without its payload")
		}
		return in, nil
	}
	switch it.Kind {
	case consensus.KindReport, consensus.KindPropose, consensus.KindRoundChange:
		return in, c.checkPayload(info, it)
	case consensus.KindRefuse:
		in.Payload = &consensus.Payload{Reason: it.Payload.Reason[:min(len(it.Payload.Reason), maxReason)]}
	default:
		in.Payload = nil // these kinds have none
	}
	return in, nil
}

// checkStanding wants a member of the height from whoever speaks at one, a
// reserve from whoever accepts a seat at the next, and height 0 for all that
// belongs to the job. A first accept is a member's of the charter's roster.
func checkStanding(info *charterInfo, party int, it item) error {
	reserve := party >= len(info.charter.Roster)
	switch {
	case (it.Kind == consensus.KindGrant || it.Kind == consensus.KindEnded) && (info.charter.Effects == "" || it.Round == 0):
		return errForeign // nothing is granted where nothing acts, and runs are numbered from 1
	case (it.Kind == consensus.KindEndorse || it.Kind == consensus.KindReject) && info.charter.Assurance != consensus.Endorsed:
		return errForeign // nobody was asked
	case it.Kind.Slot() || it.Kind == consensus.KindSuspect || it.Kind == consensus.KindGrant:
		at := info.heights[it.Height]
		if at.SeatOf(party) < 0 || it.previous() != at.Previous {
			return errForeign
		}
	case it.Kind == consensus.KindAccept && it.Height > 0:
		if !reserve || it.previous() != info.heights[it.Height-1].Previous {
			return errForeign
		}
	case it.Height > 0 || it.Kind == consensus.KindAccept && reserve:
		return errForeign
	}
	return nil
}

// isPlain reports whether a statement has the round and the value that every one
// of its kind has. Accepts, reports and a void are shown to others by their
// proofs alone: with a round of its own one would hold here and nowhere else, and
// who shows it would be taken for a forger.
func isPlain(it item) bool {
	switch it.Kind {
	case consensus.KindAccept, consensus.KindStarted, consensus.KindVoid, consensus.KindVoided:
		return it.Round == 0 && it.Value.Zero()
	case consensus.KindRefuse, consensus.KindReportCommit, consensus.KindReport, consensus.KindSuspect, consensus.KindGone,
		consensus.KindEndorse, consensus.KindReject:
		return it.Round == 0
	case consensus.KindEnded:
		return it.Value.Zero()
	}
	return true
}

// checkName verifies that a hash names a seat's holder.
func checkName(seat consensus.Seat, name consensus.Hash) error {
	if want, err := seat.Hash(); err != nil || want != name {
		return errForeign
	}
	return nil
}

func (c *checker) checkPayload(info *charterInfo, it item) error {
	p := it.Payload
	if it.Kind == consensus.KindReport {
		if p.Report == nil {
			return errors.New("a report without its payload")
		}
		return c.checkReport(*p.Report, it.Value)
	}
	at := info.heights[it.Height]
	switch it.Kind {
	case consensus.KindPropose:
		if p.Value == nil {
			return errors.New("a proposal without its value")
		}
		if err := c.checkValue(at, *p.Value, it.Value); err != nil {
			return err
		}
		if p.Set != nil {
			if p.Set.Value != it.Value {
				return errors.New("a proposal whose certificate is for another value")
			}
			if err := p.Set.Check(at, consensus.KindPrepare, c.Proof); err != nil {
				return proved(err)
			}
		}
		return c.checkEvidence(info, it.Job, p)
	case consensus.KindRoundChange:
		if p.Set == nil {
			return nil
		}
		want, err := consensus.HighestHash(p.Set.Round, p.Set.Value)
		if err != nil || want != it.Value {
			return errors.New("a round change that shows another certificate than it signs")
		}
		return c.checkHighest(at, p)
	}
	return nil
}

// checkNote checks what nobody signed. From is the party that brings it, or -1.
func (c *checker) checkNote(info *charterInfo, from int, n note) (bft.Message, error) {
	in := bft.Message{From: from, Note: n.Note, Payload: n.Payload}
	p := n.Payload
	switch n.Note {
	case consensus.NoteAsk, consensus.NoteAlive, consensus.NoteRunning:
		if from < 0 || n.Note == consensus.NoteRunning && (p == nil || p.Beat == nil) {
			return in, errForeign
		}
		return in, nil
	case consensus.NoteDecided:
		if p == nil && from >= 0 {
			return in, nil // it has decided, and needs nothing
		}
	}
	if p == nil {
		return in, errFrame
	}
	first := info.heights[0]
	switch n.Note {
	case consensus.NoteAccepts:
		if len(p.Accepts) > len(info.charter.Roster) {
			return in, errFrame
		}
		for _, v := range p.Accepts {
			if err := c.checkAccept(info, n.Job, v); err != nil {
				return in, err
			}
		}
		_, err := first.Climb(p.Chain, c.Proof)
		return in, proved(err)
	case consensus.NoteHandover:
		_, err := first.Climb(p.Chain, c.Proof)
		return in, proved(err)
	case consensus.NoteEvidence:
		return in, c.checkEvidence(info, n.Job, p)
	case consensus.NoteHighest:
		if p.Set == nil {
			return in, errFrame
		}
		if p.Height >= uint64(len(info.heights)) {
			return in, errAhead
		}
		return in, c.checkHighest(info.heights[p.Height], p)
	case consensus.NoteDecided:
		if p.Decision == nil {
			return in, errFrame
		}
		_, err := consensus.Conclusion{Chain: p.Chain, Outcome: *p.Decision}.Check(first, c.Proof)
		return in, proved(err)
	}
	return in, fmt.Errorf("note %d: %w", n.Note, consensus.ErrUnsupported)
}

func (c *checker) checkAccept(info *charterInfo, job consensus.JobID, v consensus.Vote) error {
	if v.Seat >= uint64(len(info.charter.Roster)) {
		return errForeign
	}
	return proved(c.Proof(v.Proof, info.heights[0].Statement(consensus.KindAccept, int(v.Seat), 0, consensus.Hash{})))
}

func (c *checker) checkReport(report consensus.Report, hash consensus.Hash) error {
	if err := report.Validate(); err != nil {
		return err
	}
	want, err := report.Hash(c.network)
	if err != nil {
		return err
	}
	if want != hash {
		return errors.New("a report that is not the one signed")
	}
	return nil
}

// checkValue verifies that a hash is a value's, and that the height can decide it.
func (c *checker) checkValue(at consensus.Height, v consensus.Value, hash consensus.Hash) error {
	if err := v.Validate(); err != nil {
		return err
	}
	want, err := v.Hash(c.network)
	if err != nil {
		return err
	}
	if want != hash {
		return errors.New("a value that does not have the hash voted for")
	}
	if !v.Fits(at.Charter) {
		return fmt.Errorf("%s, as no job of this assurance ends", v)
	}
	if v.Kind == consensus.Handover {
		_, err = at.Next(v)
	}
	return err
}

func (c *checker) checkEvidence(info *charterInfo, job consensus.JobID, p *consensus.Payload) error {
	if len(p.Reports) > 2*info.charter.Parties() {
		return errFrame
	}
	if err := c.checkVerdicts(info, job, p.Verdicts); err != nil {
		return err
	}
	for _, signed := range p.Reports {
		if signed.Seat >= uint64(info.charter.Parties()) {
			return errForeign
		}
		if err := signed.Report.Validate(); err != nil {
			return err
		}
		hash, err := signed.Report.Hash(c.network)
		if err != nil {
			return err
		}
		seat := info.charter.Party(int(signed.Seat))
		err = c.Proof(signed.Proof, consensus.Statement{Kind: consensus.KindReport, Network: c.network, Job: job,
			Previous: consensus.Hash(job), Sender: seat.Peer, Incarnation: seat.Incarnation, Value: hash})
		if err != nil {
			return proved(err)
		}
	}
	if p.Cancel != nil {
		if err := c.Cancel(*p.Cancel, job, info.charter); err != nil {
			return proved(err)
		}
	}
	if p.Void != nil {
		return proved(c.Proof(p.Void.Proof, p.Void.Statement(c.network, job, info.charter)))
	}
	return nil
}

// checkVerdicts checks those that ride along: at most f+1 on one report of each
// member.
func (c *checker) checkVerdicts(info *charterInfo, job consensus.JobID, verdicts []consensus.SignedVerdict) error {
	t := info.charter.Thresholds()
	if len(verdicts) > t.N*t.Suspicion || len(verdicts) > 0 && info.charter.Assurance != consensus.Endorsed {
		return errFrame
	}
	for _, v := range verdicts {
		if v.Seat >= uint64(info.charter.Parties()) {
			return errForeign
		}
		if err := c.Proof(v.Proof, v.Statement(c.network, job, info.charter.Party(int(v.Seat)))); err != nil {
			return proved(err)
		}
	}
	return nil
}

func (c *checker) checkHighest(at consensus.Height, p *consensus.Payload) error {
	if p.Value == nil {
		return errors.New("a certificate without its value")
	}
	if err := c.checkValue(at, *p.Value, p.Set.Value); err != nil {
		return err
	}
	return proved(p.Set.Check(at, consensus.KindPrepare, c.Proof))
}
