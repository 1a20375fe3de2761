package runner

import (
	"testing"
	"time"

	"github.com/muster-network/muster/consensus/admission"
)

func TestABatchIsHeldBackUntilMostHaveSpokenOrThePauseIsOver(t *testing.T) {
	begun := time.Unix(1000, 0)
	for name, try := range map[string]struct {
		jobs        int
		asked       byte   // so many peers, from 1
		heard       []byte // who spoke
		after, want time.Duration
	}{
		"one job waits for nothing":         {jobs: 1, asked: 3, want: 0},
		"none neither":                      {jobs: 0, asked: 3, want: 0},
		"a second job is worth a moment":    {jobs: 2, asked: 3, want: paceJob},
		"many are worth no more than so":    {jobs: 1000, asked: 3, want: paceMax},
		"what has passed counts":            {jobs: 1000, asked: 3, after: paceMax - 1, want: 1},
		"one of three is not most":          {jobs: 1000, asked: 3, heard: []byte{1}, want: paceMax},
		"nor is one who speaks twice":       {jobs: 1000, asked: 3, heard: []byte{1, 1}, want: paceMax},
		"two of three are":                  {jobs: 1000, asked: 3, heard: []byte{1, 2}, want: 0},
		"nobody was asked yet: the pause":   {jobs: 1000, heard: []byte{1, 2, 3}, want: paceMax},
		"strangers do not count":            {jobs: 1000, asked: 3, heard: []byte{1, 8, 9}, want: paceMax},
		"four of six":                       {jobs: 1000, asked: 6, heard: []byte{1, 2, 3, 4}, want: 0},
		"three of six are not enough of it": {jobs: 1000, asked: 6, heard: []byte{1, 2, 3}, want: paceMax},
	} {
		var p pace
		p.ask(admission.Key{1}) // before the batch: of no account
		p.hear(admission.Key{1})
		p.begin(begun)
		for peer := range try.asked {
			p.ask(admission.Key{peer + 1})
		}
		for _, peer := range try.heard {
			p.hear(admission.Key{peer})
		}
		if got := p.wait(begun.Add(try.after), try.jobs); got != try.want {
			t.Errorf("%s: %v, want %v", name, got, try.want)
		}
	}
}
