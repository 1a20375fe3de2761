package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/storetest"
	"github.com/muster-network/muster/store/tree"
)

// counted counts what the exchange does to the store.
type counted struct {
	storetest.Memory
	gets, syncs atomic.Int64
}

func (c *counted) Get(ctx context.Context, id cid.Cid) ([]byte, error) {
	c.gets.Add(1)
	return c.Memory.Get(ctx, id)
}

func (c *counted) Sync(ctx context.Context) error {
	c.syncs.Add(1)
	return c.Memory.Sync(ctx)
}

type node struct {
	*Exchange
	host   host.Host
	blocks *counted
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newNodes starts nodes on loopback that know each other's addresses and are
// not connected.
func newNodes(t testing.TB, n int, cfg Config) []node {
	t.Helper()
	nodes := make([]node, n)
	for i := range nodes {
		h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
			libp2p.Transport(tcp.NewTCPTransport), libp2p.DisableRelay())
		must(t, err)
		blocks := &counted{}
		e, err := New(t.Context(), h, blocks, cfg)
		must(t, err)
		t.Cleanup(func() {
			must(t, e.Close())
			must(t, h.Close())
		})
		nodes[i] = node{e, h, blocks}
	}
	for _, a := range nodes {
		for _, b := range nodes {
			a.host.Peerstore().AddAddrs(b.host.ID(), b.host.Addrs(), peerstore.PermanentAddrTTL)
		}
	}
	return nodes
}

func ids(nodes ...node) []peer.ID {
	var peers []peer.ID
	for _, n := range nodes {
		peers = append(peers, n.host.ID())
	}
	return peers
}

func plenty() tree.Limits { return tree.Limits{Bytes: 1 << 30, Blocks: 1 << 20} }

// sample stores a report that names a tree of several files and returns its CID.
func sample(t testing.TB, b store.Blocks) (cid.Cid, []tree.File) {
	t.Helper()
	files := []tree.File{{Path: "big", Data: storetest.Noise(1, 3*tree.ChunkSize+5)}, {Path: "empty"}}
	for i := range 30 {
		files = append(files, tree.File{Path: fmt.Sprintf("small/%02d", i), Data: storetest.Noise(uint64(i), 100)})
	}
	made, err := tree.Write(t.Context(), b, files)
	must(t, err)
	value, err := dagcbor.Marshal(map[string]dagcbor.Link{"result": dagcbor.LinkTo(made.Root)})
	must(t, err)
	block := storetest.Block(t, cid.DagCBOR, value)
	must(t, b.Put(t.Context(), block))
	return block.Cid(), files
}

func TestFetchBringsAWholeDAGAndMakesItDurable(t *testing.T) {
	nodes := newNodes(t, 2, Config{Network: "test"})
	root, files := sample(t, nodes[0].blocks)
	must(t, nodes[1].Fetch(t.Context(), root, ids(nodes...), plenty()))
	if nodes[1].blocks.syncs.Load() == 0 {
		t.Error("Fetch returned without a sync")
	}
	links, err := tree.Links(root, mustGet(t, nodes[1], root))
	must(t, err)
	got, err := tree.Read(t.Context(), nodes[1].blocks, links[0], plenty())
	must(t, err)
	if len(got) != len(files) || !bytes.Equal(got[0].Data, files[0].Data) {
		t.Errorf("fetched %d files, want %d", len(got), len(files))
	}

	before := nodes[0].blocks.gets.Load()
	must(t, nodes[1].Fetch(t.Context(), root, nil, plenty())) // all here: nobody need be asked
	if after := nodes[0].blocks.gets.Load(); after != before {
		t.Errorf("fetching what is here read %d blocks there", after-before)
	}
}

func mustGet(t *testing.T, n node, c cid.Cid) []byte {
	t.Helper()
	data, err := n.Get(t.Context(), c)
	must(t, err)
	return data
}

func TestFetchUsesPeersThatHoldDifferentParts(t *testing.T) {
	nodes := newNodes(t, 3, Config{Network: "test"})
	root, _ := sample(t, nodes[0].blocks)
	var all []cid.Cid
	must(t, tree.Walk(t.Context(), nodes[0].blocks, root, plenty(), func(c cid.Cid, data []byte) error {
		all = append(all, c)
		return nodes[1].blocks.Put(t.Context(), storetest.Block(t, c.Type(), data))
	}))
	for i, c := range all {
		must(t, nodes[i%2].blocks.Delete(t.Context(), c)) // each block is with one of them only
	}
	must(t, nodes[2].Fetch(t.Context(), root, ids(nodes[0], nodes[1]), plenty()))
	for _, c := range all {
		if have, err := nodes[2].blocks.Has(t.Context(), c); err != nil || !have {
			t.Errorf("%s did not arrive: %v", c, err)
		}
	}
}

func TestADeadPeerAmongTheNamedDoesNoHarm(t *testing.T) {
	nodes := newNodes(t, 3, Config{Network: "test"})
	root, _ := sample(t, nodes[0].blocks)
	must(t, nodes[1].host.Close())
	must(t, nodes[2].Fetch(t.Context(), root, ids(nodes[1], nodes[0]), plenty()))
}

