package consensus

import (
	"errors"
	"fmt"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// Note is a kind of message that is not itself signed: what it carries proves
// itself, or is only a hint.
type Note uint64

// The notes. Offer brings a charter and small blocks; Accepts shows accepts
// that the sender holds (the witness of protocol section 4 sends Offer and
// Accepts); Running is a beat; Evidence relays reports and cancellations;
// Highest a prepare certificate learnt; Decided an outcome; Ask wants to be
// sent again all that matters for a job, after a restart; Alive says nothing but
// that its sender is there; Handover shows the handovers decided so far.
const (
	NoteOffer    Note = 1
	NoteAccepts  Note = 2
	NoteRunning  Note = 3
	NoteEvidence Note = 4
	NoteHighest  Note = 5
	NoteDecided  Note = 6
	NoteAsk      Note = 7
	NoteAlive    Note = 8
	NoteHandover Note = 9
)

// Beat says where an executor's run stands.
type Beat struct {
	_       struct{} `cbor:",toarray"`
	Run     uint64
	Running bool   // false: queued
	Done    uint64 // of an array: tasks that have ended
}

// SignedReport is a report with the proof of its statement, as a third party
// is shown it.
type SignedReport struct {
	_      struct{} `cbor:",toarray"`
	Seat   uint64   // the executor's party, which is its seat while nobody was replaced
	Report Report
	Proof  Proof
}

// SignedVerdict is what a member found by the job's check of a value that another
// reported, with the proof of its statement, as a third party is shown it.
type SignedVerdict struct {
	_        struct{} `cbor:",toarray"`
	Seat     uint64   // the member's party
	Value    Hash
	Endorses bool
	Proof    Proof
}

// Statement is what a party of a job signed.
func (v SignedVerdict) Statement(network admission.Network, job JobID, party Seat) Statement {
	kind := KindReject
	if v.Endorses {
		kind = KindEndorse
	}
	return Statement{Kind: kind, Network: network, Job: job, Previous: Hash(job), Sender: party.Peer, Incarnation: party.Incarnation, Value: v.Value}
}

// Cancel is the wish of the owner or of an authority that a job end.
type Cancel struct {
	_         struct{} `cbor:",toarray"`
	Job       JobID
	By        admission.Key
	Signature admission.Signature
}

// SignCancel signs the wish that job end.
func SignCancel(network admission.Network, job JobID, signer admission.Signer) (Cancel, error) {
	c := Cancel{Job: job, By: signer.Key()}
	data, err := c.bytes(network)
	if err != nil {
		return Cancel{}, err
	}
	c.Signature = signer.Sign(data)
	return c, nil
}

func (c Cancel) bytes(network admission.Network) ([]byte, error) {
	return dagcbor.Seal(TagCancel, network[:], struct {
		_   struct{} `cbor:",toarray"`
		Job JobID
		By  admission.Key
	}{Job: c.Job, By: c.By})
}

// Check verifies that c cancels this job: signed by its owner or an authority.
func (c Cancel) Check(g admission.Genesis, network admission.Network, job JobID, charter *Charter) error {
	if c.Job != job {
		return errors.New("cancel: of another job")
	}
	if c.By != charter.Owner && !g.Authority(c.By) {
		return errors.New("cancel: neither by the owner nor by an authority")
	}
	data, err := c.bytes(network)
	if err != nil {
		return err
	}
	if !c.By.Verify(data, c.Signature) {
		return fmt.Errorf("cancel: %w", admission.ErrSignature)
	}
	return nil
}

// Void is a submitter's withdrawal of a job, as a third party is shown it: its
// signed KindVoid, with what the job's charter does not say of it.
type Void struct {
	_           struct{}              `cbor:",toarray"`
	Incarnation admission.Incarnation // of the submitter, when it signed
	Proof       Proof
}

// Statement is what the submitter of a job signed.
func (v Void) Statement(network admission.Network, job JobID, charter *Charter) Statement {
	return Statement{Kind: KindVoid, Network: network, Job: job, Previous: Hash(job), Sender: charter.Submitter, Incarnation: v.Incarnation}
}

// Block is one content-addressed block that rides along with a message.
type Block struct {
	_    struct{} `cbor:",toarray"`
	Link dagcbor.Link
	Data []byte
}

// Offer brings a job to a member: the submitter's, or one relayed by a witness.
type Offer struct {
	_           struct{} `cbor:",toarray"`
	Charter     SignedCharter
	Credentials []admission.SignedCredential // of submitter and owner
	Blocks      []Block                      // at most MaxInline bytes in all
}

// CheckSize refuses an offer that is larger than one may be.
func (o Offer) CheckSize() error {
	if len(o.Charter.Bytes) > MaxCharter {
		return fmt.Errorf("offer: a charter of %d bytes, at most %d", len(o.Charter.Bytes), MaxCharter)
	}
	if len(o.Credentials) > 2 {
		return fmt.Errorf("offer: %d credentials, at most 2", len(o.Credentials))
	}
	if len(o.Blocks) > maxOfferBlocks {
		return fmt.Errorf("offer: %d blocks, at most %d", len(o.Blocks), maxOfferBlocks)
	}
	inline := 0
	for _, b := range o.Blocks {
		inline += len(b.Data)
	}
	if inline > MaxInline {
		return fmt.Errorf("offer: %d bytes of blocks, at most %d", inline, MaxInline)
	}
	return nil
}

// Known returns a look-up of the credentials that come with a job: those of its
// roll, and those of the offer for keys that the roll does not list.
func (o Offer) Known(roll *Roll) func(admission.Key) (admission.SignedCredential, bool) {
	return func(key admission.Key) (admission.SignedCredential, bool) {
		for i := range roll.Entries {
			if roll.Entries[i].Peer == key {
				return roll.Entries[i].Credential, true
			}
		}
		for _, c := range o.Credentials {
			if c.Body.Subject == key {
				return c, true
			}
		}
		return admission.SignedCredential{}, false
	}
}

// MaxInline bounds the blocks that ride along with one message, in bytes.
const MaxInline = 64 << 10

// maxOfferBlocks bounds the blocks of an offer: spec, task, roll, and what else of
// a job is small.
const maxOfferBlocks = 64

// Payload is what travels beside a statement or a note. Which fields a message
// may have follows from its kind.
type Payload struct {
	Accepts  []Vote          `cbor:"accepts,omitempty"`  // NoteAccepts: proofs of KindAccept
	Beat     *Beat           `cbor:"beat,omitempty"`     // NoteRunning
	Blocks   []Block         `cbor:"blocks,omitempty"`   // Report: its small tree, at most MaxInline bytes
	Cancel   *Cancel         `cbor:"cancel,omitempty"`   // Propose, NoteEvidence
	Chain    []Decision      `cbor:"chain,omitempty"`    // NoteHandover; NoteAccepts and NoteDecided: the handovers before
	Decision *Decision       `cbor:"decision,omitempty"` // NoteDecided
	Height   uint64          `cbor:"height,omitempty"`   // NoteHighest: of Set
	Offer    *Offer          `cbor:"offer,omitempty"`    // NoteOffer; NoteAccepts of a witness
	Reason   string          `cbor:"reason,omitempty"`   // Refuse: code and words
	Report   *Report         `cbor:"report,omitempty"`   // Report
	Reports  []SignedReport  `cbor:"reports,omitempty"`  // Propose, NoteEvidence
	Set      *VoteSet        `cbor:"set,omitempty"`      // Propose, RoundChange, NoteHighest: a prepare certificate
	Value    *Value          `cbor:"value,omitempty"`    // Propose; of Set in RoundChange and NoteHighest
	Verdicts []SignedVerdict `cbor:"verdicts,omitempty"` // Propose, NoteEvidence: on values in Reports
	Void     *Void           `cbor:"void,omitempty"`     // Propose
}
