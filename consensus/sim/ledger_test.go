package sim

import (
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
)

func TestAProofIsOfOneStatementThatWasSigned(t *testing.T) {
	var l ledger
	var said []consensus.Statement
	for kind := consensus.KindAccept; kind <= consensus.KindGone; kind++ {
		for round := range uint32(40) {
			said = append(said, consensus.Statement{Kind: kind, Round: round, Sender: keyOf(int(round % 7)), Value: truth.hash})
		}
	}
	for i, s := range said {
		p := l.sign(s.Sender, s)
		if again := l.sign(s.Sender, s); again.Signature != p.Signature || len(l.signed) != i+1 {
			t.Fatalf("%v is signed twice", s)
		}
		for j, other := range said {
			if err := l.verify(p, other); (err == nil) != (i == j) {
				t.Fatalf("the proof of statement %d proves statement %d: %v", i, j, err)
			}
		}
	}
	if l.verify(proofOf(len(said)), said[0]) == nil || l.verify(consensus.Proof{Count: 1}, said[0]) == nil {
		t.Error("a proof that nobody made proves something")
	}
}

// What was refused is looked at again: the owner may have wished it since.
func TestWhatIsSaidAgainIsCheckedOnceWhenItIsBelieved(t *testing.T) {
	w := newWorld(Settle(Scenarios()[1], 1), nil, false)
	n := w.nodes[0]
	cancel := w.cancel()
	payload := &consensus.Payload{Value: &cancelled.value, Cancel: &cancel}
	c := n.claim(bft.Outgoing{Kind: consensus.KindPropose, Round: 1, Value: cancelled.hash, Payload: payload})
	c.Proof = w.ledger.sign(n.key, statementOf(&c))
	if w.address(c).in != nil {
		t.Fatal("a wish that nobody has is believed")
	}
	w.ledger.wished = true
	first := w.address(c)
	if first.in == nil || w.address(c) != first {
		t.Fatal("it is believed now, and checked twice")
	}
	other := c
	other.Payload = &consensus.Payload{}
	if w.address(other).in != nil {
		t.Error("a proposal without a value is believed, since its statement was signed")
	}
	other = c
	other.From = w.nodes[1].key
	if w.address(other).in != nil {
		t.Error("another's statement is believed")
	}
}
