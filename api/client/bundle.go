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

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

// IsBundle reports whether a file that begins with head is a bundle rather than
// a certificate: a CBOR byte string, not a map.
func IsBundle(head []byte) bool { return len(head) > 0 && head[0]>>5 == 2 }

// Bundle is a bundle that was verified.
type Bundle struct {
	consensus.Opened
	Tasks []consensus.TaskOutcome // how the tasks of an array job that ran ended, in order
}

// VerifyBundle checks a bundle to its last byte, given only a genesis: the
// certificate, that the roll is the charter's, and that the output in it is the
// certified one, of an array job down to the outcome of every task. Whether the
// roster was drawn from the roll is election.Check's to say. An invalid bundle is
// a *jobs.Problem with CodeCertificate.
func VerifyBundle(r io.Reader, genesis []byte) (Bundle, error) {
	in := bufio.NewReader(r)
	opened, err := consensus.ReadBundle(in, genesis)
	b := Bundle{Opened: opened}
	if err != nil {
		return b, invalid(err)
	}
	if opened.Verdict.Value.Tree != nil {
		if b.Tasks, err = readOutput(in, opened.Verdict); err != nil {
			return b, invalid(err)
		}
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return b, invalid(errors.Join(errors.New("bytes after the bundle's end"), err))
	}
	return b, nil
}

// readOutput reads a CAR file that must hold exactly the blocks below the
// verdict's tree, each once, in depth-first order of first mention. Of an array
// job it returns how the tasks ended.
func readOutput(in *bufio.Reader, verdict consensus.Verdict) ([]consensus.TaskOutcome, error) {
	lists := map[cid.Cid][]byte{} // array result and pages
	found, err := readCAR(in, verdict.Network, func(c cid.Cid, data []byte) {
		if c.Type() == cid.DagCBOR {
			lists[c] = data
		}
	})
	if err != nil {
		return nil, err
	}
	root := verdict.Value.Tree.Cid
	if !found.Equals(root) {
		return nil, fmt.Errorf("the output is not that of result %s", root)
	}
	if !verdict.Value.IsArray() {
		return nil, nil
	}
	array, err := consensus.OpenArray(verdict.Network, lists[root], verdict.Value)
	if err != nil {
		return nil, err
	}
	pages := make([]consensus.ArrayPage, len(array.Pages))
	for i, link := range array.Pages {
		if pages[i], err = array.OpenPage(verdict.Network, i, lists[link.Cid]); err != nil {
			return nil, err
		}
	}
	return array.Outcomes(verdict.Network, pages)
}

// A CAR file's header: {"roots": [root], "version": 1} in dag-cbor.
const (
	carRoots   = "\xa2\x65roots\x81\xd8\x2a\x58\x25\x00"
	carVersion = "\x67version\x01"
)

// readCAR reads such a file for whatever root it names, and hands every block
// to keep.
func readCAR(in *bufio.Reader, network admission.Network, keep func(c cid.Cid, data []byte)) (cid.Cid, error) {
	section, err := readSection(in)
	if err != nil {
		return cid.Undef, err
	}
	named, begins := bytes.CutPrefix(section, []byte(carRoots))
	named, ends := bytes.CutSuffix(named, []byte(carVersion))
	root, err := cid.Cast(named)
	if err != nil || !begins || !ends {
		return cid.Undef, errors.Join(errors.New("no file of one result"), err)
	}
	waiting, seen := []cid.Cid{root}, map[cid.Cid]bool{}
	for len(waiting) > 0 {
		c := waiting[len(waiting)-1]
		waiting = waiting[:len(waiting)-1]
		if seen[c] {
			continue
		}
		if seen[c] = true; len(seen) > api.MaxBundleBlocks {
			return root, errors.New("the output has too many blocks")
		}
		data, below, err := checkSection(in, network, c)
		if err != nil {
			return root, err
		}
		keep(c, data)
		slices.Reverse(below)
		waiting = append(waiting, below...)
	}
	return root, nil
}

// checkSection reads the block that c names and returns it, and what it links to.
func checkSection(in *bufio.Reader, network admission.Network, c cid.Cid) ([]byte, []cid.Cid, error) {
	section, err := readSection(in)
	if err != nil {
		return nil, nil, fmt.Errorf("block %s: %w", c, err)
	}
	data, ok := bytes.CutPrefix(section, c.Bytes())
	if !ok {
		return nil, nil, fmt.Errorf("another block where %s belongs", c)
	}
	if named, err := c.Prefix().Sum(data); err != nil || !named.Equals(c) {
		return nil, nil, fmt.Errorf("bytes that are not block %s", c)
	}
	switch c.Type() {
	case cid.Raw:
		return data, nil, nil
	case cid.DagCBOR:
		below, err := consensus.ArrayLinks(network, data)
		return data, below, err
	case cid.DagProtobuf:
	default:
		return nil, nil, fmt.Errorf("block %s is neither of a file, nor of a folder, nor of an array", c)
	}
	n, err := decodeNode(data)
	if err != nil {
		return nil, nil, fmt.Errorf("block %s: %w", c, err)
	}
	below := make([]cid.Cid, len(n.links))
	for i, l := range n.links {
		below[i] = l.cid
	}
	return data, below, nil
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
