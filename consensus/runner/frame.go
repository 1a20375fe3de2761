package runner

import (
	"errors"
	"fmt"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// MaxFrame bounds an encoded frame, in bytes.
const MaxFrame = 1 << 20

// frameVersion is the version of frames.
const frameVersion = 1

// frameFill is the size at which a frame takes no further messages, in bytes.
const frameFill = 512 << 10

// maxBody bounds the body of a frame, in bytes: the rest is for
// acknowledgements.
const maxBody = MaxFrame - 128<<10

// frame is what one peer sends another: acknowledgements, which are the
// receiver's own, around a body that may be the same for many receivers.
type frame struct {
	_       struct{} `cbor:",toarray"`
	V       uint64
	Session uint64 // of the sender's process
	Seq     uint64 // within the session and receiver, from 1; 0 for a frame without a body
	Have    []have
	Body    []byte
}

// have acknowledges a frame, but for the messages at the indexes missed: those
// could not be taken yet.
type have struct {
	_       struct{} `cbor:",toarray"`
	Session uint64
	Seq     uint64
	Missed  []uint64
}

// body holds statements under one signature, and notes. A receiver gets only
// the statements meant for it, and the hashes that it needs for the root.
type body struct {
	_           struct{} `cbor:",toarray"`
	Incarnation admission.Incarnation
	Count       uint64 // statements in the signed batch, 0 for none
	Siblings    []consensus.Hash
	Signature   admission.Signature
	Items       []item
	Notes       []note
}

// item is a statement. Network, sender and incarnation stand in the frame. The
// previous decision is the job id at height 0, and is said above it: a receiver
// that has not heard of it verifies the batch all the same.
type item struct {
	_        struct{} `cbor:",toarray"`
	Index    uint64
	Kind     consensus.Kind
	Job      consensus.JobID
	Height   uint64
	Previous *consensus.Hash // nil at height 0, and only there
	Round    uint32
	Value    consensus.Hash
	Payload  *consensus.Payload
}

func (i item) previous() consensus.Hash {
	if i.Previous == nil {
		return consensus.Hash(i.Job)
	}
	return *i.Previous
}

type note struct {
	_       struct{} `cbor:",toarray"`
	Note    consensus.Note
	Job     consensus.JobID
	Payload *consensus.Payload
}

var errFrame = errors.New("frame: out of bounds")

// decodeFrame decodes a frame and checks its bounds, and nothing else.
func decodeFrame(data []byte) (frame, body, error) {
	var f frame
	var b body
	if len(data) > MaxFrame {
		return f, b, fmt.Errorf("frame: %d bytes, at most %d", len(data), MaxFrame)
	}
	if err := dagcbor.Unmarshal(data, &f); err != nil {
		return f, b, err
	}
	if f.V != frameVersion {
		return f, b, fmt.Errorf("frame: version %d: %w", f.V, consensus.ErrUnsupported)
	}
	if len(f.Have) > maxHave {
		return f, b, errFrame
	}
	for _, h := range f.Have {
		if len(h.Missed) > maxMessages {
			return f, b, errFrame
		}
	}
	if f.Seq == 0 {
		if len(f.Body) > 0 {
			return f, b, errFrame
		}
		return f, b, nil
	}
	if err := dagcbor.Unmarshal(f.Body, &b); err != nil {
		return f, b, err
	}
	if b.Count > consensus.MaxBatch || len(b.Items) > int(b.Count) || len(b.Notes) > maxMessages || (b.Count > 0) != (len(b.Items) > 0) {
		return f, b, errFrame
	}
	for _, it := range b.Items {
		if err := checkSize(it.Payload); err != nil {
			return f, b, err
		}
	}
	for _, n := range b.Notes {
		if err := checkSize(n.Payload); err != nil {
			return f, b, err
		}
	}
	return f, b, nil
}

// checkSize bounds what of a payload is handed on before it is judged.
func checkSize(p *consensus.Payload) error {
	switch {
	case p == nil:
		return nil
	case len(p.Reason) > maxReason:
		return fmt.Errorf("frame: a reason of %d bytes, at most %d", len(p.Reason), maxReason)
	case p.Offer != nil:
		return p.Offer.CheckSize()
	}
	return nil
}

const (
	maxHave     = 256
	maxMessages = 1024
)

// statement rebuilds what the sender signed.
func (i item) statement(network admission.Network, from admission.Key, incarnation admission.Incarnation) consensus.Statement {
	return consensus.Statement{Kind: i.Kind, Network: network, Job: i.Job, Height: i.Height, Previous: i.previous(),
		Round: i.Round, Sender: from, Incarnation: incarnation, Value: i.Value}
}

// proofs verifies the batch signature over the items and returns each one's
// proof.
func (b body) proofs(network admission.Network, from admission.Key, roots *rootCache) ([]consensus.Proof, error) {
	if len(b.Items) == 0 {
		return nil, nil
	}
	indexes := make([]int, len(b.Items))
	leaves := make([]consensus.Hash, len(b.Items))
	for i, it := range b.Items {
		if (it.Height > 0) != (it.Previous != nil) {
			return nil, errFrame
		}
		leaf, err := it.statement(network, from, b.Incarnation).LeafHash()
		if err != nil {
			return nil, err
		}
		indexes[i], leaves[i] = int(it.Index), leaf
	}
	root, paths, err := consensus.Partial(int(b.Count), indexes, leaves, b.Siblings)
	if err != nil {
		return nil, err
	}
	if err := roots.verify(network, from, b.Incarnation, b.Count, root, b.Signature); err != nil {
		return nil, err
	}
	proofs := make([]consensus.Proof, len(paths))
	for i, path := range paths {
		proofs[i] = consensus.Proof{Count: b.Count, Index: b.Items[i].Index, Path: path, Signature: b.Signature}
	}
	return proofs, nil
}
