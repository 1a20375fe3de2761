package discovery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/goleak"

	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/discovery"
	"github.com/muster-network/muster/p2p/p2ptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// signed takes values that begin with their key, and prefers the longer one.
type signed struct{}

func (signed) Validate(key string, value []byte) error {
	if !bytes.HasPrefix(value, []byte(key+":")) {
		return fmt.Errorf("not a value of %s", key)
	}
	return nil
}

func (signed) Select(_ string, values [][]byte) (int, error) {
	best := 0
	for i, v := range values {
		if len(v) > len(values[best]) {
			best = i
		}
	}
	return best, nil
}

type member struct {
	*p2p.Node
	*discovery.Discovery
	stop func()
}

func newMember(t *testing.T, net *p2ptest.Network, cfg discovery.Config) *member {
	t.Helper()
	node, stopNode := p2ptest.StartStop(t, net.Config(t))
	if cfg.Validator == nil {
		cfg.Validator = signed{}
	}
	if cfg.Every == 0 {
		cfg.Every = 200 * time.Millisecond
	}
	m := &member{Node: node, Discovery: discovery.New(node.Host, net.ID, cfg)}
	stop := p2ptest.Go(t, m.Discovery.Run)
	m.stop = func() { stop(); stopNode() }
	return m
}

// until asks again until it holds; what is waited for has no event of its own.
func until(t *testing.T, what string, holds func() bool) {
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

// star makes n members, all introduced to the first one only.
func star(t *testing.T, n int, cfg discovery.Config) []*member {
	t.Helper()
	net := p2ptest.New(t)
	members := make([]*member, n)
	for i := range members {
		members[i] = newMember(t, net, cfg)
		if i > 0 {
			p2ptest.Connect(t, members[i].Node, members[0].Node)
		}
	}
	return members
}

func TestMembersFindThoseThatNobodyIntroduced(t *testing.T) {
	members := star(t, 6, discovery.Config{})
	for _, m := range members {
		until(t, "everybody else to be a candidate", func() bool {
			return len(m.Candidates(t.Context())) == len(members)-1
		})
		if slices.Contains(m.Candidates(t.Context()), m.Host.ID()) {
			t.Error("a node is its own candidate")
		}
	}
}

func TestTheDeadAreNoCandidates(t *testing.T) {
	members := star(t, 4, discovery.Config{})
	first, last := members[0], members[3]
	until(t, "the last to be a candidate", func() bool {
		return slices.Contains(first.Candidates(t.Context()), last.Host.ID())
	})
	last.stop()
	until(t, "the last to be gone", func() bool {
		return !slices.Contains(first.Candidates(t.Context()), last.Host.ID())
	})
	if got := first.Candidates(t.Context()); len(got) != 2 {
		t.Errorf("%d candidates are left", len(got))
	}
}

func TestStrangersAreNoCandidates(t *testing.T) {
	members := star(t, 2, discovery.Config{})
	stranger := newMember(t, p2ptest.New(t), discovery.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var refused *p2p.RefusedError
	if err := stranger.Connect(ctx, p2ptest.Info(members[0].Node)); !errors.As(err, &refused) {
		t.Fatalf("got %v", err)
	}
	until(t, "members to find each other", func() bool { return len(members[0].Candidates(ctx)) == 1 })
	if slices.Contains(members[0].Candidates(ctx), stranger.Host.ID()) {
		t.Error("a stranger is a candidate")
	}
}

func TestARecordIsFoundByAnybody(t *testing.T) {
	members := star(t, 5, discovery.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	until(t, "the record to be stored", func() bool {
		err := members[1].Put(ctx, "job-1", []byte("job-1:done"))
		if err != nil && !errors.Is(err, discovery.ErrNotStored) && ctx.Err() != nil {
			t.Fatal(err)
		}
		return err == nil
	})
	for i, m := range members {
		got, err := m.Get(ctx, "job-1")
		if err != nil || string(got) != "job-1:done" {
			t.Errorf("member %d: %q, %v", i, got, err)
		}
	}
	if _, err := members[2].Get(ctx, "job-2"); !errors.Is(err, discovery.ErrNotFound) {
		t.Errorf("a record nobody put: %v", err)
	}
}

func TestABetterRecordStays(t *testing.T) {
	members := star(t, 3, discovery.Config{Puts: 1000, PeerPuts: 1000})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	put := func(m *member, value string) {
		until(t, "the record to be stored", func() bool { return m.Put(ctx, "job", []byte(value)) == nil })
	}
	put(members[1], "job:longer")
	put(members[2], "job:short") // what is there is better, and counts as stored
	until(t, "the better record to be found", func() bool {
		got, err := members[0].Get(ctx, "job")
		return err == nil && string(got) == "job:longer"
	})
}

func TestRecordsAreRefused(t *testing.T) {
	members := star(t, 2, discovery.Config{})
	if err := members[0].Put(t.Context(), "job", []byte("another:done")); err == nil {
		t.Error("an invalid value was put")
	}
	if err := members[0].Put(t.Context(), "job", append([]byte("job:"), make([]byte, discovery.MaxRecord)...)); err == nil {
		t.Error("a value above the limit was put")
	}
}

// libp2p's own put succeeds when nobody stored anything.
func TestAPutThatNobodyStoredFails(t *testing.T) {
	net := p2ptest.New(t)
	lonely := newMember(t, net, discovery.Config{})
	until(t, "running", func() bool {
		return !errors.Is(lonely.Put(t.Context(), "job", []byte("job:done")), discovery.ErrNotRunning)
	})
	if err := lonely.Put(t.Context(), "job", []byte("job:done")); err == nil {
		t.Error("alone, a put succeeded")
	}

	full := newMember(t, net, discovery.Config{RecordBytes: 1})
	p2ptest.Connect(t, lonely.Node, full.Node)
	until(t, "the only peer to be asked, and to refuse", func() bool {
		return errors.Is(lonely.Put(t.Context(), "job", []byte("job:done")), discovery.ErrNotStored)
	})
}

func TestNothingIsAskedBeforeRun(t *testing.T) {
	net := p2ptest.New(t)
	node := p2ptest.Start(t, net.Config(t))
	d := discovery.New(node.Host, net.ID, discovery.Config{Validator: signed{}})
	if _, err := d.Get(t.Context(), "job"); !errors.Is(err, discovery.ErrNotRunning) {
		t.Errorf("get: %v", err)
	}
	if err := d.Put(t.Context(), "job", []byte("job:done")); !errors.Is(err, discovery.ErrNotRunning) {
		t.Errorf("put: %v", err)
	}
	if _, err := d.FindPeer(t.Context(), peer.ID("x")); !errors.Is(err, discovery.ErrNotRunning) {
		t.Errorf("find: %v", err)
	}
}
