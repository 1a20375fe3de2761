package node

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/exchange"
	"github.com/muster-network/muster/store/tree"
)

var _ server.Blobs = (*Node)(nil)

// PutFile implements server.Blobs. The file is durable when it returns.
func (n *Node) PutFile(ctx context.Context, r io.Reader) (api.Blob, error) {
	counted := &counter{r: r}
	t, err := tree.WriteFile(ctx, n.blocks, counted)
	if err != nil {
		return api.Blob{}, err
	}
	return api.Blob{Schema: api.SchemaBlob, CID: t.Root.String(), Size: counted.n}, n.blocks.Sync(ctx)
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// PutTree implements server.Blobs: regular files only; modes and times of the
// archive are forgotten.
func (n *Node) PutTree(ctx context.Context, r io.Reader) (api.Blob, error) {
	archive := tar.NewReader(r)
	var files []tree.File
	size, most := int64(0), int64(n.home.founded.Policy.MaxInput)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return api.Blob{}, &jobs.Problem{Code: jobs.CodeSpecFile, What: "the folder did not arrive whole", Why: err.Error()}
		}
		name := strings.TrimSuffix(path.Clean("/" + header.Name)[1:], "/")
		switch header.Typeflag {
		case tar.TypeDir:
			continue
		case tar.TypeReg:
		default:
			return api.Blob{}, &jobs.Problem{Code: jobs.CodeSpecFile, What: name + " is not a regular file",
				Why: "links and devices have no content of their own", Try: "copy what it points to"}
		}
		if size += header.Size; size > most {
			return api.Blob{}, &jobs.Problem{Code: jobs.CodeSpecFile, What: "the folder is too large",
				Why: fmt.Sprintf("the network allows %d bytes", most)}
		}
		data, err := io.ReadAll(io.LimitReader(archive, header.Size))
		if err != nil {
			return api.Blob{}, err
		}
		files = append(files, tree.File{Path: name, Data: data})
	}
	t, err := tree.Write(ctx, n.blocks, files)
	if errors.Is(err, tree.ErrInvalid) {
		return api.Blob{}, &jobs.Problem{Code: jobs.CodeSpecFile, What: "a folder cannot hold these files", Why: err.Error()}
	}
	if err != nil {
		return api.Blob{}, err
	}
	return api.Blob{Schema: api.SchemaBlob, CID: t.Root.String(), Size: size}, n.blocks.Sync(ctx)
}

// Open implements server.Blobs. What is not here is fetched from members.
func (n *Node) Open(ctx context.Context, id, below string) (server.Blob, error) {
	root, err := parseBlob(id)
	if err != nil {
		return server.Blob{}, err
	}
	if err := n.Fetch(ctx, root, n.alive(), int64(n.home.founded.Policy.MaxOutput)); err != nil {
		return server.Blob{}, missingBlob(id, err)
	}
	at, err := tree.Lookup(ctx, n.blocks, root, below)
	if errors.Is(err, fs.ErrNotExist) {
		return server.Blob{}, &jobs.Problem{Code: jobs.CodeNotFound, What: fmt.Sprintf("%s holds no %q", id, below), Try: "list it without a path"}
	}
	if err != nil {
		return server.Blob{}, err
	}
	if at.Dir {
		return n.openDirectory(ctx, at.CID)
	}
	r, err := tree.OpenFile(ctx, n.blocks, at.CID)
	if err != nil {
		return server.Blob{}, err
	}
	return server.Blob{CID: at.CID.String(), Size: r.Size(), Content: content{r}}, nil
}

type content struct{ *tree.Reader }

func (content) Close() error { return nil }

func (n *Node) openDirectory(ctx context.Context, dir cid.Cid) (server.Blob, error) {
	entries, err := tree.List(ctx, n.blocks, dir)
	if err != nil {
		return server.Blob{}, err
	}
	b := server.Blob{CID: dir.String(), Entries: []api.Entry{}}
	for _, e := range entries {
		b.Entries = append(b.Entries, api.Entry{Name: e.Name, CID: e.CID.String(), Size: e.Size, Dir: e.Dir})
		b.Size += e.Size
	}
	return b, nil
}

// Block implements server.Blobs.
func (n *Node) Block(ctx context.Context, id string) ([]byte, error) {
	c, err := parseBlob(id)
	if err != nil {
		return nil, err
	}
	data, err := n.fetchBlock(ctx, c, n.alive())
	if err != nil {
		return nil, missingBlob(id, err)
	}
	return data, nil
}

func parseBlob(id string) (cid.Cid, error) {
	c, err := cid.Decode(id)
	if err == nil {
		_, err = store.Digest(c)
	}
	if err != nil {
		return cid.Undef, &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("%q is no CID", id), Why: err.Error(), Try: "bafy..."}
	}
	return c, nil
}

// missingBlob says why a blob was not fetched. What this node is at fault for, as a
// disk that cannot be read, stays that.
func missingBlob(id string, err error) error {
	switch {
	case errors.Is(err, exchange.ErrUnavailable):
		return &jobs.Problem{Code: jobs.CodeNotFound, What: "nobody who can be reached has " + id, Why: err.Error(), Retryable: true}
	case errors.Is(err, tree.ErrInvalid), errors.Is(err, tree.ErrLimit):
		return &jobs.Problem{Code: jobs.CodeUsage, What: id + " cannot be fetched whole", Why: err.Error()}
	}
	return err
}

// Fetch implements member.Fetcher: it makes all blocks below root durable here.
func (n *Node) Fetch(ctx context.Context, root cid.Cid, from []admission.Key, most int64) error {
	return n.exchange.Fetch(ctx, root, peersOf(from), tree.Limits{Bytes: most, Blocks: maxFetched})
}

// maxFetched bounds the blocks of one fetch.
const maxFetched = 1 << 16

// fetcher is member.Fetcher.
type fetcher struct{ *Node }

// Block implements member.Fetcher.
func (f fetcher) Block(ctx context.Context, id cid.Cid, from admission.Key) error {
	_, err := f.fetchBlock(ctx, id, []admission.Key{from})
	return err
}

func (n *Node) fetchBlock(ctx context.Context, c cid.Cid, from []admission.Key) ([]byte, error) {
	if data, err := n.blocks.Get(ctx, c); !errors.Is(err, store.ErrNotFound) {
		return data, err
	}
	return n.exchange.Get(ctx, c, peersOf(from)...)
}

// chunked hands on what r holds in pieces.
func chunked(r io.Reader, fn func([]byte) error) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := fn(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
