package tree

import (
	"bytes"
	"fmt"

	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/muster-network/muster/store"
)

// Kinds of UnixFS node that the profile has.
const (
	kindDirectory = 1
	kindFile      = 2
)

// maxFileSize bounds a file, in bytes, so that sums of sizes cannot overflow.
const maxFileSize = 1 << 50

// node is a dag-pb block of the profile: a directory, or a file of more than
// one leaf.
type node struct {
	kind  uint64
	links []link
	sizes []uint64 // of a file: bytes of content below each link
}

// link is a directory's entry, or, without a name, a part of a file.
type link struct {
	name string
	cid  cid.Cid
	size uint64 // length of all blocks below, the first included
}

// content returns the length of the file, in bytes.
func (n *node) content() (sum uint64) {
	for _, size := range n.sizes {
		sum += size
	}
	return sum
}

// Field numbers of dag-pb and UnixFS.
const (
	nodeData, nodeLinks                         = 1, 2
	linkHash, linkName, linkSize                = 1, 2, 3
	unixfsType, unixfsFileSize, unixfsBlockSize = 1, 3, 4
)

// encode writes the links, then the UnixFS data: the order of dag-pb.
func (n *node) encode() []byte {
	out := make([]byte, 0, 64*len(n.links)+16)
	for _, l := range n.links {
		hash := l.cid.Bytes()
		size := protowire.SizeTag(linkHash) + protowire.SizeBytes(len(hash)) +
			protowire.SizeTag(linkName) + protowire.SizeBytes(len(l.name)) +
			protowire.SizeTag(linkSize) + protowire.SizeVarint(l.size)
		out = protowire.AppendTag(out, nodeLinks, protowire.BytesType)
		out = protowire.AppendVarint(out, uint64(size))
		out = protowire.AppendTag(out, linkHash, protowire.BytesType)
		out = protowire.AppendBytes(out, hash)
		out = protowire.AppendTag(out, linkName, protowire.BytesType)
		out = protowire.AppendString(out, l.name)
		out = protowire.AppendTag(out, linkSize, protowire.VarintType)
		out = protowire.AppendVarint(out, l.size)
	}
	out = protowire.AppendTag(out, nodeData, protowire.BytesType)
	return protowire.AppendBytes(out, n.unixfs())
}

func (n *node) unixfs() []byte {
	out := protowire.AppendTag(nil, unixfsType, protowire.VarintType)
	out = protowire.AppendVarint(out, n.kind)
	if n.kind != kindFile {
		return out
	}
	out = protowire.AppendTag(out, unixfsFileSize, protowire.VarintType)
	out = protowire.AppendVarint(out, n.content())
	for _, size := range n.sizes {
		out = protowire.AppendTag(out, unixfsBlockSize, protowire.VarintType)
		out = protowire.AppendVarint(out, size)
	}
	return out
}

// decode reads a block that encode could have written for a tree of the
// profile, and refuses every other with ErrInvalid: symbolic links, sharded
// directories, inline data, modes and times are not in it.
func decode(block []byte) (*node, error) {
	n := &node{}
	err := fields(block, func(num protowire.Number, value []byte, _ uint64) error {
		switch {
		case num == nodeLinks && value != nil:
			l, err := decodeLink(value)
			n.links = append(n.links, l)
			return err
		case num == nodeData && value != nil:
			return n.decodeUnixfs(value)
		}
		return fmt.Errorf("%w: field %d in a node", ErrInvalid, num)
	})
	if err != nil {
		return nil, err
	}
	if err := n.check(); err != nil {
		return nil, err
	}
	// Encoding again finds what the reading let pass: order, repeated fields,
	// long integers, a wrong sum of sizes.
	if !bytes.Equal(n.encode(), block) {
		return nil, fmt.Errorf("%w: not in the one encoding", ErrInvalid)
	}
	return n, nil
}

func decodeLink(data []byte) (l link, err error) {
	err = fields(data, func(num protowire.Number, value []byte, integer uint64) (err error) {
		switch {
		case num == linkHash && value != nil:
			l.cid, err = castCID(value)
			return err
		case num == linkName && value != nil:
			l.name = string(value)
		case num == linkSize && value == nil:
			l.size = integer
		default:
			return fmt.Errorf("%w: field %d in a link", ErrInvalid, num)
		}
		return nil
	})
	if err == nil && !l.cid.Defined() {
		err = fmt.Errorf("%w: link to nothing", ErrInvalid)
	}
	return l, err
}

func castCID(data []byte) (cid.Cid, error) {
	c, err := cid.Cast(data)
	if err != nil {
		return cid.Undef, fmt.Errorf("%w: link: %w", ErrInvalid, err)
	}
	return c, checkCID(c, cid.Raw, cid.DagProtobuf)
}

// checkCID refuses CIDs of another version, hash or codec than the profile's.
func checkCID(c cid.Cid, codecs ...uint64) error {
	if _, err := store.Digest(c); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	for _, codec := range codecs {
		if c.Version() == 1 && c.Type() == codec {
			return nil
		}
	}
	return fmt.Errorf("%w: a block of another kind: %s", ErrInvalid, c)
}

func (n *node) decodeUnixfs(data []byte) error {
	return fields(data, func(num protowire.Number, value []byte, integer uint64) error {
		switch {
		case value != nil:
		case num == unixfsType:
			n.kind = integer
			return nil
		case num == unixfsFileSize:
			return nil // compared by encoding again
		case num == unixfsBlockSize:
			n.sizes = append(n.sizes, integer)
			return nil
		}
		return fmt.Errorf("%w: UnixFS field %d", ErrInvalid, num)
	})
}

func (n *node) check() error {
	switch n.kind {
	case kindDirectory:
		if len(n.sizes) > 0 {
			return fmt.Errorf("%w: a directory with sizes", ErrInvalid)
		}
		for i, l := range n.links {
			if err := checkName(l.name); err != nil {
				return err
			}
			if i > 0 && n.links[i-1].name >= l.name {
				return fmt.Errorf("%w: names out of order at %q", ErrInvalid, l.name)
			}
		}
		return nil
	case kindFile:
		return n.checkFile()
	}
	return fmt.Errorf("%w: a UnixFS node of type %d", ErrInvalid, n.kind)
}

func (n *node) checkFile() error {
	if len(n.links) != len(n.sizes) || len(n.links) == 0 || len(n.links) > MaxLinks {
		return fmt.Errorf("%w: a file of %d links and %d sizes", ErrInvalid, len(n.links), len(n.sizes))
	}
	left := uint64(maxFileSize)
	for i, size := range n.sizes {
		if n.links[i].name != "" {
			return fmt.Errorf("%w: a named part of a file", ErrInvalid)
		}
		if size == 0 || size > left {
			return fmt.Errorf("%w: a part of %d bytes", ErrInvalid, size)
		}
		left -= size
	}
	return nil
}

// fields calls fn with each protobuf field of data: its bytes, or nil and its
// integer. Other wire types are refused.
func fields(data []byte, fn func(num protowire.Number, value []byte, integer uint64) error) error {
	for len(data) > 0 {
		num, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrInvalid, protowire.ParseError(n))
		}
		data = data[n:]
		var value []byte
		var integer uint64
		switch kind {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(data)
			if n >= 0 && value == nil {
				value = []byte{}
			}
		case protowire.VarintType:
			integer, n = protowire.ConsumeVarint(data)
		default:
			return fmt.Errorf("%w: wire type %d", ErrInvalid, kind)
		}
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrInvalid, protowire.ParseError(n))
		}
		if err := fn(num, value, integer); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
