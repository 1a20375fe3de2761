package member

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
)

// by has do see node in the place of node 0, who submits.
func (b *bench) by(node int, do func()) {
	was := b.n
	n := *was
	n.Nodes = slices.Clone(was.Nodes)
	n.Nodes[0], n.Nodes[node] = n.Nodes[node], n.Nodes[0]
	n.RollMade, n.RollSealed, n.RollLink = n.Roll(n.Nodes[0].Key())
	b.n = &n
	do()
	b.n = was
}

// another is a job of the present submitter, one of several.
func (b *bench) another(i int) consensustest.Job {
	return b.job(func(c *consensus.Charter) { c.Request[0] = byte(i) }, as)
}

func TestOffersThatWaitForTheirSubmitterHoldUpNothingElse(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		open := b.job(as, as)
		b.offer(open, nil)
		b.by(2, func() {
			b.silent = map[admission.Key]bool{b.n.Nodes[0].Key(): true}
			for i := range workers + 1 {
				b.offer(b.another(i), nil)
			}
		})
		b.m.Decided(open.ID, consensus.Conclusion{Outcome: b.n.Decide(open, consensus.Value{Kind: consensus.Cancelled})}, Standing{}, nil)
		pass(0)
		if _, closed := b.m.Closed(open.ID); !closed {
			t.Error("an outcome is not archived")
		}
		honest := b.another(9)
		b.offer(honest, nil)
		if _, open := b.m.Job(honest.ID); !open || len(b.refusals()) != 0 {
			t.Errorf("another's offer is not answered; refused %q", b.refusals())
		}
		pass(2 * time.Duration(b.n.Genesis.Policy.Accept) * time.Millisecond)
		if refused := b.refusals(); len(refused) != workers+1 {
			t.Errorf("of %d offers that nothing came of, refused %q", workers+1, refused)
		}
	})
}

// A charter from a clock that is ahead has an accept_by that is far, and a witness
// one that has passed.
func TestNobodyIsWaitedForLongerThanThePolicyGives(t *testing.T) {
	for _, test := range []struct {
		who   string
		ahead time.Duration
		shown []int
		wait  time.Duration
	}{
		{"a submitter", 50 * time.Second, nil, time.Duration(consensustest.New(0).Genesis.Policy.Accept) * time.Millisecond},
		{"a witness", -30 * time.Minute, []int{0, 1, 2}, witnessPatience * time.Millisecond},
	} {
		play(t, func(t *testing.T, b *bench) {
			j := b.job(as, as)
			b.begun = b.begun.Add(test.ahead)
			b.silent = map[admission.Key]bool{b.n.Nodes[0].Key(): true}
			b.offer(j, nil, b.accepts(j, test.shown...)...)
			pass(test.wait - 20*time.Millisecond)
			if refused := b.refusals(); len(refused) != 0 {
				t.Errorf("%s: refused before %s: %q", test.who, test.wait, refused)
			}
			pass(20 * time.Millisecond)
			if refused := b.refusals(); len(refused) != 1 || !strings.HasPrefix(refused[0], RefuseMissing) {
				t.Errorf("%s: after %s refused %q", test.who, test.wait, refused)
			}
		})
	}
}

// Anybody may bring a charter that another submits: who does and is slow keeps
// nobody from bringing it too.
func TestWhoBringsAJobAndIsSlowKeepsNobodyElseFromBringingIt(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		slow := b.n.Nodes[3].Key()
		b.silent = map[admission.Key]bool{slow: true}
		b.bring(slow, b.offerOf(j))
		b.offer(j, nil)
		if _, open := b.m.Job(j.ID); !open {
			t.Fatal("the job is not open, though its submitter has brought it")
		}
		b.m.Decided(j.ID, consensus.Conclusion{Outcome: b.n.Decide(j, consensus.Value{Kind: consensus.Cancelled})}, Standing{}, nil)
		pass(0)
		b.offer(j, nil)
		if _, closed := b.m.Closed(j.ID); !closed || b.done[len(b.done)-1] != "decided" {
			t.Errorf("closed: %t; it was offered again, and this did %s", closed, b.done)
		}
		b.mutex.Lock()
		b.silent = nil
		b.mutex.Unlock()
		pass(time.Minute)
		if len(b.opened) != 1 || len(b.refusals()) != 0 || len(b.m.intake) != 0 {
			t.Errorf("opened %d times, refused %q, %d looks", len(b.opened), b.refusals(), len(b.m.intake))
		}
	})
}

