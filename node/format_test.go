package node_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/node"
	"github.com/muster-network/muster/store/journal"
)

func TestAJournalThatAnotherVersionWroteIsRefusedWithWhatToTry(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := node.CreateNetwork(home, node.CreateOptions{Name: "lab", Policy: admission.DefaultPolicy()})
	must(err)
	dir := filepath.Join(home, "journal")
	j, err := journal.Open(dir, journal.Options{})
	must(err)
	must(j.Close())
	db, err := pebble.Open(dir, &pebble.Options{})
	must(err)
	must(db.Set([]byte("\x00format"), []byte("muster/journal/1"), pebble.Sync))
	must(db.Close())
	_, err = node.Open(node.Config{Home: home})
	if p := new(jobs.Problem); !errors.As(err, &p) || p.Code != jobs.CodeFile || !strings.Contains(p.Why, "muster/journal/1") || p.Try == "" {
		t.Errorf("it is opened, or not explained: %v", err)
	}
}
