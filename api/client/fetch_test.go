package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store/storetest"
	"github.com/muster-network/muster/store/tree"
)

// walk reads all below a folder, and returns how many blocks it was given.
func (f *files) walk(ctx context.Context, at cid.Cid) (int, error) {
	n, err := f.node(ctx, at)
	blocks := 1
	for _, l := range n.links {
		var below int
		if below, err = f.walk(ctx, l.cid); err != nil {
			return blocks, err
		}
		blocks += below
	}
	return blocks, err
}

func TestFoldersAreReadUpToTheirBlocksByMention(t *testing.T) {
	link := func(c cid.Cid, name string) string {
		body := "\x0a\x24" + string(c.Bytes()) + "\x12\x01" + name
		return fmt.Sprintf("\x12%c%s", len(body), body)
	}
	held := tree.Heap{}
	at := storetest.Block(t, cid.DagProtobuf, []byte("\x0a\x02\x08\x01"))
	held[at.Cid()] = at.RawData()
	for range 60 {
		at = storetest.Block(t, cid.DagProtobuf, []byte(link(at.Cid(), "a")+link(at.Cid(), "b")+"\x0a\x02\x08\x01"))
		held[at.Cid()] = at.RawData()
	}
	served := 0
	f := &files{func(ctx context.Context, c cid.Cid) ([]byte, error) {
		served++
		return held.Get(ctx, c)
	}, allowance(consensus.Limits{Output: 1 << 40})}
	_, err := f.walk(t.Context(), at.Cid())
	if p := new(jobs.Problem); !errors.As(err, &p) || p.Code != jobs.CodeCertificate || served != maxBlocks+1 {
		t.Errorf("%d blocks: %v", served, err)
	}
}

func TestAllThatAnExecutorMayLeaveCanBeRead(t *testing.T) {
	long := strings.Repeat("n", exec.MaxPaths/exec.MaxNames-10)
	var names, equal []tree.File
	for i := range exec.MaxNames - 40 {
		names = append(names, tree.File{Path: fmt.Sprintf("%02d/%05d%s", i/1000, i, long)})
	}
	const size = 3<<20 + 5
	for i := range 12 {
		equal = append(equal, tree.File{Path: fmt.Sprint(i), Data: make([]byte, size)})
	}
	for name, out := range map[string][]tree.File{"names": names, "equal files": equal} {
		t.Run(name, func(t *testing.T) {
			limits := consensus.Limits{Stream: 2 << 20}
			for _, f := range out {
				limits.Output += uint64(len(f.Data))
			}
			blocks := &storetest.Memory{}
			stream := make([]byte, limits.Stream)
			made, err := tree.WriteResult(t.Context(), blocks, tree.Result{Out: out, Stdout: stream, Stderr: stream})
			if err != nil {
				t.Fatal(err)
			}
			f := &files{blocks.Get, allowance(limits)}
			if n, err := f.walk(t.Context(), made.Root); err != nil || n < len(out) {
				t.Errorf("%d blocks: %v", n, err)
			}
		})
	}
}
