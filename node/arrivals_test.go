package node

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/jobs/backlog"
	"github.com/muster-network/muster/p2p/p2ptest"
	"github.com/muster-network/muster/store/journal"
)

func TestWhoComesOverAndOverIsAskedOnceAtATimeAndKeepsNobodyWaiting(t *testing.T) {
	a := newArrivals()
	turn := func(want peer.ID) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		if want == "" {
			cancel()
		}
		defer cancel()
		if id, err := a.next(ctx); id != want || (err == nil) != (want != "") {
			t.Fatalf("%q's turn, %v; want %q's", id, err, want)
		}
	}
	flood := func() {
		for range 10_000 {
			a.came("flood")
		}
	}
	flood()
	a.came("other")
	turn("flood")
	flood()
	turn("other")
	turn("") // while it is asked it waits for no second worker
	a.done("flood")
	flood()
	turn("flood")
	a.done("flood")
	a.done("other")
	turn("")
	if len(a.peers) != 0 {
		t.Errorf("remembered: %v", a.peers)
	}
	a.came("flood")
	turn("flood")
}

func TestWhatIsOwedIsDoneWhateverElseThereIsToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Node{cfg: Config{Log: slog.New(slog.DiscardHandler)}, tasks: make(chan func(context.Context) error), owed: backlog.New[func(context.Context) error]()}
		n.later(func(context.Context) error { t.Error("there was no room for it"); return nil })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.owedLoop(ctx) }()
		const things = 5_000
		done := make(chan struct{}, things)
		for i := range things {
			n.owe(func(ctx context.Context) error {
				if i%2 == 0 {
					<-ctx.Done() // one that waits keeps no other waiting
					return ctx.Err()
				}
				done <- struct{}{}
				return errors.New("undone")
			})
		}
		synctest.Wait()
		if len(done) != things/2 {
			t.Errorf("%d of %d", len(done), things/2)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// The background's lossy queue is full: members can see to that.
func TestARevocationAndTheEndOfAnOwnJobAreOwedTheirEffects(t *testing.T) {
	n := consensustest.New(4)
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Options{Host: journal.Host{MachineID: "m"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	node := listener(n)
	node.cfg.Log, node.owed = slog.New(slog.DiscardHandler), backlog.New[func(context.Context) error]()
	if node.events, err = openEvents(j, "muster:lab", time.Now); err != nil {
		t.Fatal(err)
	}
	node.revocations = &revocations{home: node.home, journal: j, held: map[admission.Key]admission.SignedRevocation{}}
	s := revocationOf(t, n, n.Nodes[1].Key(), "lost")
	for range 2 {
		if err := node.bar(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if node.owed.Len() != 1 {
		t.Errorf("a revocation owes %d things", node.owed.Len())
	}
	node.submitterDecided(consensus.Offer{}, nil, consensus.JobID{1}, consensus.Conclusion{})
	if node.owed.Len() != 2 {
		t.Error("the end of a job that was submitted here may be left out")
	}
}

// The host listens before the node hears who connects.
func TestWhoCameBeforeTheNodeListenedIsAskedWhatIsNew(t *testing.T) {
	network := p2ptest.New(t)
	n := &Node{p2p: p2ptest.Start(t, network.Config(t)), arrivals: newArrivals()}
	before, after := p2ptest.Start(t, network.Config(t)), p2ptest.Start(t, network.Config(t))
	p2ptest.Connect(t, n.p2p, before)
	n.hearArrivals()
	p2ptest.Connect(t, n.p2p, after)
	for _, want := range []peer.ID{before.Host.ID(), after.Host.ID()} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if id, err := n.arrivals.next(ctx); id != want {
			t.Errorf("%s's turn, %v; want %s's", id, err, want)
		}
	}
}
