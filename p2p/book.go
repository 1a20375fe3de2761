package p2p

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/file"
)

const (
	maxRemembered = 1024 // peers
	maxAddresses  = 16   // of one peer
	saveDelay     = time.Second
)

// book remembers peers and their addresses, in a small file when it has a
// path. What it holds is a hint: losing it costs a new introduction.
type book struct {
	path    string
	log     *slog.Logger
	changed chan struct{} // capacity 1

	mu    sync.Mutex
	peers map[peer.ID]remembered
}

type remembered struct {
	addrs []multiaddr.Multiaddr
	seen  int64 // Unix milliseconds
}

// bookEntry is one peer in the file.
type bookEntry struct {
	_         struct{} `cbor:",toarray"`
	Peer      string
	Addresses []string
	Seen      int64
}

// openBook reads the file at path. One that is damaged is begun anew.
func openBook(path string, log *slog.Logger) (*book, error) {
	b := &book{path: path, log: log, changed: make(chan struct{}, 1), peers: map[peer.ID]remembered{}}
	if path == "" {
		return b, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := decodeBook(data)
	if err != nil {
		log.Warn("remembered peers are unreadable, and forgotten", "file", path, "error", err)
		return b, nil
	}
	b.peers = entries
	return b, nil
}

func decodeBook(data []byte) (map[peer.ID]remembered, error) {
	var entries []bookEntry
	if err := dagcbor.Unmarshal(data, &entries); err != nil {
		return nil, err
	}
	peers := make(map[peer.ID]remembered, len(entries))
	for _, e := range entries {
		id, err := peer.Decode(e.Peer)
		if err != nil {
			return nil, fmt.Errorf("peer %q: %w", e.Peer, err)
		}
		r := remembered{seen: e.Seen}
		for _, text := range e.Addresses {
			a, err := multiaddr.NewMultiaddr(text)
			if err != nil {
				return nil, fmt.Errorf("address %q: %w", text, err)
			}
			r.addrs = append(r.addrs, a)
		}
		peers[id] = r
	}
	return peers, nil
}

// add remembers a peer's addresses in place of those known before; without
// addresses it does nothing.
func (b *book) add(info peer.AddrInfo, now time.Time) {
	if len(info.Addrs) == 0 {
		return
	}
	addrs := slices.Clone(info.Addrs[:min(len(info.Addrs), maxAddresses)])
	b.mu.Lock()
	old, known := b.peers[info.ID]
	b.peers[info.ID] = remembered{addrs: addrs, seen: now.UnixMilli()}
	if len(b.peers) > maxRemembered {
		b.dropOldest()
	}
	b.mu.Unlock()
	if !known || !slices.EqualFunc(old.addrs, addrs, multiaddr.Multiaddr.Equal) {
		b.touch()
	}
}

func (b *book) dropOldest() {
	var oldest peer.ID
	for id, r := range b.peers {
		if oldest == "" || r.seen < b.peers[oldest].seen {
			oldest = id
		}
	}
	delete(b.peers, oldest)
}

func (b *book) remove(id peer.ID) {
	b.mu.Lock()
	delete(b.peers, id)
	b.mu.Unlock()
	b.touch()
}

func (b *book) touch() { wake(b.changed) }

// all returns the peers, by id.
func (b *book) all() []peer.AddrInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	infos := make([]peer.AddrInfo, 0, len(b.peers))
	for id, r := range b.peers {
		infos = append(infos, peer.AddrInfo{ID: id, Addrs: r.addrs})
	}
	slices.SortFunc(infos, func(x, y peer.AddrInfo) int {
		return bytes.Compare([]byte(x.ID), []byte(y.ID))
	})
	return infos
}

// sighting is a peer and when it was seen.
type sighting struct {
	peer.AddrInfo
	seen int64 // Unix milliseconds
}

// sightings returns the peers in no order.
func (b *book) sightings() []sighting {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]sighting, 0, len(b.peers))
	for id, r := range b.peers {
		all = append(all, sighting{peer.AddrInfo{ID: id, Addrs: r.addrs}, r.seen})
	}
	return all
}

// run saves the book soon after it changes, and when ctx ends.
func (b *book) run(ctx context.Context) error {
	if b.path == "" {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			b.saveOrWarn()
			return nil
		case <-b.changed:
		}
		select { // more changes come together with the first
		case <-ctx.Done():
		case <-time.After(saveDelay):
		}
		b.saveOrWarn()
	}
}

// saveOrWarn saves. A node goes on when it cannot: it would only have to be
// introduced again.
func (b *book) saveOrWarn() {
	if err := b.save(); err != nil {
		b.log.Warn("remembered peers are not saved", "error", err)
	}
}

func (b *book) save() error {
	data, err := b.encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.path), 0o700); err != nil {
		return err
	}
	return file.Replace(b.path, data, 0o600)
}

func (b *book) encode() ([]byte, error) {
	infos := b.all()
	entries := make([]bookEntry, 0, len(infos))
	b.mu.Lock()
	for _, info := range infos {
		e := bookEntry{Peer: info.ID.String(), Addresses: []string{}, Seen: b.peers[info.ID].seen}
		for _, a := range info.Addrs {
			e.Addresses = append(e.Addresses, a.String())
		}
		entries = append(entries, e)
	}
	b.mu.Unlock()
	return dagcbor.Marshal(entries)
}
