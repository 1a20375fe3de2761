package p2p

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFileIsPutInThePlaceOfAnotherAndNothingElseIsLeft(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, words := range []string{"first", "second"} {
		if err := WriteFile(path, []byte(words)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil || string(data) != words {
			t.Errorf("it holds %q: %v", data, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
	if err := WriteFile(dir, []byte("over a directory")); err == nil {
		t.Error("a directory is a file now")
	}
	if err := WriteFile(filepath.Join(dir, "none", "file"), nil); err == nil {
		t.Error("written into no directory")
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("left: %v, %v", names, err)
	}
	if beside, err := filepath.Glob(dir + ".*"); err != nil || len(beside) != 0 {
		t.Errorf("left: %q, %v", beside, err)
	}
}
