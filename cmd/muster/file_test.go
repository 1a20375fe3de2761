package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFileThatCameMeanwhileIsReplacedOnlyIfThatIsWanted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "job.bundle")
	if err := mayWrite(path, false, "another"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil { // while the network is asked
		t.Fatal(err)
	}
	for _, replace := range []bool{false, true} {
		want, code := "theirs", exitFailed
		if replace {
			want, code = "ours", exitOK
		}
		if err := writeFile(path, []byte("ours"), replace, "another"); exitOf(err) != code {
			t.Errorf("replace %v: %v", replace, err)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != want {
			t.Errorf("replace %v: it holds %q, want %q: %v", replace, data, want, err)
		}
	}
	if err := writeFile(os.DevNull, []byte("ours"), true, ""); err != nil {
		t.Errorf("a device: %v", err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Errorf("a device was replaced: %v", err)
	}
}
