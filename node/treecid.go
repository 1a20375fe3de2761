package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/tree"
)

// certificateName is the file that a certificate is saved as beside a result.
const certificateName = "job.cert"

// proofSuffix ends the names of files that prove a task of an array.
const proofSuffix = ".proof"

// TreeCID returns the CID of the result tree that a folder on disk is: out/,
// stdout, stderr and exit, as muster result -o writes them. A certificate and
// proofs beside them are left out; any other file makes it another tree, and an error.
func TreeCID(ctx context.Context, dir string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	r, err := readResult(root.FS())
	if err = errors.Join(err, root.Close()); err != nil {
		return "", err
	}
	t, err := tree.WriteResult(ctx, nowhere{}, r)
	return t.Root.String(), err
}

func readResult(from fs.FS) (tree.Result, error) {
	var r tree.Result
	err := fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == certificateName || path.Ext(name) == proofSuffix && !strings.Contains(name, "/") {
			return err
		}
		data, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		below, isOutput := strings.CutPrefix(name, "out/")
		switch {
		case isOutput:
			r.Out = append(r.Out, tree.File{Path: path.Clean(below), Data: data})
		case name == "stdout":
			r.Stdout = data
		case name == "stderr":
			r.Stderr = data
		case name == "exit":
			code, err := strconv.ParseInt(strings.TrimSuffix(string(data), "\n"), 10, 32)
			if err != nil {
				return fmt.Errorf("exit is not an exit code: %w", err)
			}
			r.Code = int32(code)
		default:
			return fmt.Errorf("%s is no part of a result", name)
		}
		return nil
	})
	return r, err
}

// nowhere is a block store that keeps nothing: only the CIDs are wanted.
type nowhere struct{ store.Blocks }

func (nowhere) Has(context.Context, cid.Cid) (bool, error) { return false, nil }
func (nowhere) Put(context.Context, ...blocks.Block) error { return nil }
