package p2p

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// The exchange at the door, on the first stream of a connection. Each message
// is two bytes of length, big-endian, and so many bytes.
//
//	member:  dialler  hello{credential}       join:  stranger  hello{ticket}
//	         listener reason [credential]            authority reason [credential]
//	         dialler  reason (0: come in)            stranger  reason (0: received)
//
// A reason other than 0 ends the exchange; who was revoked is shown the revocation
// with it. The listener shows its credential
// to members only; a connection that asked to join never leaves the door.
const (
	maxMessage = 4 << 10 // bytes of one message (protocol, section 10)

	verbMember = 1
	verbJoin   = 2
)

// hello opens the exchange. The network stands before the body, so that a peer
// of another network is told so whatever it shows.
type hello struct {
	_       struct{} `cbor:",toarray"`
	Tag     string
	Network admission.Network
	Verb    uint64
	Body    []byte // a signed credential, or a joinRequest; empty: none
}

// joinRequest is a ticket without its genesis, which the authority has.
type joinRequest struct {
	_         struct{} `cbor:",toarray"`
	Invite    admission.Invite
	Signature admission.Signature
}

var errMessage = errors.New("message of the door is malformed")

func decodeHello(data []byte) (hello, error) {
	var h hello
	if err := dagcbor.Unmarshal(data, &h); err != nil {
		return hello{}, fmt.Errorf("%w: %w", errMessage, err)
	}
	if h.Tag != admission.TagDoor || (h.Verb != verbMember && h.Verb != verbJoin) {
		return hello{}, errMessage
	}
	return h, nil
}

// encodeCredential returns nothing for the zero credential: that of a node that
// has none.
func encodeCredential(c admission.SignedCredential) ([]byte, error) {
	if c.Signature == (admission.Signature{}) {
		return nil, nil
	}
	return dagcbor.Marshal(c)
}

func writeMessage(w io.Writer, message []byte) error {
	if len(message) > maxMessage {
		return fmt.Errorf("message of %d bytes, the door takes %d", len(message), maxMessage)
	}
	frame := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(message)), uint16(len(message)))
	_, err := w.Write(append(frame, message...))
	return err
}

func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(length[:])
	if n > maxMessage {
		return nil, errMessage
	}
	message := make([]byte, n)
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, err
	}
	return message, nil
}

// readAnswer reads a reason and what follows it.
func readAnswer(r io.Reader) (Reason, []byte, error) {
	message, err := readMessage(r)
	if err != nil {
		return 0, nil, err
	}
	if len(message) == 0 {
		return 0, nil, errMessage
	}
	return Reason(message[0]), message[1:], nil
}

func writeAnswer(w io.Writer, reason Reason, body []byte) error {
	return writeMessage(w, append([]byte{byte(reason)}, body...))
}
