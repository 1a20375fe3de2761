package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/api/server/servertest"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/tree"
)

// envBinary names a muster that is built already. Without it the scripts run
// this test's own binary, which the race detector makes slow to start.
const envBinary = "MUSTER_BIN"

func TestMain(m *testing.M) {
	if path := os.Getenv(envListen); path != "" {
		listen(path)
	}
	commands := map[string]func(){"muster": main}
	if os.Getenv(envBinary) != "" {
		commands = nil
	}
	testscript.Main(m, commands)
}

// TestCommands runs the scripts in testdata: real processes against a network
// in memory, whose keys, and with them all ids, are always the same.
func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		Setup:         serve,
		Cmds:          map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "id": id},
		UpdateScripts: os.Getenv("UPDATE") != "",
	})
}

// exits runs a command that must end with a code: exits 6 muster run job.yaml.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit := new(exec.ExitError)
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// id remembers the id that the last command printed, as $ID and $SHORT.
func id(ts *testscript.TestScript, _ bool, _ []string) {
	text := strings.TrimSpace(ts.ReadFile("stdout"))
	ts.Setenv("ID", text)
	ts.Setenv("SHORT", jobs.Short(text))
}

// serve starts the network of one script, and tells its processes where.
func serve(env *testscript.Env) error {
	dir, err := os.MkdirTemp("", "m") // a socket's path is short
	if err != nil {
		return err
	}
	n := servertest.New(behave)
	config := n.Config()
	config.Log = slog.New(slog.DiscardHandler)
	s, err := server.New(config)
	if err != nil {
		return err
	}
	l, err := server.ListenUnix(filepath.Join(dir, "s"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	go func() { // a node that was told to stop
		select {
		case <-n.Stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	env.Defer(func() {
		cancel()
		if err := <-ended; err != nil {
			panic(err)
		}
		_ = os.RemoveAll(dir)
	})
	env.Setenv("MUSTER_SOCKET", l.Addr().String())
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("TZ", "UTC")
	env.Setenv("LONG", strings.Repeat("x", 300))
	module, err := filepath.Abs("../../examples/hello.wasm")
	if err != nil {
		return err
	}
	env.Setenv("MODULE", module)
	if binary := os.Getenv(envBinary); binary != "" {
		env.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+env.Getenv("PATH"))
	}
	for name, genesis := range map[string][]byte{"lab": n.GenesisBytes, "lac": bytes.Replace(n.GenesisBytes, []byte("lab"), []byte("lac"), 1)} {
		if err := os.WriteFile(filepath.Join(env.WorkDir, name+".genesis"), genesis, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// behave is the script of the network: what a job does follows from its name.
func behave(file *jobs.File) servertest.Run {
	run := servertest.Hello(file)
	fail := func(class consensus.Failure, code uint64) {
		run.Value = consensus.Value{Kind: consensus.Failed, Class: class, Code: code}
	}
	switch file.Name {
	case "exit":
		fail(consensus.FailedExit, 3)
		run.Result = tree.Result{Stdout: []byte("partial\n"), Stderr: []byte("it went wrong\n"), Code: 3}
	case "embellished": // it failed, and the node says that it did not
		fail(consensus.FailedExit, 3)
		run.Tell = func(j *jobs.Job) {
			j.State, j.Outcome.Kind, j.Outcome.Class, j.Outcome.Code = jobs.Succeeded, "result", "", 0
		}
	case "outnumbered": // one signed less than the node says
		run.Tell = func(j *jobs.Job) { j.Outcome.Signed, j.Members[3].Signed = 4, true }
	case "swapped":
		run.Swap = true
	case "timeout":
		fail(consensus.FailedTimeout, 0)
	case "disagreement":
		fail(consensus.FailedDisagreement, 0)
	case "cancelled":
		run.Value = consensus.Value{Kind: consensus.Cancelled}
	case "held":
		run.Hold = make(chan struct{})
	case "held-cancelled":
		run.Value, run.Hold = consensus.Value{Kind: consensus.Cancelled}, make(chan struct{})
	case "liar":
		run.Liar = true
	case "tampered":
		run.Tamper = true
	case "refused":
		run.Refuse = &jobs.Problem{Code: jobs.CodePlaceCapacity, What: `no quorum possible for "refused": it needs 4 members with cpu >= 64`,
			Why: "0 of 4 peers have 64 cores", Try: "--quorum 1 (nobody checks the result)"}
	case "policy": // what the network's policy makes of a size, the file does not tell
		run.Refuse = &jobs.Problem{Code: jobs.CodeQuorum, What: "run.quorum.size: a byzantine quorum of 5 fits no number of faults", Try: "size 4 or 7"}
	case "array": // of which one task fails, and one says much
		run.Ends = []tree.Result{{Stdout: []byte("one\n")}, {Code: 3}, {Out: []tree.File{{Path: "much", Data: make([]byte, 100<<10)}}}}
	case "chatty":
		run.Hold = make(chan struct{})
		for i := range 2 {
			run.Logs = append(run.Logs, api.LogChunk{Member: fmt.Sprintf("peer%d", i), Name: fmt.Sprintf("name-%d", i), Stream: "stdout",
				Data: fmt.Appendf(nil, "line of %d\n", i)})
		}
	}
	return run
}
