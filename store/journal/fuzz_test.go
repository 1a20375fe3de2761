package journal

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Whatever stands in the journal's own records, opening it ends in an
// incarnation or in an error that names the format; a record that nobody wrote
// never passes for an intact restart.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(version), []byte{0x83, 0x50, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0x64, 'h', 'e', 'r', 'e', 0})
	f.Add([]byte("2"), []byte{})
	f.Add([]byte(version), []byte{0x83, 0x40, 0x60, 0})
	f.Fuzz(func(t *testing.T, format, host []byte) {
		opts := Options{Host: Host{MachineID: "here"}, FS: vfs.NewMem()}
		j, err := Open("journal", opts)
		if err != nil {
			t.Fatal(err)
		}
		first := j.Incarnation()
		if err := j.commit([]request{{entries: []Entry{{Key: formatKey(), Value: format}, {Key: hostKey(), Value: host}}}}); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j, err = Open("journal", opts)
		if err != nil {
			if string(format) == version {
				t.Errorf("not opened: %v", err)
			}
			return
		}
		if string(format) != version {
			t.Errorf("opened with format %q", format)
		}
		if j.Incarnation() == first {
			t.Error("the incarnation of a record that is gone")
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
