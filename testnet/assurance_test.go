package testnet_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec/exectest"
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
		"{size: 4, check: {wasm: 'file:" + checker(t) + "', args: [check, 'Hello, ']}}": {"tolerates 1 liar (endorsed by the check of 2, not replicated)",
			"3 of 4 signed (endorsed by the check of 2, not replicated)"},
		"{size: 1}": {"nobody checked it", "1 of 1 signed   "},
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
		if code != 0 || !strings.Contains(out, says.verify) || strings.Contains(strings.ReplaceAll(out, "not replicated", ""), "replicated") {
			t.Errorf("%s: verify: exit %d\n%s%s", quorum, code, out, chatter)
		}
		if code, out, _ = muster(t, "", "--socket", n.node(1).Socket, "status", id); code != 0 || !strings.Contains(out, says.shown) {
			t.Errorf("%s: status: exit %d\n%s", quorum, code, out)
		}
	}
}

// checker is the module of a check, on this machine.
func checker(t *testing.T) string {
	t.Helper()
	return write(t, "check.wasm", string(exectest.Guest(t)))
}

// A liar runs the job alone, and lies about what it left and about what others
// leave: its result is rejected by the check of others, and the certificate is for
// what a backup left.
func TestALyingExecutorsResultIsRejectedByTheCheckOfOthers(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4, Lie: 1})
	liar, check := n.Nodes[3], checker(t)
	for try := range 3 * lieTries { // one of four members executes
		file := hello(fmt.Sprint("Ada ", try), 4)
		file.Run.Quorum.Check = &jobs.RunCheck{WASM: jobs.Reference("file:" + check), Args: []string{"check", "Hello, Ada"}}
		job, _ := n.ended(1, n.submit(1, file, "").ID)
		if job.State != jobs.Succeeded || job.Assurance != "endorsed" {
			t.Fatal(states(job))
		}
		if out := n.output(2, job, "stdout"); out != fmt.Sprintf("Hello, Ada %d\n", try) {
			t.Fatalf("a lie is certified: %q", out)
		}
		rejected, endorsed, ran := -1, 0, 0
		for seat, m := range job.Members {
			if m.Report != "" {
				ran++
			}
			if m.Rejected > 0 {
				rejected = seat
			}
			if m.Report == job.Outcome.Result && m.Endorsed == 2 {
				endorsed++
			}
			if m.Disagrees != (m.Rejected > 0) || m.Rejected > 0 && m.Peer != liar.Peer {
				t.Errorf("seat %d\n%s", seat, states(job))
			}
		}
		if endorsed != 1 || ran != 1+min(rejected+1, 1) {
			t.Fatalf("%d ran it, and %d were endorsed\n%s", ran, endorsed, states(job))
		}
		if rejected < 0 {
			continue
		}
		if m := job.Members[rejected]; m.Role != "executor" || m.Rejected != 2 || m.Signed {
			t.Errorf("the liar is shown as %+v", m)
		}
		code, out, _ := muster(t, "", "--socket", n.Nodes[1].Socket, "status", job.ID)
		if code != 0 || !strings.Contains(out, "REJECTED by the check of 2") || !strings.Contains(out, "endorsed by the check of 2, not replicated") {
			t.Fatalf("status: exit %d\n%s", code, out)
		}
		return
	}
	t.Fatal("the liar was never the executor")
}

// What no member's run leaves as the check wants it ends the job, and says so.
func TestAJobWhoseCheckRejectsEverythingFails(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4})
	file := write(t, "job.yaml", "version: 1\nrun:\n  wasm: builtin:hello\n  args: [Ada]\n  quorum: {size: 4, check: {wasm: 'file:"+checker(t)+"', args: [check, Goodbye]}}\n")
	code, out, chatter := muster(t, "", "--socket", n.node(2).Socket, "run", file)
	if code == 0 || out != "" || !strings.Contains(chatter, "failed rejected") {
		t.Errorf("run: exit %d\n%s%s", code, out, chatter)
	}
	_, out, _ = muster(t, "", "--socket", n.node(2).Socket, "ps", "-q")
	id, _, _ := strings.Cut(out, "\n")
	again, err := n.client(2).Retry(n.ctx, id)
	n.must(err)
	if job, cert := n.ended(3, again.ID); job.Supersedes != id || cert.Verdict.Value.Class != consensus.FailedRejected {
		t.Errorf("tried again: %s\n%s", cert.Verdict.Value, states(job))
	}
}
