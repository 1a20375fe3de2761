package runner

import "github.com/muster-network/muster/consensus"

// Kept is how much is remembered, for one job, of what others say: all of it is
// bounded, whatever they say (protocol, section 16).
type Kept struct {
	Party        int // statements and reports, of the party of which most are kept; at most bft.MaxKept
	Values       int // whose blocks are durable here, were asked for, or that name members
	Acknowledged int // own messages that somebody has
}

// Kept returns what is remembered of a job; nothing where it is not open.
func (c *Core) Kept(id consensus.JobID) Kept {
	j, ok := c.jobs[id]
	if !ok {
		return Kept{}
	}
	k := Kept{Values: j.machine.KeptValues(), Acknowledged: len(j.said)}
	for party := range j.charter.Parties() {
		k.Party = max(k.Party, j.machine.Kept(party))
	}
	return k
}
