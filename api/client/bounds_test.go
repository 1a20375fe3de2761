package client_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/api/server/servertest"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/tree"
)

func TestAnAnswerWithoutEndIsRefused(t *testing.T) {
	piece := bytes.Repeat([]byte{' '}, 1<<20) // as good as any, before a value
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	c, err := client.New(client.Config{Address: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cert := certified(cid.Undef, consensus.Limits{Output: 1 << 20})
	for name, ask := range map[string]func() error{
		"a value": func() error { return second(c.Job(t.Context(), "b")) },
		"a stream": func() error {
			return c.Logs(t.Context(), "b", client.LogOptions{}, func(api.LogChunk) error { return nil })
		},
		"a bundle": func() error { return second(c.Bundle(t.Context(), cert)) },
	} {
		if err := ask(); problem(err).Code != jobs.CodeInternal || !strings.Contains(err.Error(), "does not end") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheLargestBundleOfANodeIsWithinItsBound(t *testing.T) {
	n := servertest.New(servertest.Hello)
	var size count
	leaf := make([]byte, api.MaxBundleOutput/api.MaxBundleBlocks) // no two are the same
	var files []tree.File
	for i := range 1000 {
		data := bytes.Clone(leaf)
		copy(data, []byte{byte(i), byte(i >> 8)})
		files = append(files, tree.File{Path: string(rune('a'+i%26)) + "/" + strings.Repeat("x", 1+i/26), Data: data})
	}
	made, err := tree.Write(t.Context(), &n.Blocks, files)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.WriteCAR(t.Context(), &size, &n.Blocks, made.Root, tree.Limits{Bytes: made.Bytes, Blocks: len(made.Blocks)}); err != nil {
		t.Fatal(err)
	}
	head := api.MaxBundle - api.MaxBundleOutput - 5 - consensus.MaxBundleHead - api.MaxBundleBlocks*40
	if most := head + int(made.Bytes) + len(made.Blocks)*40; int(size) > most {
		t.Errorf("%d blocks of %d bytes take %d, more than %d", len(made.Blocks), made.Bytes, size, most)
	}
}
