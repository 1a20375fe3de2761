package tree

import (
	"context"
	"fmt"
	"strconv"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/store"
)

// Result is what a run leaves: the tree {out/, stdout, stderr, exit}, in which
// exit is the decimal exit code and a newline (protocol, section 2).
type Result struct {
	Out            []File // paths from out/
	Stdout, Stderr []byte
	Code           int32
}

// The entries of a result tree, sorted.
const (
	entryExit   = "exit"
	entryOut    = "out"
	entryStderr = "stderr"
	entryStdout = "stdout"
)

// WriteResult stores a result tree. Equal results are equal trees. It does not
// sync.
func WriteResult(ctx context.Context, b store.Blocks, r Result) (Tree, error) {
	t, _, err := writeResult(ctx, newWriter(b), r)
	return t, err
}

// writeResult also returns the link to the tree.
func writeResult(ctx context.Context, w *writer, r Result) (Tree, link, error) {
	out, err := w.directory(ctx, r.Out)
	if err != nil {
		return Tree{}, link{}, fmt.Errorf("out: %w", err)
	}
	out.name = entryOut
	root := &node{kind: kindDirectory, links: []link{out}}
	for _, f := range []File{
		{entryExit, []byte(formatExit(r.Code))},
		{entryStderr, r.Stderr},
		{entryStdout, r.Stdout},
	} {
		l, err := w.file(ctx, chunksIn(f.Data))
		if err != nil {
			return Tree{}, link{}, fmt.Errorf("%s: %w", f.Path, err)
		}
		l.name = f.Path
		root.links = append(root.links, l)
	}
	whole, err := w.addDirectory(ctx, root)
	if err != nil {
		return Tree{}, link{}, err
	}
	t, err := w.finish(ctx)
	return t, whole, err
}

// ReadResult reads a result tree whole, and refuses any other tree with
// ErrInvalid.
func ReadResult(ctx context.Context, src Source, root cid.Cid, limit Limits) (Result, error) {
	r := &reader{src: src, budget: budget{limit}}
	n, err := r.result(ctx, root)
	if err != nil {
		return Result{}, err
	}
	var result Result
	if result.Code, err = r.exit(ctx, n.links[0].cid); err != nil {
		return Result{}, err
	}
	out, err := r.directory(ctx, n.links[1].cid)
	if err != nil {
		return Result{}, err
	}
	if err := r.files(ctx, out, "", 1, &result.Out); err != nil {
		return Result{}, err
	}
	if result.Stderr, err = r.file(ctx, n.links[2].cid); err != nil {
		return Result{}, err
	}
	if result.Stdout, err = r.file(ctx, n.links[3].cid); err != nil {
		return Result{}, err
	}
	return result, nil
}

// result reads the directory that a result is, with its four entries.
func (r *reader) result(ctx context.Context, root cid.Cid) (*node, error) {
	n, err := r.directory(ctx, root)
	if err != nil {
		return nil, err
	}
	names := []string{entryExit, entryOut, entryStderr, entryStdout}
	if len(n.links) != len(names) {
		return nil, fmt.Errorf("%w: a result of %d entries", ErrInvalid, len(n.links))
	}
	for i, l := range n.links {
		if l.name != names[i] {
			return nil, fmt.Errorf("%w: %q in a result", ErrInvalid, l.name)
		}
	}
	return n, nil
}

func (r *reader) exit(ctx context.Context, c cid.Cid) (int32, error) {
	data, err := r.file(ctx, c)
	if err != nil {
		return 0, err
	}
	return ParseExit(data)
}

// ParseExit reads the exit code in a result's file exit, which has one form only:
// any other is an error, ErrInvalid.
func ParseExit(data []byte) (int32, error) {
	const longest = len("-2147483648\n")
	if len(data) == 0 || len(data) > longest {
		return 0, fmt.Errorf("%w: an exit code of %d bytes", ErrInvalid, len(data))
	}
	code, err := strconv.ParseInt(string(data[:len(data)-1]), 10, 32)
	if err != nil || formatExit(int32(code)) != string(data) {
		return 0, fmt.Errorf("%w: exit code %q", ErrInvalid, data)
	}
	return int32(code), nil
}

func formatExit(code int32) string { return strconv.FormatInt(int64(code), 10) + "\n" }
