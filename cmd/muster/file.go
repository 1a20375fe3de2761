package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/file"
)

// mayWrite refuses a path that something is at, unless it is to be replaced.
func mayWrite(path string, replace bool, try string) error {
	if _, err := os.Lstat(path); err == nil && !replace {
		return there(path, try)
	}
	return nil
}

// writeFile puts data at path, with the mode of new files: whole or not at all, and on
// disk when it returns nil. What mayWrite refuses it does, too, if it came there since.
// A device or a pipe that is to be replaced is written to.
func writeFile(path string, data []byte, replace bool, try string) error {
	if !replace {
		err := file.Create(path, data, 0o644)
		if errors.Is(err, fs.ErrExist) {
			return there(path, try)
		}
		return err
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(path, data, 0o644)
	}
	return file.Replace(path, data, 0o644)
}

func there(path, try string) error {
	return &jobs.Problem{Code: jobs.CodeConflict, What: path + " is there already", Try: try}
}
