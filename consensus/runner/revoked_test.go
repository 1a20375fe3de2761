package runner

import (
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
)

func TestARevocationIsToldToEveryJobThatThePeerHasAPartIn(t *testing.T) {
	f := newFleet(t, 1, func(c *consensus.Charter) { c.Replace = 1 })
	other := f.network.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Replace, c.Nonce = 1, consensus.Hash{1} })
	c := f.members[0].core
	for _, job := range []struct {
		id      consensus.JobID
		charter *consensus.Charter
	}{{f.job.ID, f.job.Charter}, {other.ID, other.Charter}} {
		o := f.open(0)
		o.Config.Job, o.Config.Charter, o.Config.Self = job.id, job.charter, job.charter.PartyOf(f.job.Roster[0].Peer)
		o.Config.Timing.Patience = 8_000
		if err := c.Open(f.now, o); err != nil {
			t.Fatal(err)
		}
		for party := range job.charter.Roster {
			if party != o.Config.Self {
				c.Input(f.now, job.id, bft.Message{From: party, Kind: consensus.KindAccept})
			}
		}
	}
	c.Flush()
	lost := f.job.Roster[1].Peer
	if slices.ContainsFunc(f.asked(c), func(consensus.JobID) bool { return true }) {
		t.Fatal("a reserve is asked while nobody is lost")
	}
	c.Revoked(f.now, lost)
	if asked := f.asked(c); !slices.Contains(asked, f.job.ID) || !slices.Contains(asked, other.ID) {
		t.Errorf("a reserve is asked for %d of two jobs", len(asked))
	}
}

// asked lets a quarter of a patience pass, and returns the jobs for which a reserve
// was asked to stand by.
func (f *fleet) asked(c *Core) (jobs []consensus.JobID) {
	for end := f.now + 2_500; c.Wake() != 0 && c.Wake() <= end; {
		f.now = c.Wake()
		c.Tick(f.now)
		for _, s := range c.Flush().Says {
			reserve := func(party int) bool { return party >= len(s.Charter.Roster) }
			if s.Out.Note == consensus.NoteAccepts && slices.ContainsFunc(s.To, reserve) {
				jobs = append(jobs, s.Job)
			}
		}
	}
	return jobs
}
