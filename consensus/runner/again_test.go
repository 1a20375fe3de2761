package runner

import (
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
)

// A job that stays open says something new in each round. Of the rounds before,
// nothing needs to be remembered.
func TestWhatIsNoLongerSaidIsNotRememberedAsAcknowledged(t *testing.T) {
	f, c := alone(t)
	for seat := range 3 {
		c.Input(f.now, f.job.ID, bft.Message{From: seat, Kind: consensus.KindAccept})
	}
	acknowledge := func() int {
		says := 0
		for _, s := range c.Flush().Says {
			for seat := 1; seat < 4; seat++ {
				c.Acknowledged(f.job.ID, seat, KeyOf(s.Out))
			}
			says++
		}
		return says
	}
	acknowledge()
	most := 0
	for round := uint32(1); round <= 200; round++ {
		for _, seat := range []int{1, 2} { // enough to be followed
			c.Input(f.now, f.job.ID, bft.Message{From: seat, Kind: consensus.KindRoundChange, Round: round})
		}
		if acknowledge() == 0 {
			t.Fatalf("round %d is not followed", round)
		}
		for until := f.now + maxBackoff + maxBackoff/4 + 1; c.Wake() <= until; { // until after the next nudge
			f.now = c.Wake()
			c.Tick(f.now)
			for _, s := range c.Flush().Says {
				if s.Out.Kind == consensus.KindRoundChange {
					t.Fatalf("round %d: all have its round change, and it is said again", round)
				}
				for seat := 1; seat < 4; seat++ {
					c.Acknowledged(f.job.ID, seat, KeyOf(s.Out))
				}
			}
		}
		most = max(most, len(c.jobs[f.job.ID].said))
	}
	if most > 16 {
		t.Errorf("after 200 rounds %d messages are remembered", most)
	}
}
