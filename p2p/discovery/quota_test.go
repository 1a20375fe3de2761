package discovery

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	ds "github.com/ipfs/go-datastore"
	"github.com/libp2p/go-libp2p/core/peer"
)

func TestEachPeerHasItsOwnQuota(t *testing.T) {
	q := newQuota(0, 1<<30) // nothing comes back
	for i := range putBurst {
		if !q.take("a", 1) {
			t.Fatalf("put %d was refused", i)
		}
	}
	if q.take("a", 1) {
		t.Error("a peer put more than its burst")
	}
	if !q.take("b", 1) {
		t.Error("another peer pays for it")
	}
}

func TestNoPeerPutsMoreThanItsShareBeforeRecordsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room = 4 * shares * MaxRecord
		q := newQuota(1000, room)
		put := func(id peer.ID) (count int) {
			for q.take(id, MaxRecord) {
				count++
			}
			return count
		}
		if got := put("a"); got != 4 {
			t.Errorf("%d records of the largest size", got)
		}
		if got := put("b"); got != 4 {
			t.Errorf("another put %d", got)
		}
		time.Sleep(expires / 2) // virtual
		if got := put("a"); got != 2 {
			t.Errorf("%d after half the time", got)
		}
	})
}

func TestQuietPeersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuota(1, 1<<30)
		for i := range maxQuotas {
			q.take(peer.ID(rune(i+1000)), MaxRecord)
		}
		time.Sleep(expires) // virtual
		for range putBurst {
			q.take("busy", 1)
		}
		q.take("another", 1)
		if _, known := q.byPeer["busy"]; !known || len(q.byPeer) != 2 {
			t.Errorf("%d quotas, that of a busy peer %v", len(q.byPeer), known)
		}
	})
}

func TestOneFloodDoesNotForgetWhatItHasPut(t *testing.T) {
	q := newQuota(1e9, 1) // puts come back at once, bytes do not
	if !q.take("flood", MaxRecord) {
		t.Fatal("refused at once")
	}
	for i := range maxQuotas + 1 {
		q.take(peer.ID(rune(i+1000)), 1)
	}
	if q.take("flood", MaxRecord) {
		t.Error("a peer got a new share")
	}
}

func TestRecordsAreBoundedAndTheOldestMakeRoom(t *testing.T) {
	inner := newMemory()
	c := &capped{Batching: inner, most: 10}
	ctx := t.Context()
	put := func(key string, size int) {
		t.Helper()
		if err := c.Put(ctx, ds.NewKey(key), make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(keys string) {
		t.Helper()
		held, size := "", 0
		for _, key := range "abcde" {
			if n, err := inner.GetSize(ctx, ds.NewKey(string(key))); err == nil {
				held, size = held+string(key), size+n
			}
		}
		if held != keys || size > 10 || int64(size) != c.total || c.order.Len() != len(keys) || len(c.held) != len(keys) {
			t.Errorf("held %q, %d bytes, %d counted, want %q", held, size, c.total, keys)
		}
	}
	put("a", 4)
	put("b", 6)
	expect("ab")
	put("c", 1)
	expect("bc")
	put("b", 5) // in place of itself: now c is the oldest
	put("a", 4)
	expect("abc")
	put("d", 1)
	expect("abd")
	put("a", 10)
	expect("a")
	if err := c.Put(ctx, ds.NewKey("e"), make([]byte, 11)); !errors.Is(err, errFull) {
		t.Errorf("above the bound: %v", err)
	}
	expect("a")
	c = &capped{Batching: inner, most: 10} // what was there before counts
	put("b", 1)
	expect("b")
	if err := c.Delete(ctx, ds.NewKey("b")); err != nil {
		t.Fatal(err)
	}
	expect("")
}
