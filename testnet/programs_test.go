package testnet_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/exectest"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
	"github.com/muster-network/muster/testnet"
)

// ending is how a program must end, as its certificate says.
type ending struct {
	name   string
	file   *jobs.File
	class  consensus.Failure // 0: it succeeds
	code   uint64
	stdout string // how it begins
	stderr string // what it holds
	exit   string // the file exit; empty: there is no tree
}

func TestProgramsThatMisbehaveEndAsDocumentedAndHarmNobody(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 5})
	program := exectest.Guest(t)
	run := func(words ...string) *jobs.File { return module(t, "guest", program, words...) }
	endless := run("loop")
	endless.Run.Timeout = jobs.Duration(2e9)
	greedy := run("hog")
	greedy.Run.Resources.Memory = 32 << 20
	thief := run("copy", "/etc/passwd", "/out/loot")
	climber := run("copy", "/in/text/../../etc/passwd", "/out/loot")
	text := filepath.Join(t.TempDir(), "text")
	n.must(os.WriteFile(text, []byte("mine"), 0o600))
	climber.Run.Inputs = map[string]jobs.Reference{"text": jobs.Reference("file:" + text)}
	for _, e := range []ending{
		{name: "a program that traps", file: module(t, "trap", asm.Program{Pages: 1, Code: asm.Join(asm.Unreachable)}.Module()), class: consensus.FailedTrap, exit: "any"},
		{name: "a program that exits with 3", file: run("exit", "3"), class: consensus.FailedExit, code: 3, exit: "3\n"},
		{name: "a program that never ends", file: endless, class: consensus.FailedTimeout},
		{name: "a program that takes all memory", file: greedy, class: consensus.FailedExit, code: 2, stderr: "out of memory", exit: "2\n"},
		{name: "a program that writes for ever", file: run("flood", "stdout"), class: consensus.FailedLimit, code: uint64(exec.LimitOutput), stdout: strings.Repeat("0123456789", 100), exit: "any"},
		{name: "a program that writes errors for ever", file: run("flood", "stderr"), class: consensus.FailedLimit, code: uint64(exec.LimitOutput), stderr: strings.Repeat("0123456789", 100), exit: "any"},
		{name: "a program that reads what is not its own", file: thief, class: consensus.FailedExit, code: 1, stderr: "/etc/passwd", exit: "1\n"},
		{name: "a program that climbs out of its inputs", file: climber, class: consensus.FailedExit, code: 1, stderr: "passwd", exit: "1\n"},
		{name: "a program that prints time and random bytes", file: run("world"), stdout: "2022-01-01 00:00:00", exit: "0\n"},
	} {
		t.Run(e.name, func(t *testing.T) {
			n := n.in(t)
			n.checkEnding(e)
			for _, node := range n.Nodes {
				if job, _ := n.ended(1, n.submit(node.Number, hello("again", 4), "").ID); job.State != jobs.Succeeded {
					t.Fatalf("n%d is not well: %s", node.Number, states(job))
				}
			}
		})
	}
}

func (n *network) checkEnding(e ending) {
	n.t.Helper()
	job, cert := n.ended(1, n.submit(1, e.file, "").ID)
	v := cert.Verdict.Value
	if v.Class != e.class || e.exit != "any" && v.Code != e.code || (v.Kind == consensus.Result) != (e.class == 0) {
		n.t.Fatalf("certified: %s, want class %s code %d\n%s", v, e.class, e.code, states(job))
	}
	if (v.Tree != nil) != (e.exit != "") {
		n.t.Fatalf("certified: %s, want a tree: %v", v, e.exit != "")
	}
	if v.Tree == nil {
		return
	}
	stdout, stderr, exit := n.output(2, job, "stdout"), n.output(3, job, "stderr"), n.output(4, job, "exit")
	if !strings.HasPrefix(stdout, e.stdout) || !strings.Contains(stderr, e.stderr) || e.exit != "any" && exit != e.exit {
		n.t.Errorf("exit %q, stdout %.300q, stderr %.300q", exit, stdout, stderr)
	}
	for _, m := range job.Members {
		if m.Disagrees {
			n.t.Errorf("%s disagrees: the program does not end everywhere the same\n%s", m.Name, states(job))
		}
	}
}

