package node

import (
	"context"
	"sync"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/jobs/member"
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
func (n *Node) jobEnded(id consensus.JobID, end member.End) {
	roster := rosterOf(end.Height.Roster())
	n.announced.add(id, roster)
	n.agreed.note(roster, end.Closed.Seats)
	if roster[end.Outcome.Commits.Votes[0].Seat] != n.home.identity.Signer.Key() {
		return
	}
	n.announcer.add(announcedOf(end.Height, true))
	n.later(func(ctx context.Context) error {
		data, err := dagcbor.Marshal(end.Closed)
		if err != nil {
			return err
		}
		n.recordLater(id, data)
		for _, key := range n.keepersOf(id, end.Height.Charter, roster) {
			if _, err := n.ask(ctx, key.Peer(), question{Op: opKeep, Data: data}); err != nil {
				n.cfg.Log.Debug("certificate not kept", "peer", key.Name(), "error", err)
			}
		}
		return nil
	})
}

// keepersOf returns the peers that rank for a job and have no part in it.
func (n *Node) keepersOf(id consensus.JobID, c *consensus.Charter, roster []admission.Key) []admission.Key {
	var all []admission.Key
	for _, h := range n.adverts.fresh() {
		all = append(all, h.signed.Advert.Peer)
	}
	part := map[admission.Key]bool{c.Submitter: true}
	for _, key := range roster {
		part[key] = true
	}
	var out []admission.Key
	for _, key := range append(election.RankFor(id, all, keepers), election.RankFor(c.Request, all, keepers)...) {
		if !part[key] {
			part[key] = true
			out = append(out, key)
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
