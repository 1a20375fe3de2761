package client

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
)

// Upload stores what the file's file: references name, and returns a copy that
// names it by CID. Builtins stay: the node knows them.
func (c *Client) Upload(ctx context.Context, file *jobs.File, o SubmitOptions) (*jobs.File, error) {
	out := *file
	out.Run.Program = file.Program()
	out.Run.Inputs = maps.Clone(file.Run.Inputs)
	for _, ref := range file.Refs() {
		path, ok := ref.Text.Path()
		if !ok {
			continue
		}
		if path = filepath.FromSlash(path); !filepath.IsAbs(path) {
			path = filepath.Join(o.Dir, path)
		}
		blob, err := c.Put(ctx, path)
		if err != nil {
			return nil, located(ref, err)
		}
		if o.Put != nil {
			o.Put(ref, blob)
		}
		text := jobs.Reference("cid:" + blob.CID)
		if name, ok := strings.CutPrefix(ref.Key, "run.inputs."); ok {
			out.Run.Inputs[name] = text
		} else {
			out.Run.WASM = text
		}
	}
	return &out, nil
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
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := writeTar(write, dir)
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

// writeTar writes names and contents, in order, and nothing that differs from
// machine to machine.
func writeTar(w io.Writer, dir string) error {
	t := tar.NewWriter(w)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		switch {
		case e.IsDir():
			return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
		case e.Type().IsRegular():
			return writeTarFile(t, path, name)
		}
		return &jobs.Problem{Code: jobs.CodeSpecFile, What: path + " is neither a file nor a folder",
			Why: "links and devices mean nothing on another machine", Try: "copy what it stands for in its place"}
	})
	if err != nil {
		return err
	}
	return t.Close()
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
