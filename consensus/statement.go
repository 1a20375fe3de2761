package consensus

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// Kind is what a statement says.
type Kind uint64

// The kinds of signed statements. Propose, Prepare, Commit and RoundChange are
// slots: one for each (height, round, kind, sender, incarnation). They and
// Suspect belong to a height; an Accept above height 0 is a reserve's, which
// would take a seat at that height, and carries the decision before the height
// that is still open. A Grant belongs to a height, too; its round is the number of
// the run that it grants, and that of Ended the last run that is over. All others
// belong to the job, and carry height 0.
const (
	KindAccept       Kind = 1
	KindStarted      Kind = 2
	KindRefuse       Kind = 3
	KindVoid         Kind = 4
	KindVoided       Kind = 5
	KindReportCommit Kind = 6
	KindReport       Kind = 7
	KindPropose      Kind = 8
	KindPrepare      Kind = 9
	KindCommit       Kind = 10
	KindRoundChange  Kind = 11
	KindSuspect      Kind = 12
	KindGone         Kind = 13
	KindGrant        Kind = 14
	KindEnded        Kind = 15
	KindEndorse      Kind = 16
	KindReject       Kind = 17
)

var kindNames = [...]string{"", "accept", "started", "refuse", "void", "voided", "reportcommit", "report",
	"propose", "prepare", "commit", "roundchange", "suspect", "gone", "grant", "ended", "endorse", "reject"}

// String names the kind.
func (k Kind) String() string {
	if k >= 1 && int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint64(k))
}

// Slot reports whether a sender has one statement of this kind for each round.
func (k Kind) Slot() bool { return k >= KindPropose && k <= KindRoundChange }

// Statement is what a node signs about a job: always these nine things, so that
// no signature can be read as something else (protocol, section 6). What is
// larger than a hash travels beside it, bound by Value:
//
//	Accept, Started, Void, Voided   zero
//	Refuse                          SHA-256 of the reason
//	ReportCommit                    Report.CommitHash
//	Report                          Report.Hash
//	Propose, Prepare, Commit        Value.Hash
//	RoundChange                     HighestHash of the certificate, or zero
//	Suspect                         Seat.Hash of who was not heard
//	Gone                            Seat.Hash of the sender in an older incarnation
//	Grant                           Seat.Hash of the executor
//	Ended                           zero
//	Endorse, Reject                 Value.Hash of what the job's check found good, or not
type Statement struct {
	Kind        Kind
	Network     admission.Network
	Job         JobID
	Height      uint64
	Previous    Hash // the decision before this height; at height 0 the job id
	Round       uint32
	Sender      admission.Key
	Incarnation admission.Incarnation
	Value       Hash
}

// maxLeaf is no less than the length of a leaf, in bytes.
const maxLeaf = 256

// Leaf returns the bytes that go into a batch: canonical dag-cbor of the tag
// "muster/<kind>/1" and the fields in order.
func (s Statement) Leaf() ([]byte, error) {
	return s.appendLeaf(make([]byte, 0, maxLeaf))
}

// LeafHash returns the hash of the statement's leaf, with which it stands in a
// batch.
func (s Statement) LeafHash() (Hash, error) {
	var buf [1 + maxLeaf]byte // with the 0x00 in front
	leaf, err := s.appendLeaf(buf[:1])
	return sha256.Sum256(leaf), err
}

func (s Statement) appendLeaf(out []byte) ([]byte, error) {
	if s.Kind < KindAccept || s.Kind > KindReject {
		return nil, fmt.Errorf("statement: kind %d is not known", s.Kind)
	}
	// Nine things of fixed form, written by hand: this is done several times
	// for every statement sent and received. A test holds it against the codec.
	tag := "muster/" + s.Kind.String() + "/1"
	out = append(out, majorArray|9, majorText|byte(len(tag)))
	out = append(out, tag...)
	out = appendBytes(out, s.Network[:])
	out = appendBytes(out, s.Job[:])
	out = appendUint(out, s.Height)
	out = appendBytes(out, s.Previous[:])
	out = appendUint(out, uint64(s.Round))
	out = appendBytes(out, s.Sender[:])
	out = appendBytes(out, s.Incarnation[:])
	return appendBytes(out, s.Value[:]), nil
}

// The major types of CBOR that a leaf is made of.
const (
	majorUint  = 0 << 5
	majorBytes = 2 << 5
	majorText  = 3 << 5
	majorArray = 4 << 5
)

// appendBytes appends a byte string of at most 255 bytes.
func appendBytes(out, data []byte) []byte {
	if len(data) < 24 {
		out = append(out, majorBytes|byte(len(data)))
	} else {
		out = append(out, majorBytes|24, byte(len(data)))
	}
	return append(out, data...)
}

// appendUint appends an integer in its shortest form.
func appendUint(out []byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(out, majorUint|byte(n))
	case n <= math.MaxUint8:
		return append(out, majorUint|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(out, majorUint|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(out, majorUint|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(out, majorUint|27), n)
}

// HighestHash binds the highest prepare certificate that a round change shows.
// It names the round and the value; who signed may differ.
func HighestHash(round uint32, value Hash) (Hash, error) {
	data, err := dagcbor.Marshal(struct {
		_     struct{} `cbor:",toarray"`
		Tag   string
		Round uint32
		Value Hash
	}{Tag: "muster/highest/1", Round: round, Value: value})
	return Hash(dagcbor.Sum(data)), err
}

// Proof shows that a statement stands in a batch that its sender signed.
type Proof struct {
	_         struct{} `cbor:",toarray"`
	Count     uint64
	Index     uint64
	Path      []Hash // siblings from the leaf up; a promoted node has none at that level
	Signature admission.Signature
}

// ErrProof is returned for a proof whose path cannot belong to its count and index.
var ErrProof = errors.New("path does not fit count and index")

// Check verifies that p proves s.
func (p Proof) Check(s Statement) error {
	root, err := p.Root(s)
	if err != nil {
		return err
	}
	header, err := BatchHeader(s.Network, s.Incarnation, p.Count, root)
	if err != nil {
		return err
	}
	if !s.Sender.Verify(header, p.Signature) {
		return fmt.Errorf("%s of %s: %w", s.Kind, s.Sender.Name(), admission.ErrSignature)
	}
	return nil
}

// Root recomputes the root that p leads to from s. Two proofs with equal
// (sender, incarnation, count, root, signature) need one verification.
func (p Proof) Root(s Statement) (Hash, error) {
	leaf, err := s.LeafHash()
	if err != nil {
		return Hash{}, err
	}
	return p.root(leaf)
}

// Signed is a statement with its proof: what convinces a third party.
type Signed struct {
	Statement Statement
	Proof     Proof
}
