package wasm

import (
	"fmt"
	"io"
	"strings"
	"testing"

	experimental "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"
	"pgregory.net/rapid"

	"github.com/muster-network/muster/jobs/exec"
)

func open(t *testing.T, tr *tree, path string, flag experimental.Oflag) experimental.File {
	t.Helper()
	f, errno := tr.OpenFile(path, flag, 0)
	if errno != 0 {
		t.Fatalf("open %s: %v", path, errno)
	}
	return f
}

func roomy() *account { return &account{memory: 1 << 30, disk: 1 << 30} }

const rw = experimental.O_RDWR | experimental.O_CREAT

func TestAFolderIsListedInOrderWhateverIsRemovedMeanwhile(t *testing.T) {
	tr := newTree(roomy())
	for _, name := range []string{"c", "a", "e", "b", "d"} {
		open(t, tr, "out/"+name, rw).Close()
	}
	dir := open(t, tr, "out", 0)
	first, _ := dir.Readdir(2)
	if errno := tr.Unlink("out/c"); errno != 0 {
		t.Fatal(errno)
	}
	open(t, tr, "out/cc", rw).Close()
	second, _ := dir.Readdir(2)
	got := fmt.Sprint(first[0].Name, first[1].Name, second[0].Name, second[1].Name)
	if got != "abde" {
		t.Errorf("listed %s", got)
	}
	if _, errno := dir.Seek(0, io.SeekStart); errno != 0 {
		t.Fatal(errno)
	}
	if again, _ := dir.Readdir(-1); len(again) != 5 || again[2].Name != "cc" {
		t.Errorf("listed again: %v", again)
	}
}

func TestInputsAndTheRootCannotBeChanged(t *testing.T) {
	tr := newTree(roomy())
	tr.addInput("a/b", []byte("x"))
	for name, errno := range map[string]experimental.Errno{
		"mkdir /in/x":         tr.Mkdir("in/x", 0),
		"mkdir /x":            tr.Mkdir("x", 0),
		"unlink /in/a/b":      tr.Unlink("in/a/b"),
		"rmdir /out":          tr.Rmdir("out"),
		"rename /in/a/b out":  tr.Rename("in/a/b", "out/b"),
		"rename /out in":      tr.Rename("out", "in/out"),
		"rename root":         tr.Rename(".", "out/root"),
		"rename over the in":  tr.Rename("out", "in"),
		"open for writing":    errnoOf(tr.OpenFile("in/a/b", experimental.O_RDWR, 0)),
		"open and cut":        errnoOf(tr.OpenFile("in/a/b", experimental.O_TRUNC, 0)),
		"create":              errnoOf(tr.OpenFile("in/a/c", rw, 0)),
		"create in the root":  errnoOf(tr.OpenFile("c", rw, 0)),
		"open and append":     errnoOf(tr.OpenFile("in/a/b", experimental.O_APPEND, 0)),
		"create under a file": tr.Mkdir("in/a/b/c", 0) - experimental.ENOTDIR + experimental.EROFS,
	} {
		if errno != experimental.EROFS {
			t.Errorf("%s: %v", name, errno)
		}
	}
	f := open(t, tr, "in/a/b", 0)
	if _, errno := f.Write([]byte("y")); errno != experimental.EBADF {
		t.Errorf("write: %v", errno)
	}
	if errno := f.Truncate(0); errno != experimental.EBADF {
		t.Errorf("truncate: %v", errno)
	}
}

func errnoOf[T any](_ T, errno experimental.Errno) experimental.Errno { return errno }

func TestNothingOutsideTheTreeHasAName(t *testing.T) {
	tr := newTree(roomy())
	for _, path := range []string{"..", "../etc", "in/../../etc", "out/../..", "etc/passwd"} {
		if _, errno := tr.Stat(path); errno == 0 {
			t.Errorf("%s exists", path)
		}
	}
	if tr.Symlink("/etc/passwd", "out/x") == 0 || tr.Link("in", "out/x") == 0 {
		t.Error("a link was made")
	}
}

