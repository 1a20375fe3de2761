// Package file writes files that are whole or not there: first under another name,
// then under their own, each step on disk before the next.
package file

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Replace puts data at path in place of what is there, with the permissions mode
// before umask: whole or not at all, and on disk, with its name, when it returns nil.
func Replace(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, os.Rename)
}

// Create does what Replace does, but only where nothing is: else it returns
// fs.ErrExist, whenever that came there. On a file system without hard links, as vfat
// is, a crash may leave an empty file at path; a part of data is never there.
func Create(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, nameFree(os.Link))
}

// nameFree returns what gives a file its name where nothing has it.
func nameFree(link func(temporary, path string) error) func(temporary, path string) error {
	return func(temporary, path string) error {
		err := link(temporary, path)
		if errors.Is(err, syscall.EPERM) || errors.Is(err, errors.ErrUnsupported) {
			return takeName(temporary, path)
		}
		if err == nil {
			err = os.Remove(temporary)
		}
		return err
	}
}

// takeName gives a file its name where that cannot be a link: an empty file, which only
// one can make there, keeps the place that it then takes.
func takeName(temporary, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = f.Close(); err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(path)
	}
	return err
}

func write(path string, data []byte, mode fs.FileMode, name func(temporary, path string) error) error {
	dir := filepath.Dir(path)
	temporary := filepath.Join(dir, ".partial-"+rand.Text()) // however long path's own name is
	err := writeTemporary(temporary, data, mode)
	if err == nil {
		err = name(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary)
		return err
	}
	return syncDir(dir)
}

// writeTemporary writes and syncs a new file.
func writeTemporary(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
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
	return err
}

// syncDir makes the names in a directory durable: the sync of a file does not.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil // a file system that syncs no directories
	}
	return err
}
