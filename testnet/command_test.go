package testnet_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/testnet"
)

// call is a command line and what must come of it.
type call struct {
	args []string
	exit int
	code string   // of the error; empty: none
	says []string // in the error
}

// check runs the command and checks that its error has its parts.
func (c call) check(t *testing.T) {
	t.Helper()
	exit, stdout, stderr := muster(t, "", c.args...)
	line := "muster " + strings.Join(c.args, " ")
	if exit != c.exit {
		t.Errorf("%s: exit %d, want %d\n%s%s", line, exit, c.exit, stdout, stderr)
	}
	if c.code == "" {
		if strings.Contains(stderr, "error:") {
			t.Errorf("%s: an error for a job that failed as it is certified to\n%s", line, stderr)
		}
		return
	}
	for _, part := range append([]string{"error: ", "\n  try: ", "\n  code: " + c.code + "\n"}, c.says...) {
		if !strings.Contains(stderr, part) {
			t.Errorf("%s: no %q in\n%s", line, part, stderr)
		}
	}
	if stdout != "" {
		t.Errorf("%s: an error, and on stdout %q", line, stdout)
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheCommandLineTellsWhatIsWrongAndExitsWithTheRightCode(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4})
	at := func(args ...string) []string { return append([]string{"--socket", n.node(2).Socket}, args...) }
	unknown := "bafyreifyv6lbbnifkdamlsmssvf6kuwehl55ocfn2rg7m6rnpzxa37uhwu"
	badKey := write(t, "job.yaml", "version: 1\nrun:\n  wasm: builtin:hello\n  recources: {cpu: 1}\n")
	badValue := write(t, "job.yaml", "version: 1\nrun:\n  wasm: builtin:hello\n  timeout: soon\n")
	broken := write(t, "job.yaml", "version: 1\nrun: {wasm\n")
	missing := write(t, "job.yaml", "version: 1\nrun:\n  wasm: file:./none.wasm\n")
	noInput := write(t, "job.yaml", "version: 1\nrun:\n  wasm: builtin:hello\n  inputs: {text: \"file:./none.txt\"}\n")
	large := write(t, "job.yaml", "version: 1\nrun:\n  wasm: builtin:hello\n  resources: {cpu: 900}\n")
	noModule := write(t, "none.wasm", "\x00asm and then nothing")
	for _, c := range []call{
		{at("run", badKey), 2, jobs.CodeSpecKey, []string{"job.yaml:4:3", "recources", "resources"}},
		{at("submit", badValue), 2, jobs.CodeSpecValue, []string{"job.yaml:4:12", "soon"}},
		{at("validate", broken), 2, jobs.CodeSpecSyntax, []string{"job.yaml:2:"}},
		{at("run", missing), 2, jobs.CodeSpecFile, []string{"none.wasm"}},
		{at("run", noInput), 2, jobs.CodeSpecFile, []string{"none.txt"}},
		{at("run", noModule), 2, jobs.CodeModule, []string{"\n  why: "}},
		{at("run", "none.yaml"), 2, jobs.CodeSpecFile, []string{"none.yaml"}},
		{at("run", "builtin:none"), 2, jobs.CodeSpecFile, []string{"none"}},
		{at("run", "--quorum", "5", "builtin:hello"), 2, jobs.CodeQuorum, []string{"size 4 or 7"}},
		{at("status", unknown), 4, jobs.CodeNotFound, []string{unknown, "\n  why: "}},
		{at("result", strings.Repeat("0", 64)), 4, jobs.CodeNotFound, nil},
		{at("cancel", "bxyz"), 4, jobs.CodeNotFound, nil},
		{at("wait", unknown), 4, jobs.CodeNotFound, nil},
		{at("logs", unknown), 4, jobs.CodeNotFound, nil},
		{at("run", "--quorum", "7", "builtin:hello"), 6, jobs.CodePlaceCapacity, []string{"it needs 7 members, and 4 can be drawn", "\n  why: "}},
		{at("run", large), 6, jobs.CodePlaceCapacity, []string{"it needs 4 members, and 0 can be drawn", "\n  why: 4 with less than cpu 900, memory 128Mi, disk "}},
		{[]string{"--socket", n.Dir + "/none.sock", "ps"}, 3, jobs.CodeNodeDown, []string{"\n  why: "}},
		{[]string{"--home", n.Dir + "/none", "node", "start"}, 3, jobs.CodeNoNetwork, []string{"\n  why: ", "muster network"}},
		{[]string{"--home", badKey, "network", "create", "lab"}, 1, jobs.CodeFile, []string{badKey, "\n  why: not a directory"}},
		{[]string{"--home", n.node(1).Home, "node", "start", "--api-listen", "none"}, 1, jobs.CodeConflict,
			[]string{"a node runs in " + n.node(1).Home + " already", "\n  why: "}},
		{[]string{"--home", n.node(1).Home, "node", "start", "--cpu", "-1"}, 2, jobs.CodeUsage, []string{"--cpu: \"-1\""}},
	} {
		c.check(t)
	}
	n.portsAreTaken()
	n.failedJobsFail(at)
}

