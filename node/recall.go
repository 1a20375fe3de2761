package node

import (
	"context"
	"slices"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
)

// recallTimeout bounds how long a job's members are asked what they did.
const recallTimeout = 2 * time.Second

// recall asks the members of a job that ended what each of them did, where this
// node had no part in it: the certificate names who signed, and nothing of who
// ran, what they reported and who disagreed. The answer is one member's word, and
// the job says whose; with none the job is shown as the certificate has it.
func (n *Node) recall(ctx context.Context, f *found) {
	if f.verdict == nil || slices.ContainsFunc(f.job.Members, func(m jobs.Member) bool { return m.Role != "" }) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, recallTimeout)
	defer cancel()
	ref := reference{text: f.job.ID, isJob: true, job: f.verdict.Job}
	q := question{Op: opJob, ID: ref.job[:]}
	roster := f.verdict.Height.Roster()
	answers := make(chan *found, len(roster))
	for _, seat := range roster {
		go func(key admission.Key) {
			told, err := n.askJob(ctx, key, q, ref)
			if err != nil {
				n.cfg.Log.Debug("ask what was done", "peer", key.Name(), "error", err)
			}
			answers <- told
		}(seat.Peer)
	}
	for range roster {
		if told := <-answers; told != nil && told.verdict != nil && f.take(told.job, told.verdict) {
			return
		}
	}
}

// take takes over what a member tells of the others, unless it knows no more. Who
// has signed stays as this node's own certificate has it.
func (f *found) take(told jobs.Job, verdict *consensus.Verdict) bool {
	if verdict.Job != f.verdict.Job || len(told.Members) != len(f.job.Members) || told.Members[0].Role == "" {
		return false
	}
	for i, m := range told.Members {
		if m.Peer != f.job.Members[i].Peer {
			return false
		}
		m.Signed, m.Lied = f.job.Members[i].Signed, f.job.Members[i].Lied
		f.job.Members[i] = m
	}
	f.job.Source = told.Source
	return true
}
