package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
)

// recallTimeout bounds how long a job's members are asked what they did.
const recallTimeout = 2 * time.Second

// recall asks the members of a job that ended what each of them did, where this
// node had no part in it: the certificate names who signed, and nothing of who
// ran, what they reported and who disagreed. The answer is one member's word, and
// the job says whose; with none the job is shown as the certificate has it.
func (n *Node) recall(ctx context.Context, f *found) {
	if !f.isOthers() {
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

// isOthers reports whether a job ended and this node had no part in it.
func (f *found) isOthers() bool {
	return f.verdict != nil && !slices.ContainsFunc(f.job.Members, func(m jobs.Member) bool { return m.Role != "" })
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

// recallEvidence asks the members of a job that ended, and in which this node had
// no part, what they can prove of each other in it: a disagreement stays where it
// was seen. What proves itself is kept.
func (n *Node) recallEvidence(ctx context.Context, job consensus.JobID) {
	f, err := n.find(ctx, reference{text: job.String(), isJob: true, job: job})
	if err != nil || !f.isOthers() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, recallTimeout)
	defer cancel()
	var asked sync.WaitGroup
	for _, seat := range f.verdict.Height.Roster() {
		asked.Go(func() {
			if err := n.askMisdeeds(ctx, seat.Peer, job); err != nil {
				n.cfg.Log.Debug("ask for evidence", "peer", seat.Peer.Name(), "error", err)
			}
		})
	}
	asked.Wait()
}

func (n *Node) askMisdeeds(ctx context.Context, of admission.Key, job consensus.JobID) error {
	data, err := n.ask(ctx, of.Peer(), question{Op: opMisdeeds, ID: job[:]})
	if err != nil {
		return err
	}
	return n.holdMisdeeds(job, data)
}

// holdMisdeeds takes in an answer of the evidence of one job.
func (n *Node) holdMisdeeds(job consensus.JobID, data []byte) error {
	var list [][]byte
	if err := dagcbor.Unmarshal(data, &list); err != nil {
		return err
	}
	if len(list) > maxMisdeeds {
		return errors.New("more evidence than a job has members for")
	}
	for _, data := range list {
		e, err := consensus.OpenEvidence(data)
		if err != nil {
			return err
		}
		finding, err := e.Verify(n.home.genesis)
		if err != nil {
			return err
		}
		if finding.Job != job {
			return errors.New("evidence of another job")
		}
		if _, err := n.hold(e); err != nil {
			return err
		}
	}
	return nil
}

// maxMisdeeds bounds the evidence of one job: of each member, and of those who
// lost their seats, one of each kind.
const maxMisdeeds = 128

// answerMisdeeds answers with the evidence held of a job, as much as fits.
func (n *Node) answerMisdeeds(id []byte) ([]byte, error) {
	if len(id) != len(consensus.JobID{}) {
		return nil, errors.New("an id has 32 bytes")
	}
	list, size := [][]byte{}, 0
	for _, d := range n.misconduct.in(consensus.JobID(id)) {
		data, err := n.misconduct.read(d)
		if err != nil {
			return nil, err
		}
		if size += len(data); size > maxAnswer/2 || len(list) == maxMisdeeds {
			break
		}
		list = append(list, data)
	}
	return dagcbor.Marshal(list)
}
