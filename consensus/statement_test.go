package consensus

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"pgregory.net/rapid"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

func TestALeafIsWhatTheCodecWouldWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hash := func(name string) (h [32]byte) {
			copy(h[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, name))
			return h
		}
		s := Statement{Kind: Kind(rapid.Uint64Range(uint64(KindAccept), uint64(KindRoundChange)).Draw(t, "kind")),
			Network: hash("network"), Job: hash("job"), Height: rapid.Uint64().Draw(t, "height"), Previous: hash("previous"),
			Round: rapid.Uint32().Draw(t, "round"), Sender: hash("sender"), Value: hash("value")}
		copy(s.Incarnation[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "incarnation"))
		want, err := dagcbor.Marshal(struct {
			_           struct{} `cbor:",toarray"`
			Tag         string
			Network     admission.Network
			Job         JobID
			Height      uint64
			Previous    Hash
			Round       uint32
			Sender      admission.Key
			Incarnation admission.Incarnation
			Value       Hash
		}{Tag: "muster/" + s.Kind.String() + "/1", Network: s.Network, Job: s.Job, Height: s.Height, Previous: s.Previous,
			Round: s.Round, Sender: s.Sender, Incarnation: s.Incarnation, Value: s.Value})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Leaf()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("leaf %x, the codec writes %x", got, want)
		}
		if hash, err := s.LeafHash(); err != nil || hash != sha256.Sum256(append([]byte{0x00}, want...)) {
			t.Errorf("leaf hash %s, %v", hash, err)
		}
	})
}
