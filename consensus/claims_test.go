package consensus_test

import (
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	codec "github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/dagcbor/dagcbortest"
)

// Whoever sends little makes a decoder hold little, whatever it claims is to come.
func TestDecodersAllocateByWhatTheyAreGivenNotByWhatItClaims(t *testing.T) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1, replaceable)
	chain, last := n.Chain(job, consensustest.Handover([2]uint64{2, 0}))
	decision := n.DecideAt(last, consensustest.Result("out"))
	payload, err := codec.Marshal(consensus.Payload{Decision: &decision, Chain: chain,
		Offer: &consensus.Offer{Charter: job.Signed, Credentials: []admission.SignedCredential{n.UserBadge}}})
	check(t, err)
	for name, one := range map[string]struct {
		valid  []byte
		decode func([]byte)
	}{
		"charter": {job.Signed.Bytes, func(data []byte) {
			_, _, _ = consensus.SignedCharter{Bytes: data}.Read(n.ID)
		}},
		"certificate": {encode(t, n.Certify(job, decision, chain...)), func(data []byte) { _, _ = consensus.OpenCertificate(data) }},
		"evidence":    {encodeEvidence(t, equivocation(t, n, job, 1)), func(data []byte) { _, _ = consensus.OpenEvidence(data) }},
		"roll":        {n.RollSealed, func(data []byte) { _, _ = consensus.OpenRoll(n.Genesis, n.ID, data) }},
		"genesis":     {n.Sealed, func(data []byte) { _, _, _ = admission.OpenGenesis(data) }},
		"payload": {payload, func(data []byte) {
			var p consensus.Payload
			_ = codec.Unmarshal(data, &p)
		}},
	} {
		t.Run(name, func(t *testing.T) { dagcbortest.Claims(t, one.valid, one.decode) })
	}
}
