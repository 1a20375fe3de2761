package p2p_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/muster-network/muster/p2p"
)

func TestIdentityIsMadeOnceAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node", "identity")
	if _, err := p2p.LoadIdentity(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a file: %v", err)
	}
	ids := make([]p2p.Identity, 8)
	var opens sync.WaitGroup
	for i := range ids {
		opens.Go(func() {
			var err error
			if ids[i], err = p2p.OpenIdentity(path); err != nil {
				t.Error(err)
			}
		})
	}
	opens.Wait()
	for _, id := range ids {
		if id.Peer != ids[0].Peer || id.Signer.Key().Peer() != id.Peer {
			t.Errorf("identities differ: %s and %s", id.Peer, ids[0].Peer)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("mode %04o", mode)
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("files left over: %v", files)
	}
}

func TestIdentityIsRefused(t *testing.T) {
	good := filepath.Join(t.TempDir(), "identity")
	if _, err := p2p.OpenIdentity(good); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]func(path string) error{
		"readable by the group": func(p string) error { return os.WriteFile(p, data, 0o640) },
		"readable by all":       func(p string) error { return os.WriteFile(p, data, 0o604) },
		"empty":                 func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"cut short":             func(p string) error { return os.WriteFile(p, data[:len(data)/2], 0o600) },
		"followed by more":      func(p string) error { return os.WriteFile(p, append(data, "x"...), 0o600) },
		"a folder":              func(p string) error { return os.Mkdir(p, 0o700) },
	}
	for name, make := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "identity")
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			if _, err := p2p.OpenIdentity(path); err == nil {
				t.Error("opened")
			}
		})
	}
}
