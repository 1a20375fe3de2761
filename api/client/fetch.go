package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
)

// Bounds of what a node may make a client do: one block's size in bytes, and
// how deep files and folders nest.
const (
	maxBlock = 4 << 20
	maxDepth = 64
)

// ReadFile writes the file at a path below a root to w. Every block is checked
// against the CID that names it before a byte of it is written, so what comes
// out is what root names, whoever serves it.
func (c *Client) ReadFile(ctx context.Context, root, path string, w io.Writer) error {
	at, err := decodeCID(root)
	if err != nil {
		return err
	}
	return c.files().read(ctx, at, path, w)
}

// files reads files and folders from blocks that match their CIDs.
type files struct {
	block func(ctx context.Context, c cid.Cid) ([]byte, error)
}

func (c *Client) files() files { return files{c.block} }

func (f files) read(ctx context.Context, root cid.Cid, path string, w io.Writer) error {
	at := root
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		n, err := f.node(ctx, at)
		if err != nil {
			return err
		}
		l, ok := n.find(name)
		if !ok {
			return &jobs.Problem{Code: jobs.CodeNotFound, What: fmt.Sprintf("no file %s in %s", path, root)}
		}
		at = l.cid
	}
	return f.copyFile(ctx, at, w, maxDepth)
}

// ReadTree writes the folder that root names into dir, which is made if it is
// not there; no file in it is replaced. Every block is checked as ReadFile does.
func (c *Client) ReadTree(ctx context.Context, root, dir string) error {
	at, err := decodeCID(root)
	if err != nil {
		return err
	}
	return c.files().readTree(ctx, at, dir)
}

func (f files) readTree(ctx context.Context, at cid.Cid, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	into, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = into.Close() }()
	return f.copyFolder(ctx, at, into, ".", maxDepth)
}

func (f files) copyFolder(ctx context.Context, at cid.Cid, into *os.Root, path string, depth int) error {
	if depth == 0 {
		return errors.New("folders nest too deeply")
	}
	n, err := f.node(ctx, at)
	if err != nil {
		return err
	}
	if !n.folder {
		return fmt.Errorf("%s is not a folder", at)
	}
	for _, l := range n.links {
		if err := jobs.CheckPath(l.name); err != nil || strings.Contains(l.name, "/") {
			return fmt.Errorf("folder %s holds the name %q", at, l.name)
		}
		below := filepath.Join(path, l.name)
		folder, err := f.isFolder(ctx, l.cid)
		if err != nil {
			return err
		}
		if !folder {
			if err := f.createFile(ctx, l.cid, into, below); err != nil {
				return err
			}
			continue
		}
		if err := into.MkdirAll(below, 0o755); err != nil {
			return err
		}
		if err := f.copyFolder(ctx, l.cid, into, below, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// isFolder looks into the block: an entry's CID does not tell folders from
// files of several blocks.
func (f files) isFolder(ctx context.Context, at cid.Cid) (bool, error) {
	if at.Type() == cid.Raw {
		return false, nil
	}
	n, err := f.node(ctx, at)
	return n.folder, err
}

func (f files) createFile(ctx context.Context, at cid.Cid, into *os.Root, path string) error {
	file, err := into.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = f.copyFile(ctx, at, file, maxDepth)
	return errors.Join(err, file.Close())
}

func (f files) copyFile(ctx context.Context, at cid.Cid, w io.Writer, depth int) error {
	if depth == 0 {
		return errors.New("a file's blocks nest too deeply")
	}
	data, err := f.block(ctx, at)
	if err != nil {
		return err
	}
	if at.Type() == cid.Raw {
		_, err := w.Write(data)
		return err
	}
	n, err := decodeNode(data)
	if err != nil {
		return fmt.Errorf("block %s: %w", at, err)
	}
	if n.folder {
		return &jobs.Problem{Code: jobs.CodeUsage, What: at.String() + " is a folder, not a file"}
	}
	if _, err := w.Write(n.data); err != nil {
		return err
	}
	for _, l := range n.links {
		if err := f.copyFile(ctx, l.cid, w, depth-1); err != nil {
			return err
		}
	}
	return nil
}

func (f files) node(ctx context.Context, at cid.Cid) (node, error) {
	if at.Type() != cid.DagProtobuf {
		return node{}, fmt.Errorf("%s is not a folder", at)
	}
	data, err := f.block(ctx, at)
	if err != nil {
		return node{}, err
	}
	n, err := decodeNode(data)
	if err != nil {
		return node{}, fmt.Errorf("block %s: %w", at, err)
	}
	return n, nil
}

// block fetches one block and refuses bytes that its CID does not name.
func (c *Client) block(ctx context.Context, at cid.Cid) ([]byte, error) {
	body, err := c.send(ctx, request{method: http.MethodGet, path: api.PathBlobs + "/" + at.String(),
		query: url.Values{"format": {"raw"}}, accept: api.TypeBlock})
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	data, err := io.ReadAll(io.LimitReader(body, maxBlock+1))
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	named, err := at.Prefix().Sum(data)
	if err != nil || !named.Equals(at) || len(data) > maxBlock {
		return nil, &jobs.Problem{Code: jobs.CodeCertificate, What: "the node served bytes that are not " + at.String(),
			Why: "they hash to another CID", Try: "ask another peer"}
	}
	return data, nil
}

// decodeCID takes CIDv1 by SHA-256 only: a weaker hash would check nothing.
func decodeCID(s string) (cid.Cid, error) {
	c, err := cid.Decode(s)
	if err != nil {
		return c, &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("%q is not a CID", s)}
	}
	return c, checkCID(c)
}

func checkCID(c cid.Cid) error {
	p := c.Prefix()
	if p.Version != 1 || p.MhType != multihash.SHA2_256 || p.MhLength != 32 || p.Codec != cid.Raw && p.Codec != cid.DagProtobuf {
		return fmt.Errorf("%s is not a CIDv1 of a file or folder by SHA-256", c)
	}
	return nil
}
