package node

import (
	"context"
	"sync"

	blocks "github.com/ipfs/go-block-format"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/store/dagcbor"
)

// rolls makes the frozen lists that this node draws from. A roll serves for
// half of the age that the policy allows, unless a node came, went or changed:
// then it is made anew, at most once a second (decision 003).
type rolls struct {
	mutex sync.Mutex
	roll  *consensus.Roll
	link  dagcbor.Link
	state uint64
}

// rollPause is the least time between two rolls, in milliseconds.
const rollPause = 1_000

// Roll returns the roll to draw from. Its block is durable: charters name it.
func (n *Node) Roll(ctx context.Context) (*consensus.Roll, dagcbor.Link, error) {
	r := &n.rolls
	r.mutex.Lock()
	defer r.mutex.Unlock()
	now, state := n.clock(), n.adverts.state()+n.misconduct.state()
	if r.serve(now, state, n.home.founded.Policy.RollAge) {
		return r.roll, r.link, nil
	}
	roll := n.makeRoll(now)
	data, link, err := roll.Seal(n.home.network)
	if err != nil {
		return nil, link, err
	}
	block, err := blocks.NewBlockWithCid(data, link.Cid)
	if err != nil {
		return nil, link, err
	}
	if err := n.blocks.Put(ctx, block); err != nil {
		return nil, link, err
	}
	if err := n.blocks.Sync(ctx); err != nil {
		return nil, link, err
	}
	r.roll, r.link, r.state = roll, link, state
	return roll, link, nil
}

// serve reports whether the roll made last can be drawn from. One that was made
// before the clock was set back cannot: its charter would be older than it.
func (r *rolls) serve(now int64, state uint64, life int64) bool {
	if r.roll == nil {
		return false
	}
	age := now - r.roll.Made
	return age >= 0 && (age < rollPause || age < life/2 && state == r.state)
}

func (n *Node) makeRoll(now int64) *consensus.Roll {
	fresh := n.adverts.fresh()
	self := n.home.identity.Signer.Key()
	roll := &consensus.Roll{V: consensus.Version, Made: now, Maker: self, Entries: []consensus.RollEntry{}}
	peers := make([]admission.Key, len(fresh))
	for i := range fresh {
		peers[i] = fresh[i].signed.Advert.Peer
	}
	sample := election.NewSample(n.home.network, self, election.Period(now))
	bits := sample.Bits(peers)
	for _, h := range fresh {
		ad := h.signed.Advert
		if !sample.Belongs(ad.Peer, bits) || n.misconduct.bars(ad.Peer) {
			continue
		}
		data, err := dagcbor.Seal(consensus.TagAdvert, n.home.network[:], ad)
		if err != nil {
			continue // it was decoded from these bytes
		}
		roll.Entries = append(roll.Entries, consensus.RollEntry{Peer: ad.Peer, Incarnation: ad.Incarnation, Credential: h.signed.Credential,
			Advert: dagcbor.Sum(data), Classes: ad.Classes, Features: ad.Features, Total: ad.Total, Free: ad.Free, Group: h.group})
	}
	return roll
}
