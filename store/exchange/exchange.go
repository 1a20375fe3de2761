// Package exchange brings blocks from other members of the network and serves
// them ours, by Bitswap over the host it is given: whoever may open a stream
// there was admitted at the door. The protocol id carries the network.
//
// Peers to ask are named by the caller, who knows the roster. Bitswap is made
// for finding blocks among strangers, so its broadcasts are off, and the named
// peers reach it as what a content router would have found.
package exchange

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/client"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	boxo "github.com/ipfs/boxo/exchange"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/tree"
)

// ErrUnavailable is returned when none of the named peers could be reached, or
// none of them sent a block for longer than Config.Patience.
var ErrUnavailable = errors.New("no peer sent the block")

// Config of an exchange.
type Config struct {
	// Network is the id that ends up in the protocol id
	// /muster/<network>/ipfs/bitswap/1.2.0.
	Network string
	// Patience is how long a fetch that has asked peers waits for the next block
	// before it gives up; 0: 10 s. A long fetch goes on as long as blocks arrive.
	Patience time.Duration
}

const (
	defaultPatience = 10 * time.Second
	// searchDelay is how soon a session asks for the named peers, searchAgain
	// how soon it asks again for a block that has not come.
	searchDelay = 2 * time.Millisecond
	searchAgain = time.Second
	// serverWorkers keeps an idle node small: Bitswap starts 144 by default.
	serverWorkers = 4
	// outstandingBytes is what a peer may have in flight: enough leaves that the
	// next is read while one is sent.
	outstandingBytes = 4 * tree.ChunkSize
	// messageBytes is what small blocks that are wanted at once are put together
	// to. Each message is a stream, of which the other end takes only so many at
	// a time, and what is larger than a stream's first window takes a round trip more.
	messageBytes = 128 << 10
)

// Exchange is a running exchange. It is safe for concurrent use.
type Exchange struct {
	host     host.Host
	blocks   store.Blocks
	protocol protocol.ID
	patience time.Duration
	bitswap  *bitswap.Bitswap
}

// New starts to serve blocks over h, until Close or the end of ctx.
func New(ctx context.Context, h host.Host, b store.Blocks, cfg Config) (*Exchange, error) {
	if cfg.Network == "" {
		return nil, errors.New("exchange: no network id")
	}
	if cfg.Patience == 0 {
		cfg.Patience = defaultPatience
	}
	prefix := protocol.ID("/muster/" + cfg.Network)
	network := bsnet.NewFromIpfsHost(h,
		bsnet.Prefix(prefix),
		bsnet.SupportedProtocols([]protocol.ID{bsnet.ProtocolBitswap}))
	e := &Exchange{
		host: h, blocks: b, patience: cfg.Patience,
		protocol: prefix + bsnet.ProtocolBitswap,
	}
	e.bitswap = bitswap.New(ctx, newFair(network), named{h}, blockstore{b},
		bitswap.ProviderSearchDelay(searchDelay),
		bitswap.RebroadcastDelay(searchAgain),
		bitswap.WithoutDuplicatedBlockStats(),
		bitswap.EngineBlockstoreWorkerCount(serverWorkers),
		bitswap.EngineTaskWorkerCount(serverWorkers),
		bitswap.TaskWorkerCount(senders),
		bitswap.WithTargetMessageSize(messageBytes),
		bitswap.MaxOutstandingBytesPerPeer(outstandingBytes),
		bitswap.WithClientOption(client.WithDefaultProviderQueryManager(false)),
		bitswap.WithClientOption(client.BroadcastControlEnable(true)),
		bitswap.WithClientOption(client.BroadcastControlMaxPeers(0)))
	return e, nil
}

// Close stops serving and ends every fetch.
func (e *Exchange) Close() error {
	e.host.RemoveStreamHandler(e.protocol)
	return e.bitswap.Close()
}