func TestNamesHaveALengthLimit(t *testing.T) {
	tr := newTree(roomy())
	if errno := tr.Mkdir("out/"+strings.Repeat("x", maxName+1), 0); errno != experimental.ENAMETOOLONG {
		t.Errorf("name: %v", errno)
	}
	path := "out"
	for errno := experimental.Errno(0); errno == 0; errno = tr.Mkdir(path, 0) {
		path += "/" + strings.Repeat("x", maxName)
	}
	if below := len(path) - len("out/"); below <= exec.MaxPath || below > exec.MaxPath+maxName+1 {
		t.Errorf("path of %d bytes was refused", len(path))
	}
	// Moving a folder must not make paths that could not be made one by one.
	to := "out"
	for range 3 {
		to += "/" + strings.Repeat("y", maxName)
		if errno := tr.Mkdir(to, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	from := "out/" + strings.Repeat("x", maxName)
	if errno := tr.Rename(from, to+"/x"); errno != experimental.ENAMETOOLONG {
		t.Errorf("moved deeper: %v", errno)
	}
	if errno := tr.Rename(from, "out/x"); errno != 0 {
		t.Errorf("renamed: %v", errno)
	}
}

func TestWhatCannotStandInAResultCannotBeNamed(t *testing.T) {
	tr := newTree(roomy())
	for _, name := range []string{"a\x00b", "a\xff"} {
		for verb, errno := range map[string]experimental.Errno{
			"mkdir":  tr.Mkdir("out/"+name, 0),
			"create": errnoOf(tr.OpenFile("out/"+name, rw, 0)),
		} {
			if errno != experimental.EINVAL {
				t.Errorf("%s %q: %v", verb, name, errno)
			}
		}
	}
	deep := "out"
	for range exec.MaxDepth - 1 {
		deep += "/d"
		if errno := tr.Mkdir(deep, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	open(t, tr, deep+"/f", rw).Close()
	if errno := tr.Mkdir(deep+"/d", 0); errno != 0 {
		t.Error(errno)
	}
	if errno := errnoOf(tr.OpenFile(deep+"/d/f", rw, 0)); errno != experimental.ENAMETOOLONG {
		t.Errorf("one name deeper: %v", errno)
	}
	if errno := tr.Mkdir("out/x", 0); errno != 0 {
		t.Fatal(errno)
	}
	if errno := tr.Rename("out/d", "out/x/d"); errno != experimental.ENAMETOOLONG {
		t.Errorf("moved deeper: %v", errno)
	}
}

func TestNamesWithoutEndAreALimitOfOut(t *testing.T) {
	for name, path := range map[string]func(i int) string{
		"files":    func(i int) string { return fmt.Sprintf("out/%d/%d", i%10, i) },
		"a folder": func(i int) string { return fmt.Sprintf("out/0/%0200d", i) },
		"paths": func(i int) string {
			return "out/" + strings.Repeat("x", 200) + strings.Repeat("/"+strings.Repeat("x", 200), 4) + fmt.Sprint("/", i)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := roomy()
			tr := newTree(a)
			defer func() {
				if _, ok := recover().(*sys.ExitError); !ok || a.over != exec.LimitDisk || !a.crowded {
					t.Errorf("over %d, crowded %v", a.over, a.crowded)
				}
				if a.names > exec.MaxNames || a.paths > exec.MaxPaths || a.names < 5000 {
					t.Errorf("%d names of %d bytes", a.names, a.paths)
				}
			}()
			for i := 0; ; i++ {
				for at := len("out/"); ; at++ { // the folders above it
					next := strings.IndexByte(path(i)[at:], '/')
					if next < 0 {
						break
					}
					at += next
					tr.Mkdir(path(i)[:at], 0)
				}
				open(t, tr, path(i), rw).Close()
			}
		})
	}
}

// TestTheAccountFollowsTheTree does random things to a tree and counts what is
// left against the account.
func TestTheAccountFollowsTheTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := roomy()
		tr := newTree(a)
		names := rapid.SampledFrom([]string{"out/a", "out/b", "out/a/x", "out/b/x", "out/a/x/y"})
		var files []experimental.File
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			p, q := names.Draw(t, "path"), names.Draw(t, "other")
			switch rapid.IntRange(0, 6).Draw(t, "verb") {
			case 0:
				tr.Mkdir(p, 0)
			case 1:
				if f, errno := tr.OpenFile(p, rw, 0); errno == 0 {
					files = append(files, f)
				}
			case 2:
				tr.Unlink(p)
			case 3:
				tr.Rmdir(p)
			case 4:
				tr.Rename(p, q)
			case 5:
				if len(files) > 0 {
					f := files[rapid.IntRange(0, len(files)-1).Draw(t, "file")]
					f.Pwrite([]byte("hello"), int64(rapid.IntRange(0, 100).Draw(t, "offset")))
					f.Truncate(int64(rapid.IntRange(0, 100).Draw(t, "size")))
				}
			case 6:
				if len(files) > 0 {
					files[0].Close()
					files = files[1:]
				}
			}
		}
		for _, f := range files {
			f.Close()
		}
		var bytes, nodes int64
		var paths int
		var count func(n *node, above int)
		count = func(n *node, above int) {
			listed := 0
			for name, child := range n.entries {
				bytes += int64(len(child.data))
				nodes++
				paths += above + len(name)
				listed += listing(name)
				count(child, above+len(name)+1)
			}
			if n.listed != listed {
				t.Fatalf("a folder counts %d bytes of names, not %d", n.listed, listed)
			}
		}
		count(tr.out, 0)
		if a.names != int(nodes) || a.paths != paths {
			t.Fatalf("account: %d names in paths of %d bytes; the tree has %d in %d", a.names, a.paths, nodes, paths)
		}
		if a.written != bytes || a.outputs != bytes+nodes*entryCost {
			t.Fatalf("account: %d written, %d held; the tree has %d bytes in %d nodes", a.written, a.outputs, bytes, nodes)
		}
	})
}

