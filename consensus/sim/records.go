package sim

import (
	"encoding/binary"

	"github.com/muster-network/muster/consensus"
)

// The checks read records as the journal has them (consensus/bft/record.go),
// without the machine's help: a slot is [kind, round, value, payload], a lock is
// [value, [round, hash, votes]].

// item reads the head of one CBOR item: its argument, and what follows the head.
func item(data []byte) (n uint64, rest []byte) {
	switch info := data[0] & 0x1f; info {
	case 24:
		return uint64(data[1]), data[2:]
	case 25:
		return uint64(binary.BigEndian.Uint16(data[1:])), data[3:]
	case 26:
		return uint64(binary.BigEndian.Uint32(data[1:])), data[5:]
	case 27:
		return binary.BigEndian.Uint64(data[1:]), data[9:]
	default:
		return uint64(info), data[1:]
	}
}

// skip returns what follows one CBOR item.
func skip(data []byte) []byte {
	major := data[0] >> 5
	n, rest := item(data)
	switch major {
	case 2, 3:
		return rest[n:]
	case 4, 5:
		if major == 5 {
			n *= 2
		}
		for range n {
			rest = skip(rest)
		}
		return rest
	case 6:
		return skip(rest)
	}
	return rest
}

func readSlot(data []byte) slot {
	_, rest := item(data)
	kind, rest := item(rest)
	round, rest := item(rest)
	_, rest = item(rest)
	return slot{kind: consensus.Kind(kind), round: uint32(round), value: consensus.Hash(rest[:32])}
}

func readLock(data []byte) (uint32, consensus.Hash) {
	_, rest := item(data)
	rest = skip(rest)
	_, rest = item(rest)
	round, rest := item(rest)
	_, rest = item(rest)
	return uint32(round), consensus.Hash(rest[:32])
}
