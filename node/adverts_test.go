package node

import (
	"errors"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/dagcbor"
)

// The view is made once for many who ask, and is never behind what was heard,
// nor behind the time.
func TestTheViewOfAdvertsFollowsWhatIsHeardAndTheTime(t *testing.T) {
	network := consensustest.New(2)
	now := int64(consensustest.Now)
	a := newAdverts(home{network: network.ID, founded: network.Genesis}, func() int64 { return now }, func(admission.Key) bool { return false }, func(consensus.Advert) {})
	hear := func(n consensustest.Node, sequence, queued uint64) {
		t.Helper()
		ad := consensus.Advert{Peer: n.Key(), Incarnation: n.Incarnation, Sequence: sequence, Issued: now, Queued: queued,
			Addresses: []string{"/ip4/8.8.8.8/tcp/7421"}, Classes: []consensus.Class{consensus.Portable}}
		data, err := dagcbor.Seal(consensus.TagAdvert, network.ID[:], ad)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.hear(consensus.SignedAdvert{Advert: ad, Credential: n.Credential, Signature: n.Sign(data)}); err != nil && !errors.Is(err, errStale) {
			t.Fatal(err)
		}
	}
	expect := func(queued map[admission.Key]uint64) {
		t.Helper()
		fresh, seen := a.fresh(), a.seen()
		if len(fresh) != len(queued) || len(seen) != len(queued) {
			t.Fatalf("%d fresh, %d seen, want %d", len(fresh), len(seen), len(queued))
		}
		for i, h := range fresh {
			key := h.signed.Advert.Peer
			if want, ok := queued[key]; !ok || h.signed.Advert.Queued != want || seen[i].Peer != key || seen[i].Group == "" {
				t.Errorf("%s has %d queued, want %d; seen as %s in group %q", key.Name(), h.signed.Advert.Queued, want, seen[i].Peer.Name(), seen[i].Group)
			}
		}
	}
	one, two := network.Nodes[0], network.Nodes[1]
	expect(nil)
	hear(one, 1, 5)
	expect(map[admission.Key]uint64{one.Key(): 5})
	hear(two, 1, 6)
	expect(map[admission.Key]uint64{one.Key(): 5, two.Key(): 6})
	now += a.window()
	hear(one, 2, 7)
	expect(map[admission.Key]uint64{one.Key(): 7, two.Key(): 6})
	before := a.state()
	now++
	expect(map[admission.Key]uint64{one.Key(): 7})
	if a.state() == before {
		t.Error("a node that is gone is no news")
	}
}
