package testnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/node"
)

// fileState is where a testnet's directory says what it is made of.
const fileState = "testnet.json"

// place returns a directory that is this network's alone, as an absolute path: dir,
// which must be empty, or a new one among the temporary files. Its state file claims
// it, so that of two networks that want one directory only one goes on.
func place(dir string) (string, error) {
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "muster-testnet-")
	} else {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	held, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(held) > 0 {
		return "", &jobs.Problem{Code: jobs.CodeConflict, What: "the testnet cannot have " + dir, Why: fmt.Sprintf("it holds %s already", held[0].Name()),
			Try: "a folder that is empty, or not there yet"}
	}
	return dir, create(filepath.Join(dir, fileState), nil)
}

// create writes a file that must not be there yet.
func create(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// remove removes what the network put on disk. Its directory stays when somebody
// else has put something there.
func (n *Network) remove() error {
	for _, one := range n.Nodes {
		if err := os.RemoveAll(home(n.Dir, one.Number)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(n.Dir, fileState)); err != nil {
		return err
	}
	err := os.Remove(n.Dir)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) { // ErrExist: it is not empty
		return nil
	}
	return err
}

func (n *Network) save() error {
	data, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(n.Dir, fileState), data, 0o600); err != nil {
		return err
	}
	if n.Pointer == "" {
		return nil
	}
	err = create(n.Pointer, []byte(n.Dir))
	if errors.Is(err, fs.ErrExist) {
		return pointerTaken(n.Pointer)
	}
	return err
}

// vacate makes sure that pointer names no testnet of which a node runs: once it
// named another, nothing could find that one and end it.
func vacate(pointer string) error {
	if err := os.MkdirAll(filepath.Dir(pointer), 0o700); err != nil {
		return err
	}
	dir, err := Locate(pointer)
	if isDown(err) {
		return nil
	}
	if err != nil {
		return err
	}
	n, err := Load(dir)
	if err != nil && !isDown(err) {
		return err
	}
	if err == nil {
		for _, one := range n.Nodes {
			if one.Running() {
				return pointerTaken(pointer)
			}
		}
	}
	return os.Remove(pointer)
}

func pointerTaken(pointer string) error {
	return &jobs.Problem{Code: jobs.CodeConflict, What: "a testnet is up already", Why: pointer + " names it, and can name one only",
		Try: "muster testnet down"}
}

func isDown(err error) bool {
	p := new(jobs.Problem)
	return errors.As(err, &p) && p.Code == jobs.CodeNodeDown
}

// Load reads what a testnet in dir is made of.
func Load(dir string) (*Network, error) {
	none := func(err error) error {
		return &jobs.Problem{Code: jobs.CodeNodeDown, What: "no testnet in " + dir, Why: err.Error(), Try: "muster testnet up"}
	}
	path := filepath.Join(dir, fileState)
	if err := own(path); errors.Is(err, fs.ErrNotExist) {
		return nil, none(err)
	} else if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, none(err)
	}
	n := new(Network)
	if err := json.Unmarshal(data, n); err != nil {
		return nil, none(err)
	}
	n.Dir = dir // where it was found, whatever it says
	return n, nil
}

// Locate returns the directory of the testnet that pointer names. The folder of
// pointer must be this user's alone to write to.
func Locate(pointer string) (string, error) {
	err := own(filepath.Dir(pointer))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	data, err := os.ReadFile(pointer)
	if err != nil {
		return "", &jobs.Problem{Code: jobs.CodeNodeDown, What: "no testnet is up", Try: "muster testnet up --nodes 7 --lie 1 --detach"}
	}
	return string(data), nil
}

// own refuses what another user has made or can write to: who may say which testnet
// is up says which processes are ended, which folders are removed, and which node is
// trusted with jobs. The folder of pointers may be among the temporary files, where
// whoever comes first has the name.
func own(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	why := ""
	if is, ok := info.Sys().(*syscall.Stat_t); !ok || int(is.Uid) != os.Getuid() {
		why = "it belongs to another user"
	} else if info.Mode()&fs.ModeSymlink != 0 {
		why = "it is a symbolic link"
	} else if mode := info.Mode().Perm(); mode&0o022 != 0 {
		why = fmt.Sprintf("others may write to it: its mode is %04o", mode)
	}
	if why == "" {
		return nil
	}
	return &jobs.Problem{Code: jobs.CodeDenied, What: path + " is not trusted to say which testnet is up", Why: why,
		Try: "XDG_RUNTIME_DIR set to a folder of yours with mode 0700"}
}

// Socket returns where a node of the testnet in dir answers.
func Socket(dir string, number int) string { return node.SocketFor(home(dir, number)) }

// home is the data directory of a node of the testnet in dir.
func home(dir string, number int) string { return filepath.Join(dir, fmt.Sprintf("n%d", number)) }
