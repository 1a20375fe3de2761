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
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

// Bounds of what a node may make a client do: one block's size in bytes, and
// how deep files and folders nest.
const (
	maxBlock = 4 << 20
	maxDepth = 64
)

// ReadFile writes the file at a path below a certified result to w. Every block
// is checked against the CID that names it before a byte of it is written, so
// what comes out is what was certified, whoever serves it; and no more comes out
// than the charter lets a run leave, whoever certified it.
func (c *Client) ReadFile(ctx context.Context, cert Certified, path string, w io.Writer) error {
	t := cert.Verdict.Value.Tree
	if t == nil {
		return noTree(cert.Verdict.Value)
	}
	return c.files(cert).read(ctx, t.Cid, path, w)
}

// ReadTree writes a certified result, a folder, into dir, which is made if it is
// not there; no file in it is replaced. It checks what ReadFile does.
func (c *Client) ReadTree(ctx context.Context, cert Certified, dir string) error {
	t := cert.Verdict.Value.Tree
	if t == nil {
		return noTree(cert.Verdict.Value)
	}
	return c.files(cert).readTree(ctx, t.Cid, dir)
}

func noTree(v consensus.Value) error {
	return &jobs.Problem{Code: jobs.CodeNotFound, What: "there is no result", Why: "it ended " + v.String()}
}

// files reads files and folders from blocks that match their CIDs, within a
// budget: a few blocks that name each other often enough stand for files without
// end.
type files struct {
	block func(ctx context.Context, c cid.Cid) ([]byte, error)
	left  budget
}

// budget is what may be read yet, each block as often as it is mentioned.
type budget struct {
	bytes  uint64
	blocks int
}

// What a run may leave besides the content that its charter allows: as many
// blocks as members fetch, and folders of as many bytes as jobs/exec allows names
// for, with what stands beside each.
const (
	maxBlocks = 1 << 16
	maxNodes  = 16 << 20
)

// allowance is what one run of a job may leave.
func allowance(l consensus.Limits) budget {
	return budget{bytes: l.Output + 2*l.Stream + maxNodes, blocks: maxBlocks}
}

func (b *budget) take(data []byte) error {
	if b.blocks == 0 || uint64(len(data)) > b.bytes {
		return &jobs.Problem{Code: jobs.CodeCertificate, What: "the result is larger than its job may leave",
			Why: "its blocks name each other more often than a run within the charter's limits can make them",
			Try: "trust nothing that its members certify"}
	}
	b.blocks--
	b.bytes -= uint64(len(data))
	return nil
}

func (c *Client) files(cert Certified) *files {
	return &files{c.block, allowance(cert.Verdict.Charter.Limits)}
}

func (f *files) read(ctx context.Context, root cid.Cid, path string, w io.Writer) error {
	n, err := f.node(ctx, root)
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		l, ok := n.find(name)
		if !ok || !n.folder {
			return &jobs.Problem{Code: jobs.CodeNotFound, What: fmt.Sprintf("no file %s in %s", path, root)}
		}
		if n, err = f.node(ctx, l.cid); err != nil {
			return err
		}
	}
	return f.copyFile(ctx, n, w, maxDepth)
}

func (f *files) readTree(ctx context.Context, at cid.Cid, dir string) error {
	n, err := f.node(ctx, at)
	if err != nil {
		return err
	}
	if !n.folder {
		return fmt.Errorf("%s is not a folder", at)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	into, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = into.Close() }()
	return f.copyFolder(ctx, n, into, ".", maxDepth)
}

func (f *files) copyFolder(ctx context.Context, n node, into *os.Root, path string, depth int) error {
	if depth == 0 {
		return errors.New("folders nest too deeply")
	}
	for _, l := range n.links {
		if err := jobs.CheckPath(l.name); err != nil || strings.Contains(l.name, "/") {
			return fmt.Errorf("folder %s holds the name %q", path, l.name)
		}
		below := filepath.Join(path, l.name)
		entry, err := f.node(ctx, l.cid)
		if err != nil {
			return err
		}
		if !entry.folder {
			if err := f.createFile(ctx, entry, into, below); err != nil {
				return err
			}
			continue
		}
		if err := into.MkdirAll(below, 0o755); err != nil {
			return err
		}
		if err := f.copyFolder(ctx, entry, into, below, depth-1); err != nil {
			return err
		}
	}
	return nil
}

func (f *files) createFile(ctx context.Context, n node, into *os.Root, path string) error {
	file, err := into.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = f.copyFile(ctx, n, file, maxDepth)
	return errors.Join(err, file.Close())
}

func (f *files) copyFile(ctx context.Context, n node, w io.Writer, depth int) error {
	if depth == 0 {
		return errors.New("a file's blocks nest too deeply")
	}
	if n.folder {
		return &jobs.Problem{Code: jobs.CodeUsage, What: "a folder where a file is wanted"}
	}
	if _, err := w.Write(n.data); err != nil {
		return err
	}
	for _, l := range n.links {
		part, err := f.node(ctx, l.cid)
		if err != nil {
			return err
		}
		if err := f.copyFile(ctx, part, w, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// node reads the block at a mention of it: a raw one is content and nothing else.
// An entry's CID does not tell folders from files of several blocks.
func (f *files) node(ctx context.Context, at cid.Cid) (node, error) {
	if err := checkCID(at); err != nil { // a weaker hash would check nothing
		return node{}, err
	}
	data, err := f.block(ctx, at)
	if err != nil {
		return node{}, err
	}
	if err := f.left.take(data); err != nil {
		return node{}, err
	}
	if at.Type() == cid.Raw {
		return node{data: data}, nil
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

func checkCID(c cid.Cid) error {
	p := c.Prefix()
	if p.Version != 1 || p.MhType != multihash.SHA2_256 || p.MhLength != 32 || p.Codec != cid.Raw && p.Codec != cid.DagProtobuf {
		return fmt.Errorf("%s is not a CIDv1 of a file or folder by SHA-256", c)
	}
	return nil
}
