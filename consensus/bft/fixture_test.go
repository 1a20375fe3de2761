package bft

import (
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

func tree(name string) *dagcbor.Link {
	link := dagcbor.LinkTo(dagcbor.CID([]byte(name)))
	return &link
}

func result(name string) consensus.Value {
	return consensus.Value{Kind: consensus.Result, Tree: tree(name)}
}

func failed(class consensus.Failure) consensus.Value {
	return consensus.Value{Kind: consensus.Failed, Class: class}
}

// testCharter makes a charter as far as the machine looks at it.
func testCharter(fault consensus.Fault, f uint64, start int64) *consensus.Charter {
	c := &consensus.Charter{Issued: start, AcceptBy: start + 10_000, StartBy: start + 15_000, Deadline: start + 3_600_000, End: start + 7_200_000,
		Timeout: 5_000, Fault: fault, F: f}
	for seat := range c.Thresholds().N {
		c.Roster = append(c.Roster, consensus.Seat{Peer: admission.Key{byte(seat + 1)}})
	}
	return c
}

func testConfig(charter *consensus.Charter, self int) Config {
	cfg := Config{Job: consensus.JobID{1}, Charter: charter, Self: self, Salt: [16]byte{byte(self)},
		Timing: Timing{Beat: 1_000, Round: 1_000, RoundMax: 60_000, Timeout: charter.Timeout}}
	for seat := range charter.Roster {
		cfg.Runners = append(cfg.Runners, seat)
	}
	return cfg
}

func mustHash(v consensus.Value) consensus.Hash {
	hash, err := v.Hash(admission.Network{})
	if err != nil {
		panic(err)
	}
	return hash
}
