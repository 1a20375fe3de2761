package wasm

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/tetratelabs/wazero/experimental"

	"github.com/muster-network/muster/jobs/exec"
)

// cacheSize is how many bytes of compiled code are kept on disk; the oldest
// goes first.
const cacheSize = 1 << 30

// compile is the life of a worker that compiles one module into the cache and
// runs nothing. It is the only kind of process that writes there.
func (w *worker) compile(ctx context.Context, cache string) error {
	if err := w.greet(); err != nil {
		return err
	}
	var c codeFrame
	if err := w.wire.expect(frameCode, &c); err != nil {
		return err
	}
	if c.Size > maxModule {
		return errors.New("module too large")
	}
	code, err := w.wire.readData(c.Size)
	if err != nil {
		return err
	}
	return w.done(compileInto(ctx, cache, hash(c.Module), code))
}

// compileInto compiles a module into the cache. A module that is not valid is a
// trap, the same everywhere. One that is, and is not compiled for that, is this
// machine's: its cache, its processor, or what its system allows.
func compileInto(ctx context.Context, cache string, id hash, code []byte) outcome {
	if err := prune(cache, cacheSize); err != nil {
		return outcome{kind: exec.Broken, reason: reasonOf(err)}
	}
	if compileOnce(ctx, cache, id, code) == nil {
		return outcome{kind: exec.Exited}
	}
	if err := validate(ctx, code); err != nil {
		return outcome{kind: exec.Trapped, code: TrapInvalidModule, reason: reasonOf(err)}
	}
	if err := prune(cache, 0); err != nil { // what cannot be read there is made anew
		return outcome{kind: exec.Broken, reason: reasonOf(err)}
	}
	if err := compileOnce(ctx, cache, id, code); err != nil {
		return outcome{kind: exec.Broken, reason: reasonOf(err)}
	}
	return outcome{kind: exec.Exited}
}

func compileOnce(ctx context.Context, cache string, id hash, code []byte) error {
	e, err := newEngine(ctx, cache)
	if err != nil {
		return err
	}
	ctx = experimental.WithCompilationWorkers(ctx, runtime.GOMAXPROCS(0))
	return errors.Join(e.load(ctx, id, code), e.close(ctx))
}

// prune removes the oldest files of the cache until it has at most size bytes.
func prune(cache string, size int64) error {
	type old struct {
		path string
		info fs.FileInfo
	}
	var files []old
	var total int64
	err := filepath.WalkDir(cache, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return ignoreMissing(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		files = append(files, old{path, info})
		total += info.Size()
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(files, func(a, b old) int { return cmp.Compare(a.info.ModTime().UnixNano(), b.info.ModTime().UnixNano()) })
	for _, f := range files {
		if total <= size {
			return nil
		}
		if err := ignoreMissing(os.Remove(f.path)); err != nil {
			return err
		}
		total -= f.info.Size()
	}
	return nil
}

// ignoreMissing drops the error of a file that another compiler removed first.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