func TestALimitEndsTheRunAndChangesNothing(t *testing.T) {
	a := &account{memory: 4*entryCost + 20, disk: 10}
	tr := newTree(a)
	f := open(t, tr, "out/f", rw)
	ends := func(want int32, do func()) {
		t.Helper()
		defer func() {
			if _, ok := recover().(*sys.ExitError); !ok || a.over != want {
				t.Errorf("did not end with %d but %d", want, a.over)
			}
			a.over = 0
		}()
		do()
	}
	f.Write([]byte("0123456789"))
	ends(exec.LimitDisk, func() { f.Write([]byte("x")) })
	ends(exec.LimitDisk, func() { f.Truncate(1 << 62) })
	ends(exec.LimitDisk, func() { f.Pwrite([]byte("x"), 1<<62) })
	open(t, tr, "out/g", rw).Close()
	ends(exec.LimitMemory, func() { tr.Mkdir("out/h", 0); tr.Mkdir("out/i", 0) })
	if a.grow(pageSize) {
		t.Error("the linear memory grew into what files hold")
	}
	if files := tr.collect(true, nil); len(files) != 2 || string(files[0].Data) != "0123456789" {
		t.Errorf("left %q", files)
	}
}

func TestAnOpenDescriptorIsChargedWithThePathThatTheEngineKeeps(t *testing.T) {
	a := roomy()
	tr := newTree(a)
	path := "out/" + strings.Repeat("./", 1000) + "f"
	open(t, tr, path, rw).Close()
	before := a.outputs
	f := open(t, tr, path, 0)
	if charged := a.outputs - before; charged != entryCost+int64(len(path)) {
		t.Errorf("charged %d bytes for a path of %d", charged, len(path))
	}
	if f.Close(); a.outputs != before {
		t.Errorf("gave back %d bytes too few", a.outputs-before)
	}
}

func TestClocksMoveOnlyWhenReadOrSleptOn(t *testing.T) {
	c := newClocks()
	if sec, nsec := c.walltime(); sec != 1640995200 || nsec != 0 {
		t.Errorf("real time starts at %d.%09d", sec, nsec)
	}
	if sec, nsec := c.walltime(); sec != 1640995200 || nsec != tick {
		t.Errorf("then %d.%09d", sec, nsec)
	}
	if mono := c.nanotime(); mono != tick {
		t.Errorf("monotonic time starts at %d", mono)
	}
	c.sleep(5 * second)
	c.sleep(-1)
	if sec, nsec := c.walltime(); sec != 1640995205 || nsec != 2*tick {
		t.Errorf("after a sleep: %d.%09d", sec, nsec)
	}
	if mono := c.nanotime(); mono != 2*tick+5*second {
		t.Errorf("after a sleep: monotonic %d", mono)
	}
	c.sleep(1<<63 - 1)
	c.sleep(1<<63 - 1)
	if mono := c.nanotime(); mono != 1<<63-1 {
		t.Errorf("after two eternities: %d", mono)
	}
}

func TestRandomnessIsTheTasks(t *testing.T) {
	// The reference: SHAKE-256 of "muster/random/1" and 32 zero bytes, from
	// Python's hashlib.
	const want = "afd0befb171f24fdb3149e73b60403077fb8515d2035afad7181bb165cf8fa49"
	got := make([]byte, 32)
	if _, err := io.ReadFull(newRandom([32]byte{}), got); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%x", got) != want {
		t.Errorf("%x, want %s", got, want)
	}
}
