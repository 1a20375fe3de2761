package runner

import (
	"time"

	"github.com/muster-network/muster/consensus/admission"
)

// A batch costs a sync, a signature, and a verification for each receiver,
// however much is in it. With one job in flight waiting would only cost time;
// with many, a moment lets their steps share the cost (decision 008).
const (
	paceJob = 500 * time.Microsecond // of pause for each other open job
	paceMax = 8 * time.Millisecond
)

// pace says when the next batch may begin: when most of those whom the last one
// went to have spoken since, for then most of what it can bring is here, or when
// the pause is over. Its zero value has no batch behind it.
type pace struct {
	begun time.Time // the last batch
	asked []admission.Key
	heard map[admission.Key]struct{} // since
}

// begin notes that a batch begins, of which nobody knows yet.
func (p *pace) begin(now time.Time) {
	p.begun, p.asked = now, p.asked[:0]
	clear(p.heard)
}

// ask notes that the batch goes to a peer.
func (p *pace) ask(peer admission.Key) { p.asked = append(p.asked, peer) }

// hear notes that a peer has spoken.
func (p *pace) hear(peer admission.Key) {
	if p.heard == nil {
		p.heard = map[admission.Key]struct{}{}
	}
	p.heard[peer] = struct{}{}
}

// wait returns for how long a batch is still held back, with so many jobs open.
func (p *pace) wait(now time.Time, jobs int) time.Duration {
	answers := 0
	for _, peer := range p.asked {
		if _, ok := p.heard[peer]; ok {
			answers++
		}
	}
	if answers > 0 && 3*answers >= 2*len(p.asked) {
		return 0
	}
	return p.begun.Add(min(time.Duration(max(jobs-1, 0))*paceJob, paceMax)).Sub(now)
}
