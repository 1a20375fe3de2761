package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/api/server/servertest"
	"github.com/muster-network/muster/jobs"
)

// inside serves a network and returns an app of this process that talks to it.
func inside(t *testing.T, script func(*jobs.File) servertest.Run, errOut io.Writer) (*app, *bytes.Buffer) {
	t.Helper()
	config := servertest.New(script).Config()
	config.Log = slog.New(slog.DiscardHandler)
	s, err := server.New(config)
	if err != nil {
		t.Fatal(err)
	}
	l, err := server.ListenUnix(t.TempDir() + "/s")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	env := map[string]string{"MUSTER_SOCKET": l.Addr().String(), "HOME": t.TempDir()}
	out := new(bytes.Buffer)
	return newApp(strings.NewReader(""), out, errOut, func(name string) (string, bool) { v, ok := env[name]; return v, ok }), out
}

// trigger calls do once, when the text has been written.
type trigger struct {
	bytes.Buffer
	text string
	do   func()
}

func (w *trigger) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if w.do != nil && strings.Contains(w.String(), w.text) {
		w.do()
		w.do = nil
	}
	return n, err
}

func TestCtrlCDetachesAndSaysHowToComeBack(t *testing.T) {
	for name, test := range map[string]struct {
		stalled *jobs.Stalled
		code    int
		says    string
	}{
		"a job that goes on":    {nil, exitInterrupted, "detached; the job goes on. muster wait b.."},
		"a job that is stalled": {&jobs.Stalled{Waiting: []string{"elm-lynx"}, Reason: "2 of 4 members can be reached"}, exitNoAgreement, "waits for elm-lynx"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			said := &trigger{text: "job bafy", do: interrupt}
			a, _ := inside(t, func(f *jobs.File) servertest.Run {
				run := servertest.Hello(f)
				run.Hold, run.Stalled = make(chan struct{}), test.stalled
				return run
			}, said)
			c := a.root()
			c.SetArgs([]string{"run", "builtin:hello"})
			err := c.ExecuteContext(ctx)
			if exitOf(err) != test.code || !strings.Contains(said.String(), test.says) {
				t.Errorf("exit %d: %v\n%s", exitOf(err), err, said.String())
			}
		})
	}
}

// live runs a job as on a terminal, whose logs are given; the last is of stdout.
func live(t *testing.T, logs ...api.LogChunk) (out, said string) {
	t.Helper()
	hold := make(chan struct{})
	errOut := new(bytes.Buffer)
	a, stdout := inside(t, func(f *jobs.File) servertest.Run {
		run := servertest.Hello(f) // writes "Hello, Ada\n"
		run.Result.Stderr = []byte("careful\n")
		run.Logs, run.Hold = logs, hold
		return run
	}, errOut)
	a.root() // so that the settings have their flags
	c, err := a.client()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	shown := &trigger{text: string(logs[len(logs)-1].Data), do: func() { close(hold) }}
	a.out = io.MultiWriter(stdout, shown)
	r := &running{app: a, client: c, live: true}
	if err := r.run(t.Context(), jobs.FileFor("builtin:hello", []string{"Ada"}), client.SubmitOptions{}); err != nil {
		t.Fatal(err)
	}
	return stdout.String(), errOut.String()
}

func TestLiveOutputIsShownOnceAndCompleted(t *testing.T) {
	out, said := live(t, api.LogChunk{Member: "a", Stream: "stdout", Data: []byte("Hel")},
		api.LogChunk{Member: "b", Stream: "stdout", Data: []byte("Hello, Ada\n")},
		api.LogChunk{Member: "a", Stream: "stdout", Data: []byte("lo, A")})
	if out != "Hello, Ada\n" || strings.Contains(said, "warning") {
		t.Errorf("%q\n%s", out, said)
	}
}

