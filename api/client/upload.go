package client

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
)

// Upload stores what the file's file: references name, and returns a copy that
// names it by CID. Builtins stay: the node knows them.
func (c *Client) Upload(ctx context.Context, file *jobs.File, o SubmitOptions) (*jobs.File, error) {
	return file.Resolve(func(ref jobs.Ref) (cid.Cid, error) {
		path, ok := ref.Text.Path()
		if !ok {
			return cid.Undef, nil
		}
		if path = filepath.FromSlash(path); !filepath.IsAbs(path) {
			path = filepath.Join(o.Dir, path)
		}
		put := c.Put
		if ref.Each {
			put = c.putEach
		}
		blob, err := put(ctx, path)
		if err != nil {
			return cid.Undef, located(ref, err)
		}
		if o.Put != nil {
			o.Put(ref, blob)
		}
		return cid.Decode(blob.CID)
	})
}

// Matches returns the files and folders that a pattern of an array's inputs
// names on this machine, by ascending name: what filepath.Match says, or what is
// in a folder. Names that begin with a dot are left out unless the pattern says
// them. None at all, and two of one name, are a Problem.
func Matches(pattern string) ([]string, error) {
	if info, err := os.Stat(pattern); err == nil && info.IsDir() {
		pattern = filepath.Join(pattern, "*")
	}
	found, err := filepath.Glob(pattern)
	if err != nil {
		return nil, &jobs.Problem{Code: jobs.CodeSpecFile, What: pattern + " is no pattern", Why: err.Error(), Try: "file:./pages/*"}
	}
	if !strings.HasPrefix(filepath.Base(pattern), ".") {
		found = slices.DeleteFunc(found, func(path string) bool { return strings.HasPrefix(filepath.Base(path), ".") })
	}
	if len(found) == 0 {
		return nil, &jobs.Problem{Code: jobs.CodeSpecFile, What: pattern + " matches nothing", Try: "a folder, or a pattern such as file:./pages/*.html"}
	}
	slices.SortFunc(found, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	for i := 1; i < len(found); i++ {
		if filepath.Base(found[i-1]) == filepath.Base(found[i]) {
			return nil, &jobs.Problem{Code: jobs.CodeSpecFile, What: found[i-1] + " and " + found[i] + " have one name",
				Why: "tasks are named by their inputs", Try: "a pattern within one folder"}
		}
	}
	return found, nil
}

// putEach stores what a pattern matches as one folder.
func (c *Client) putEach(ctx context.Context, pattern string) (blob api.Blob, err error) {
	found, err := Matches(pattern)
	if err != nil {
		return blob, err
	}
	return c.putTar(ctx, func(t *tar.Writer) error {
		for _, path := range found {
			if err := addEach(t, path); err != nil {
				return err
			}
		}
		return nil
	})
}

// located says where in the job file a missing file is named.
func located(ref jobs.Ref, err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	p := &jobs.Problem{Code: jobs.CodeSpecFile, What: fmt.Sprintf("%s: %s is not there", ref.At, ref.Text),
		Try: "paths start at the job file's folder"}
	if ref.At == ref.Key { // named on the command line
		p.What = strings.TrimPrefix(string(ref.Text), "file:") + " is not there"
		p.Try = ""
	}
	if errors.Is(err, fs.ErrPermission) {
		p.What, p.Try = strings.TrimSuffix(p.What, " is not there")+" may not be read", ""
	}
	return p
}

// addEach writes one of the inputs of an array. An empty folder would be lost on
// the way, and its task with it.
func addEach(t *tar.Writer, path string) error {
	info, err := os.Stat(path)
	name := filepath.Base(path)
	switch {
	case err != nil:
		return err
	case info.Mode().IsRegular():
		return writeTarFile(t, path, name)
	case !info.IsDir():
		return &jobs.Problem{Code: jobs.CodeSpecFile, What: path + " is neither a file nor a folder"}
	}
	files := 0
	err = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files++
		}
		return err
	})
	if err == nil && files == 0 {
		err = &jobs.Problem{Code: jobs.CodeSpecFile, What: path + " holds no file", Why: "each input of an array is a task",
			Try: "a file in it, or a pattern that leaves it out"}
	}
	if err != nil {
		return err
	}
	return addFolder(t, path, name)
}

// Put stores a file or folder of this machine.
func (c *Client) Put(ctx context.Context, path string) (blob api.Blob, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return blob, err
	}
	if info.IsDir() {
		return c.putFolder(ctx, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return blob, err
	}
	defer func() { _ = f.Close() }()
	return c.PutFile(ctx, f)
}

// PutFile stores what r gives as a file.
func (c *Client) PutFile(ctx context.Context, r io.Reader) (blob api.Blob, err error) {
	return blob, c.call(ctx, request{method: http.MethodPost, path: api.PathBlobs, body: r, mediaType: "application/octet-stream"}, &blob)
}

func (c *Client) putFolder(ctx context.Context, dir string) (blob api.Blob, err error) {
	return c.putTar(ctx, func(t *tar.Writer) error { return addFolder(t, dir, "") })
}

// putTar stores the folder that fill writes: names and contents, in order, and
// nothing that differs from machine to machine.
func (c *Client) putTar(ctx context.Context, fill func(*tar.Writer) error) (blob api.Blob, err error) {
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() {
		t := tar.NewWriter(write)
		err := fill(t)
		if err == nil {
			err = t.Close()
		}
		_ = write.CloseWithError(err)
		done <- err
	}()
	err = c.call(ctx, request{method: http.MethodPost, path: api.PathBlobs, body: read, mediaType: api.TypeTar}, &blob)
	_ = read.CloseWithError(errors.New("the node has answered"))
	if wrote := <-done; wrote != nil && err != nil {
		if p := new(jobs.Problem); errors.As(wrote, &p) || errors.Is(wrote, fs.ErrNotExist) || errors.Is(wrote, fs.ErrPermission) {
			return blob, wrote // the folder was at fault, not the node
		}
	}
	return blob, err
}

// addFolder writes what is in a folder under a name, "" for none.
func addFolder(t *tar.Writer, dir, under string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(filepath.Join(under, name))
		switch {
		case e.IsDir():
			return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
		case e.Type().IsRegular():
			return writeTarFile(t, path, name)
		}
		return &jobs.Problem{Code: jobs.CodeSpecFile, What: path + " is neither a file nor a folder",
			Why: "links and devices mean nothing on another machine", Try: "copy what it stands for in its place"}
	})
}

func writeTarFile(t *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: info.Size()}); err != nil {
		return err
	}
	if _, err := io.Copy(t, f); err != nil {
		return fmt.Errorf("%s changed while it was read: %w", path, err)
	}
	return nil
}