func TestOnlyNamedPeersAreAsked(t *testing.T) {
	nodes := newNodes(t, 3, Config{Network: "test", Patience: 300 * time.Millisecond})
	block := storetest.Block(t, cid.Raw, []byte("only with 0"))
	must(t, nodes[0].blocks.Put(t.Context(), block))
	must(t, nodes[2].host.Connect(t.Context(), peer.AddrInfo{ID: nodes[0].host.ID()}))
	if _, err := nodes[2].Get(t.Context(), block.Cid(), nodes[1].host.ID()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Get: %v, want ErrUnavailable", err)
	}
	if n := nodes[0].blocks.gets.Load(); n != 0 {
		t.Errorf("a peer that was not named was asked %d times", n)
	}
	data, err := nodes[2].Get(t.Context(), block.Cid(), nodes[0].host.ID())
	if err != nil || !bytes.Equal(data, block.RawData()) {
		t.Errorf("Get from the named peer: %q, %v", data, err)
	}
}

func TestFetchGivesUp(t *testing.T) {
	nodes := newNodes(t, 2, Config{Network: "test"})
	missing := storetest.Block(t, cid.Raw, []byte("nowhere")).Cid()
	other := newNodes(t, 1, Config{Network: "other"})[0]
	must(t, nodes[0].host.Connect(t.Context(), peer.AddrInfo{ID: other.host.ID(), Addrs: other.host.Addrs()}))
	must(t, other.blocks.Put(t.Context(), storetest.Block(t, cid.Raw, []byte("nowhere"))))

	hasty := *nodes[0].Exchange
	hasty.patience = 300 * time.Millisecond
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	unknown, err := peer.Decode("12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp")
	must(t, err)
	for name, tc := range map[string]struct {
		ctx  context.Context
		e    *Exchange
		from []peer.ID
		want error
	}{
		"nobody is named":             {t.Context(), nodes[0].Exchange, nil, ErrUnavailable},
		"only we are named":           {t.Context(), nodes[0].Exchange, ids(nodes[0]), ErrUnavailable},
		"nobody can be reached":       {t.Context(), nodes[0].Exchange, []peer.ID{unknown}, ErrUnavailable},
		"nobody has it":               {t.Context(), &hasty, ids(nodes[1]), ErrUnavailable},
		"a peer of another network":   {t.Context(), &hasty, ids(other), ErrUnavailable},
		"the caller does not want it": {cancelled, nodes[0].Exchange, ids(nodes[1]), context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.e.Fetch(tc.ctx, missing, tc.from, plenty()); !errors.Is(err, tc.want) {
				t.Errorf("Fetch: %v, want %v", err, tc.want)
			}
		})
	}
}

// slowDisk takes a minute to read a block.
type slowDisk struct{ storetest.Memory }

func (d *slowDisk) Get(ctx context.Context, c cid.Cid) ([]byte, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(time.Minute):
		return d.Memory.Get(ctx, c)
	}
}

type nobody struct{ host.Host }

func (nobody) ID() peer.ID { return "nobody" }

func TestAFetchOfWhatIsHereTakesTheTimeThatTheDiskTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{}
		root, _ := sample(t, &disk.Memory)
		e := &Exchange{host: nobody{}, blocks: disk, patience: defaultPatience}
		must(t, e.Fetch(t.Context(), root, []peer.ID{"a"}, plenty()))
		if _, err := e.Get(t.Context(), root, "a"); err != nil {
			t.Error(err)
		}
	})
}

func TestFetchKeepsToItsLimits(t *testing.T) {
	nodes := newNodes(t, 2, Config{Network: "test"})
	root, _ := sample(t, nodes[0].blocks)
	err := nodes[1].Fetch(t.Context(), root, ids(nodes[0]), tree.Limits{Bytes: 2 * tree.ChunkSize, Blocks: 1000})
	if !errors.Is(err, tree.ErrLimit) {
		t.Errorf("too many bytes: %v, want ErrLimit", err)
	}
	err = nodes[1].Fetch(t.Context(), root, ids(nodes[0]), tree.Limits{Bytes: 1 << 30, Blocks: 10})
	if !errors.Is(err, tree.ErrLimit) {
		t.Errorf("too many blocks: %v, want ErrLimit", err)
	}
}

func TestAnExchangeCanBeOpenedAgainOnItsHost(t *testing.T) {
	nodes := newNodes(t, 2, Config{Network: "test"})
	root, _ := sample(t, nodes[0].blocks)
	must(t, nodes[1].Close())
	again, err := New(t.Context(), nodes[1].host, nodes[1].blocks, Config{Network: "test"})
	must(t, err)
	defer func() { must(t, again.Close()) }()
	must(t, again.Fetch(t.Context(), root, ids(nodes[0]), plenty()))
}

func BenchmarkFetchOfABigFile(b *testing.B) {
	const size = 32 * tree.ChunkSize
	b.SetBytes(size)
	for i := range uint64(b.N) {
		b.StopTimer()
		nodes := newNodes(b, 2, Config{Network: "test"})
		made, err := tree.WriteFile(b.Context(), nodes[0].blocks, bytes.NewReader(storetest.Noise(i, size)))
		must(b, err)
		b.StartTimer()
		must(b, nodes[1].Fetch(b.Context(), made.Root, ids(nodes[0]), plenty()))
	}
}

func BenchmarkFetchOfOneBlock(b *testing.B) {
	nodes := newNodes(b, 2, Config{Network: "test"})
	for i := range uint64(b.N) {
		block := storetest.Block(b, cid.Raw, storetest.Noise(i, 1000))
		must(b, nodes[0].blocks.Put(b.Context(), block))
		must(b, nodes[1].Fetch(b.Context(), block.Cid(), ids(nodes[0]), plenty()))
	}
}