func TestLiveOutputOfALiarIsToldApart(t *testing.T) {
	for _, lie := range []string{"Hello, Eve\n", "Hello, Ada\nand more\n"} {
		out, said := live(t, api.LogChunk{Member: "liar", Stream: "stdout", Data: []byte(lie)})
		if out != lie+"Hello, Ada\n" || !strings.Contains(said, "warning: the output above is one member's") {
			t.Errorf("%q\n%s", out, said)
		}
	}
}

func TestLiveErrorOutputIsHeldAgainstTheCertifiedOneAsWell(t *testing.T) {
	out := api.LogChunk{Member: "a", Stream: "stdout", Data: []byte("Hello, Ada\n")}
	for _, test := range []struct {
		shown string
		told  bool
	}{{"careful\n", false}, {"care", false}, {"", false}, {"all is well\n", true}, {"careful\nnot really\n", true}} {
		stdout, said := live(t, api.LogChunk{Member: "a", Stream: "stderr", Data: []byte(test.shown)}, out)
		_, said, _ = strings.Cut(said, "(f=1)\n")
		want := "careful\n"
		if test.told {
			want = test.shown + "warning: the error output above is one member's, and not what was certified; the certified error output:\ncareful\n"
		}
		if !strings.HasPrefix(said, want+"certified ") || stdout != "Hello, Ada\n" {
			t.Errorf("shown %q: %q\n%s", test.shown, stdout, said)
		}
	}
}

