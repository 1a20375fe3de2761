package jobs

import (
	"fmt"

	"github.com/muster-network/muster/consensus"
)

// Faults returns the fault model and f that a size stands for: 3f+1, or 2f+1
// for crash-only. A size that fits no f is refused, naming the nearest that do;
// nothing is lowered silently.
func (q Quorum) Faults() (consensus.Fault, uint64, error) {
	model, step := consensus.Byzantine, uint64(3)
	if q.Crash {
		model, step = consensus.Crash, 2
	}
	below := (max(q.Size, 1)-1)/step*step + 1
	if q.Size >= 1 && below == q.Size && q.Size <= consensus.MaxRoster {
		return model, (q.Size - 1) / step, nil
	}
	nearest := fmt.Sprintf("%d or %d", below, below+step)
	if q.Size == 0 {
		nearest = fmt.Sprintf("1 or %d", 1+step)
	}
	if below > consensus.MaxRoster-step {
		nearest = fmt.Sprint((consensus.MaxRoster-1)/step*step + 1)
	}
	return 0, 0, &Problem{
		Code: CodeQuorum,
		What: fmt.Sprintf("a %s quorum of %d fits no number of faults", model, q.Size),
		Try:  "size " + nearest,
	}
}
