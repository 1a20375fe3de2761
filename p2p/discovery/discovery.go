// Package discovery finds members that nobody introduced, and keeps small
// records where anybody can find them: a Kademlia DHT among the members of one
// network, every node a server of it.
//
// What a DHT answers differs from asker to asker and contains the dead. So
// background look-ups of random keys gather candidates, and a candidate counts
// only while it can be dialled. Membership is never read from here (protocol,
// section 9), and a record is an index entry, not a replica (section 12).
package discovery

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync/atomic"
	"time"

	ds "github.com/ipfs/go-datastore"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/time/rate"

	"github.com/muster-network/muster/consensus/admission"
)

// ErrNotRunning is returned by questions asked before Run, or after it.
var ErrNotRunning = errors.New("discovery: not running")

// MaxRecord bounds a record's value, in bytes (protocol, section 12).
const MaxRecord = 64 << 10

// Validator judges the records of the network. It is pure, and called with
// values of at most MaxRecord bytes. Keys are the ids given to Put.
type Validator interface {
	// Validate refuses a value that is not what key may hold.
	Validate(key string, value []byte) error
	// Select returns the index of the best value; the lowest one of equals, or
	// a record that is put again is refused as old.
	Select(key string, values [][]byte) (int, error)
}

// Config says how much work discovery may make. Zero values take the defaults;
// the validator is required.
type Config struct {
	Validator   Validator
	Bootstrap   func() []peer.AddrInfo // whom to ask first when the table is empty; nil: who connects
	Records     ds.Batching            // where records of others are kept; nil: in memory
	RecordBytes int64                  // of others' records; 64 MiB, of which each peer puts a sixteenth in 48 hours
	Every       time.Duration          // between background look-ups; 1 minute, more while they find nobody
	Puts        rate.Limit             // records put by us for each second; 1
	PeerPuts    rate.Limit             // records taken from one peer for each second; 1
	Log         *slog.Logger
}

// Discovery is a node's part in its network's DHT. Safe for concurrent use.
type Discovery struct {
	host   host.Host
	prefix protocol.ID
	cfg    Config
	live   *liveness
	puts   *rate.Limiter
	quota  *quota
	table  atomic.Pointer[tables] // nil outside Run
}

// tables is what lives while Run does.
type tables struct {
	dht       *dht.IpfsDHT
	messenger *pb.ProtocolMessenger
}

// New prepares discovery in a network. It starts nothing.
func New(h host.Host, id admission.Network, cfg Config) *Discovery {
	if cfg.Every == 0 {
		cfg.Every = time.Minute
	}
	if cfg.RecordBytes == 0 {
		cfg.RecordBytes = 64 << 20
	}
	if cfg.Puts == 0 {
		cfg.Puts = 1
	}
	if cfg.PeerPuts == 0 {
		cfg.PeerPuts = 1
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Discovery{
		host: h, prefix: protocol.ID("/muster/" + id.String()), cfg: cfg,
		live: newLiveness(h), puts: rate.NewLimiter(cfg.Puts, putBurst), quota: newQuota(cfg.PeerPuts, cfg.RecordBytes),
	}
}

// Bursts of puts, ours and those taken from one peer.
const putBurst = 16

// Run takes part in the DHT until ctx ends, and looks up random keys at a pace
// that slows while nobody new is found.
func (d *Discovery) Run(ctx context.Context) error {
	t, err := d.open()
	if err != nil {
		return fmt.Errorf("discovery: %w", err)
	}
	d.table.Store(t)
	defer func() {
		d.table.Store(nil)
		if err := t.dht.Close(); err != nil {
			d.cfg.Log.Debug("close the DHT", "error", err)
		}
	}()
	pause := d.cfg.Every / 16 // a node that just started wants peers soon
	for {
		timer := time.NewTimer(pause/2 + mathrand.N(pause/2+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		if d.lookup(ctx, t) {
			pause = d.cfg.Every
		} else {
			pause = min(max(pause*2, d.cfg.Every/16), d.cfg.Every*slowest)
		}
	}
}

// slowest is how much slower than configured look-ups become while they find
// nobody new.
const slowest = 8

func (d *Discovery) open() (*tables, error) {
	records := d.cfg.Records
	if records == nil {
		records = newMemory()
	}
	options := []dht.Option{
		dht.ProtocolPrefix(d.prefix),
		dht.Mode(dht.ModeServer),
		dht.Validator(record.NamespacedValidator{namespace: bounded{d.cfg.Validator}}),
		dht.Datastore(&capped{Batching: records, most: d.cfg.RecordBytes}),
		dht.DisableProviders(),
		dht.DisableAutoRefresh(), // our look-ups refresh, at a pace that knows idleness
		dht.OnRequestHook(d.limitPuts),
	}
	if d.cfg.Bootstrap != nil {
		options = append(options, dht.BootstrapPeersFunc(d.cfg.Bootstrap))
	}
	table, err := dht.New(d.host, options...)
	if err != nil {
		return nil, err
	}
	messenger, err := pb.NewProtocolMessenger(table.MessageSender())
	if err != nil {
		return nil, errors.Join(err, table.Close())
	}
	return &tables{dht: table, messenger: messenger}, nil
}

// limitPuts takes the record out of a peer's put when it has put too much: the
// DHT then refuses the request.
func (d *Discovery) limitPuts(_ context.Context, s network.Stream, request *pb.Message) {
	if request.GetType() == pb.Message_PUT_VALUE && !d.quota.take(s.Conn().RemotePeer(), len(request.GetRecord().GetValue())) {
		request.Record = nil
	}
}

// lookupTimeout bounds one background look-up.
const lookupTimeout = 30 * time.Second

// lookup asks for the peers closest to a random key, and reports whether one
// of them is new.
func (d *Discovery) lookup(ctx context.Context, t *tables) bool {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	found, err := t.dht.GetClosestPeers(ctx, string(key))
	if err != nil {
		d.cfg.Log.Debug("look up a random key", "error", err)
	}
	return d.live.found(found, time.Now())
}

// Candidates returns the peers that are known and can be dialled now, other
// than the node itself, by id. It dials those whose state is not known of late,
// several at a time, a few seconds each, and leaves the connections open.
func (d *Discovery) Candidates(ctx context.Context) []peer.ID {
	known := d.host.Network().Peers()
	t := d.table.Load()
	if t != nil {
		known = append(known, t.dht.RoutingTable().ListPeers()...)
	}
	alive, dead := d.live.check(ctx, known)
	if t != nil {
		for _, id := range dead {
			t.dht.RoutingTable().RemovePeer(id)
		}
	}
	return alive
}

// FindPeer returns the addresses of a peer, from those who know it.
func (d *Discovery) FindPeer(ctx context.Context, id peer.ID) (peer.AddrInfo, error) {
	t := d.table.Load()
	if t == nil {
		return peer.AddrInfo{}, ErrNotRunning
	}
	info, err := t.dht.FindPeer(ctx, id)
	if err != nil {
		return info, fmt.Errorf("discovery: find %s: %w", id, err)
	}
	return info, nil
}
