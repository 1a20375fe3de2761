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
	mailed []*mailed          // by statement: a message that it was believed in
	next   []int              // by statement: 1 + another one in the same bucket
	last   [ledgerBuckets]int // by bucket: 1 + the statement signed last
	wished bool               // the owner signed a wish to cancel
}

// ledgerBuckets is about how many statements a run has.
const ledgerBuckets = 64

// bucket is where a statement is looked for: a cheap hash of what tells statements
// of one run apart.
func bucket(s *consensus.Statement) int {
	return int(uint32(s.Sender[0])*31^uint32(s.Kind)*7^s.Round*13^uint32(s.Value[0])) % ledgerBuckets
}

var (
	errUnsigned = errors.New("nobody signed that")
	errUnwished = errors.New("nobody wished that")
)

// sign signs a statement, whose sender must be the one who asks, and returns its
// proof: the same each time.
func (l *ledger) sign(by admission.Key, s consensus.Statement) consensus.Proof {
	if s.Sender != by {
		panic("sim: a statement in another's name")
	}
	if at, ok := l.at(&s); ok {
		return proofOf(at)
	}
	b := bucket(&s)
	l.signed, l.mailed, l.next = append(l.signed, s), append(l.mailed, nil), append(l.next, l.last[b])
	l.last[b] = len(l.signed)
	return proofOf(len(l.signed) - 1)
}

// at finds a statement that was signed.
func (l *ledger) at(s *consensus.Statement) (int, bool) {
	for n := l.last[bucket(s)]; n != 0; n = l.next[n-1] {
		if l.signed[n-1] == *s {
			return n - 1, true
		}
	}
	return 0, false
}

// proofOf is the proof of a statement of the ledger.
func proofOf(at int) consensus.Proof {
	p := consensus.Proof{Count: 1}
	binary.BigEndian.PutUint64(p.Signature[:], uint64(at+1))
	return p
}

// verify reports whether p is the proof of exactly s.
func (l *ledger) verify(p consensus.Proof, s consensus.Statement) error {
	if at, ok := l.numberOf(&p); !ok || l.signed[at] != s {
		return errUnsigned
	}
	return nil
}

// numberOf returns the statement that p is a proof of.
func (l *ledger) numberOf(p *consensus.Proof) (int, bool) {
	at := binary.BigEndian.Uint64(p.Signature[:])
	if at == 0 || at > uint64(len(l.signed)) || p.Count != 1 || p.Index != 0 || len(p.Path) != 0 {
		return 0, false
	}
	return int(at - 1), true
}

// cancel reports whether c is the owner's wish.
func (l *ledger) cancel(c consensus.Cancel, job consensus.JobID, charter *consensus.Charter) error {
	if !l.wished || c.Job != job || c.By != charter.Owner {
		return errUnwished
	}
	return nil
}
