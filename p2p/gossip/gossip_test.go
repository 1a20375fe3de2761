package gossip_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/goleak"

	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/gossip"
	"github.com/muster-network/muster/p2p/p2ptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

type member struct {
	*p2p.Node
	*gossip.Gossip
	heard  chan string
	judged chan string
	warm   chan string // heard, while meshes formed
}

// newMember joins one topic: messages that begin with "bad" are invalid, those
// that begin with "?" cannot be judged, those that begin with "warm" are only
// said to see whether they arrive.
func newMember(t testing.TB, net *p2ptest.Network, cfg gossip.Config, change func(*gossip.Topic)) *member {
	t.Helper()
	node := p2ptest.Start(t, net.Config(t))
	m := &member{
		Node: node, Gossip: gossip.New(node.Host, net.ID, cfg),
		heard: make(chan string, 1<<12), judged: make(chan string, 1<<12),
		warm: make(chan string, 1<<12),
	}
	topic := gossip.Topic{
		Validate: func(_ peer.ID, data []byte) gossip.Verdict {
			if strings.HasPrefix(string(data), "warm") {
				return gossip.Accept
			}
			m.judged <- string(data)
			switch {
			case strings.HasPrefix(string(data), "bad"):
				return gossip.Reject
			case strings.HasPrefix(string(data), "?"):
				return gossip.Ignore
			}
			return gossip.Accept
		},
		Deliver: func(_ peer.ID, data []byte) {
			if strings.HasPrefix(string(data), "warm") {
				m.warm <- string(data)
				return
			}
			m.heard <- string(data)
		},
	}
	if change != nil {
		change(&topic)
	}
	m.Join("test", topic)
	p2ptest.Go(t, m.Gossip.Run)
	return m
}

func (m *member) publish(t testing.TB, message string) {
	t.Helper()
	if err := m.Publish(t.Context(), "test", []byte(message)); err != nil {
		t.Fatal(err)
	}
}

func next(t testing.TB, c <-chan string, what string) string {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(patience):
		t.Fatalf("waited for %s", what)
		return ""
	}
}

func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("waited for: %s", what)
		case <-tick.C:
		}
	}
}

// warmUp has one member say something new until all others heard it: GossipSub
// forms its meshes a second or so after topics were joined.
func warmUp(t testing.TB, from *member, others []*member) {
	t.Helper()
	said := 0
	for _, m := range others {
		until(t, "a mesh", func() bool {
			said++
			if err := from.Publish(t.Context(), "test", fmt.Appendf(nil, "warm %s %d", from.Host.ID(), said)); err != nil {
				return false // not running yet
			}
			for {
				select {
				case got := <-m.warm:
					if strings.Contains(got, from.Host.ID().String()) {
						return true
					}
				default:
					return false
				}
			}
		})
	}
}

// line connects each member to the next one only, and waits until what one of
// them says reaches all.
func line(t testing.TB, n int, change func(*gossip.Topic)) []*member {
	t.Helper()
	net := p2ptest.New(t)
	members := make([]*member, n)
	for i := range members {
		members[i] = newMember(t, net, gossip.Config{}, change)
		if i > 0 {
			p2ptest.Connect(t, members[i].Node, members[i-1].Node)
		}
	}
	for i, m := range members {
		warmUp(t, m, append(append([]*member(nil), members[:i]...), members[i+1:]...))
	}
	return members
}

func TestMessagesAreHeardOnceByEverybodyElse(t *testing.T) {
	members := line(t, 4, nil)
	for i, m := range members {
		said := fmt.Sprint("from ", i)
		m.publish(t, said)
		for j, other := range members {
			if i == j {
				continue
			}
			if got := next(t, other.heard, said); got != said {
				t.Errorf("member %d heard %q in place of %q", j, got, said)
			}
		}
	}
	for i, m := range members {
		if len(m.heard) != 0 {
			t.Errorf("member %d also heard %q", i, <-m.heard)
		}
	}
}

