package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/store/dagcbor"
)

// keepers is how many peers keep a certificate they had no part in, for the
// job's id and again for the request's (protocol, section 12).
const keepers = 8

// keepersSlack is how many more than those keep what they are brought: two nodes
// have heard of different ones, and then rank them differently.
const keepersSlack = 2

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
		for _, key := range n.keepersOf(id, end.Height.Charter, roster, keepers) {
			if _, err := n.ask(ctx, key.Peer(), question{Op: opKeep, Data: data}); err != nil {
				n.cfg.Log.Debug("certificate not kept", "peer", key.Name(), "error", err)
			}
		}
		return nil
	})
}

// keepersOf returns the first k peers that rank for a job, and as many for its
// request, but for those that have a part in it.
func (n *Node) keepersOf(id consensus.JobID, c *consensus.Charter, roster []admission.Key, k int) []admission.Key {
	var all []admission.Key
	for _, h := range n.adverts.fresh() {
		all = append(all, h.signed.Advert.Peer)
	}
	part := map[admission.Key]bool{c.Submitter: true}
	for _, key := range roster {
		part[key] = true
	}
	var out []admission.Key
	for _, key := range append(election.RankFor(id, all, k), election.RankFor(c.Request, all, k)...) {
		if !part[key] {
			part[key] = true
			out = append(out, key)
		}
	}
	return out
}

// keep stores what a member of a job brings of its end, where this node ranks for it.
// Who does not rank, has a part in the job or is brought too much may refuse: members
// and submitter keep the outcome themselves, and what they agreed on is told to them
// by agreement, not by this.
func (n *Node) keep(ctx context.Context, from admission.Key, data []byte) error {
	if !n.member.MayBring(from) {
		return errors.New("too much to keep of late")
	}
	var closed member.Closed
	if err := dagcbor.Unmarshal(data, &closed); err != nil {
		return err
	}
	f, err := n.foundClosed(&closed, "")
	if err != nil {
		return err
	}
	id, roster := f.verdict.Job, rosterOf(f.verdict.Height.Roster())
	if !slices.Contains(roster, from) {
		return fmt.Errorf("%s has no part in job %s", from.Name(), id)
	}
	if !slices.Contains(n.keepersOf(id, f.verdict.Charter, roster, keepersSlack*keepers), n.home.identity.Signer.Key()) {
		return fmt.Errorf("this node does not rank for job %s", id)
	}
	return n.member.KeepFor(ctx, from, *f.verdict, closed)
}
