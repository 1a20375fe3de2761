package exchange

import (
	"context"
	"errors"
	"sync"

	"github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// senders is how many messages are sent at a time. Each holds its sender until
	// the peer has read it but for what fits the stream's window, or up to two
	// minutes, so one peer may hold few of them.
	senders = 128
	// sendsAtOnce is how many messages a peer leaves unread before it is not
	// listened to.
	sendsAtOnce = 8
	// sendsAtMost is how many it may leave unread however it asked: as many as
	// come of the last wants that were listened to, and those before.
	sendsAtMost = sendsAtOnce + outstandingBytes/messageBytes
)

// errBehind is why a message is not sent to a peer that has not read many others.
var errBehind = errors.New("the peer does not read")

// fair is the network as Bitswap sees it, with the senders shared out: who does
// not read what it asked for is asked by us as before, and its blocks are taken,
// but what more it wants is not looked at until it has read some. Bitswap's own
// bound counts bytes, of which a peer that reads nothing needs few.
type fair struct {
	network.BitSwapNetwork

	mu    sync.Mutex
	ended *sync.Cond // a send has
	sends map[peer.ID]int
}

func newFair(n network.BitSwapNetwork) *fair {
	f := &fair{BitSwapNetwork: n, sends: map[peer.ID]int{}}
	f.ended = sync.NewCond(&f.mu)
	return f
}

// SendMessage is how Bitswap's server answers; its client has streams of its own.
func (f *fair) SendMessage(ctx context.Context, to peer.ID, m message.BitSwapMessage) error {
	if !f.begin(to) {
		return errBehind
	}
	defer f.end(to)
	return f.BitSwapNetwork.SendMessage(ctx, to, m)
}

func (f *fair) begin(to peer.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sends[to] == sendsAtMost {
		return false
	}
	f.sends[to]++
	return true
}

func (f *fair) end(to peer.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sends[to]--; f.sends[to] == 0 {
		delete(f.sends, to)
	}
	f.ended.Broadcast()
}

// await returns when the peer has read enough. Every send ends, by its deadline
// at the latest.
func (f *fair) await(from peer.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.sends[from] >= sendsAtOnce {
		f.ended.Wait()
	}
}

// Start has receivers hear wants when their turn has come.
func (f *fair) Start(receivers ...network.Receiver) {
	inTurn := make([]network.Receiver, len(receivers))
	for i, r := range receivers {
		inTurn[i] = listener{r, f}
	}
	f.BitSwapNetwork.Start(inTurn...)
}

type listener struct {
	network.Receiver
	fair *fair
}

// ReceiveMessage holds up the stream of the wants, and no other: two peers that
// both lag behind would else wait for each other's blocks.
func (l listener) ReceiveMessage(ctx context.Context, from peer.ID, m message.BitSwapMessage) {
	if len(m.Wantlist()) > 0 {
		l.fair.await(from)
	}
	l.Receiver.ReceiveMessage(ctx, from, m)
}
