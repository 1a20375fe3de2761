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

// Who has decided says that, and is silent otherwise: it is there all the same, and
// is not missed by who has not decided yet.
func TestWhoSaysThatItHasDecidedIsNotMissed(t *testing.T) {
	for _, silent := range []bool{false, true} {
		f := newFleet(t, 1, func(c *consensus.Charter) { c.Replace = 1 })
		c := NewCore(f.job.Roster[0].Peer, resend)
		o := f.open(0)
		o.Config.Timing.Patience = 8_000
		if err := c.Open(f.now, o); err != nil {
			t.Fatal(err)
		}
		for party := 1; party < 4; party++ {
			c.Input(f.now, f.job.ID, bft.Message{From: party, Kind: consensus.KindAccept})
		}
		c.Flush()
		missed := false
		for range 20 {
			for party := 1; party < 4; party++ {
				if m := (bft.Message{From: party, Note: consensus.NoteAlive}); party > 1 {
					c.Input(f.now, f.job.ID, m)
				} else if !silent {
					m.Note = consensus.NoteDecided
					c.Input(f.now, f.job.ID, m)
				}
			}
			f.now += 1_000
			c.Tick(f.now)
			missed = missed || slices.ContainsFunc(c.Flush().Says, func(s Say) bool { return s.Out.Kind == consensus.KindSuspect })
		}
		if missed != silent {
			t.Errorf("silent %v: missed %v", silent, missed)
		}
	}
}
