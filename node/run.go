package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs/exec/wasm"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/stream"
	"github.com/muster-network/muster/store/exchange"
)

// errStopped ends a run that was asked to end.
var errStopped = errors.New("stopped")

// blocksUnderWay is how many bytes of Bitswap's messages each peer may have begun to
// send: two of the largest, or several leaves.
const blocksUnderWay = 8 << 20

// Run runs the node until ctx ends, Stop is called, or a part fails: a journal
// that cannot sync stops the node. The order: agreement and the member's side
// first, then what was open is resumed, then peers are heard, then the API
// answers. It releases everything before it returns.
func (n *Node) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, n.Close()) }()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		select {
		case <-n.stop:
			return errStopped
		case <-n.journal.Failed():
			return n.journal.Err()
		case <-n.blocks.Failed():
			return n.blocks.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	blocksFrom := p2p.BoundFrames(n.p2p.Host, blocksUnderWay)
	if n.exchange, err = exchange.New(ctx, blocksFrom, n.blocks, exchange.Config{Network: n.home.network.String()}); err != nil {
		return err
	}
	g.Go(func() error { return n.runner.Run(ctx) })
	g.Go(func() error { return n.member.Run(ctx) })
	g.Go(func() error { return n.submitter.Run(ctx) })
	g.Go(func() error { return n.taskLoop(ctx) })
	g.Go(func() error { return n.owedLoop(ctx) })
	g.Go(func() error { return n.arrivalLoop(ctx) })
	g.Go(func() error { return n.resume(ctx, g) })
	err = g.Wait()
	if errors.Is(err, errStopped) || errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// resume takes up what was open, then opens the doors.
func (n *Node) resume(ctx context.Context, g *errgroup.Group) error {
	resumed, err := n.member.Recover(ctx)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if resumed > 0 {
		n.cfg.Log.Info("open jobs resumed", "jobs", resumed)
	}
	if err := n.sayAdvert(ctx); err != nil {
		return err
	}
	n.hearArrivals()
	g.Go(func() error { return n.p2p.Run(ctx) })
	g.Go(func() error { return n.streams.Run(ctx) })
	g.Go(func() error {
		return stream.Serve(ctx, n.p2p.Host, p2p.Protocol(n.home.network, "ask"), stream.Limits{Request: 256 << 10}, n.answer)
	})
	g.Go(func() error { return n.gossip.Run(ctx) })
	g.Go(func() error { return n.discovery.Run(ctx) })
	g.Go(func() error { return n.advertLoop(ctx) })
	g.Go(func() error { return n.announceLoop(ctx) })
	g.Go(func() error { return n.recordLoop(ctx) })
	g.Go(func() error { return n.candidateLoop(ctx) })
	g.Go(func() error { return n.repairLoop(ctx) })
	if err := n.submitter.Recover(ctx); err != nil {
		return fmt.Errorf("recover submissions: %w", err)
	}
	g.Go(func() error { return n.server.Serve(ctx, n.listeners...) })
	close(n.ready)
	fresh := ""
	if opened := n.journal.Opened(); opened.Fresh {
		fresh = opened.Reason
	}
	n.cfg.Ready(Ready{Name: n.name, Peer: n.home.identity.Peer.String(), Network: n.home.founded.Name, Socket: n.cfg.Socket,
		API: n.apiURL(), Peers: len(n.p2p.Peers()), Fresh: fresh})
	return nil
}

// Close releases what Open took. Run does so itself.
func (n *Node) Close() (err error) {
	n.closeOnce.Do(func() { err = n.close() })
	return err
}

func (n *Node) close() error {
	var errs []error
	for _, l := range n.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if n.closeExec != nil {
		errs = append(errs, n.closeExec())
	}
	if n.exchange != nil {
		errs = append(errs, n.exchange.Close())
	}
	if n.p2p != nil {
		errs = append(errs, n.p2p.Close())
	}
	if n.blocks != nil {
		errs = append(errs, n.blocks.Close())
	}
	if n.journal != nil {
		errs = append(errs, n.journal.Close())
	}
	return errors.Join(errs...)
}

// hearArrivals has each peer that comes, and those that came before, asked for the
// adverts it has heard, for evidence, and for revocations, in the background.
func (n *Node) hearArrivals() {
	came := func(_ network.Network, c network.Conn) { n.arrivals.came(c.RemotePeer()) }
	n.p2p.Host.Network().Notify(&network.NotifyBundle{ConnectedF: came})
	for _, id := range n.p2p.Host.Network().Peers() {
		n.arrivals.came(id)
	}
}

// askers is how many peers that came are asked at once.
const askers = 8

func (n *Node) arrivalLoop(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range askers {
		g.Go(func() error {
			for {
				id, err := n.arrivals.next(ctx)
				if err != nil {
					return err
				}
				if err := n.askWhatIsNew(ctx, id); err != nil && ctx.Err() == nil {
					n.cfg.Log.Debug("adverts, evidence or revocations not heard", "peer", id, "error", err)
				}
				n.arrivals.done(id)
			}
		})
	}
	return g.Wait()
}

func (n *Node) askWhatIsNew(ctx context.Context, id peer.ID) error {
	return errors.Join(n.askRevoked(ctx, id), n.askEvidence(ctx, id), n.askAdverts(ctx, id))
}

// repairLoop asks a random peer now and then: gossip loses messages.
func (n *Node) repairLoop(ctx context.Context) error {
	interval := time.Duration(n.home.founded.Policy.Advert) * time.Millisecond
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		timer.Reset(interval + jitterOf(interval))
		peers := n.p2p.Peers()
		if len(peers) == 0 {
			continue
		}
		id := peers[rand.IntN(len(peers))].ID
		if err := n.askWhatIsNew(ctx, id); err != nil {
			n.cfg.Log.Debug("adverts, evidence or revocations not heard", "error", err)
		}
	}
}

