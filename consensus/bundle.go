package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// TagBundle is the tag of a bundle's head.
const TagBundle = "muster/bundle/1"

// MaxBundleHead bounds a bundle's head, in bytes.
const MaxBundleHead = MaxCertificate + MaxRollBytes + 1<<10

// A bundle is one file that holds a certificate, the roll of its draw, and the
// outcome's result tree if it has one (protocol, section 11). Its head is one
// sealed value in a CBOR byte string, so that a reader knows where it ends; the
// tree follows as a CAR file, which is store/tree's to write and to read, since
// this package does not know what a file system is.
//
// It holds no policy: the only policy of version 1 is that of the genesis, which
// whoever verifies has.
type bundle struct {
	_           struct{} `cbor:",toarray"`
	Certificate Certificate
	Roll        []byte
}

// Opened is what a bundle's head says once it is verified. Two checks are left
// to those who know more: election.Check of Roll with the genesis's policy, and
// that the root of the CAR file that follows is Verdict.Value.Tree, or that
// nothing follows where there is none.
type Opened struct {
	Verdict     Verdict
	Certificate *Certificate
	Roll        *Roll
	RollLink    dagcbor.Link
}

// WriteBundle writes the head of a bundle: a certificate and the sealed roll
// that its charter names.
func WriteBundle(w io.Writer, network admission.Network, c *Certificate, roll []byte) error {
	data, err := dagcbor.Seal(TagBundle, network[:], bundle{Certificate: *c, Roll: roll})
	if err != nil {
		return err
	}
	if len(data) > MaxBundleHead {
		return fmt.Errorf("bundle: a head of %d bytes, at most %d", len(data), MaxBundleHead)
	}
	framed, err := dagcbor.Marshal(data)
	if err != nil {
		return err
	}
	_, err = w.Write(framed)
	return err
}

// ReadBundle reads the head of a bundle from r, up to its last byte, and
// verifies certificate and roll, given only the bytes of a genesis.
func ReadBundle(r io.Reader, genesis []byte) (Opened, error) {
	data, err := readString(r, MaxBundleHead)
	if err != nil {
		return Opened{}, fmt.Errorf("bundle: %w", err)
	}
	g, network, err := admission.OpenGenesis(genesis)
	if err != nil {
		return Opened{}, err
	}
	var b bundle
	if err := dagcbor.Unseal(TagBundle, network[:], data, &b); err != nil {
		return Opened{}, fmt.Errorf("bundle: %w", err)
	}
	verdict, err := b.Certificate.Verify(genesis)
	if err != nil {
		return Opened{}, err
	}
	link := dagcbor.LinkTo(dagcbor.CID(b.Roll))
	if !verdict.Charter.Roll.Equals(link.Cid) {
		return Opened{}, errors.New("bundle: the roll is not the charter's")
	}
	roll, err := OpenRoll(g, network, b.Roll)
	if err != nil {
		return Opened{}, err
	}
	return Opened{Verdict: verdict, Certificate: &b.Certificate, Roll: roll, RollLink: link}, nil
}

// longString is the first byte of a CBOR byte string whose length is in the
// next four (RFC 8949, section 3); shortString of one whose is in two.
const (
	shortString = 0x59
	longString  = 0x5a
)

// readString reads a byte string of 256 or more bytes, as a bundle's head
// always is, with its length in the shortest form.
func readString(r io.Reader, most uint32) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:3]); err != nil {
		return nil, err
	}
	n, least := uint32(binary.BigEndian.Uint16(head[1:])), uint32(1<<8)
	switch head[0] {
	case shortString:
	case longString:
		if _, err := io.ReadFull(r, head[3:]); err != nil {
			return nil, err
		}
		n, least = binary.BigEndian.Uint32(head[1:]), 1<<16
	default:
		return nil, errors.New("not a bundle")
	}
	if n < least || n > most {
		return nil, fmt.Errorf("a head of %d bytes, at most %d", n, most)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	return data, nil
}
