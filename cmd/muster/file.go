package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
)

// writeFile puts data at path, with the mode of new files, in place of what is there:
// whole or not at all, and on disk when it returns nil. A device or a pipe is written to.
func writeFile(path string, data []byte) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(path, data, 0o644)
	}
	dir, name := filepath.Split(path)
	partial := filepath.Join(dir, "."+name+".partial-"+rand.Text())
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(partial, path)
	}
	if err != nil {
		_ = os.Remove(partial)
		return err
	}
	return nil
}
