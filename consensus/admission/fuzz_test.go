package admission_test

import (
	"bytes"
	"testing"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/dagcbor"
)

func FuzzOpenGenesis(f *testing.F) {
	f.Add(consensustest.New(0).Sealed)
	f.Fuzz(func(t *testing.T, data []byte) {
		g, id, err := admission.OpenGenesis(data)
		if err != nil {
			return
		}
		again, sealed, err := g.Seal()
		if err != nil || !bytes.Equal(again, data) || sealed != id {
			t.Errorf("seals to other bytes: %x, %v", again, err)
		}
	})
}

func FuzzParseTicket(f *testing.F) {
	n := consensustest.New(0)
	f.Add(ticket(f, n, nil).String())
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := admission.ParseTicket(s)
		if err != nil {
			return
		}
		if again, err := admission.ParseTicket(parsed.String()); err != nil || again.String() != parsed.String() {
			t.Errorf("does not read back: %v", err)
		}
		if g, _, err := parsed.Check(0); err == nil && !g.Authority(parsed.Invite.Issuer) {
			t.Error("good without an authority")
		}
	})
}

func FuzzSignedCredential(f *testing.F) {
	n := consensustest.New(1)
	data, err := dagcbor.Marshal(n.Nodes[0].Credential)
	check(f, err)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var s admission.SignedCredential
		if err := dagcbor.Unmarshal(data, &s); err != nil {
			return
		}
		if err := s.Check(n.Genesis, n.ID); err == nil && s.Body.Subject != n.Nodes[0].Key() {
			t.Error("a credential nobody signed")
		}
	})
}

// What verifies is what an authority signed, byte for byte. The body is signed
// for whatever it is.
func FuzzSignedRevocation(f *testing.F) {
	n := consensustest.New(1)
	signed, err := admission.SignRevocation(n.ID, admission.Revocation{Subject: n.Nodes[0].Key(), Issued: consensustest.Now, Reason: "lost"}, n.Authority)
	check(f, err)
	data, err := dagcbor.Marshal(signed)
	check(f, err)
	f.Add(data, false)
	data, err = dagcbor.Marshal(signed.Body)
	check(f, err)
	f.Add(data, true)
	f.Fuzz(func(t *testing.T, data []byte, sign bool) {
		var s admission.SignedRevocation
		if sign {
			if dagcbor.Unmarshal(data, &s.Body) != nil {
				return
			}
			body, err := dagcbor.Seal(admission.TagRevocation, n.ID[:], s.Body)
			check(t, err)
			s.Signature = n.Authority.Sign(body)
		} else if dagcbor.Unmarshal(data, &s) != nil {
			return
		}
		if err := s.Check(n.Genesis, n.ID); err != nil {
			return
		}
		if s.Body.V != admission.Version || s.Body.Issuer != n.Authority.Key() || s.Body.Issued <= 0 || len(s.Body.Reason) > 256 || s.Body.Subject.Check() != nil {
			t.Errorf("good: %+v", s.Body)
		}
	})
}

func FuzzParseNetwork(f *testing.F) {
	f.Add(admission.Network{1}.String())
	f.Fuzz(func(t *testing.T, s string) {
		n, err := admission.ParseNetwork(s)
		if err != nil {
			return
		}
		if again, err := admission.ParseNetwork(n.String()); err != nil || again != n {
			t.Errorf("%q reads as %s", s, n)
		}
	})
}
