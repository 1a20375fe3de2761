package client

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
)

// maxSections bounds the blocks in a bundle.
const maxSections = 1 << 16

// IsBundle reports whether a file that begins with head is a bundle rather than
// a certificate: a CBOR byte string, not a map.
func IsBundle(head []byte) bool { return len(head) > 0 && head[0]>>5 == 2 }

// VerifyBundle checks a bundle to its last byte, given only a genesis: the
// certificate, that the roll is the charter's, and that the output in it is the
// certified one. Whether the roster was drawn from the roll is election.Check's
// to say. An invalid bundle is a *jobs.Problem with CodeCertificate.
func VerifyBundle(r io.Reader, genesis []byte) (consensus.Opened, error) {
	in := bufio.NewReader(r)
	opened, err := consensus.ReadBundle(in, genesis)
	if err != nil {
		return opened, invalid(err)
	}
	if tree := opened.Verdict.Value.Tree; tree != nil {
		if err := checkCAR(in, tree.Cid); err != nil {
			return opened, invalid(err)
		}
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return opened, invalid(errors.Join(errors.New("bytes after the bundle's end"), err))
	}
	return opened, nil
}

// checkCAR reads a CAR file that must hold exactly the blocks below root, each
// once, in depth-first order of first mention.
func checkCAR(in *bufio.Reader, root cid.Cid) error {
	// {"roots": [root], "version": 1} in dag-cbor
	header := slices.Concat([]byte("\xa2\x65roots\x81\xd8\x2a\x58\x25\x00"), root.Bytes(), []byte("\x67version\x01"))
	section, err := readSection(in)
	if err != nil || !bytes.Equal(section, header) {
		return errors.Join(fmt.Errorf("the output is not that of result %s", root), err)
	}
	waiting, seen := []cid.Cid{root}, map[cid.Cid]bool{}
	for len(waiting) > 0 {
		c := waiting[len(waiting)-1]
		waiting = waiting[:len(waiting)-1]
		if seen[c] {
			continue
		}
		if seen[c] = true; len(seen) > maxSections {
			return errors.New("the output has too many blocks")
		}
		links, err := checkSection(in, c)
		if err != nil {
			return err
		}
		slices.Reverse(links)
		for _, l := range links {
			waiting = append(waiting, l.cid)
		}
	}
	return nil
}

// checkSection reads the block that c names and returns its links.
func checkSection(in *bufio.Reader, c cid.Cid) ([]link, error) {
	section, err := readSection(in)
	if err != nil {
		return nil, fmt.Errorf("block %s: %w", c, err)
	}
	data, ok := bytes.CutPrefix(section, c.Bytes())
	if !ok {
		return nil, fmt.Errorf("another block where %s belongs", c)
	}
	if named, err := c.Prefix().Sum(data); err != nil || !named.Equals(c) {
		return nil, fmt.Errorf("bytes that are not block %s", c)
	}
	if c.Type() == cid.Raw {
		return nil, nil
	}
	n, err := decodeNode(data)
	if err != nil {
		return nil, fmt.Errorf("block %s: %w", c, err)
	}
	return n.links, nil
}

// readSection reads a length in its shortest form and as many bytes.
func readSection(in *bufio.Reader) ([]byte, error) {
	n, err := binary.ReadUvarint(shortest{in})
	if err != nil {
		return nil, err
	}
	if n > maxBlock {
		return nil, fmt.Errorf("a section of %d bytes", n)
	}
	section := make([]byte, n)
	_, err = io.ReadFull(in, section)
	return section, err
}

// shortest reads the bytes of one varint and refuses padding: a last byte of 0
// after others would be a second way to write the same.
type shortest struct{ in *bufio.Reader }

func (s shortest) ReadByte() (byte, error) {
	next, err := s.in.Peek(2)
	if len(next) == 2 && next[0]&0x80 != 0 && next[1] == 0 {
		return 0, errors.New("a length with padding")
	}
	if len(next) == 0 {
		return 0, err
	}
	return s.in.ReadByte()
}