// What a neighbour rejects or ignores goes no further. A later message arrives
// by the same path, so the earlier one had its chance.
func TestWhatIsNotAcceptedIsNotPassedOn(t *testing.T) {
	members := line(t, 3, nil)
	for _, message := range []string{"bad", "?", "good"} {
		members[0].publish(t, message)
		if got := next(t, members[1].judged, message); got != message {
			t.Fatalf("the neighbour judged %q", got)
		}
	}
	for _, m := range members[1:] {
		if got := next(t, m.heard, "the good message"); got != "good" {
			t.Errorf("heard %q", got)
		}
	}
}

func TestSizeAndRateAreBounded(t *testing.T) {
	const burst = 300
	members := line(t, 2, func(t *gossip.Topic) { t.MaxSize, t.Rate, t.Burst = 100, 1e-9, burst })
	if err := members[0].Publish(t.Context(), "test", make([]byte, 101)); !errors.Is(err, gossip.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	// More than a peer may say is said in pieces that its queue holds.
	for i := range 2 * burst {
		members[0].publish(t, fmt.Sprint(i))
		if i%50 == 49 {
			members[1].publish(t, fmt.Sprint("other way ", i))
			next(t, members[0].heard, "the other way")
		}
	}
	if n := len(members[1].judged); n == 0 || n > burst {
		t.Errorf("%d messages were judged, at most %d", n, burst)
	}
}

// A peer whose own limits are laxer cannot make others judge large messages.
func TestALargeMessageFromAPeerIsRejected(t *testing.T) {
	net := p2ptest.New(t)
	lax := newMember(t, net, gossip.Config{}, func(t *gossip.Topic) { t.MaxSize = 1000 })
	strict := newMember(t, net, gossip.Config{}, func(t *gossip.Topic) { t.MaxSize = 100 })
	p2ptest.Connect(t, lax.Node, strict.Node)
	warmUp(t, lax, []*member{strict})
	lax.publish(t, string(bytes.Repeat([]byte("x"), 1000)))
	lax.publish(t, "small")
	if got := next(t, strict.heard, "the small message"); got != "small" {
		t.Errorf("heard %d bytes", len(got))
	}
	if got := <-strict.judged; got != "small" {
		t.Errorf("judged %d bytes", len(got))
	}
}

func TestRandomPeersAreMetBeforeTopicsAreJoined(t *testing.T) {
	net := p2ptest.New(t)
	first := newMember(t, net, gossip.Config{}, nil)
	var second *member
	met := make(chan struct{})
	second = newMember(t, net, gossip.Config{Candidates: func(context.Context) []peer.ID {
		<-met
		second.Host.Peerstore().AddAddrs(first.Host.ID(), first.Host.Addrs(), time.Hour)
		return []peer.ID{first.Host.ID()}
	}}, nil)
	close(met)
	until(t, "neighbours", func() bool { return len(second.Neighbours("test")) == 1 })
}

func TestNothingIsPublishedBeforeRun(t *testing.T) {
	net := p2ptest.New(t)
	node := p2ptest.Start(t, net.Config(t))
	g := gossip.New(node.Host, net.ID, gossip.Config{})
	g.Join("test", gossip.Topic{})
	if err := g.Publish(t.Context(), "test", []byte("x")); !errors.Is(err, gossip.ErrNotRunning) {
		t.Errorf("got %v", err)
	}
	if err := g.Publish(t.Context(), "other", []byte("x")); err == nil {
		t.Error("published on a topic that was not joined")
	}
}

func BenchmarkDelivery(b *testing.B) {
	members := line(b, 2, func(t *gossip.Topic) {
		t.Rate, t.Burst = 1e9, 1<<30
		t.Validate = func(peer.ID, []byte) gossip.Verdict { return gossip.Accept }
	})
	i := 0
	for b.Loop() {
		members[0].publish(b, fmt.Sprint(i, strings.Repeat("x", 300)))
		<-members[1].heard
		i++
	}
}
