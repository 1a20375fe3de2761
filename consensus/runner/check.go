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
func NewJudge(network admission.Network, charter *consensus.Charter, verifier Verifier) *Judge {
	return &Judge{checker{network, verifier}, newCharterInfo(charter)}
}

// Check returns what a claim is to a machine, or an error where it is not what
// a member may say, or where anything in it does not prove itself.
func (j *Judge) Check(claim Claim) (bft.Input, error) {
	s := stashed{from: claim.From, incarnation: claim.Incarnation, proof: claim.Proof}
	if claim.Kind == 0 {
		s.note = &note{Note: claim.Note, Job: claim.Job, Payload: claim.Payload}
		return j.checker.check(j.info, s)
	}
	s.item = item{Kind: claim.Kind, Job: claim.Job, Height: claim.Height, Round: claim.Round, Value: claim.Value, Payload: claim.Payload}
	if claim.Height != 0 {
		return nil, fmt.Errorf("height %d: %w", claim.Height, consensus.ErrUnsupported)
	}
	if err := j.checker.Proof(claim.Proof, s.item.statement(j.checker.network, claim.From, claim.Incarnation)); err != nil {
		return nil, err
	}
	return j.checker.check(j.info, s)
}

// maxReason bounds the reason of a refusal that is kept, in bytes.
const maxReason = 512

// check verifies that the sender has the seat, and everything that rides along.
func (c *checker) check(info *charterInfo, s stashed) (bft.Input, error) {
	seat, ok := info.seats[s.from]
	if !ok {
		seat = -1 // anybody may relay what proves itself
	}
	if s.note != nil {
		return c.checkNote(info, seat, *s.note)
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
		return in, c.checkPayload(info, it)
	case consensus.KindRefuse:
		in.Payload = &consensus.Payload{Reason: it.Payload.Reason[:min(len(it.Payload.Reason), maxReason)]}
	default:
		in.Payload = nil // these kinds have none
	}
	return in, nil
}

func (c *checker) checkPayload(info *charterInfo, it item) error {
	p := it.Payload
	switch it.Kind {
	case consensus.KindReport:
		if p.Report == nil {
			return errors.New("a report without its payload")
		}
		return c.checkReport(*p.Report, it.Value)
	case consensus.KindPropose:
		if p.Value == nil {
			return errors.New("a proposal without its value")
		}
		if err := c.checkValue(*p.Value, it.Value); err != nil {
			return err
		}
		if p.Set != nil {
			if p.Set.Value != it.Value {
				return errors.New("a proposal whose certificate is for another value")
			}
			if err := c.checkSet(info, it.Job, *p.Set); err != nil {
				return err
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
		return c.checkHighest(info, it.Job, p)
	}
	return nil
}

func (c *checker) checkNote(info *charterInfo, seat int, n note) (bft.Message, error) {
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
			if err := c.checkAccept(info, n.Job, v); err != nil {
				return in, err
			}
		}
		return in, nil
	case consensus.NoteEvidence:
		return in, c.checkEvidence(info, n.Job, p)
	case consensus.NoteHighest:
		if p.Set == nil {
			return in, errFrame
		}
		return in, c.checkHighest(info, n.Job, p)
	case consensus.NoteDecided:
		if p.Decision == nil {
			return in, errFrame
		}
		return in, c.checkDecision(info, n.Job, *p.Decision)
	}
	return in, fmt.Errorf("note %d: %w", n.Note, consensus.ErrUnsupported)
}

func (c *checker) checkAccept(info *charterInfo, job consensus.JobID, v consensus.Vote) error {
	if v.Seat >= uint64(len(info.charter.Roster)) {
		return errForeign
	}
	seat := info.charter.Roster[v.Seat]
	return proved(c.Proof(v.Proof, consensus.Statement{Kind: consensus.KindAccept, Network: c.network, Job: job,
		Previous: consensus.Hash(job), Sender: seat.Peer, Incarnation: seat.Incarnation}))
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

func (c *checker) checkValue(v consensus.Value, hash consensus.Hash) error {
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
	return nil
}

func (c *checker) checkEvidence(info *charterInfo, job consensus.JobID, p *consensus.Payload) error {
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
		hash, err := signed.Report.Hash(c.network)
		if err != nil {
			return err
		}
		seat := info.charter.Roster[signed.Seat]
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

func (c *checker) checkSet(info *charterInfo, job consensus.JobID, set consensus.VoteSet) error {
	return proved(set.Check(consensus.FirstHeight(c.network, job, info.charter), consensus.KindPrepare, c.Proof))
}

func (c *checker) checkHighest(info *charterInfo, job consensus.JobID, p *consensus.Payload) error {
	if p.Value == nil {
		return errors.New("a certificate without its value")
	}
	if err := c.checkValue(*p.Value, p.Set.Value); err != nil {
		return err
	}
	return c.checkSet(info, job, *p.Set)
}

func (c *checker) checkDecision(info *charterInfo, job consensus.JobID, d consensus.Decision) error {
	if d.Value.Kind == consensus.Handover {
		return fmt.Errorf("decision: a handover: %w", consensus.ErrUnsupported)
	}
	return proved(d.Check(consensus.FirstHeight(c.network, job, info.charter), c.Proof))
}
