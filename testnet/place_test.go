package testnet_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/testnet"
)

// alone are the options of a testnet of one node in dir.
func alone(dir, pointer string) testnet.Options {
	return testnet.Options{Nodes: 1, Binary: os.Getenv(envBinary), Dir: dir, Pointer: pointer, Policy: policy(), API: "127.0.0.1:0"}
}

// refused starts a network that must not start.
func refused(t *testing.T, o testnet.Options, code string) {
	t.Helper()
	n, err := testnet.Start(t.Context(), o)
	if p := new(jobs.Problem); !errors.As(err, &p) || p.Code != code || p.Why == "" || p.Try == "" {
		t.Errorf("a testnet in %q, named by %q: %v, want %s with its parts", o.Dir, o.Pointer, err, code)
	}
	if err == nil {
		t.Errorf("%v", n.Down())
	}
}

// holds fails unless the folder holds these names and no other.
func holds(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	if len(found) != len(names) {
		t.Errorf("%s holds %q, want %q", dir, found, names)
		return
	}
	for i, name := range names {
		if found[i] != name {
			t.Errorf("%s holds %q, want %q", dir, found, names)
		}
	}
}

func TestATestnetTakesAFolderThatHoldsNothingAndLeavesWhatIsNotItsOwn(t *testing.T) {
	thesis := write(t, "thesis", "years of work")
	refused(t, alone(filepath.Dir(thesis), ""), jobs.CodeConflict)
	holds(t, filepath.Dir(thesis), "thesis")

	t.Chdir(t.TempDir())
	n, err := testnet.Start(t.Context(), alone("net", ""))
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(n.Dir) {
		t.Errorf("the testnet is in %s, which is another folder for who stands elsewhere", n.Dir)
	}
	if err := os.WriteFile(filepath.Join("net", "notes"), nil, 0o600); err != nil {
		t.Error(err)
	}
	if err := testnet.Down(n.Dir); err != nil {
		t.Error(err)
	}
	holds(t, "net", "notes")

	o := alone("other", "")
	o.Binary = filepath.Join(n.Dir, "none")
	if n, err := testnet.Start(t.Context(), o); err == nil {
		t.Errorf("a testnet of no binary is up: %v", n.Down())
	}
	holds(t, ".", "net") // a start that fails leaves nothing
}

func TestATestnetThatIsUpIsNotDisturbedByAnother(t *testing.T) {
	pointer := filepath.Join(t.TempDir(), "run", "muster-testnet")
	n := up(t, testnet.Options{Nodes: 1, Pointer: pointer})
	elsewhere := filepath.Join(t.TempDir(), "net")
	refused(t, alone(n.Dir, pointer), jobs.CodeConflict)
	refused(t, alone(n.Dir, ""), jobs.CodeConflict)
	refused(t, alone(elsewhere, pointer), jobs.CodeConflict)
	if _, err := os.Lstat(elsewhere); err == nil {
		t.Errorf("%s was made for a testnet that was refused", elsewhere)
	}
	if _, err := n.client(1).Node(n.ctx); err != nil {
		t.Errorf("the first node: %v", err)
	}
	if at, err := testnet.Locate(pointer); err != nil || at != n.Dir {
		t.Errorf("the testnet is located at %q: %v", at, err)
	}
	n.must(n.node(1).Kill()) // a testnet of which no node runs gives way
	other, err := testnet.Start(n.ctx, alone(elsewhere, pointer))
	n.must(err)
	n.must(other.Down())
	if _, err := os.Lstat(elsewhere); err == nil {
		t.Errorf("%s is there after down", elsewhere)
	}
}

func TestWhoElseMayWriteDoesNotSayWhichTestnetIsUp(t *testing.T) {
	denied := func(what string, err error) {
		t.Helper()
		if p := new(jobs.Problem); !errors.As(err, &p) || p.Code != jobs.CodeDenied || p.Why == "" || p.Try == "" {
			t.Errorf("%s: %v, want %s with its parts", what, err, jobs.CodeDenied)
		}
	}
	shared, linked, dir := t.TempDir(), filepath.Join(t.TempDir(), "run"), t.TempDir()
	if err := errors.Join(os.Chmod(shared, 0o777), os.Symlink(t.TempDir(), linked)); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{shared, linked} {
		pointer := filepath.Join(folder, "muster-testnet")
		refused(t, alone("", pointer), jobs.CodeDenied)
		if err := os.WriteFile(pointer, []byte(dir), 0o600); err != nil {
			t.Fatal(err)
		}
		at, err := testnet.Locate(pointer)
		denied("located at "+at, err)
	}
	state := filepath.Join(dir, "testnet.json")
	if err := errors.Join(os.WriteFile(state, []byte(`{"dir": "/elsewhere"}`), 0o600), os.Chmod(state, 0o666)); err != nil {
		t.Fatal(err)
	}
	denied("down", testnet.Down(dir))
	holds(t, dir, "testnet.json")
	if err := os.Chmod(state, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := testnet.Load(dir); err != nil || n.Dir != dir {
		t.Errorf("the testnet in %s is %+v: %v", dir, n, err)
	}
}

func TestATestnetTakenDownByAnotherProcessEndsTheOneThatShowsIt(t *testing.T) {
	o := alone(filepath.Join(t.TempDir(), "net"), "")
	out, said := io.Pipe()
	o.Stdout = said
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(testnet.Up(t.Context(), o), said.Close()) }()
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "try") {
	}
	if err := testnet.Down(o.Dir); err != nil {
		t.Fatal(err)
	}
	if !lines.Scan() || lines.Text() != "it was taken down" || lines.Scan() {
		t.Errorf("it said %q last", lines.Text())
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAPortTakenBeforeItsNodeStartsCostsANetworkAnotherTry(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		taken int
		ok    bool
	}{{taken: 1, ok: true}, {taken: 3}} {
		o := alone(filepath.Join(dir, "net"), "")
		o.Binary = filepath.Join(dir, fmt.Sprint("muster", c.taken))
		script := fmt.Sprintf("#!/bin/sh\necho >> %[1]s.starts\n[ $(wc -l < %[1]s.starts) -gt %d ] && exec %s \"$@\"\necho '  code: MUSTER-CONFLICT'; exit 1\n",
			o.Binary, c.taken, os.Getenv(envBinary))
		if err := os.WriteFile(o.Binary, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		n, err := testnet.Start(t.Context(), o)
		if (err == nil) != c.ok {
			t.Errorf("after %d: %v", c.taken, err)
		}
		if err == nil {
			err = n.Down()
		} else if strings.Contains(err.Error(), jobs.CodeConflict) {
			err = nil
		}
		if err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(o.Dir); err == nil {
			t.Errorf("%s is left", o.Dir)
		}
	}
}
