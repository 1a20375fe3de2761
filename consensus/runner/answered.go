package runner

import (
	"sync"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

// answered remembers who was sent the decision of a closed job, and when: one
// answer for each peer and back-off (protocol, section 16).
type answered struct {
	mutex sync.Mutex
	last  map[answeredKey]int64
}

type answeredKey struct {
	peer admission.Key
	job  consensus.JobID
}

// maxAnswered bounds what is remembered.
const maxAnswered = 4096

func newAnswered() *answered { return &answered{last: map[answeredKey]int64{}} }

// may reports whether the peer may be answered now, and notes that it is.
func (a *answered) may(peer admission.Key, job consensus.JobID, now, pause int64) bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	key := answeredKey{peer, job}
	if at, ok := a.last[key]; ok && now-at < pause {
		return false
	}
	if len(a.last) >= maxAnswered {
		clear(a.last)
	}
	a.last[key] = now
	return true
}
