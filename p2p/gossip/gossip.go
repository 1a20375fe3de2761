// Package gossip spreads small signed statements among members by GossipSub.
//
// Gossip is a hint: it loses messages by design, and nothing may depend on its
// delivery (protocol, section 13). Messages carry no signature of libp2p's: what
// is said is signed by whoever says it, once for many statements, and checked
// by the validator of its topic before it is passed on.
package gossip

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/p2p"
)

// Verdict is what a validator finds.
type Verdict int

// The verdicts. What is invalid is rejected: nobody honest passes it on. What
// cannot be judged yet is ignored.
const (
	Ignore Verdict = iota
	Reject
	Accept
)

// Errors of Publish.
var (
	ErrNotRunning = errors.New("gossip: not running")
	ErrTooLarge   = errors.New("gossip: message is too large")
)

// Topic is what a node does with one kind of message. Validate and Deliver are
// required; neither may block for long.
type Topic struct {
	// Validate judges a message that a peer passed on, which need not be the
	// peer that said it. It is called from several goroutines, before the
	// message is passed on further.
	Validate func(from peer.ID, data []byte) Verdict
	// Deliver gets what Validate accepted, once, from one goroutine. Messages
	// of the node itself are not delivered to it.
	Deliver func(from peer.ID, data []byte)
	MaxSize int        // bytes of one message; 0: 64 KiB
	Rate    rate.Limit // messages taken from one neighbour for each second; 0: 200
	Burst   int        // messages taken from it at once; 0: 400
}

// Config is what gossip needs besides its topics. Zero values take the defaults.
type Config struct {
	Candidates func(context.Context) []peer.ID // some of these are connected before topics are joined; nil: nobody
	Log        *slog.Logger
}

// Gossip is a node's part in its network's topics. Safe for concurrent use
// once Run has begun.
type Gossip struct {
	host   host.Host
	prefix string
	id     protocol.ID
	cfg    Config
	topics map[string]*topic

	mu sync.Mutex // of every topic's joined
}

type topic struct {
	Topic
	name   string
	limits *neighbours
	joined *pubsub.Topic // nil outside Run
}

// New prepares gossip in a network. It starts nothing.
func New(h host.Host, id admission.Network, cfg Config) *Gossip {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Gossip{
		host: h, prefix: "/" + id.String() + "/", id: p2p.Protocol(id, "gossip"),
		cfg: cfg, topics: map[string]*topic{},
	}
}

// Join says what is done with the messages of a topic: adverts, jobs. To be
// called before Run.
func (g *Gossip) Join(name string, t Topic) {
	if t.MaxSize == 0 {
		t.MaxSize = 64 << 10
	}
	if t.Rate == 0 {
		t.Rate = 200
	}
	if t.Burst == 0 {
		t.Burst = 400
	}
	g.topics[name] = &topic{Topic: t, name: g.prefix + name, limits: newNeighbours(t.Rate, t.Burst)}
}

// Publish spreads a message to the members of a topic. Nobody may have heard
// it when it returns.
func (g *Gossip) Publish(ctx context.Context, name string, data []byte) error {
	t := g.topics[name]
	if t == nil {
		return fmt.Errorf("gossip: topic %q was not joined", name)
	}
	if len(data) > t.MaxSize {
		return ErrTooLarge
	}
	g.mu.Lock()
	joined := t.joined
	g.mu.Unlock()
	if joined == nil {
		return ErrNotRunning
	}
	if err := joined.Publish(ctx, data); err != nil {
		return fmt.Errorf("gossip: publish on %s: %w", name, err)
	}
	return nil
}

// Neighbours returns the peers that are known to listen to a topic.
func (g *Gossip) Neighbours(name string) []peer.ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.topics[name]
	if t == nil || t.joined == nil {
		return nil
	}
	return t.joined.ListPeers()
}

