package sim

import (
	"encoding/binary"
	"errors"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

// ledger stands in for signatures: it holds every statement that was signed, and
// a proof is the number of one. Nobody can prove what is not in it, and sign
// writes only in the name of the process that asks (invariant I8 by construction).
type ledger struct {
	signed []consensus.Statement
	wished bool // the owner signed a wish to cancel
}

var (
	errUnsigned = errors.New("nobody signed that")
	errUnwished = errors.New("nobody wished that")
)

// sign signs a statement, whose sender must be the one who asks, and returns its
// proof.
func (l *ledger) sign(by admission.Key, s consensus.Statement) consensus.Proof {
	if s.Sender != by {
		panic("sim: a statement in another's name")
	}
	l.signed = append(l.signed, s)
	return proofOf(len(l.signed) - 1)
}

// proofOf is the proof of a statement of the ledger.
func proofOf(at int) consensus.Proof {
	p := consensus.Proof{Count: 1}
	binary.BigEndian.PutUint64(p.Signature[:], uint64(at+1))
	return p
}

// verify reports whether p is the proof of exactly s.
func (l *ledger) verify(p consensus.Proof, s consensus.Statement) error {
	if _, err := l.find(p, &s); err != nil {
		return err
	}
	return nil
}

func (l *ledger) find(p consensus.Proof, s *consensus.Statement) (int, error) {
	at := binary.BigEndian.Uint64(p.Signature[:])
	if at == 0 || at > uint64(len(l.signed)) || p.Count != 1 || p.Index != 0 || len(p.Path) != 0 || l.signed[at-1] != *s {
		return 0, errUnsigned
	}
	return int(at - 1), nil
}

// cancel reports whether c is the owner's wish.
func (l *ledger) cancel(c consensus.Cancel, job consensus.JobID, charter *consensus.Charter) error {
	if !l.wished || c.Job != job || c.By != charter.Owner {
		return errUnwished
	}
	return nil
}
