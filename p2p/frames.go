package p2p

import (
	"fmt"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// BoundFrames returns h for a protocol of frames, each behind its length as a
// varint, whose reader makes room for a frame when it has read the length: h with
// handlers that are given, at one time, at most the lengths of most bytes of each
// peer's frames. The next one waits until another was dealt with, in the window of
// its stream: to bound the streams instead would cost an honest peer the frames on
// those past the bound. A frame of more than most is an error of the stream.
func BoundFrames(h host.Host, most int) host.Host {
	b := &framesHost{Host: h, most: most, held: map[peer.ID]int{}}
	b.freed = sync.NewCond(&b.mu)
	return b
}

type framesHost struct {
	host.Host
	most int // bytes

	mu    sync.Mutex
	freed *sync.Cond
	held  map[peer.ID]int // bytes of frames whose length was read
}

func (b *framesHost) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	b.Host.SetStreamHandler(id, func(s network.Stream) {
		f := &frames{Stream: s, host: b}
		defer f.release()
		handle(f)
	})
}

func (b *framesHost) hold(id peer.ID, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.held[id]+bytes > b.most {
		b.freed.Wait()
	}
	b.held[id] += bytes
}

func (b *framesHost) free(id peer.ID, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held[id] -= bytes; b.held[id] == 0 {
		delete(b.held, id)
	}
	b.freed.Broadcast()
}

// frames follows where in its frames a stream is read, by one reader.
type frames struct {
	network.Stream
	host   *framesHost
	length uint64 // as far as it was read
	shift  uint   // bits of length that were read
	left   int    // bytes of the frame that were not read
	holds  int    // bytes of the frame
}

func (f *frames) Read(p []byte) (int, error) {
	if f.left > 0 {
		n, err := f.Stream.Read(p[:min(len(p), f.left)])
		f.left -= n
		return n, err
	}
	f.release() // who reads on has dealt with the frame
	n, err := f.Stream.Read(p[:min(len(p), 1)])
	if n == 0 {
		return n, err
	}
	f.length |= uint64(p[0]&0x7f) << f.shift
	f.shift += 7
	if f.length > uint64(f.host.most) {
		return 0, fmt.Errorf("a frame of more than %d bytes", f.host.most)
	}
	if p[0] < 0x80 {
		f.left, f.holds = int(f.length), int(f.length)
		f.length, f.shift = 0, 0
		f.host.hold(f.Conn().RemotePeer(), f.holds)
	}
	return n, err
}

func (f *frames) release() {
	if f.holds > 0 {
		f.host.free(f.Conn().RemotePeer(), f.holds)
		f.holds = 0
	}
}
