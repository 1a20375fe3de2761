package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// Bounds of encoded evidence, in bytes. That of a disagreement holds a
// certificate.
const (
	MaxEquivocation = 4 << 10
	MaxEvidence     = MaxCertificate + 8<<10
)

// Misconduct is what evidence shows.
type Misconduct uint64

// The kinds of misconduct. Who equivocates lies: no fault of a machine makes an
// incarnation sign two things in one slot, so the peer is not drawn again
// (protocol, section 6). Who disagrees may have a broken machine.
const (
	Equivocated Misconduct = 1
	Disagreed   Misconduct = 2
)

// String names the misconduct.
func (m Misconduct) String() string {
	switch m {
	case Equivocated:
		return "equivocation"
	case Disagreed:
		return "disagreement"
	}
	return fmt.Sprintf("misconduct(%d)", uint64(m))
}

// Evidence shows that a node of a network did what no node that follows the
// protocol does (decision 009). It holds exactly one of Equivocation and Disagreement, and
// convinces anybody who has the genesis: see Verify.
type Evidence struct {
	V            uint64                     `cbor:"v"`
	Credential   admission.SignedCredential `cbor:"credential"` // of the accused
	Equivocation *Equivocation              `cbor:"equivocation,omitempty"`
	Disagreement *Disagreement              `cbor:"disagreement,omitempty"`
}

// Equivocation is two statements that the accused signed in one slot: they
// share all that stands here, and differ in what stands in the halves.
type Equivocation struct {
	_           struct{} `cbor:",toarray"`
	Kind        Kind     // of a slot
	Job         JobID
	Height      uint64
	Round       uint32
	Incarnation admission.Incarnation
	First       Half // the lower of both by its bytes, so that two have one form
	Second      Half
}

// Half is where one statement of an equivocation differs from the other.
type Half struct {
	_        struct{} `cbor:",toarray"`
	Previous Hash
	Value    Hash
	Proof    Proof
}

// Disagreement is an executor's signed report of a deterministic end that is
// not the one certified.
type Disagreement struct {
	_           struct{} `cbor:",toarray"`
	Certificate []byte
	Height      uint64 // of the report's statement
	Previous    Hash   // likewise
	Incarnation admission.Incarnation
	Report      Report
	Proof       Proof
}

// Finding is what evidence that verified shows.
type Finding struct {
	Misconduct  Misconduct
	Network     admission.Network
	Peer        admission.Key
	Incarnation admission.Incarnation
	Job         JobID

	Kind          Kind // of an equivocation
	Height        uint64
	Round         uint32
	First, Second Hash // what was signed

	Reported, Certified Value // of a disagreement
}

// NewEquivocation makes evidence of two statements by the credential's subject.
// They must differ and be of one slot; their proofs are not verified.
func NewEquivocation(credential admission.SignedCredential, first, second Signed) (*Evidence, error) {
	a, b := first.Statement, second.Statement
	e := &Equivocation{Kind: a.Kind, Job: a.Job, Height: a.Height, Round: a.Round, Incarnation: a.Incarnation,
		First: Half{Previous: a.Previous, Value: a.Value, Proof: first.Proof}, Second: Half{Previous: b.Previous, Value: b.Value, Proof: second.Proof}}
	same := a
	same.Previous, same.Value = b.Previous, b.Value
	if same != b || a.Sender != credential.Body.Subject {
		return nil, errors.New("evidence: the statements are not of one sender and slot")
	}
	if e.First.compare(e.Second) > 0 {
		e.First, e.Second = e.Second, e.First
	}
	return &Evidence{V: Version, Credential: credential, Equivocation: e}, e.validate()
}

// NewDisagreement makes evidence of a report by the credential's subject, whose
// statement is given but for its value, against an encoded certificate. Neither
// is verified.
func NewDisagreement(credential admission.SignedCredential, certificate []byte, s Statement, report Report, proof Proof) *Evidence {
	return &Evidence{V: Version, Credential: credential, Disagreement: &Disagreement{Certificate: certificate,
		Height: s.Height, Previous: s.Previous, Incarnation: s.Incarnation, Report: report, Proof: proof}}
}

// OpenEvidence decodes evidence. It checks form only: see Verify.
func OpenEvidence(data []byte) (*Evidence, error) {
	if len(data) > MaxEvidence {
		return nil, fmt.Errorf("evidence: %d bytes, at most %d", len(data), MaxEvidence)
	}
	e := new(Evidence)
	if err := dagcbor.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	switch {
	case e.V != Version:
		return nil, fmt.Errorf("evidence: version %d: %w", e.V, ErrUnsupported)
	case (e.Equivocation == nil) == (e.Disagreement == nil):
		return nil, errors.New("evidence: of one misconduct, and of one only")
	case e.Equivocation != nil && len(data) > MaxEquivocation:
		return nil, fmt.Errorf("evidence: %d bytes, at most %d", len(data), MaxEquivocation)
	}
	return e, nil
}

