package testnet_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/muster-network/muster/testnet"
)

func TestABundleOfRealNodesVerifiesWithItsDrawAndNoFlippedByteDoes(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 5})
	job := n.submit(2, hello("Ada", 4), "bundle")
	n.ended(2, job.ID)
	c := n.client(3)
	cert, err := c.Certificate(n.ctx, job.ID)
	n.must(err)
	data, err := c.Bundle(n.ctx, cert)
	n.must(err)
	dir := t.TempDir()
	genesis, file := filepath.Join(dir, "genesis"), filepath.Join(dir, "job.bundle")
	n.must(os.WriteFile(genesis, n.genesis, 0o600))
	n.must(os.WriteFile(file, data, 0o600))
	code, stdout, stderr := muster(t, "", "verify", file, "--network", genesis)
	if code != 0 || !strings.Contains(stdout, "draw: checked against the roll") {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	for _, at := range []int{len(data) / 8, len(data) / 2, len(data) - 1} {
		data[at] ^= 1
		n.must(os.WriteFile(file, data, 0o600))
		if code, stdout, _ := muster(t, "", "verify", file, "--network", genesis); code != 8 {
			t.Errorf("byte %d flipped: exit %d\n%s", at, code, stdout)
		}
		data[at] ^= 1
	}
}
