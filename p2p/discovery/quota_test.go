package discovery

import (
	"errors"
	"testing"

	ds "github.com/ipfs/go-datastore"
	"github.com/libp2p/go-libp2p/core/peer"
)

func TestEachPeerHasItsOwnQuota(t *testing.T) {
	q := newQuota(0) // nothing comes back
	for i := range putBurst {
		if !q.take("a") {
			t.Fatalf("put %d was refused", i)
		}
	}
	if q.take("a") {
		t.Error("a peer put more than its burst")
	}
	if !q.take("b") {
		t.Error("another peer pays for it")
	}
}

func TestQuietPeersAreForgotten(t *testing.T) {
	q := newQuota(0)
	for range putBurst {
		q.take("busy")
	}
	for i := range maxQuotas {
		id := peer.ID(rune(i + 1000))
		q.take(id)
		q.byPeer[id].SetBurst(0)
	}
	if _, known := q.byPeer["busy"]; !known {
		t.Error("a busy peer got a new quota")
	}
}

func TestRecordsAreBounded(t *testing.T) {
	inner := newMemory()
	c := &capped{Batching: inner, most: 10}
	ctx := t.Context()
	put := func(key string, size int) error { return c.Put(ctx, ds.NewKey(key), make([]byte, size)) }
	if err := errors.Join(put("a", 4), put("b", 6)); err != nil {
		t.Fatal(err)
	}
	if err := put("c", 1); !errors.Is(err, errFull) {
		t.Errorf("above the bound: %v", err)
	}
	if err := put("a", 3); err != nil {
		t.Errorf("in place of itself: %v", err)
	}
	again := &capped{Batching: inner, most: 10} // what was there before counts
	if err := again.Put(ctx, ds.NewKey("c"), make([]byte, 2)); !errors.Is(err, errFull) {
		t.Errorf("after a restart: %v", err)
	}
	if err := again.Delete(ctx, ds.NewKey("b")); err != nil {
		t.Fatal(err)
	}
	if err := again.Put(ctx, ds.NewKey("c"), make([]byte, 7)); err != nil {
		t.Errorf("after a deletion: %v", err)
	}
}
