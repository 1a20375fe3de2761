package runner

import (
	"sync"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

// recent remembers when something last happened between a peer and a job. It is
// safe for concurrent use.
type recent struct {
	mutex sync.Mutex
	last  map[recentKey]int64
}

type recentKey struct {
	peer admission.Key
	job  consensus.JobID
}

// maxRecent bounds what is remembered: beyond it all is forgotten.
const maxRecent = 4096

func newRecent() *recent { return &recent{last: map[recentKey]int64{}} }

// within reports whether it happened less than span milliseconds ago. What was
// noted by a clock that has gone back since is over.
func (r *recent) within(peer admission.Key, job consensus.JobID, now, span int64) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	at, ok := r.last[recentKey{peer, job}]
	return ok && now >= at && now-at < span
}

// note notes that it happens now.
func (r *recent) note(peer admission.Key, job consensus.JobID, now int64) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if len(r.last) >= maxRecent {
		clear(r.last)
	}
	r.last[recentKey{peer, job}] = now
}