func TestACancelledJobEndsCertifiedAndAnEndedOneStaysAsItIs(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 5})
	job := n.submit(2, spin(t, 1<<30), "")
	n.runningExecutor(1, job.ID)
	_, err := n.client(2).Cancel(n.ctx, job.ID)
	n.must(err)
	for number := 1; number <= 5; number++ {
		ended, cert := n.ended(number, job.ID)
		if ended.State != jobs.Cancelled || cert.Verdict.Value.Kind != consensus.Cancelled {
			t.Fatalf("n%d: %s", number, states(ended))
		}
	}
	n.await("no run of it is left", func() bool {
		running := 0
		for number := range n.Nodes {
			info, err := n.client(number + 1).Node(n.ctx)
			n.must(err)
			running += info.Queue.Running
		}
		return running == 0
	})
	done, _ := n.ended(2, n.submit(2, hello("Ada", 4), "").ID)
	for id, state := range map[string]jobs.State{job.ID: jobs.Cancelled, done.ID: jobs.Succeeded} {
		_, err := n.client(2).Cancel(n.ctx, id)
		var p *jobs.Problem
		if !errors.As(err, &p) || p.Code != jobs.CodeConflict {
			t.Errorf("cancel of a job that is %s: %v", state, err)
		}
		if after, _ := n.ended(2, id); after.State != state {
			t.Errorf("cancelled after its end, %s is %s", state, after.State)
		}
	}
	n.cancelByOthers()
}

// cancelByOthers has nodes cancel what another submitted: an authority may, a
// plain member may not.
func (n *network) cancelByOthers() {
	n.t.Helper()
	job := n.submit(2, spin(n.t, 1<<30), "")
	_, err := n.client(3).Cancel(n.ctx, job.ID)
	var p *jobs.Problem
	if !errors.As(err, &p) || p.Code != jobs.CodeDenied {
		n.t.Errorf("another member's cancel: %v", err)
	}
	_, err = n.client(1).Cancel(n.ctx, job.ID)
	n.must(err)
	if ended, _ := n.ended(4, job.ID); ended.State != jobs.Cancelled {
		n.t.Errorf("cancelled by an authority: %s", states(ended))
	}
}

func TestEverySizeAndFaultModelCertifies(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 7})
	for _, c := range []struct {
		size   uint64
		faults jobs.FaultModel
		f      int
	}{
		{1, jobs.FaultsByzantine, 0}, {1, jobs.FaultsCrash, 0}, {3, jobs.FaultsCrash, 1}, {5, jobs.FaultsCrash, 2},
		{4, jobs.FaultsByzantine, 1}, {7, jobs.FaultsByzantine, 2},
	} {
		t.Run(fmt.Sprintf("%s %d", c.faults, c.size), func(t *testing.T) {
			n := n.in(t)
			for from := 1; from <= 7; from += 3 {
				file := hello(fmt.Sprint(from), c.size)
				file.Run.Quorum.Faults = c.faults
				submitted, err := n.client(from).Submit(n.ctx, file, client.SubmitOptions{})
				n.must(err)
				asked := 1 + from%7
				job, cert := n.ended(asked, submitted.ID)
				if job.State != jobs.Succeeded || job.Faults != c.f || len(job.Members) != int(c.size) {
					t.Fatalf("f=%d of %d: %s", job.Faults, len(job.Members), states(job))
				}
				if single := cert.Verdict.Charter.Assurance == consensus.Single; single != (c.size == 1) {
					t.Errorf("assurance %s for n = %d", cert.Verdict.Charter.Assurance, c.size)
				}
				if out := n.output(asked, job, "stdout"); out != fmt.Sprintf("Hello, %d\n", from) {
					t.Errorf("output: %q", out)
				}
			}
		})
	}
}
