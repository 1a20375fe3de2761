package tree

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/dagcbor"
)

// carHeader begins a CAR file, version 1 (https://ipld.io/specs/transport/car/carv1).
type carHeader struct {
	Roots   []dagcbor.Link `cbor:"roots"`
	Version uint64         `cbor:"version"`
}

const maxCARHeader = 128 // bytes; ours has 58

// WriteCAR writes every block below root to w as a CAR file, each once, in
// depth-first order of first mention. A DAG has exactly one such file, which any
// IPFS tool can read. It returns what Walk returns, and errors of w.
func WriteCAR(ctx context.Context, w io.Writer, src Source, root cid.Cid, limit Limits) error {
	header, err := dagcbor.Marshal(carHeader{Roots: []dagcbor.Link{dagcbor.LinkTo(root)}, Version: 1})
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	writeSection(out, header)
	order := newPreorder(root, limit)
	for c, ok := order.next(); ok; c, ok = order.next() {
		data, err := src.Get(ctx, c)
		if err != nil {
			return err
		}
		if err := order.enter(c, data); err != nil {
			return err
		}
		writeSection(out, c.Bytes(), data)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write CAR: %w", err)
	}
	return nil
}

// writeSection leaves errors to the last Flush.
func writeSection(w *bufio.Writer, parts ...[]byte) {
	n := 0
	for _, part := range parts {
		n += len(part)
	}
	_, _ = w.Write(binary.AppendUvarint(nil, uint64(n)))
	for _, part := range parts {
		_, _ = w.Write(part)
	}
}

// ReadCAR reads a file of WriteCAR to its end, calls visit with every block, and
// returns the root. It refuses, with ErrInvalid, any other file: with a block
// that does not match its CID, missing, in another order, or below no root, so
// that the root stands for every byte.
func ReadCAR(r io.Reader, limit Limits, visit func(c cid.Cid, data []byte) error) (cid.Cid, error) {
	in := bufio.NewReader(r)
	root, err := readHeader(in)
	if err != nil {
		return cid.Undef, err
	}
	order := newPreorder(root, limit)
	for c, ok := order.next(); ok; c, ok = order.next() {
		section, err := readSection(in, len(c.Bytes())+store.MaxBlock)
		if err != nil {
			return cid.Undef, fmt.Errorf("block %s: %w", c, err)
		}
		data, ok := bytes.CutPrefix(section, c.Bytes())
		if !ok {
			return cid.Undef, fmt.Errorf("%w: another block where %s belongs", ErrInvalid, c)
		}
		if err := store.Verify(c, data); err != nil {
			return cid.Undef, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if err := order.enter(c, data); err != nil {
			return cid.Undef, err
		}
		if err := visit(c, data); err != nil {
			return cid.Undef, err
		}
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return cid.Undef, errors.Join(fmt.Errorf("%w: bytes after the last block", ErrInvalid), err)
	}
	return root, nil
}

func readHeader(in *bufio.Reader) (cid.Cid, error) {
	section, err := readSection(in, maxCARHeader)
	if err != nil {
		return cid.Undef, fmt.Errorf("header: %w", err)
	}
	var header carHeader
	if err := dagcbor.Unmarshal(section, &header); err != nil {
		return cid.Undef, fmt.Errorf("%w: header: %w", ErrInvalid, err)
	}
	if header.Version != 1 || len(header.Roots) != 1 {
		return cid.Undef, fmt.Errorf("%w: CAR version %d with %d roots, want 1 and 1", ErrInvalid, header.Version, len(header.Roots))
	}
	return header.Roots[0].Cid, nil
}

// readSection reads a length in its shortest form and as many bytes.
func readSection(in *bufio.Reader, most int) ([]byte, error) {
	prefix, err := in.Peek(binary.MaxVarintLen64) // less, at the end of the file
	n, size := binary.Uvarint(prefix)
	if size == 0 {
		return nil, cut(err)
	}
	if size < 0 || size != len(binary.AppendUvarint(nil, n)) {
		return nil, fmt.Errorf("%w: length of a section", ErrInvalid)
	}
	if _, err := in.Discard(size); err != nil {
		return nil, cut(err)
	}
	if n > uint64(most) {
		return nil, fmt.Errorf("%w: section of %d bytes, at most %d", ErrInvalid, n, most)
	}
	section := make([]byte, n)
	if _, err := io.ReadFull(in, section); err != nil {
		return nil, cut(err)
	}
	return section, nil
}

// cut makes a short file invalid, and leaves errors of the reader alone.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the file ends early", ErrInvalid)
	}
	return err
}

// preorder yields the blocks of a DAG depth first, each at its first mention.
type preorder struct {
	left    budget
	waiting []cid.Cid // the next one last
	seen    map[cid.Cid]struct{}
}

func newPreorder(root cid.Cid, limit Limits) *preorder {
	return &preorder{left: budget{limit}, waiting: []cid.Cid{root}, seen: map[cid.Cid]struct{}{}}
}

func (p *preorder) next() (cid.Cid, bool) {
	for len(p.waiting) > 0 {
		c := p.waiting[len(p.waiting)-1]
		p.waiting = p.waiting[:len(p.waiting)-1]
		if _, ok := p.seen[c]; !ok {
			p.seen[c] = struct{}{}
			return c, true
		}
	}
	return cid.Undef, false
}

// enter puts what c names before everything that waits.
func (p *preorder) enter(c cid.Cid, data []byte) error {
	if err := p.left.take(data); err != nil {
		return err
	}
	below, err := Links(c, data)
	if err != nil {
		return fmt.Errorf("block %s: %w", c, err)
	}
	for i := len(below) - 1; i >= 0; i-- {
		p.waiting = append(p.waiting, below[i])
	}
	return nil
}