// Fetch brings every block below root that is not here from the named peers,
// several blocks and peers at a time, and returns when all of them are durable.
// Blocks that are here count towards the limit too. Besides ErrUnavailable it
// returns tree.ErrInvalid, tree.ErrLimit, and errors of the store; the blocks
// that came before an error stay.
func (e *Exchange) Fetch(ctx context.Context, root cid.Cid, from []peer.ID, limit tree.Limits) error {
	ctx, f := e.fetch(ctx, from)
	defer f.end()
	if err := tree.Walk(ctx, f, root, limit, func(cid.Cid, []byte) error { return nil }); err != nil {
		return fmt.Errorf("fetch %s: %w", root, err)
	}
	return e.blocks.Sync(ctx)
}

// Get returns one block, from here or from the named peers. It keeps the block,
// without a sync.
func (e *Exchange) Get(ctx context.Context, c cid.Cid, from ...peer.ID) ([]byte, error) {
	ctx, f := e.fetch(ctx, from)
	defer f.end()
	data, err := f.Get(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", c, err)
	}
	return data, nil
}

// fetch is one call's session with the peers that it named.
type fetch struct {
	exchange *Exchange
	peers    []peer.ID // without ourselves
	cancel   context.CancelCauseFunc
	session  func() boxo.Fetcher // made when the first block is missing

	mu       sync.Mutex
	asked    int         // blocks that peers are asked for
	watchdog *time.Timer // runs while there are any: our own disk may take its time
}

func (e *Exchange) fetch(ctx context.Context, from []peer.ID) (context.Context, *fetch) {
	ctx, cancel := context.WithCancelCause(ctx)
	f := &fetch{exchange: e, cancel: cancel}
	f.peers = slices.DeleteFunc(slices.Clone(from), func(p peer.ID) bool { return p == e.host.ID() })
	f.watchdog = time.AfterFunc(e.patience, func() {
		cancel(fmt.Errorf("%w within %s", ErrUnavailable, e.patience))
	})
	f.watchdog.Stop()
	asked := context.WithValue(ctx, namedKey{}, &request{peers: f.peers, giveUp: cancel})
	f.session = sync.OnceValue(func() boxo.Fetcher { return e.bitswap.NewSession(asked) })
	return ctx, f
}

func (f *fetch) end() {
	f.watchdog.Stop()
	f.cancel(context.Canceled)
}

func (f *fetch) ask() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked++; f.asked == 1 {
		f.watchdog.Reset(f.exchange.patience)
	}
}

func (f *fetch) answered() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked--; f.asked == 0 {
		f.watchdog.Stop()
	} else {
		f.watchdog.Reset(f.exchange.patience)
	}
}

// Get implements tree.Source.
func (f *fetch) Get(ctx context.Context, c cid.Cid) ([]byte, error) {
	data, err := f.exchange.blocks.Get(ctx, c)
	if !errors.Is(err, store.ErrNotFound) {
		return data, err
	}
	if store.Verify(c, nil) == nil {
		return f.empty(ctx, c)
	}
	if len(f.peers) == 0 {
		return nil, fmt.Errorf("%w: no peer was named", ErrUnavailable)
	}
	f.ask()
	block, err := f.session().GetBlock(ctx, c)
	f.answered()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	return block.RawData(), f.keep(ctx, block)
}

// keep stores a block that came, and sends it on to peers that asked us for it.
func (f *fetch) keep(ctx context.Context, block blocks.Block) error {
	if err := f.exchange.blocks.Put(ctx, block); err != nil {
		return err
	}
	return f.exchange.bitswap.NotifyNewBlocks(ctx, block)
}

// empty makes the empty block, which Bitswap's servers take for a missing one.
// The standard error of most programs is it.
func (f *fetch) empty(ctx context.Context, c cid.Cid) ([]byte, error) {
	block, err := blocks.NewBlockWithCid(nil, c)
	if err != nil {
		return nil, err
	}
	return nil, f.exchange.blocks.Put(ctx, block)
}
