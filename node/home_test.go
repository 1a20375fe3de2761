package node_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/node"
)

// What a power cut left of the file: who is in it is a hint.
func TestANodeOpensWithoutKnowingWhoInvitedIt(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	if _, err := node.CreateNetwork(home, node.CreateOptions{Name: "lab", Policy: admission.DefaultPolicy()}); err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{"", "/ip4/127.0.0.1/tcp/1\n/ip4/12", "\x00\x00\x00\x00"} {
		if err := os.WriteFile(filepath.Join(home, "inviter"), []byte(left), 0o600); err != nil {
			t.Fatal(err)
		}
		n, err := node.Open(node.Config{Home: home, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Errorf("%q is left: %v", left, err)
			continue
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}
