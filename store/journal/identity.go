package journal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/internal/lsm"
)

const (
	reserved = 0x00 // begins the keys that are the journal's own
	unused   = 0xff // begins no key
)

// damageMark is the file that marks a damaged journal.
const damageMark = "DAMAGED"

// version names the format of everything in a journal, also of what its users put there:
// whoever changes a key or a value that a journal of before may hold counts it up.
const version = "muster/journal/2"

var errDamaged = errors.New("not a whole journal")

func formatKey() []byte { return []byte("\x00format") }
func hostKey() []byte   { return []byte("\x00host") }

// hostRecord ties an incarnation to the place where it was made: a copy of the
// directory, here or on another machine, must not speak for the original.
type hostRecord struct {
	_           struct{} `cbor:",toarray"`
	Incarnation []byte
	MachineID   string
	Inode       uint64
}

// identify reads the format version, then the incarnation, and makes a new one
// where the protocol asks for it (section 15).
func (j *Journal) identify(dir string, opts Options, hadLog bool) error {
	inode, err := inodeOf(opts.FS, dir)
	if err != nil {
		return fmt.Errorf("open journal %s: %w", dir, err)
	}
	format, err := j.Get(formatKey())
	if errors.Is(err, ErrNotFound) {
		if err := j.mustBeEmpty(); err != nil {
			return err
		}
		return j.renew("there was no journal", opts.Host, inode)
	}
	if err != nil {
		return err
	}
	if string(format) != version {
		return fmt.Errorf("%w %q in %s: this program writes %q", ErrFormat, format, dir, version)
	}
	if !hadLog {
		return fmt.Errorf("%w: its log files are gone, and what they held", errDamaged)
	}
	data, err := j.Get(hostKey())
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: no incarnation", errDamaged)
	}
	if err != nil {
		return err
	}
	var host hostRecord
	if err := dagcbor.Unmarshal(data, &host); err != nil {
		return fmt.Errorf("%w: incarnation: %w", errDamaged, err)
	}
	if len(host.Incarnation) != len(j.incarnation) {
		return fmt.Errorf("%w: incarnation of %d bytes", errDamaged, len(host.Incarnation))
	}
	switch {
	case host.MachineID != opts.Host.MachineID:
		return j.renew("the journal was made on another machine", opts.Host, inode)
	case host.Inode != inode:
		return j.renew("the journal's directory is a copy", opts.Host, inode)
	}
	j.incarnation = [16]byte(host.Incarnation)
	return nil
}

// renew makes a new incarnation, durable before anybody hears of it.
func (j *Journal) renew(reason string, host Host, inode uint64) error {
	if _, err := rand.Read(j.incarnation[:]); err != nil {
		return fmt.Errorf("make an incarnation: %w", err)
	}
	data, err := dagcbor.Marshal(hostRecord{Incarnation: j.incarnation[:], MachineID: host.MachineID, Inode: inode})
	if err != nil {
		return err
	}
	own := []Entry{{Key: formatKey(), Value: []byte(version)}, {Key: hostKey(), Value: data}}
	err = lsm.Guard(func() error { return j.commit([]request{{entries: own}}) })
	if err != nil {
		return fmt.Errorf("write the incarnation: %w", err)
	}
	j.opened = Opened{Fresh: true, Reason: reason}
	return nil
}

// mustBeEmpty refuses a journal that has records but not its first one.
func (j *Journal) mustBeEmpty() error {
	return j.Scan(nil, nil, func(key, _ []byte) (bool, error) {
		return false, fmt.Errorf("%w: records without a format version", errDamaged)
	})
}

// survey looks at dir before the journal is opened. It reports whether there is
// a write-ahead log: a journal always has one, open or closed, and Pebble would
// not miss it.
func survey(fsys vfs.FS, dir string) (hasLog bool, err error) {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	for _, name := range names {
		if name == damageMark {
			return false, fmt.Errorf("%w: an earlier run read bytes that were never written", errDamaged)
		}
		hasLog = hasLog || strings.HasSuffix(name, ".log")
	}
	return hasLog, err
}

// markDamaged tells the next Open what this run has found.
func markDamaged(fsys vfs.FS, dir string) error {
	file, err := fsys.Create(fsys.PathJoin(dir, damageMark), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("mark the journal damaged: %w", err)
	}
	parent, err := fsys.OpenDir(dir)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	return errors.Join(file.Sync(), file.Close(), parent.Sync(), parent.Close())
}

// inodeOf returns the directory's inode, or 0 on a file system without inodes.
func inodeOf(fsys vfs.FS, dir string) (uint64, error) {
	info, err := fsys.Stat(dir)
	if err != nil {
		return 0, err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino, nil
	}
	return 0, nil
}

// isDamage tells a journal whose bytes are wrong or missing from one that
// cannot be opened now.
func isDamage(err error) bool {
	return errors.Is(err, errDamaged) || errors.Is(err, lsm.ErrCorrupt) || pebble.IsCorruptionError(err) ||
		errors.Is(err, pebble.ErrDBNotPristine) || errors.Is(err, fs.ErrNotExist) ||
		strings.Contains(err.Error(), "object size mismatch") // Pebble has no name for a cut table
}

// moveAside renames dir to the first free name of dir.damaged-1, -2, ... and
// makes the renaming durable.
func moveAside(fsys vfs.FS, dir string) (string, error) {
	for n := 1; ; n++ {
		aside := fmt.Sprintf("%s.damaged-%d", dir, n)
		if _, err := fsys.Stat(aside); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err := fsys.Rename(dir, aside); err != nil {
			return "", err
		}
		parent, err := fsys.OpenDir(fsys.PathDir(dir))
		if err != nil {
			return "", err
		}
		return aside, errors.Join(parent.Sync(), parent.Close())
	}
}
