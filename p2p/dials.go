package p2p

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed is the error of a dial of a node that is closed.
var ErrClosed = errors.New("the node is closed")

// dials are those under way. A host is closed after the last of them: libp2p
// closes QUIC's sockets before it stops dialling, and a dial that came between
// would open another, which nobody closes.
type dials struct {
	ctx    context.Context // ends with close
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	under  sync.WaitGroup
}

func newDials() *dials {
	ctx, cancel := context.WithCancel(context.Background()) // ends with close, as a host's life does
	return &dials{ctx: ctx, cancel: cancel}
}

// begin returns a dial's context, which ends with the node too, and the function
// to call when the dial is over; or ErrClosed.
func (d *dials) begin(ctx context.Context) (context.Context, func(), error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, nil, ErrClosed
	}
	d.under.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		d.under.Done()
	}, nil
}

// close ends the dials under way, waits until they are over, and lets no other
// begin.
func (d *dials) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	d.under.Wait()
}
