package p2p_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/muster-network/muster/p2p"
)

// handling is a host whose streams the test opens.
type handling struct {
	host.Host
	handle network.StreamHandler
}

func (h *handling) SetStreamHandler(_ protocol.ID, handle network.StreamHandler) { h.handle = handle }

// from is a stream that a peer opened, and its connection.
type from struct {
	network.Stream
	peer peer.ID
	data io.Reader
}

type fromConn struct {
	network.Conn
	peer peer.ID
}

func (f from) Read(p []byte) (int, error) { return f.data.Read(p) }
func (f from) Conn() network.Conn         { return fromConn{peer: f.peer} }
func (c fromConn) RemotePeer() peer.ID    { return c.peer }

func frame(body []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(body))), body...) }

type byteReader struct{ io.Reader }

func (b byteReader) ReadByte() (byte, error) {
	var one [1]byte
	_, err := io.ReadFull(b.Reader, one[:])
	return one[0], err
}

// eachFrame makes room for a frame when it has its length, as Bitswap does.
func eachFrame(s io.Reader, begun func(length int), done func(body []byte)) error {
	for {
		length, err := binary.ReadUvarint(byteReader{s})
		if err != nil {
			return err
		}
		begun(int(length))
		body := make([]byte, length)
		if _, err := io.ReadFull(s, body); err != nil {
			return err
		}
		done(body)
	}
}

func TestNoMoreFramesOfAPeerAreBegunThanItsShareOfBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		under := &handling{}
		var mu sync.Mutex
		begun, ended := map[peer.ID]int{}, 0
		count := func(n func()) { mu.Lock(); defer mu.Unlock(); n() }
		p2p.BoundFrames(under, 1000).SetStreamHandler("/x", func(s network.Stream) {
			id := s.Conn().RemotePeer()
			begin := func(int) { count(func() { begun[id]++ }) }
			if err := eachFrame(s, begin, func([]byte) {}); err == nil {
				t.Error("a stream has no end")
			}
			count(func() { ended++ })
		})
		open := func(id peer.ID) *io.PipeWriter {
			r, w := io.Pipe()
			go func() {
				under.handle(from{peer: id, data: r})
				_ = r.Close()
			}()
			return w
		}
		write := func(w io.Writer, b []byte) {
			go func() { _, _ = w.Write(b) }()
			synctest.Wait()
		}
		whole := frame(make([]byte, 400))
		half, rest := whole[:100], whole[100:]

		var streams []*io.PipeWriter
		for range 20 {
			s := open("hoarder")
			write(s, half)
			streams = append(streams, s)
		}
		if begun["hoarder"] != 2 {
			t.Fatalf("%d frames of 400 bytes were begun at once, want 2 of 1000 bytes", begun["hoarder"])
		}
		other := open("other")
		write(other, half)
		if begun["other"] != 1 {
			t.Error("a frame of another peer was not begun")
		}
		write(streams[0], rest)
		if begun["hoarder"] != 3 {
			t.Errorf("%d frames begun once the first was whole, want 3", begun["hoarder"])
		}
		for _, s := range append(streams, other) {
			_ = s.Close()
		}
		synctest.Wait()
		if begun["hoarder"] != 20 || ended != 21 {
			t.Errorf("%d frames begun and %d streams ended once all were closed, want 20 and 21", begun["hoarder"], ended)
		}
		write(open("hoarder"), binary.AppendUvarint(nil, 1001))
		if begun["hoarder"] != 20 || ended != 22 {
			t.Error("a frame of more than all a peer may hold was begun")
		}
		write(open("hoarder"), bytes.Repeat([]byte{0x80}, 11))
		if begun["hoarder"] != 20 || ended != 23 {
			t.Error("a length without end was read")
		}
	})
}

func TestFramesAreReadAsTheyCame(t *testing.T) {
	under := &handling{}
	var want, got [][]byte
	var sent []byte
	for _, length := range []int{0, 1, 127, 128, 0, 300, 1000} {
		body := bytes.Repeat([]byte{byte(length + 1)}, length)
		want, sent = append(want, body), append(sent, frame(body)...)
	}
	p2p.BoundFrames(under, 1000).SetStreamHandler("/x", func(s network.Stream) {
		if err := eachFrame(s, func(int) {}, func(body []byte) { got = append(got, body) }); err != io.EOF {
			t.Errorf("the end of the stream: %v", err)
		}
	})
	under.handle(from{peer: "a", data: bytes.NewReader(sent)})
	if len(got) != len(want) {
		t.Fatalf("%d frames, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("frame %d has %d bytes, want %d", i, len(got[i]), len(want[i]))
		}
	}
}
