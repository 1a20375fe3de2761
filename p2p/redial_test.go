package p2p

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// dialled is a host of which most peers do not answer: each dial lasts as long
// as its context.
type dialled struct {
	host.Host
	answers map[peer.ID]int // how often a peer refuses before it lets us in

	mu        sync.Mutex
	dialling  int
	most      int
	connected []peer.ID
}

func (d *dialled) ID() peer.ID              { return "self" }
func (d *dialled) Network() network.Network { return connections{d: d} }

// connections are those of a dialled host.
type connections struct {
	network.Network
	d *dialled
}

func (c connections) Peers() []peer.ID { return c.d.Peers() }

func (c connections) Connectedness(id peer.ID) network.Connectedness {
	if slices.Contains(c.d.Peers(), id) {
		return network.Connected
	}
	return network.NotConnected
}

func (d *dialled) Peers() []peer.ID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.connected)
}

func (d *dialled) Connect(ctx context.Context, info peer.AddrInfo) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if left, ok := d.answers[info.ID]; ok {
		if left > 0 {
			d.answers[info.ID]--
			return errors.New("refused")
		}
		d.connected = append(d.connected, info.ID)
		return nil
	}
	d.dialling++
	d.most = max(d.most, d.dialling)
	d.mu.Unlock()
	<-ctx.Done()
	d.mu.Lock()
	d.dialling--
	return ctx.Err()
}

func TestAThousandPeersThatAreGoneHoldUpNobodyWhoIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		at := []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/1")}
		b := &book{changed: make(chan struct{}, 1), peers: map[peer.ID]remembered{}}
		for i := range maxRemembered - 2 {
			b.add(peer.AddrInfo{ID: peer.ID(fmt.Sprint("gone", i)), Addrs: at}, began.Add(-time.Hour))
		}
		b.add(peer.AddrInfo{ID: "seen last", Addrs: at}, began)
		b.add(peer.AddrInfo{ID: "seen long ago", Addrs: at}, began.Add(-2*time.Hour))
		h := &dialled{answers: map[peer.ID]int{"seen last": 3, "seen long ago": 0}}
		r := newRedialer(h, b, maxRemembered)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.run(ctx) }()

		time.Sleep(4 * redialPatience) // virtual: a refused dial waits for a place at most
		synctest.Wait()
		if !slices.Equal(h.Peers(), []peer.ID{"seen last"}) {
			t.Errorf("after %s %q are connected, want who was seen last", time.Since(began), h.Peers())
		}
		time.Sleep(2 * maxRemembered / redialAtOnce * redialPatience) // virtual, too
		synctest.Wait()
		if !slices.Equal(h.Peers(), []peer.ID{"seen last", "seen long ago"}) {
			t.Errorf("after %s %q are connected, want all who answer", time.Since(began), h.Peers())
		}
		if h.most != redialAtOnce {
			t.Errorf("%d were dialled at once, want %d", h.most, redialAtOnce)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
