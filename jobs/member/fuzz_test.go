package member

import (
	"bytes"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/dagcbor"
)

// The records of a member: an open job, a job that ended, its line in lists.
// What is read is what was written, and nothing else.
func FuzzRecords(f *testing.F) {
	n := consensustest.New(4)
	job := n.Job(consensus.Byzantine, 1)
	for _, v := range []any{
		openRecord{Offer: consensus.Offer{Charter: job.Signed}, Witness: true},
		Closed{Certificate: []byte{1}, Finished: 1, Name: "hello", Labels: map[string]string{"a": "b"}, Seats: []Seat{{Role: "voter", Use: map[string]uint64{"cpu_ns": 1}}}},
		Line{Name: "hello", State: "succeeded", Issued: 1},
	} {
		data, err := dagcbor.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, into := range []any{new(openRecord), new(Closed), new(Line)} {
			if dagcbor.Unmarshal(data, into) != nil {
				continue
			}
			if again, err := dagcbor.Marshal(into); err != nil || !bytes.Equal(again, data) {
				t.Errorf("%T encodes to other bytes: %x, %v", into, again, err)
			}
		}
	})
}
