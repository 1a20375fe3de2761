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

func heard(network *consensustest.Network, now *int64) *adverts {
	return newAdverts(home{network: network.ID, founded: network.Genesis}, func() int64 { return *now }, func(admission.Key) bool { return false }, func(consensus.Advert) {})
}

// A node keeps its incarnation over a restart, and others keep what they heard of it.
func TestANodeIsHeardOnAfterARestart(t *testing.T) {
	network := consensustest.New(1)
	now := int64(consensustest.Now)
	register, n := heard(network, &now), network.Nodes[0]
	var since int64
	for run := range 3 {
		process := heard(network, &now)
		for range 3 {
			if err := register.hear(signedAdvert(t, network, n, process.next(), 0, now)); err != nil {
				t.Fatalf("run %d: %v", run, err)
			}
			now += register.policy.Advert
		}
		if run == 0 {
			since = register.seen()[0].Since
		}
	}
	if seen := register.seen(); len(seen) != 1 || seen[0].Since != since {
		t.Errorf("seen: %+v, want it since %d", seen, since)
	}
}

// Peers hand each other what they have heard, and anybody can say it again.
func TestWhoIsGoneIsNotHeardOfAgainByAnAdvertOfBefore(t *testing.T) {
	network := consensustest.New(1)
	now := int64(consensustest.Now)
	var came int
	a, n := heard(network, &now), network.Nodes[0]
	a.came = func(consensus.Advert) { came++ }
	last := signedAdvert(t, network, n, 1, 0, now+skewAllowed) // its clock is ahead
	if err := a.hear(last); err != nil {
		t.Fatal(err)
	}
	for step := int64(0); step <= a.window()+2*skewAllowed+a.window(); step += a.policy.Advert {
		if err := a.hear(last); !errors.Is(err, errStale) {
			t.Fatalf("again after %d ms: %v", step, err)
		}
		if _, known := a.get(n.Key()); len(a.fresh()) == 1 != (step <= a.window()) || known != (step <= a.window()) {
			t.Fatalf("after %d ms: %d fresh", step, len(a.fresh()))
		}
		now += a.policy.Advert
	}
	if len(a.known) != 0 {
		t.Error("what cannot be heard any more is remembered")
	}
	if a.state() != 2 {
		t.Errorf("that it came and went counts %d", a.state())
	}
	if err := a.hear(signedAdvert(t, network, n, 2, 0, now)); err != nil || len(a.fresh()) != 1 || came != 2 {
		t.Errorf("it comes back: %v; %d fresh, %d came", err, len(a.fresh()), came)
	}
}

func TestWhoIsGoneMakesRoomForWhoComesAndIsNotHeardAgain(t *testing.T) {
	network := consensustest.New(3)
	now := int64(consensustest.Now)
	a := heard(network, &now)
	first, second, third := signedAdvert(t, network, network.Nodes[0], 1, 0, now-2), signedAdvert(t, network, network.Nodes[1], 1, 0, now-1), signedAdvert(t, network, network.Nodes[2], 1, 0, now)
	hear := func(s consensus.SignedAdvert, want error) {
		t.Helper()
		if err := a.hear(s); !errors.Is(err, want) || len(a.known) > maxKnown {
			t.Errorf("%v, want %v; %d known", err, want, len(a.known))
		}
	}
	for i := range maxKnown - 2 { // alive all the time
		key := admission.Key{1, byte(i >> 8), byte(i)}
		a.known[key] = &heardAdvert{signed: consensus.SignedAdvert{Advert: consensus.Advert{Peer: key}}, last: now + a.window()}
	}
	hear(first, nil)
	hear(second, nil)
	hear(third, errStale) // nobody is gone
	now += a.window() + 1
	hear(third, nil) // in place of the first
	hear(first, errStale)
	if _, known := a.known[network.Nodes[1].Key()]; !known {
		t.Error("the later one made room")
	}
}

// A node that listens elsewhere after a restart is dialled there.
func TestWhereANodeIsNowIsTold(t *testing.T) {
	network := consensustest.New(1)
	now := int64(consensustest.Now)
	var came []string
	a, n := heard(network, &now), network.Nodes[0]
	a.came = func(ad consensus.Advert) { came = append(came, ad.Addresses...) }
	for i, address := range []string{"/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/tcp/2"} {
		ad := consensus.Advert{Peer: n.Key(), Incarnation: n.Incarnation, Sequence: uint64(i + 1), Issued: now, Addresses: []string{address}}
		if err := a.hear(consensus.SignedAdvert{Advert: ad, Credential: n.Credential, Signature: n.Sign(sealed(t, network, consensus.TagAdvert, ad))}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/tcp/2"}; !slices.Equal(came, want) {
		t.Errorf("told %v, want %v", came, want)
	}
}
