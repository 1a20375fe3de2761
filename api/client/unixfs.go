package client

import (
	"errors"

	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"
)

// node is a decoded dag-pb block of UnixFS: a folder, or a file's inner block.
type node struct {
	folder bool
	data   []byte // of a file: content before that of its links
	links  []link
}

type link struct {
	name string
	cid  cid.Cid
}

func (n node) find(name string) (link, bool) {
	for _, l := range n.links {
		if l.name == name {
			return l, true
		}
	}
	return link{}, false
}

// errNode is returned for blocks that are neither a plain folder nor a file:
// results hold nothing else.
var errNode = errors.New("neither a folder nor a file of UnixFS")

// The kinds and field numbers of dag-pb and UnixFS that are read here.
const (
	unixfsRaw, unixfsFolder, unixfsFile = 0, 1, 2
	nodeData, nodeLinks                 = 1, 2
	linkHash, linkName                  = 1, 2
	unixfsType, unixfsData              = 1, 2
)

func decodeNode(block []byte) (n node, err error) {
	kind := uint64(unixfsRaw)
	typed := false
	err = fields(block, func(number protowire.Number, value []byte, _ uint64) error {
		switch number {
		case nodeLinks:
			l, err := decodeLink(value)
			n.links = append(n.links, l)
			return err
		case nodeData:
			return fields(value, func(number protowire.Number, value []byte, integer uint64) error {
				switch number {
				case unixfsType:
					kind, typed = integer, true
				case unixfsData:
					n.data = value
				}
				return nil
			})
		}
		return errNode
	})
	if err != nil {
		return node{}, err
	}
	n.folder = kind == unixfsFolder
	if !typed || !n.folder && kind != unixfsFile && kind != unixfsRaw {
		return node{}, errNode
	}
	return n, nil
}

func decodeLink(data []byte) (l link, err error) {
	err = fields(data, func(number protowire.Number, value []byte, _ uint64) (err error) {
		switch number {
		case linkHash:
			if l.cid, err = cid.Cast(value); err == nil {
				err = checkCID(l.cid)
			}
		case linkName:
			l.name = string(value)
		}
		return err
	})
	if err == nil && !l.cid.Defined() {
		err = errNode
	}
	return l, err
}

// fields calls fn for every field of a protobuf message: with value for those
// that have a length, with integer for varints. Others are refused.
func fields(data []byte, fn func(number protowire.Number, value []byte, integer uint64) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errNode
		}
		data = data[n:]
		var value []byte
		var integer uint64
		switch kind {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			integer, n = protowire.ConsumeVarint(data)
		default:
			return errNode
		}
		if n < 0 {
			return errNode
		}
		data = data[n:]
		if err := fn(number, value, integer); err != nil {
			return err
		}
	}
	return nil
}
