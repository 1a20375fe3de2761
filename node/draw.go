package node

import (
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/election"
)

// CheckDraw verifies that the roster of a verified bundle is the one that its
// roll and seed give. Whether the roll left anybody out only its members could
// judge (protocol, section 9).
func CheckDraw(o consensus.Opened) error {
	_, err := election.Check(o.Roll, o.RollLink, o.Verdict.Charter, o.Verdict.Network, o.Verdict.Genesis.Policy)
	return err
}