// portsAreTaken starts a node of another network where this one's listen.
func (n *network) portsAreTaken() {
	n.t.Helper()
	home := []string{"--home", filepath.Join(n.t.TempDir(), "other")}
	call{args: append(home, "network", "create", "other")}.check(n.t)
	start := append(home, "node", "start")
	for _, c := range []call{
		{append(start, "--listen", n.node(1).Listen[0]), 1, jobs.CodeConflict, []string{"cannot listen for peers", "the address is in use"}},
		{append(start, "--listen", "/ip4/127.0.0.1/tcp/0", "--api-listen", n.node(1).API), 1, jobs.CodeConflict,
			[]string{"the API cannot listen on " + n.node(1).API, "the address is in use"}},
	} {
		c.check(n.t)
	}
}

// failedJobsFail runs jobs that end badly: run fails with them.
func (n *network) failedJobsFail(at func(...string) []string) {
	n.t.Helper()
	path := func(f *jobs.File) string { return strings.TrimPrefix(string(f.Run.WASM), "file:") }
	program := path(guest(n.t))
	for _, c := range []call{
		{args: at("run", program, "--", "echo"), exit: 0},
		{args: at("run", program, "--", "exit", "3"), exit: 1},
		{args: at("run", "--propagate-exit", program, "--", "exit", "3"), exit: 3},
		{args: at("run", "--propagate-exit", program, "--", "exit", "256"), exit: 1}, // not 0, which is its low byte
		{args: at("run", "--propagate-exit", program, "--", "echo"), exit: 0},
		{args: at("run", "--timeout", "1s", program, "--", "loop"), exit: 9},
	} {
		c.check(n.t)
	}
	job := n.submit(2, spin(n.t, 1<<30), "")
	call{args: at("wait", "--timeout", "100ms", job.ID), exit: 9, code: jobs.CodeTimeout}.check(n.t)
	call{args: at("cancel", job.ID)}.check(n.t)
	call{args: at("wait", job.ID), exit: 10}.check(n.t)
	call{args: at("cancel", job.ID), exit: 1, code: jobs.CodeConflict}.check(n.t)
}

func TestATestnetShowsItsNodesToProgramsToo(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 2})
	n.must(n.node(2).Kill())
	s, err := testnet.Status(n.ctx, n.Dir)
	n.must(err)
	if len(s.Nodes) != 2 || s.Nodes[0].State != "up" || s.Nodes[0].Open == nil || s.Nodes[0].Peer != n.node(1).Peer {
		t.Errorf("%+v", s)
	}
	if down := s.Nodes[1]; down.State != "down" || down.PID != 0 || down.Peers != nil || down.Socket != n.node(2).Socket {
		t.Errorf("%+v", down)
	}
}

func TestANodeThatIsGoneLeavesASocketThatSaysSo(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 1})
	n.must(n.node(1).Kill())
	call{args: []string{"--socket", n.node(1).Socket, "ps"}, exit: 3, code: jobs.CodeNodeDown,
		says: []string{"cannot reach a node at " + n.node(1).Socket, "the socket is left over; no process owns it", "muster node start"}}.check(t)
}

func TestAFullNetworkRefusesWithItsReasons(t *testing.T) {
	p := policy()
	p.MaxJobs = 2
	n := up(t, testnet.Options{Nodes: 4, Policy: p})
	var open []string
	for i := range 2 {
		open = append(open, n.submit(1+i, spin(t, 1<<30), "").ID)
	}
	call{args: []string{"--socket", n.node(3).Socket, "run", "builtin:hello"}, exit: 6, code: jobs.CodePlaceRefused,
		says: []string{"\n  why: ", "busy: 2 jobs are open here"}}.check(t)
	for i, id := range open {
		_, err := n.client(1+i).Cancel(n.ctx, id)
		n.must(err)
		n.ended(1+i, id)
	}
	n.await("the network is not full any more", func() bool { return n.open(1)+n.open(2)+n.open(3)+n.open(4) == 0 })
	exit, out, chatter := muster(t, "", "--socket", n.node(3).Socket, "run", "builtin:hello", "--", "Ada")
	if exit != 0 || out != "Hello, Ada\n" || !strings.Contains(chatter, "certified") {
		t.Fatalf("exit %d\n%s%s", exit, out, chatter)
	}
}
