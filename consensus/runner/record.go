package runner

import (
	"encoding/binary"
	"fmt"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
)

// The records of agreement in the journal: r/<job><number>, in the order in which
// a machine made them.

const recordPrefix = "r/"

// RecordPrefix begins the keys of all of a job's records.
func RecordPrefix(job consensus.JobID) []byte { return append([]byte(recordPrefix), job[:]...) }

// RecordKey is the journal key of a job's record.
func RecordKey(job consensus.JobID, seq uint64) []byte {
	key := append(make([]byte, 0, len(recordPrefix)+len(job)+8), recordPrefix...)
	return binary.BigEndian.AppendUint64(append(key, job[:]...), seq)
}

// EncodeRecord is a record's value in the journal: its kind and its data.
func EncodeRecord(r bft.Record) []byte {
	return append([]byte{byte(r.Kind)}, r.Data...)
}

// DecodeRecord reads what EncodeRecord writes.
func DecodeRecord(value []byte) (bft.Record, error) {
	if len(value) == 0 {
		return bft.Record{}, fmt.Errorf("journal: an empty record")
	}
	return bft.Record{Kind: bft.RecordKind(value[0]), Data: value[1:]}, nil
}

// recordKeys are the keys of all records of a job that is put away.
func recordKeys(d Do) [][]byte {
	keys := make([][]byte, d.Records)
	for seq := range keys {
		keys[seq] = RecordKey(d.Job, uint64(seq))
	}
	return keys
}
