package node

import (
	"slices"
	"sync"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs/member"
)

// agreed counts, since this node began, how many of the reports that others made
// in its jobs were what was certified. It is shown, and nothing follows from it.
type agreed struct {
	mutex sync.Mutex
	of    map[admission.Key]tally
	order []admission.Key // as they came
}

type tally struct{ reports, certified int }

// maxTallied bounds the peers whose reports are counted: the oldest goes.
const maxTallied = 4096

func newAgreed() *agreed { return &agreed{of: map[admission.Key]tally{}} }

// note counts the reports of a job that ended.
func (a *agreed) note(roster []admission.Key, seats []member.Seat) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for i, seat := range seats[:min(len(seats), len(roster))] {
		if seat.Report == "" {
			continue
		}
		key := roster[i]
		t, known := a.of[key]
		if !known {
			if len(a.order) == maxTallied {
				delete(a.of, a.order[0])
				a.order = slices.Delete(a.order, 0, 1)
			}
			a.order = append(a.order, key)
		}
		t.reports++
		if !seat.Disagrees {
			t.certified++
		}
		a.of[key] = t
	}
}

// share returns which part of a peer's reports were certified; nil where it made
// none.
func (a *agreed) share(key admission.Key) *float64 {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	t, ok := a.of[key]
	if !ok {
		return nil
	}
	share := float64(t.certified) / float64(t.reports)
	return &share
}
