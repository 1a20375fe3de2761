package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
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
// stdout, stderr and exit, all of them, as muster result -o writes them. A
// certificate and proofs beside them are left out; anything else that no tree
// holds, such as an empty folder in out/, is an error.
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
	missing := []string{"exit", "out", "stderr", "stdout"}
	err := fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." || isBeside(name, d) {
			return err
		}
		missing = slices.DeleteFunc(missing, func(entry string) bool { return entry == name })
		if d.IsDir() {
			return checkFolder(from, name)
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is no plain file", name)
		}
		return addEntry(&r, from, name)
	})
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%s is missing", strings.Join(missing, ", "))
	}
	return r, err
}

// isBeside reports whether a file stands beside a result, and is no part of it.
func isBeside(name string, d fs.DirEntry) bool {
	return !d.IsDir() && (name == certificateName || path.Ext(name) == proofSuffix && !strings.Contains(name, "/"))
}

// checkFolder refuses a folder that the tree of its files would not have.
func checkFolder(from fs.FS, name string) error {
	if name == "out" {
		return nil
	}
	entries, err := fs.ReadDir(from, name)
	if err == nil && len(entries) == 0 {
		err = fmt.Errorf("%s is an empty folder, and no part of a result", name)
	}
	return err
}

func addEntry(r *tree.Result, from fs.FS, name string) error {
	data, err := fs.ReadFile(from, name)
	if err != nil {
		return err
	}
	below, isOutput := strings.CutPrefix(name, "out/")
	switch {
	case isOutput:
		r.Out = append(r.Out, tree.File{Path: below, Data: data})
	case name == "stdout":
		r.Stdout = data
	case name == "stderr":
		r.Stderr = data
	case name == "exit":
		r.Code, err = tree.ParseExit(data)
	default:
		err = fmt.Errorf("%s is no part of a result", name)
	}
	return err
}

// nowhere is a block store that keeps nothing: only the CIDs are wanted.
type nowhere struct{ store.Blocks }

func (nowhere) Has(context.Context, cid.Cid) (bool, error) { return false, nil }
func (nowhere) Put(context.Context, ...blocks.Block) error { return nil }