func TestExitCodesFollowTheKindOfError(t *testing.T) {
	for code, want := range map[string]int{
		jobs.CodeSpecKey: exitUsage, jobs.CodeQuorum: exitUsage, jobs.CodeNodeDown: exitUnreachable, jobs.CodeNoNetwork: exitUnreachable,
		jobs.CodeNotFound: exitNotFound, jobs.CodeDenied: exitDenied, jobs.CodeTicket: exitDenied, jobs.CodePlaceRefused: exitRefused,
		jobs.CodeBusy: exitRefused, jobs.CodeCertificate: exitInvalid, jobs.CodeTimeout: exitTimeout, jobs.CodeInternal: exitFailed,
		jobs.CodeNotDone: exitFailed,
	} {
		if got := exitOf(&jobs.Problem{Code: code}); got != want {
			t.Errorf("%s: %d, want %d", code, got, want)
		}
	}
	for err, want := range map[error]int{nil: exitOK, context.Canceled: exitInterrupted, context.DeadlineExceeded: exitTimeout,
		errors.New("other"): exitFailed, exitError(7): 7} {
		if got := exitOf(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

func TestTimesAndSizesAreWrittenAsPeopleSayThem(t *testing.T) {
	for got, want := range map[string]string{
		seconds(40e6): "0.04 s", seconds(6.2e9): "6.2 s", seconds(200e9): "3 min 20 s", age(4e9): "4s", age(90e9): "1m", age(50 * 3600e9): "2d",
		cores(6000): "6", cores(1500): "1.5", cores(100): "0.1", bytesOf(512): "512 B", bytesOf(3 << 19): "1.5 MiB", bytesOf(10 << 30): "10 GiB",
		percent(1): "100 %", percent(0.987): "98.7 %", plural(1, "use"): "1 use", plural(2, "use"): "2 uses",
		brief("bafybeibonmvob2tswnewabpq7hdh57o43wccosgfu6hrp33zwqz4dcjrwy"): "bafy...jrwy",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestWhatOthersChoseCannotSteerATerminal(t *testing.T) {
	var out bytes.Buffer
	table{head: []string{"NAME", "STATE"}, rows: [][]string{{"a\nb\x1b[31m", "failed"}, {"\u202etxt\u009b", "failed"}, {"日本", "failed"}}}.write(&out, style{})
	newApp(nil, nil, &out, os.LookupEnv).tell(&jobs.Problem{What: "no file \a\x1b]0;x\a", Why: "two\nlines\r", Code: "C"})
	want := "NAME             STATE\n" +
		`a\nb\x1b[31m     failed` + "\n" +
		`\u202etxt\u009b  failed` + "\n" +
		"日本             failed\n" + // each takes two columns
		"error: no file " + `\a\x1b]0;x\a` + "\n  why: two\n       " + `lines\r` + "\n  code: C\n"
	if out.String() != want {
		t.Errorf("written\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	const evil = "\x1b]52;c;x\a"
	job := jobs.Job{ID: evil, Name: evil, State: evil, Request: evil, Class: evil, Owner: evil, Stalled: &jobs.Stalled{Reason: evil, Waiting: []string{evil}},
		Replaced: []jobs.Replaced{{Name: evil, ByName: evil}}, Members: []jobs.Member{{Name: evil, Role: evil, Report: evil, Peer: evil}},
		Array: &jobs.ArrayState{Tasks: 1, Failures: []jobs.TaskEnd{{Name: evil, Kind: "failed", Class: evil}}}}
	ended := job
	ended.State, ended.Outcome = jobs.Failed, &jobs.Outcome{Class: evil, Result: evil}
	a := newApp(nil, &out, &out, os.LookupEnv)
	for _, j := range []jobs.Job{job, ended} {
		jobView(a, api.JobOf(j)).table(&out, true)
		fmt.Fprintln(&out, failureWords(j), resultWords(evil))
	}
	if said := out.String(); strings.ContainsAny(said, "\x1b\a") || strings.Count(said, `\x1b]52`) < 15 {
		t.Errorf("written\n%q", said)
	}
}

func TestHintsOfWhoeverDoesNotKnowAskTheSameNode(t *testing.T) {
	hints := map[string]string{ // as they are, and of a call with --testnet
		"muster wait b..9zt1":                                 "muster --testnet wait b..9zt1",
		"the peer id: muster network members -o wide":         "the peer id: muster --testnet network members -o wide",
		"muster node status, or muster node stop":             "muster --testnet node status, or muster --testnet node stop",
		"muster testnet up --nodes 7":                         "muster testnet up --nodes 7",
		"muster network join TICKET, or muster node start":    "muster network join TICKET, or muster node start",
		"is this a muster node of the same version?":          "is this a muster node of the same version?",
		"muster --testnet ps":                                 "muster --testnet ps",
		"another folder, or --force to replace the result in": "another folder, or --force to replace the result in",
	}
	var out bytes.Buffer
	a := newApp(nil, nil, &out, os.LookupEnv)
	for hint, want := range hints {
		a.testnet = false
		if got := a.hint(hint); got != hint {
			t.Errorf("%q without a testnet", got)
		}
		a.testnet = true
		if got := a.hint(hint); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if a.tell(&jobs.Problem{What: "no", Try: "muster ps"}); !strings.Contains(out.String(), "  try: muster --testnet ps\n") {
		t.Errorf("told\n%s", out.String())
	}
}

func TestLinesAreFoldedBetweenTheirParts(t *testing.T) {
	limits := []string{"Not proved: that members are independently owned", "that no credential was revoked since", "that the submitter tried no other draw."}
	whole := strings.Join(limits, "; ")
	for width, want := range map[int]string{
		0:              whole,
		127:            whole,
		126:            limits[0] + "; " + limits[1] + ";\n  " + limits[2],
		87:             limits[0] + "; " + limits[1] + ";\n  " + limits[2],
		86:             limits[0] + ";\n  " + limits[1] + "; " + limits[2],
		60:             limits[0] + ";\n  " + limits[1] + ";\n  " + limits[2],
		10:             limits[0] + ";\n  " + limits[1] + ";\n  " + limits[2],
		len(whole) + 1: whole,
	} {
		if got := fold(width, "; ", limits...); got != want {
			t.Errorf("width %d:\n%s\nwant\n%s", width, got, want)
		}
	}
	if got := fold(9, "   ", "\x1b[32mfour\x1b[m", "日", "x"); got != "\x1b[32mfour\x1b[m   日\n  x" {
		t.Errorf("%q", got)
	}
}
