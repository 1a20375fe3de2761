package p2p

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/multiformats/go-multiaddr"
)

// guarded is a transport behind the door: what it dials and accepts has passed.
// It hands out the inner connections, and offers what the swarm looks for in
// transports: dial updates, an order of listening, Close.
type guarded struct {
	transport.Transport
	door  *door
	dials *dials
}

var (
	_ transport.DialUpdater = (*guarded)(nil)
	_ swarm.OrderedListener = (*guarded)(nil)
	_ io.Closer             = (*guarded)(nil)
)

// Dial dials and passes the door.
func (g *guarded) Dial(ctx context.Context, addr multiaddr.Multiaddr, id peer.ID) (transport.CapableConn, error) {
	return g.DialWithUpdates(ctx, addr, id, nil)
}

// DialWithUpdates dials and passes the door, telling of progress where the
// inner transport can.
func (g *guarded) DialWithUpdates(ctx context.Context, addr multiaddr.Multiaddr, id peer.ID, updates chan<- transport.DialUpdate) (transport.CapableConn, error) {
	ctx, done, err := g.dials.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var conn transport.CapableConn
	if inner, ok := g.Transport.(transport.DialUpdater); ok {
		conn, err = inner.DialWithUpdates(ctx, addr, id, updates)
	} else {
		conn, err = g.Transport.Dial(ctx, addr, id)
	}
	if err != nil {
		return nil, err
	}
	pass := g.door.enter
	if both, client, _ := network.GetSimultaneousConnect(ctx); both && !client {
		pass = g.door.admit // both sides dialled; one of them listens
	}
	if err := pass(ctx, conn); err != nil {
		go conn.Close() // may wait for the network
		return nil, err
	}
	return conn, nil
}

// Listen listens with the inner transport; Accept returns who passed the door.
func (g *guarded) Listen(addr multiaddr.Multiaddr) (transport.Listener, error) {
	inner, err := g.Transport.Listen(addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background()) // ends with Close, as the interface wants
	l := &guardedListener{
		Listener: inner, door: g.door, ctx: ctx, cancel: cancel,
		passed: make(chan transport.CapableConn), ended: make(chan struct{}),
	}
	go l.run()
	return l, nil
}

// ListenOrder is the inner transport's, 0 when it has none.
func (g *guarded) ListenOrder() int {
	if inner, ok := g.Transport.(swarm.OrderedListener); ok {
		return inner.ListenOrder()
	}
	return 0
}

// Close closes the inner transport.
func (g *guarded) Close() error {
	if inner, ok := g.Transport.(io.Closer); ok {
		return inner.Close()
	}
	return nil
}

// guardedListener lets connections through the door, several at once, so that
// one slow stranger holds up nobody.
type guardedListener struct {
	transport.Listener
	door   *door
	ctx    context.Context // of the exchanges
	cancel context.CancelFunc
	passed chan transport.CapableConn
	ended  chan struct{} // closed after err is set
	err    error
}

func (l *guardedListener) run() {
	var exchanges sync.WaitGroup
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			l.err = err
			l.cancel()
			exchanges.Wait()
			close(l.ended)
			return
		}
		exchanges.Go(func() { l.admit(conn) })
	}
}

func (l *guardedListener) admit(conn transport.CapableConn) {
	release, ok := l.door.waiting.take(conn.RemoteMultiaddr())
	if !ok {
		l.door.report(&RefusedError{Peer: conn.RemotePeer(), Reason: ReasonBusy}, conn)
		_ = conn.CloseWithError(network.ConnRateLimited) // QUIC reports the close as an error
		return
	}
	err := l.door.admit(l.ctx, conn)
	release()
	if err != nil {
		_ = conn.Close()
		return
	}
	select {
	case l.passed <- conn:
	case <-l.ctx.Done():
		_ = conn.Close()
	}
}

// Accept waits for the next connection that passed the door.
func (l *guardedListener) Accept() (transport.CapableConn, error) {
	select {
	case conn := <-l.passed:
		return conn, nil
	case <-l.ended:
		if errors.Is(l.err, transport.ErrListenerClosed) {
			return nil, transport.ErrListenerClosed // the swarm compares
		}
		return nil, l.err
	}
}

// Close stops accepting and ends the exchanges under way.
func (l *guardedListener) Close() error {
	l.cancel()
	err := l.Listener.Close()
	<-l.ended
	return err
}
