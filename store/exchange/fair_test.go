package exchange

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	libp2pnet "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	"github.com/muster-network/muster/store/storetest"
	"github.com/muster-network/muster/store/tree"
)

// newStranger starts a host that speaks Bitswap by hand, connected to n.
func newStranger(t *testing.T, n node) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.Transport(tcp.NewTCPTransport), libp2p.DisableRelay())
	must(t, err)
	t.Cleanup(func() { must(t, h.Close()) })
	must(t, h.Connect(t.Context(), peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()}))
	return h
}

func want(blocks ...cid.Cid) message.BitSwapMessage {
	m := message.New(false)
	for _, c := range blocks {
		m.AddEntry(c, 1, pb.Message_Wantlist_Block, true)
	}
	return m
}

func TestWhoReadsNothingKeepsNobodyFromBeingServed(t *testing.T) {
	nodes := newNodes(t, 2, Config{Network: "test"})
	var big []cid.Cid
	for i := range 2 * outstandingBytes / tree.ChunkSize {
		block := storetest.Block(t, cid.Raw, storetest.Noise(uint64(i), tree.ChunkSize))
		must(t, nodes[0].blocks.Put(t.Context(), block))
		big = append(big, block.Cid())
	}
	deaf := newStranger(t, nodes[0])
	held := make(chan struct{}, len(big))
	deaf.SetStreamHandler(nodes[0].protocol, func(libp2pnet.Stream) { held <- struct{}{} })
	asking, err := deaf.NewStream(t.Context(), nodes[0].host.ID(), nodes[0].protocol)
	must(t, err)
	must(t, want(big...).ToNetV1(asking))
	for range outstandingBytes / tree.ChunkSize {
		<-held // a sender waits for it
	}

	block := storetest.Block(t, cid.Raw, []byte("for who reads"))
	must(t, nodes[0].blocks.Put(t.Context(), block))
	_, err = nodes[1].Get(t.Context(), block.Cid(), nodes[0].host.ID())
	must(t, err)
}

// stuck is a network whose sends end when they are let go.
type stuck struct {
	network.BitSwapNetwork
	receivers []network.Receiver
	letGo     chan struct{}
}

func (s *stuck) Start(r ...network.Receiver) { s.receivers = r }

func (s *stuck) SendMessage(context.Context, peer.ID, message.BitSwapMessage) error {
	<-s.letGo
	return nil
}

type heard struct {
	network.Receiver
	wants, blocks int
}

func (h *heard) ReceiveMessage(_ context.Context, _ peer.ID, m message.BitSwapMessage) {
	h.wants += len(m.Wantlist())
	h.blocks += len(m.Blocks())
}

func TestWhoLeavesMuchUnreadIsNotListenedToUntilItHasReadSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		under, ear := &stuck{letGo: make(chan struct{})}, &heard{}
		f := newFair(under)
		f.Start(ear)
		send := func(to peer.ID) { go func() { _ = f.SendMessage(t.Context(), to, message.New(false)) }() }
		for range sendsAtOnce {
			send("slow")
		}
		synctest.Wait()

		block := storetest.Block(t, cid.Raw, []byte("a block"))
		brought := message.New(false)
		brought.AddBlock(block)
		go under.receivers[0].ReceiveMessage(t.Context(), "slow", want(block.Cid()))
		synctest.Wait()
		if ear.wants != 0 {
			t.Error("a peer that had left all unread was listened to")
		}
		under.receivers[0].ReceiveMessage(t.Context(), "slow", brought)
		under.receivers[0].ReceiveMessage(t.Context(), "quick", want(block.Cid()))
		if ear.blocks != 1 || ear.wants != 1 {
			t.Errorf("heard %d blocks of the slow peer and %d wants of another, want 1 and 1", ear.blocks, ear.wants)
		}
		under.letGo <- struct{}{}
		synctest.Wait()
		if ear.wants != 2 {
			t.Error("a peer that has read some is still not listened to")
		}
		close(under.letGo)
	})
}

func TestNoPeerHoldsMoreThanItsShareOfTheSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		under := &stuck{letGo: make(chan struct{})}
		f := newFair(under)
		for range sendsAtMost {
			go func() {
				if err := f.SendMessage(t.Context(), "greedy", message.New(false)); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		if err := f.SendMessage(t.Context(), "greedy", message.New(false)); !errors.Is(err, errBehind) {
			t.Errorf("one send too many: %v, want errBehind", err)
		}
		close(under.letGo)
		synctest.Wait()
		if err := f.SendMessage(t.Context(), "greedy", message.New(false)); err != nil {
			t.Errorf("once all is read: %v", err)
		}
	})
}