// Two bring a job, and the slower one's blocks come when it has ended: it is not
// opened again, without what it had voted.
func TestAJobThatHasEndedIsNotOpenedByALookThatBeganBefore(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		b.slow = time.Second
		b.bring(b.n.Nodes[3].Key(), b.offerOf(j))
		b.mutex.Lock()
		b.slow = 0
		b.mutex.Unlock()
		b.offer(j, nil)
		b.m.Decided(j.ID, consensus.Conclusion{Outcome: b.n.Decide(j, consensus.Value{Kind: consensus.Cancelled})}, Standing{}, nil)
		pass(time.Minute)
		if _, closed := b.m.Closed(j.ID); len(b.opened) != 1 || !closed || len(b.refusals()) != 0 {
			t.Errorf("opened %d times, closed: %t, refused %q", len(b.opened), closed, b.refusals())
		}
	})
}

func TestWhatIsLookedAtCountsAgainstASubmittersShare(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		some := b.another(0)
		for n := range b.n.Genesis.Policy.MaxOpen - 2 {
			b.m.open[consensus.JobID{byte(n), byte(n >> 8), 1}] = &job{charter: some.Charter}
		}
		b.silent = map[admission.Key]bool{b.n.Nodes[0].Key(): true}
		for i := range 3 {
			next := b.job(func(c *consensus.Charter) { c.Request[0], c.Spec = byte(i+1), consensustest.Link(fmt.Sprint(i)) }, as)
			b.offer(next, nil)
		}
		if refused := b.refusals(); len(refused) != 1 || !strings.HasPrefix(refused[0], RefuseBusy) {
			t.Errorf("with room for two, of three that wait refused %q", refused)
		}
	})
}

func TestAPeerHasPlacesAndAQueueOfItsOwn(t *testing.T) {
	s := newOffers()
	take := func() admission.Key {
		o, ok := s.next()
		if !ok {
			return admission.Key{}
		}
		return o.from
	}
	first, second := admission.Key{1}, admission.Key{2}
	for range maxOffersPeer + 1 {
		s.add(offered{from: first, size: 1})
	}
	if n := len(s.bringers[first].waiting); n != maxOffersPeer {
		t.Errorf("%d offers of one peer wait", n)
	}
	for range placesPeer {
		if take() != first {
			t.Fatal("a peer does not get its places")
		}
	}
	if take() != (admission.Key{}) {
		t.Error("a peer gets more than its places")
	}
	for range placesPeer {
		s.add(offered{from: second, size: 1})
	}
	s.leave(first)
	s.leave(first)
	var order []admission.Key
	for range placesPeer {
		order = append(order, take())
	}
	if want := []admission.Key{second, second, first, second}; !slices.Equal(order, want) {
		t.Errorf("with two places taken and none, they went %v", order)
	}
	for take() != (admission.Key{}) { //nolint:revive // takes what there is
	}
	if s.places != 2*placesPeer {
		t.Errorf("%d places are taken", s.places)
	}
	for peer := byte(10); peer < 250; peer++ {
		s.add(offered{from: admission.Key{peer}, size: 1})
		take()
	}
	if s.places != placesAll {
		t.Errorf("%d places are taken, of %d", s.places, placesAll)
	}
}

func TestOffersThatWaitAreBoundedInBytes(t *testing.T) {
	s := newOffers()
	const size = maxOfferBytesPeer / 4
	for peer := byte(1); peer <= maxOfferBytes/maxOfferBytesPeer; peer++ {
		for range 5 {
			s.add(offered{from: admission.Key{peer}, size: size})
		}
		if b := s.bringers[admission.Key{peer}]; b.bytes != maxOfferBytesPeer {
			t.Fatalf("%d bytes of one peer wait", b.bytes)
		}
	}
	// Whoever comes last has room all the same, up to what each of them has.
	for range 5 {
		s.add(offered{from: admission.Key{99}, size: size})
	}
	if b := s.bringers[admission.Key{99}]; s.bytes != maxOfferBytes || b.bytes != 3*size {
		t.Errorf("%d bytes wait, %d of them of who came last", s.bytes, b.bytes)
	}
	sum := 0
	for key, b := range s.bringers {
		held := 0
		for _, o := range b.waiting {
			held += o.size
		}
		if held != b.bytes {
			t.Errorf("%x: %d bytes, %d are counted", key[:1], held, b.bytes)
		}
		sum += held
	}
	if sum != s.bytes {
		t.Errorf("%d bytes, %d are counted", sum, s.bytes)
	}
	for {
		o, ok := s.next()
		if !ok {
			break
		}
		s.leave(o.from)
	}
	if len(s.bringers) != 0 || s.bytes != 0 || s.places != 0 {
		t.Errorf("of nothing is left %d peers, %d bytes, %d places", len(s.bringers), s.bytes, s.places)
	}
}
