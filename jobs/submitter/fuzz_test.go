package submitter

import (
	"bytes"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/dagcbor"
)

// A submission's record: what is read is what was written, and nothing else.
func FuzzRecord(f *testing.F) {
	n := consensustest.New(4)
	job := n.Job(consensus.Byzantine, 1)
	votes := n.Votes(job, consensus.KindStarted, 0, consensus.Hash{}, 0, 1)
	for _, r := range []record{
		{Offer: consensus.Offer{Charter: job.Signed}},
		{Offer: consensus.Offer{Charter: job.Signed}, Attempt: 3, Void: true},
		{Offer: consensus.Offer{Charter: job.Signed}, Acknowledged: true, Started: votes.Votes},
	} {
		entry, err := r.entry(job.Request)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(entry.Value)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r record
		if dagcbor.Unmarshal(data, &r) != nil {
			return
		}
		if entry, err := r.entry(job.Request); err != nil || !bytes.Equal(entry.Value, data) {
			t.Errorf("encodes to other bytes: %x, %v", entry.Value, err)
		}
	})
}
