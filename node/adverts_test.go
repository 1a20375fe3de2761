package node

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/consensus/election"
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
		if err := a.hear(signedAdvert(t, network, n, sequence, queued, now)); err != nil && !errors.Is(err, errStale) {
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

func signedAdvert(t *testing.T, network *consensustest.Network, n consensustest.Node, sequence, queued uint64, now int64) consensus.SignedAdvert {
	t.Helper()
	ad := consensus.Advert{Peer: n.Key(), Incarnation: n.Incarnation, Sequence: sequence, Issued: now, Queued: queued,
		Addresses: []string{"/ip4/8.8.8.8/tcp/7421"}, Classes: []consensus.Class{consensus.Portable}}
	data, err := dagcbor.Seal(consensus.TagAdvert, network.ID[:], ad)
	if err != nil {
		t.Fatal(err)
	}
	return consensus.SignedAdvert{Advert: ad, Credential: n.Credential, Signature: n.Sign(data)}
}

// The view without those who equivocated is asked for with each offer, by several
// at once, and is the same each time.
func TestWhoIsBarredIsLeftOutOfTheViewAndNobodyElseIsChanged(t *testing.T) {
	network := consensustest.New(5)
	node := listener(network)
	for _, n := range network.Nodes {
		if err := node.adverts.hear(signedAdvert(t, network, n, 1, 0, consensustest.Now)); err != nil {
			t.Fatal(err)
		}
	}
	barred := node.adverts.seen()[0].Peer
	node.misconduct.barred = map[admission.Key]bool{barred: true}
	want := slices.Clone(node.adverts.seen()[1:])
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for range 3 {
				if got := node.seen(); !slices.EqualFunc(got, want, func(a, b election.Seen) bool { return a.Peer == b.Peer }) {
					t.Errorf("seen: %v, want %v", got, want)
				}
			}
		})
	}
	asking.Wait()
	if all := node.adverts.seen(); len(all) != 5 || all[0].Peer != barred {
		t.Errorf("the shared view became %v", all)
	}
}