// Run takes part in the topics until ctx ends.
func (g *Gossip) Run(ctx context.Context) error {
	g.meet(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	eg, ctx := errgroup.WithContext(ctx)
	defer g.host.RemoveStreamHandler(g.id)
	pubs, err := pubsub.NewGossipSub(ctx, g.host,
		pubsub.WithGossipSubProtocols([]protocol.ID{g.id}, features),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(messageID),
		// What this node says goes to all its neighbours at once: it arrives
		// before a mesh has formed, and in one hop in a small network.
		pubsub.WithFloodPublish(true),
		pubsub.WithPeerOutboundQueueSize(outboundQueue),
		pubsub.WithValidateQueueSize(validateQueue),
		pubsub.WithMaxMessageSize(maxRPC),
	)
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	for _, t := range g.topics {
		if err := g.join(ctx, eg, pubs, t); err != nil {
			return fmt.Errorf("gossip: join %s: %w", t.name, err)
		}
	}
	err = eg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.topics {
		t.joined = nil
	}
	return err
}

const (
	outboundQueue = 128     // messages waiting for one neighbour
	validateQueue = 256     // messages waiting to be judged
	maxRPC        = 1 << 20 // bytes of what one neighbour sends at once
	subscription  = 1024    // messages waiting to be delivered
	firstMet      = 8       // peers connected before topics are joined
	meetTimeout   = 5 * time.Second
)

func features(f pubsub.GossipSubFeature, _ protocol.ID) bool {
	return f == pubsub.GossipSubFeatureMesh || f == pubsub.GossipSubFeatureIdontwant
}

// messageID is the message's own hash: the same statement is one message,
// whoever passes it on.
func messageID(m *pb.Message) string {
	sum := sha256.Sum256(m.GetData())
	return string(sum[:16])
}

func (g *Gossip) join(ctx context.Context, eg *errgroup.Group, pubs *pubsub.PubSub, t *topic) error {
	judge := func(_ context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
		return g.judge(t, from, m.Data)
	}
	if err := pubs.RegisterTopicValidator(t.name, judge, pubsub.WithValidatorInline(true)); err != nil {
		return err
	}
	joined, err := pubs.Join(t.name)
	if err != nil {
		return err
	}
	messages, err := joined.Subscribe(pubsub.WithBufferSize(subscription))
	if err != nil {
		return err
	}
	g.mu.Lock()
	t.joined = joined
	g.mu.Unlock()
	eg.Go(func() error {
		for {
			m, err := messages.Next(ctx)
			if err != nil {
				return nil // ctx ended, which is how subscriptions end
			}
			if m.ReceivedFrom != g.host.ID() {
				t.Deliver(m.ReceivedFrom, m.Data)
			}
		}
	})
	return nil
}

// judge checks what is cheap first: size, then rate, then the topic's validator.
func (g *Gossip) judge(t *topic, from peer.ID, data []byte) pubsub.ValidationResult {
	if from == g.host.ID() {
		return pubsub.ValidationAccept
	}
	if len(data) > t.MaxSize {
		return pubsub.ValidationReject
	}
	if !t.limits.take(from) {
		return pubsub.ValidationIgnore
	}
	switch t.Validate(from, data) {
	case Accept:
		return pubsub.ValidationAccept
	case Reject:
		g.cfg.Log.Debug("gossip rejected", "topic", t.name, "peer", from)
		return pubsub.ValidationReject
	default:
		return pubsub.ValidationIgnore
	}
}

// meet connects to some random peers: a mesh that grows from one star is many
// times slower than one of random neighbours.
func (g *Gossip) meet(ctx context.Context) {
	if g.cfg.Candidates == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	candidates := g.cfg.Candidates(ctx)
	rand.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
	var dials sync.WaitGroup
	for _, id := range candidates[:min(len(candidates), firstMet)] {
		dials.Go(func() {
			if err := g.host.Connect(ctx, peer.AddrInfo{ID: id}); err != nil {
				g.cfg.Log.Debug("meet a neighbour", "peer", id, "error", err)
			}
		})
	}
	dials.Wait()
}
