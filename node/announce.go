package node

import (
	"context"
	"sync"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/store/dagcbor"
)

// announced remembers who the members of announced jobs are: readers ask them
// first. It is a hint, bounded, and nothing depends on it.
type announced struct {
	mutex   sync.Mutex
	rosters map[consensus.JobID][]admission.Key
	order   []consensus.JobID
	last    map[admission.Key]uint64 // sequence of each node's last announcement
}

// maxAnnounced bounds the jobs whose rosters are remembered.
const maxAnnounced = 4096

func newAnnounced() *announced {
	return &announced{rosters: map[consensus.JobID][]admission.Key{}, last: map[admission.Key]uint64{}}
}

// newer reports whether a node's announcement is later than its last, and notes it.
func (a *announced) newer(by admission.Key, sequence uint64) bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.last[by] >= sequence {
		return false
	}
	a.last[by] = sequence
	return true
}

func (a *announced) add(id consensus.JobID, roster []admission.Key) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if _, ok := a.rosters[id]; ok {
		return
	}
	if len(a.order) == maxAnnounced {
		delete(a.rosters, a.order[0])
		a.order = a.order[1:]
	}
	a.rosters[id] = roster
	a.order = append(a.order, id)
}

func (a *announced) roster(id consensus.JobID) []admission.Key {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.rosters[id]
}

// jobEnded pushes a certificate to the peers that rank for its job id and its
// request id, so that readers who know neither roster nor submitter find it.
// One member does it: the first seat that signed.
func (n *Node) jobEnded(id consensus.JobID) {
	n.later(func(ctx context.Context) error {
		closed, ok, err := n.archive.Closed(id)
		if err != nil || !ok {
			return err
		}
		f, err := n.foundHere(closed)
		if err != nil {
			return err
		}
		roster := rosterOf(f.verdict.Charter)
		n.announced.add(id, roster)
		self := n.home.identity.Signer.Key()
		if roster[f.verdict.Signers[0]] != self {
			return nil
		}
		n.announcer.add(announcedOf(id, f.verdict.Charter, true))
		data, err := dagcbor.Marshal(closed)
		if err != nil {
			return err
		}
		n.recordLater(id, data)
		for _, key := range n.keepersOf(f.verdict, roster) {
			if _, err := n.ask(ctx, key.Peer(), question{Op: opKeep, Data: data}); err != nil {
				n.cfg.Log.Debug("certificate not kept", "peer", key.Name(), "error", err)
			}
		}
		return nil
	})
}

// keepersOf returns the peers that rank for a job and have no part in it.
func (n *Node) keepersOf(v *consensus.Verdict, roster []admission.Key) []admission.Key {
	var all []admission.Key
	for _, h := range n.adverts.fresh() {
		all = append(all, h.signed.Advert.Peer)
	}
	part := map[admission.Key]bool{v.Charter.Submitter: true}
	for _, key := range roster {
		part[key] = true
	}
	var out []admission.Key
	for _, id := range [][32]byte{v.Job, v.Charter.Request} {
		for _, key := range election.RankFor(id, all, keepers) {
			if !part[key] {
				part[key] = true
				out = append(out, key)
			}
		}
	}
	return out
}

// pollEvery is how often a job is asked for that this node has no part in.
const pollEvery = 300 * time.Millisecond

// pollUnlessMember returns what wakes somebody who waits for a job: nothing but
// its end for a job that is open here, a timer for another's.
func (n *Node) pollUnlessMember(id consensus.JobID) (<-chan time.Time, func() bool) {
	if _, open := n.member.Job(id); open {
		return nil, func() bool { return true }
	}
	timer := time.NewTimer(pollEvery)
	return timer.C, timer.Stop
}
