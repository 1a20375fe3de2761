package testnet_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/muster-network/muster/testnet"
)

// What a certificate rests on is said wherever it is shown, and what is not
// replicated is not called so.
func TestWhatAgreementRestsOnIsSaidWhereverItIsShown(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4})
	genesis := filepath.Join(n.node(1).Home, "genesis")
	for quorum, says := range map[string]struct{ verify, shown string }{
		"{size: 4}": {"3 of 4 signatures, tolerates 1 liar,", "3 of 4 signed   "},
		"{size: 4, compare: {float: 1.0e-6, text: true}}": {"tolerates 1 liar (majority-equal: results compared, not byte for byte)", "3 of 4 signed (majority-equal)"},
		"{size: 4, assurance: single}":                    {"agreed on what one member reported (single: nobody checked the run)", "3 of 4 signed (single)"},
		"{size: 1}":                                       {"nobody checked it", "1 of 1 signed   "},
	} {
		file := write(t, "job.yaml", "version: 1\nrun:\n  wasm: builtin:hello\n  args: [Ada]\n  quorum: "+quorum+"\n")
		code, out, chatter := muster(t, "", "--socket", n.node(2).Socket, "run", file)
		if code != 0 || out != "Hello, Ada\n" || !strings.Contains(chatter, says.shown) {
			t.Errorf("%s: run: exit %d\n%s%s", quorum, code, out, chatter)
		}
		_, out, _ = muster(t, "", "--socket", n.node(2).Socket, "ps", "-q")
		id, _, _ := strings.Cut(out, "\n")
		dir := filepath.Join(t.TempDir(), "result")
		if code, _, chatter = muster(t, "", "--socket", n.node(3).Socket, "result", id, "-o", dir); code != 0 {
			t.Fatalf("%s: result: exit %d\n%s", quorum, code, chatter)
		}
		code, out, chatter = muster(t, "", "verify", filepath.Join(dir, "job.cert"), "--network", genesis)
		if code != 0 || !strings.Contains(out, says.verify) || strings.Contains(out, "replicated") {
			t.Errorf("%s: verify: exit %d\n%s%s", quorum, code, out, chatter)
		}
		if code, out, _ = muster(t, "", "--socket", n.node(1).Socket, "status", id); code != 0 || !strings.Contains(out, says.shown) {
			t.Errorf("%s: status: exit %d\n%s", quorum, code, out)
		}
	}
}
