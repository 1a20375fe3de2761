// Package storetest is the conformance suite of store.Blocks: every
// implementation passes Run.
package storetest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/muster-network/muster/store"
)

// Block returns data as a block under the CIDv1 of its SHA-256 and the codec.
func Block(t testing.TB, codec uint64, data []byte) blocks.Block {
	t.Helper()
	b, err := blocks.NewBlockWithPrefix(data, cid.Prefix{Version: 1, Codec: codec, MhType: multihash.SHA2_256, MhLength: -1})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Noise returns n bytes that no compression shortens, the same for a seed.
func Noise(seed uint64, n int) []byte {
	data := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

// Run checks the contract. open returns an empty store for each call.
func Run(t *testing.T, open func(t *testing.T) store.Blocks) {
	t.Run("blocks of every size come back", func(t *testing.T) { sizes(t, open(t)) })
	t.Run("a block that is not here is not found", func(t *testing.T) { absent(t, open(t)) })
	t.Run("a block that does not match its CID is refused", func(t *testing.T) { invalid(t, open(t)) })
	t.Run("the codec does not matter", func(t *testing.T) { codecs(t, open(t)) })
	t.Run("a deleted block is gone and can come back", func(t *testing.T) { deletion(t, open(t)) })
	t.Run("the store and its callers share no memory", func(t *testing.T) { ownership(t, open(t)) })
	t.Run("concurrent callers all succeed", func(t *testing.T) { concurrent(t, open(t)) })
}

func sizes(t *testing.T, s store.Blocks) {
	var all []blocks.Block
	for _, n := range []int{0, 1, 100, 4095, 4096, 4097, 64 << 10, 1 << 20, store.MaxBlock} {
		all = append(all, Block(t, cid.Raw, Noise(1, n)))
	}
	must(t, s.Put(t.Context(), all...))
	must(t, s.Put(t.Context(), all[0], all[3])) // again: no error
	must(t, s.Put(t.Context()))                 // nothing: no error
	must(t, s.Sync(t.Context()))
	for _, b := range all {
		check(t, s, b)
	}
}

func check(t *testing.T, s store.Blocks, b blocks.Block) {
	t.Helper()
	data, err := s.Get(t.Context(), b.Cid())
	if err != nil || !bytes.Equal(data, b.RawData()) {
		t.Errorf("Get of %d bytes: %d bytes, %v", len(b.RawData()), len(data), err)
	}
	if n, err := s.Size(t.Context(), b.Cid()); err != nil || n != len(b.RawData()) {
		t.Errorf("Size = %d, %v, want %d", n, err, len(b.RawData()))
	}
	if have, err := s.Has(t.Context(), b.Cid()); err != nil || !have {
		t.Errorf("Has = %v, %v, want true", have, err)
	}
}

func absent(t *testing.T, s store.Blocks) {
	c := Block(t, cid.Raw, []byte("never stored")).Cid()
	if _, err := s.Get(t.Context(), c); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v, want ErrNotFound", err)
	}
	if _, err := s.Size(t.Context(), c); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Size: %v, want ErrNotFound", err)
	}
	if have, err := s.Has(t.Context(), c); err != nil || have {
		t.Errorf("Has = %v, %v, want false", have, err)
	}
	must(t, s.Delete(t.Context(), c))
	must(t, s.Sync(t.Context()))
}

func invalid(t *testing.T, s store.Blocks) {
	good := Block(t, cid.Raw, []byte("good"))
	claim := func(c cid.Cid, data []byte) blocks.Block {
		b, err := blocks.NewBlockWithCid(data, c)
		must(t, err)
		return b
	}
	sha512, err := multihash.Sum([]byte("x"), multihash.SHA2_512, -1)
	must(t, err)
	short, err := multihash.Sum([]byte("x"), multihash.SHA2_256, 20)
	must(t, err)
	for name, b := range map[string]blocks.Block{
		"other bytes":  claim(good.Cid(), []byte("evil")),
		"another hash": claim(cid.NewCidV1(cid.Raw, sha512), []byte("x")),
		"a short hash": claim(cid.NewCidV1(cid.Raw, short), []byte("x")),
		"no CID":       claim(cid.Undef, []byte("x")),
		"too large":    Block(t, cid.Raw, make([]byte, store.MaxBlock+1)),
	} {
		if err := s.Put(t.Context(), good, b); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: Put returned %v, want ErrInvalid", name, err)
		}
		if have, _ := s.Has(t.Context(), good.Cid()); have {
			t.Fatalf("%s: a refused Put stored its other block", name)
		}
	}
	if _, err := s.Get(t.Context(), cid.NewCidV1(cid.Raw, sha512)); err == nil {
		t.Error("Get by another hash succeeded")
	}
}

func codecs(t *testing.T, s store.Blocks) {
	data := []byte{0xa0}
	must(t, s.Put(t.Context(), Block(t, cid.DagCBOR, data)))
	check(t, s, Block(t, cid.Raw, data))
}

func deletion(t *testing.T, s store.Blocks) {
	small, large := Block(t, cid.Raw, Noise(2, 10)), Block(t, cid.Raw, Noise(2, 100_000))
	kept := Block(t, cid.Raw, Noise(3, 10))
	must(t, s.Put(t.Context(), small, large, kept))
	must(t, s.Delete(t.Context(), small.Cid(), large.Cid()))
	for _, b := range []blocks.Block{small, large} {
		if have, err := s.Has(t.Context(), b.Cid()); have || err != nil {
			t.Errorf("Has after Delete = %v, %v", have, err)
		}
		if _, err := s.Get(t.Context(), b.Cid()); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get after Delete: %v, want ErrNotFound", err)
		}
	}
	check(t, s, kept)
	must(t, s.Put(t.Context(), large))
	check(t, s, large)
}

func ownership(t *testing.T, s store.Blocks) {
	for _, n := range []int{100, 100_000} {
		data := Noise(4, n)
		b := Block(t, cid.Raw, data)
		must(t, s.Put(t.Context(), b))
		clear(data) // the caller uses its buffer again
		for range 2 {
			got, err := s.Get(t.Context(), b.Cid())
			if err != nil || !bytes.Equal(got, Noise(4, n)) {
				t.Fatalf("%d bytes changed in the store: %v", n, err)
			}
			clear(got)
		}
	}
}

func concurrent(t *testing.T, s store.Blocks) {
	var all sync.WaitGroup
	for worker := range uint64(8) {
		all.Go(func() {
			for i := range uint64(20) {
				shared, own := Block(t, cid.Raw, Noise(i, 2000)), Block(t, cid.Raw, Noise(1000*(worker+1)+i, 6000))
				if err := s.Put(t.Context(), shared, own); err != nil {
					t.Error(err)
				}
				if err := s.Sync(t.Context()); err != nil {
					t.Error(err)
				}
				check(t, s, shared)
				check(t, s, own)
			}
		})
	}
	all.Wait()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