func jitterOf(d time.Duration) time.Duration { return rand.N(d/2 + 1) }

// owe does in the background what nothing else makes good before a restart: it is
// never left out. Each thing is done in a goroutine of its own, for some wait; there
// are no more than submissions of this node, members that can be revoked or accused a
// bounded number of times, and peers that are being asked to keep something.
func (n *Node) owe(do func(context.Context) error) { n.owed.Add(do) }

func (n *Node) owedLoop(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for {
			do, err := n.owed.Take(ctx)
			if err != nil {
				return err
			}
			g.Go(func() error {
				if err := do(ctx); err != nil && ctx.Err() == nil {
					n.cfg.Log.Error("left undone until this node starts again", "error", err)
				}
				return nil
			})
		}
	})
	return g.Wait()
}

// later does something in the background that may be left out; its error is logged,
// no more.
func (n *Node) later(do func(context.Context) error) {
	select {
	case n.tasks <- do:
	default:
		n.cfg.Log.Warn("too much to do in the background: something was left out")
	}
}

// taskWorkers is how many background tasks run at once.
const taskWorkers = 8

func (n *Node) taskLoop(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range taskWorkers {
		g.Go(func() error {
			for {
				select {
				case do := <-n.tasks:
					if err := do(ctx); err != nil && ctx.Err() == nil {
						n.cfg.Log.Debug("background", "error", err)
					}
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
	}
	return g.Wait()
}

// Worker reports whether this process is a WASM worker, after having been one:
// it comes first in main, before any other set-up.
func Worker() bool {
	if len(os.Args) < 2 || os.Args[1] != workerArg {
		return false
	}
	wasm.WorkerMain()
	return true
}

// workerArg is the first argument of a process that is a WASM worker.
const workerArg = "wasm-worker"

// keyOf is the key of a peer that has passed the door.
func keyOf(id peer.ID) admission.Key {
	key, err := admission.KeyOf(id)
	if err != nil {
		panic(err) // the door lets nobody in without an Ed25519 identity
	}
	return key
}