// EvidenceID is the CID of encoded evidence: by what people name it.
func EvidenceID(data []byte) cid.Cid { return dagcbor.CID(data) }

// Encode returns the evidence's bytes.
func (e *Evidence) Encode() ([]byte, error) { return dagcbor.Marshal(e) }

// Verify checks, given only the bytes of a genesis, that the accused is a node
// of its network and did what the evidence says: no network, no clock, no state.
// Neither the charter nor the time matters to an equivocation: a node signs one
// statement in a slot, whatever the job.
func (e *Evidence) Verify(genesis []byte) (Finding, error) {
	g, network, err := admission.OpenGenesis(genesis)
	if err != nil {
		return Finding{}, err
	}
	if e.V != Version || (e.Equivocation == nil) == (e.Disagreement == nil) {
		return Finding{}, errors.New("evidence: of one misconduct, and of one only")
	}
	if err := e.Credential.Check(g, network); err != nil {
		return Finding{}, fmt.Errorf("evidence: %w", err)
	}
	if e.Credential.Body.Kind != admission.KindNode {
		return Finding{}, errors.New("evidence: the accused is no node")
	}
	f := Finding{Network: network, Peer: e.Credential.Body.Subject}
	if e.Equivocation != nil {
		err = e.Equivocation.verify(&f)
	} else {
		err = e.Disagreement.verify(&f, genesis)
	}
	return f, err
}

// compare orders halves by the leaves that they stand for.
func (h Half) compare(o Half) int {
	if c := bytes.Compare(h.Previous[:], o.Previous[:]); c != 0 {
		return c
	}
	return bytes.Compare(h.Value[:], o.Value[:])
}

func (e *Equivocation) validate() error {
	if !e.Kind.Slot() {
		return fmt.Errorf("evidence: a sender may say %s twice", e.Kind)
	}
	if e.First.compare(e.Second) >= 0 {
		return errors.New("evidence: its statements are not two in order")
	}
	return nil
}

func (e *Equivocation) verify(f *Finding) error {
	if err := e.validate(); err != nil {
		return err
	}
	for _, half := range []Half{e.First, e.Second} {
		s := Statement{Kind: e.Kind, Network: f.Network, Job: e.Job, Height: e.Height, Previous: half.Previous, Round: e.Round,
			Sender: f.Peer, Incarnation: e.Incarnation, Value: half.Value}
		if err := half.Proof.Check(s); err != nil {
			return fmt.Errorf("evidence: %w", err)
		}
	}
	f.Misconduct, f.Incarnation, f.Job = Equivocated, e.Incarnation, e.Job
	f.Kind, f.Height, f.Round, f.First, f.Second = e.Kind, e.Height, e.Round, e.First.Value, e.Second.Value
	return nil
}

func (d *Disagreement) verify(f *Finding, genesis []byte) error {
	certificate, err := OpenCertificate(d.Certificate)
	if err != nil {
		return err
	}
	verdict, err := certificate.Verify(genesis)
	if err != nil {
		return err
	}
	if !slices.Contains(slices.Concat(verdict.Charter.Roster, verdict.Charter.Reserves), Seat{Peer: f.Peer, Incarnation: d.Incarnation}) {
		return errors.New("evidence: the accused had no part in the job")
	}
	if a := verdict.Charter.Assurance; a != Replicated {
		return fmt.Errorf("evidence: under assurance %s runs may differ", a)
	}
	if err := d.Report.Validate(); err != nil {
		return err
	}
	if !d.Report.Value.Contradicts(verdict.Value) {
		return fmt.Errorf("evidence: %s does not contradict %s", d.Report.Value, verdict.Value)
	}
	hash, err := d.Report.Hash(f.Network)
	if err != nil {
		return err
	}
	s := Statement{Kind: KindReport, Network: f.Network, Job: verdict.Job, Height: d.Height, Previous: d.Previous,
		Sender: f.Peer, Incarnation: d.Incarnation, Value: hash}
	if err := d.Proof.Check(s); err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	f.Misconduct, f.Incarnation, f.Job, f.Height = Disagreed, d.Incarnation, verdict.Job, d.Height
	f.Reported, f.Certified = d.Report.Value, verdict.Value
	return nil
}
