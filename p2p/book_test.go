package p2p

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/muster-network/muster/store/dagcbor"
)

var quiet = slog.New(slog.DiscardHandler)

func somebody(t testing.TB, port int) peer.AddrInfo {
	t.Helper()
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	a, err := multiaddr.NewMultiaddr(fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port))
	if err != nil {
		t.Fatal(err)
	}
	return peer.AddrInfo{ID: id.Peer, Addrs: []multiaddr.Multiaddr{a}}
}

func TestPeersAreRememberedOverRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node", "peers")
	b, err := openBook(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	kept, gone := somebody(t, 1), somebody(t, 2)
	b.add(kept, time.UnixMilli(1))
	b.add(gone, time.UnixMilli(2))
	b.add(peer.AddrInfo{ID: kept.ID}, time.UnixMilli(3)) // no address is no news
	b.remove(gone.ID)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.run(ctx); err != nil { // saves when it ends
		t.Fatal(err)
	}
	again, err := openBook(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	all := again.all()
	if len(all) != 1 || all[0].ID != kept.ID || len(all[0].Addrs) != 1 || !all[0].Addrs[0].Equal(kept.Addrs[0]) {
		t.Errorf("remembered: %v", all)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v %v", info.Mode(), err)
	}
}

func TestRememberedPeersAreBounded(t *testing.T) {
	b, err := openBook("", quiet)
	if err != nil {
		t.Fatal(err)
	}
	oldest := somebody(t, 1)
	b.add(oldest, time.UnixMilli(0))
	for i := range maxRemembered {
		b.add(peer.AddrInfo{ID: peer.ID(fmt.Sprint(i)), Addrs: oldest.Addrs}, time.UnixMilli(int64(i+1)))
	}
	all := b.all()
	if len(all) != maxRemembered {
		t.Errorf("%d peers", len(all))
	}
	for _, info := range all {
		if info.ID == oldest.ID {
			t.Error("the oldest was kept")
		}
	}
}

// What was remembered is a hint: a node starts without it.
func TestADamagedPeersFileIsForgotten(t *testing.T) {
	for name, entries := range map[string]any{
		"no list":     "peers",
		"bad peer":    []bookEntry{{Peer: "x", Addresses: []string{}}},
		"bad address": []bookEntry{{Peer: somebody(t, 1).ID.String(), Addresses: []string{"/ip4/x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := dagcbor.Marshal(entries)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "peers")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			b, err := openBook(path, quiet)
			if err != nil {
				t.Fatal(err)
			}
			if all := b.all(); len(all) != 0 {
				t.Errorf("remembered: %v", all)
			}
		})
	}
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	for failed := 1; failed < 100; failed++ {
		full := redialMost
		if failed < 10 {
			full = min(redialMost, redialFirst<<(failed-1))
		}
		if got := backoff(redialFirst, redialMost, failed); got > full || got < full/2-1 {
			t.Errorf("after %d failures %v, want %v to %v", failed, got, full/2, full)
		}
	}
}

func FuzzDecodeBook(f *testing.F) {
	b, err := openBook("", quiet)
	if err != nil {
		f.Fatal(err)
	}
	b.add(somebody(f, 1), time.UnixMilli(1))
	data, err := b.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = decodeBook(data)
	})
}
