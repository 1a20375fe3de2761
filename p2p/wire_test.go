package p2p

import (
	"bytes"
	"testing"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

func TestMessagesOfTheDoorAreBounded(t *testing.T) {
	var b bytes.Buffer
	if err := writeMessage(&b, make([]byte, maxMessage+1)); err == nil {
		t.Error("a message above the limit was written")
	}
	if err := writeMessage(&b, make([]byte, maxMessage)); err != nil {
		t.Error(err)
	}
	if got, err := readMessage(&b); err != nil || len(got) != maxMessage {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := readMessage(bytes.NewReader([]byte{0x10, 0x01})); err == nil {
		t.Error("a length above the limit was read")
	}
}

func FuzzDecodeHello(f *testing.F) {
	for _, verb := range []uint64{verbMember, verbJoin, 3} {
		data, err := dagcbor.Marshal(hello{Tag: admission.TagDoor, Verb: verb, Body: []byte("body")})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("\x13/multistream/1.0.0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := decodeHello(data)
		if err != nil {
			return
		}
		again, err := dagcbor.Marshal(h)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("decoded what does not encode to itself: %x", data)
		}
		var c admission.SignedCredential
		var j joinRequest
		_ = dagcbor.Unmarshal(h.Body, &c)
		_ = dagcbor.Unmarshal(h.Body, &j)
	})
}
