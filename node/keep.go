package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

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
	data, err := dagcbor.Marshal(end.Closed)
	if err != nil {
		n.cfg.Log.Error("outcome that cannot be told", "job", id, "error", err)
		return
	}
	n.recordLater(id, data)
	n.later(func(context.Context) error {
		for _, key := range n.keepersOf(id, end.Height.Charter, roster, keepers) {
			n.bringer.add(key, data)
		}
		return nil
	})
}

// bringer brings peers what they are to keep. Each is asked one question at a time,
// beside the others: one that does not answer keeps nothing from them.
type bringer struct {
	start func(func(context.Context) error) // begins something in the background
	ask   func(ctx context.Context, to admission.Key, data []byte) error
	log   *slog.Logger

	mutex   sync.Mutex
	waiting map[admission.Key][][]byte // for those who are asked: what they are asked next
}

// maxBrought bounds what waits for one peer. What is more is left out: others keep it,
// too.
const maxBrought = 256

func (b *bringer) add(to admission.Key, data []byte) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	list, asked := b.waiting[to]
	if len(list) >= maxBrought {
		b.log.Debug("certificate not brought: too many wait", "peer", to.Name())
		return
	}
	b.waiting[to] = append(list, data)
	if !asked {
		b.start(func(ctx context.Context) error { return b.bring(ctx, to) })
	}
}

// bring asks one peer until nothing waits for it.
func (b *bringer) bring(ctx context.Context, to admission.Key) error {
	for ctx.Err() == nil {
		data, ok := b.next(to)
		if !ok {
			return nil
		}
		if err := b.ask(ctx, to, data); err != nil {
			b.log.Debug("certificate not kept", "peer", to.Name(), "error", err)
		}
	}
	return ctx.Err()
}

func (b *bringer) next(to admission.Key) ([]byte, bool) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	list := b.waiting[to]
	if len(list) == 0 {
		delete(b.waiting, to)
		return nil, false
	}
	b.waiting[to] = list[1:]
	return list[0], true
}

func (n *Node) openBringer() error {
	n.bringer = bringer{start: n.owe, log: n.cfg.Log, waiting: map[admission.Key][][]byte{},
		ask: func(ctx context.Context, to admission.Key, data []byte) error {
			_, err := n.ask(ctx, to.Peer(), question{Op: opKeep, Data: data})
			return err
		}}
	return nil
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
