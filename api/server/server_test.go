package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/api/server/servertest"
	"github.com/muster-network/muster/jobs"
)

const hello = `{"version": 1, "run": {"wasm": "builtin:hello", "args": ["Ada"], "labels": {"team": "wiki"}}}`

func newServer(t testing.TB, script func(*jobs.File) servertest.Run) (*server.Server, *servertest.Network) {
	t.Helper()
	n := servertest.New(script)
	c := n.Config()
	c.Log = slog.New(slog.DiscardHandler)
	c.MaxBlob = 4 << 20
	s, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s, n
}

// ask sends one request past any network; headers come as "Name: value".
func ask(h http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func decode[T any](t testing.TB, w *httptest.ResponseRecorder) (v T) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return v
}

func TestASubmissionIsAnsweredWithTheJobAndWhereItIs(t *testing.T) {
	hold := make(chan struct{})
	s, _ := newServer(t, func(f *jobs.File) servertest.Run {
		run := servertest.Hello(f)
		run.Hold = hold
		return run
	})
	w := ask(s, "POST", "/v1/jobs", hello, "Idempotency-Key: once")
	job := decode[api.Job](t, w)
	if w.Code != http.StatusAccepted || job.Schema != api.SchemaJob || job.State != jobs.Running {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if got, want := w.Header().Get("Location"), "/v1/jobs/"+job.ID; got != want {
		t.Errorf("Location %q, want %q", got, want)
	}
	if again := decode[api.Job](t, ask(s, "POST", "/v1/jobs", hello, "Idempotency-Key: once")); again.ID != job.ID {
		t.Error("the same key made another job")
	}
	for _, id := range []string{job.ID, job.ID[:20], job.Request} {
		if found := decode[api.Job](t, ask(s, "GET", "/v1/jobs/"+id, "")); found.ID != job.ID {
			t.Errorf("%s finds %q", id, found.ID)
		}
	}
	close(hold)
	w = ask(s, "GET", "/v1/jobs/"+job.ID+"?wait=1m", "")
	if ended := decode[api.Job](t, w); ended.State != jobs.Succeeded || ended.Outcome.Signed != 3 {
		t.Errorf("after the wait: %s", w.Body)
	}
	if w = ask(s, "POST", "/v1/jobs?wait=1m", hello); w.Code != http.StatusOK {
		t.Errorf("a job that ended while the caller waited: %d", w.Code)
	}
}

func TestBothFormsOfABodyAreReadAlikeAndStrictly(t *testing.T) {
	var got *jobs.File
	s, _ := newServer(t, func(f *jobs.File) servertest.Run {
		got = f
		return servertest.Hello(f)
	})
	compact := `{"version":1,"run":{"wasm":"builtin:hello","args":["Ada"],"resources":{"cpu":"100m"}}}`
	for _, body := range []string{compact, "version: 1\nrun:\n  wasm: builtin:hello\n  args: [Ada]\n  resources: {cpu: 0.1}\n"} {
		if w := ask(s, "POST", "/v1/jobs", body); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if got.Run.Args[0] != "Ada" || got.Run.Resources.CPU != 100 {
			t.Errorf("%+v", got.Run)
		}
	}
	for name, body := range map[string]string{
		"another case":  strings.Replace(compact, `"args"`, `"Args"`, 1),
		"a key twice":   strings.Replace(compact, `"version":1`, `"version":1,"version":1`, 1),
		"an unknown":    strings.Replace(compact, `"version":1`, `"version":1,"more":1`, 1),
		"another value": compact + compact,
	} {
		if w := ask(s, "POST", "/v1/jobs", body); w.Code != 422 && w.Code != 400 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestAWaitThatIsOverTellsTheCurrentState(t *testing.T) {
	s, _ := newServer(t, func(f *jobs.File) servertest.Run {
		run := servertest.Hello(f)
		run.Hold = make(chan struct{})
		return run
	})
	job := decode[api.Job](t, ask(s, "POST", "/v1/jobs?wait=1ms", hello))
	if job.State != jobs.Running {
		t.Errorf("state %s", job.State)
	}
}

func TestWhatIsWrongComesBackAsAProblem(t *testing.T) {
	refusal := &jobs.Problem{Code: jobs.CodePlaceCapacity, What: "no quorum possible", Why: "2 of 4", Try: "later", Retryable: true}
	s, _ := newServer(t, func(f *jobs.File) servertest.Run {
		run := servertest.Hello(f)
		if f.Name == "refused" {
			run.Refuse = refusal
		}
		if f.Name == "held" {
			run.Hold = make(chan struct{})
		}
		return run
	})
	held := decode[api.Job](t, ask(s, "POST", "/v1/jobs", strings.Replace(hello, `"run"`, `"name": "held", "run"`, 1)))
	ended := decode[api.Job](t, ask(s, "POST", "/v1/jobs", hello))
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"unknown key", "POST", "/v1/jobs", "version: 1\nrun:\n  wasm: builtin:hello\n  recources: {}\n", 422, jobs.CodeSpecKey},
		{"no YAML", "POST", "/v1/jobs", "{", 400, jobs.CodeSpecSyntax},
		{"empty", "POST", "/v1/jobs", "", 400, jobs.CodeSpecSyntax},
		{"refused", "POST", "/v1/jobs", strings.Replace(hello, `"run"`, `"name": "refused", "run"`, 1), 503, jobs.CodePlaceCapacity},
		{"too large", "POST", "/v1/jobs", strings.Repeat("#", 2<<20), 413, jobs.CodeUsage},
		{"long key", "POST", "/v1/jobs?wait=soon", hello, 400, jobs.CodeUsage},
		{"unknown id", "GET", "/v1/jobs/bafyunknown", "", 404, jobs.CodeNotFound},
		{"no id at all", "GET", "/v1/jobs/%2e%2e%2fetc", "", 404, jobs.CodeNotFound},
		{"shared prefix", "GET", "/v1/jobs/bafyrei", "", 409, jobs.CodeAmbiguous},
		{"certificate too soon", "GET", "/v1/jobs/" + held.ID + "/certificate", "", 409, jobs.CodeNotDone},
		{"cancel too late", "DELETE", "/v1/jobs/" + ended.ID, "", 409, jobs.CodeConflict},
		{"limit", "GET", "/v1/jobs?limit=0", "", 400, jobs.CodeUsage},
		{"no CID", "GET", "/v1/blobs/hello", "", 400, jobs.CodeUsage},
		{"path out", "GET", "/v1/blobs/" + ended.Outcome.Result + "/out/%2e%2e/x", "", 400, jobs.CodeUsage},
		{"unknown format", "GET", "/v1/blobs/" + ended.Outcome.Result + "?format=zip", "", 400, jobs.CodeUsage},
		{"unknown block", "GET", "/v1/blobs/" + ended.Task + "?format=raw", "", 404, jobs.CodeNotFound},
		{"unknown field", "POST", "/v1/network/invites", `{"ttl_ms": 1, "uzes": 2}`, 400, jobs.CodeUsage},
		{"two values", "POST", "/v1/network/invites", `{"ttl_ms": 1} {}`, 400, jobs.CodeUsage},
		{"no uses", "POST", "/v1/network/invites", `{"ttl_ms": 1, "uses": 0}`, 400, jobs.CodeUsage},
		{"no time", "POST", "/v1/network/invites", `{"uses": 2}`, 400, jobs.CodeUsage},
		{"no such path", "GET", "/v2/jobs", "", 404, jobs.CodeNotFound},
		{"no such method", "PUT", "/v1/jobs", "", 404, jobs.CodeNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := ask(s, test.method, test.path, test.body)
			p := decode[api.Problem](t, w)
			if w.Code != test.status || p.Status != test.status || p.Code != test.code || p.Title == "" || p.Schema != api.SchemaProblem {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if got := w.Header().Get("Content-Type"); got != api.TypeProblem {
				t.Errorf("type %s", got)
			}
		})
	}
	w := ask(s, "POST", "/v1/jobs", strings.Replace(hello, `"run"`, `"name": "refused", "run"`, 1))
	if got := decode[api.Problem](t, w).Problem(); *got != *refusal {
		t.Errorf("came back as %+v", got)
	}
}

func TestListsArePagedAndFiltered(t *testing.T) {
	s, _ := newServer(t, servertest.Hello)
	for range 5 {
		ask(s, "POST", "/v1/jobs", hello)
	}
	var ids []string
	for cursor, pages := "", 0; pages < 3; pages++ {
		page := decode[api.Jobs](t, ask(s, "GET", "/v1/jobs?limit=2&cursor="+cursor, ""))
		for _, j := range page.Jobs {
			ids = append(ids, j.ID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(ids) != 5 {
		t.Errorf("%d jobs on all pages", len(ids))
	}
	for query, want := range map[string]int{"label=team": 5, "label=team=wiki": 5, "label=team=other": 0, "state=failed": 0, "state=succeeded": 5} {
		if page := decode[api.Jobs](t, ask(s, "GET", "/v1/jobs?"+query, "")); len(page.Jobs) != want || page.Jobs == nil {
			t.Errorf("%s: %d jobs, want %d", query, len(page.Jobs), want)
		}
	}
}

func TestStreamsComeAsEventsOrLines(t *testing.T) {
	s, _ := newServer(t, func(f *jobs.File) servertest.Run {
		run := servertest.Hello(f)
		run.Result.Stdout, run.Result.Stderr = []byte("one"), []byte{0xff}
		return run
	})
	job := decode[api.Job](t, ask(s, "POST", "/v1/jobs", hello))
	w := ask(s, "GET", "/v1/jobs/"+job.ID+"/logs", "")
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if len(lines) != 2 || w.Header().Get("Content-Type") != api.TypeNDJSON {
		t.Fatalf("%s", w.Body)
	}
	var c api.LogChunk
	if err := json.Unmarshal([]byte(lines[1]), &c); err != nil || c.Schema != api.SchemaLog || string(c.Data) != "\xff" {
		t.Errorf("%s: %v", lines[1], err)
	}
	w = ask(s, "GET", "/v1/jobs/"+job.ID+"/logs", "", "Accept: text/event-stream")
	if got := w.Body.String(); strings.Count(got, "event: log\ndata: {") != 2 || !strings.HasSuffix(got, "event: end\ndata: {}\n\n") {
		t.Errorf("%s", got)
	}
	w = ask(s, "GET", "/v1/events?after=0", "", "Accept: text/event-stream")
	if got := w.Body.String(); !strings.Contains(got, "id: 00/1\nevent: muster.job.accepted\n") {
		t.Errorf("%s", got)
	}
	w = ask(s, "GET", "/v1/events?after=0", "", "Last-Event-ID: 00/1")
	if got := w.Body.String(); strings.Contains(got, `"00/1"`) || !strings.Contains(got, `"00/2"`) {
		t.Errorf("resumed with %s", got)
	}
}

func TestAStreamThatWasSilentForLongIsEndedInOrder(t *testing.T) {
	for _, accept := range []string{api.TypeNDJSON, api.TypeEvents} {
		hold := make(chan struct{})
		s, _ := newServer(t, func(f *jobs.File) servertest.Run {
			run := servertest.Hello(f)
			run.Hold = hold
			run.Logs = []api.LogChunk{{Stream: "stdout", Data: run.Result.Stdout}}
			return run
		})
		job := decode[api.Job](t, ask(s, "POST", "/v1/jobs", hello))
		r := httptest.NewRequest("GET", "/v1/jobs/"+job.ID+"/logs?follow=true", nil)
		r.Header.Set("Accept", accept)
		w := &silent{ResponseRecorder: httptest.NewRecorder(), after: func() { close(hold) }}
		s.ServeHTTP(w, r)
		if w.after != nil || !w.limited {
			t.Errorf("%s: what comes last is under the deadline of what came before the silence:\n%s", accept, w.Body)
		}
		if end := strings.HasSuffix(w.Body.String(), "event: end\ndata: {}\n\n"); end != (accept == api.TypeEvents) {
			t.Errorf("%s: %s", accept, w.Body)
		}
	}
}

// silent is an answer whose job writes nothing after its first value for longer
// than a reader may stall: that value's deadline passes, and then after is called.
type silent struct {
	*httptest.ResponseRecorder
	limited bool // a deadline is set, and has not passed
	after   func()
}

func (s *silent) SetWriteDeadline(time.Time) error {
	s.limited = true
	return nil
}

func (s *silent) Flush() {
	if after := s.after; after != nil && s.Body.Len() > 0 {
		s.limited, s.after = false, nil
		after()
	}
}

func TestAListIsChosenByWhatCanBe(t *testing.T) {
	s, _ := newServer(t, servertest.Hello)
	done := decode[api.Job](t, ask(s, "POST", "/v1/jobs?wait=1m", hello))
	for query, want := range map[string]int{"": 1, "state=succeeded": 1, "state=failed": 0, "state=stalled": 0, "limit=1&label=none": 0} {
		if page := decode[api.Jobs](t, ask(s, "GET", "/v1/jobs?"+query, "")); len(page.Jobs) != want || want == 1 && page.Jobs[0].ID != done.ID {
			t.Errorf("%q lists %d jobs, want %d", query, len(page.Jobs), want)
		}
	}
	for query, words := range map[string]string{"state=done": `no state "done"`, "limit=0": `limit "0"`, "limit=1001": `limit "1001"`} {
		w := ask(s, "GET", "/v1/jobs?"+query, "")
		if p := decode[api.Problem](t, w); w.Code != http.StatusBadRequest || !strings.Contains(p.Title, words) || p.Hint == "" {
			t.Errorf("%q: %d %s", query, w.Code, w.Body)
		}
	}
}

func TestAnEventIdThatCannotBeIsRefusedBeforeTheStreamBegins(t *testing.T) {
	s, _ := newServer(t, servertest.Hello)
	for _, after := range []string{"zz", "/1", "00/", "00/-1", "00/x"} {
		w := ask(s, "GET", "/v1/events", "", "Last-Event-ID: "+after, "Accept: text/event-stream")
		if p := decode[api.Problem](t, w); w.Code != http.StatusBadRequest || w.Header().Get("Content-Type") != api.TypeProblem || p.Code != jobs.CodeUsage {
			t.Errorf("%q: %d %s", after, w.Code, w.Body)
		}
	}
}

func TestBlobsAreServedWholeInPartsAndRaw(t *testing.T) {
	s, _ := newServer(t, servertest.Hello)
	stored := decode[api.Blob](t, ask(s, "POST", "/v1/blobs", "hello, blob"))
	w := ask(s, "GET", "/v1/blobs/"+stored.CID, "", "Range: bytes=7-10")
	if w.Code != http.StatusPartialContent || w.Body.String() != "blob" {
		t.Errorf("range: %d %q", w.Code, w.Body)
	}
	if w = ask(s, "GET", "/v1/blobs/"+stored.CID, "", `If-None-Match: "`+stored.CID+`"`); w.Code != http.StatusNotModified {
		t.Errorf("cached: %d", w.Code)
	}
	if w.Header().Get("Content-Security-Policy") != "sandbox" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Error("a blob could run as a page")
	}
	if w = ask(s, "GET", "/v1/blobs/"+stored.CID+"?format=raw", ""); w.Body.String() != "hello, blob" {
		t.Errorf("raw: %q", w.Body)
	}
	job := decode[api.Job](t, ask(s, "POST", "/v1/jobs", hello))
	folder := decode[api.Blob](t, ask(s, "GET", "/v1/blobs/"+job.Outcome.Result, ""))
	if len(folder.Entries) != 4 || folder.Entries[1].Name != "out" || !folder.Entries[1].Dir {
		t.Errorf("folder: %+v", folder)
	}
	if w = ask(s, "GET", "/v1/blobs/"+job.Outcome.Result+"/out/greeting.txt", ""); w.Body.String() != "Hello, Ada\n" {
		t.Errorf("file in a folder: %q", w.Body)
	}
	if w = ask(s, "POST", "/v1/blobs", strings.Repeat("x", 5<<20)); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: %d", w.Code)
	}
}

func TestTheDocumentDescribesEveryRoute(t *testing.T) {
	s, _ := newServer(t, servertest.Hello)
	doc := decode[struct {
		OpenAPI    string                                `json:"openapi"`
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Schemas map[string]struct {
				Properties map[string]json.RawMessage `json:"properties"`
			} `json:"schemas"`
		} `json:"components"`
	}](t, ask(s, "GET", "/openapi.json", ""))
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("version %q", doc.OpenAPI)
	}
	operations := 0
	for _, item := range doc.Paths {
		operations += len(item)
	}
	if operations != 25 || doc.Paths["/v1/blobs/{cid}/{path}"]["get"] == nil || doc.Paths["/v1/jobs"]["post"] == nil {
		t.Errorf("%d operations on %d paths", operations, len(doc.Paths))
	}
	if job := doc.Components.Schemas["Job"]; job.Properties["schema"] == nil || job.Properties["state"] == nil || job.Properties["members"] == nil {
		t.Errorf("schemas: %v", doc.Components.Schemas)
	}
}

func TestServeEndsWithItsContextWhateverIsOpen(t *testing.T) {
	defer goleak.VerifyNone(t)
	s, _ := newServer(t, func(f *jobs.File) servertest.Run {
		run := servertest.Hello(f)
		run.Hold = make(chan struct{})
		run.Logs = []api.LogChunk{{Stream: "stdout", Data: []byte("first")}}
		return run
	})
	l, err := server.ListenUnix(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	job := decode[api.Job](t, ask(s, "POST", "/v1/jobs", hello))
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "GET /v1/jobs/"+job.ID+"/logs?follow=true HTTP/1.1\r\nHost: muster\r\n\r\n")
	reader := bufio.NewReader(conn)
	for line := ""; !strings.Contains(line, "stdout"); {
		if line, err = reader.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Error(err)
	}
}

func TestASocketIsForItsUserAndForOneNode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "muster.sock")
	l, err := server.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left beside the socket: %v", entries)
	}
	if _, err := server.ListenUnix(path); code(err) != jobs.CodeConflict {
		t.Errorf("a second node: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
	left, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = left.Close() // as after a crash
	l, err = server.ListenUnix(path)
	if err != nil {
		t.Errorf("over a socket that is left: %v", err)
	}
	_ = l.Close()
}

func code(err error) string {
	if p, ok := err.(*jobs.Problem); ok {
		return p.Code
	}
	return ""
}

func FuzzSubmit(f *testing.F) {
	f.Add([]byte(hello))
	f.Add([]byte(`{"version":1,"run":{"wasm":"builtin:hello"}}`))
	f.Add([]byte("version: 1\nrun: {wasm: builtin:hello}\n"))
	f.Add([]byte("version: 1\nrun: {wasm: builtin:hello, timeout: 99h, labels: {a: b}}\nname: &a x"))
	s, _ := newServer(f, servertest.Hello)
	f.Fuzz(func(t *testing.T, body []byte) {
		w := ask(s, "POST", "/v1/jobs", string(body))
		if w.Code == http.StatusOK || w.Code >= 400 && w.Code < 500 && decode[api.Problem](t, w).Code != jobs.CodeInternal {
			return
		}
		t.Errorf("%d %s", w.Code, w.Body)
	})
}

// Requests with a small JSON body: an invitation is made or refused with a reason.
func FuzzInvite(f *testing.F) {
	f.Add([]byte(`{"ttl_ms":1000}`))
	f.Add([]byte(`{"uses":3,"role":"observer","ttl_ms":3600000}`))
	f.Add([]byte(`{"ttl_ms":1000}{}`))
	s, _ := newServer(f, servertest.Hello)
	f.Fuzz(func(t *testing.T, body []byte) {
		w := ask(s, "POST", "/v1/network/invites", string(body))
		if w.Code < 300 || w.Code >= 400 && w.Code < 500 && decode[api.Problem](t, w).Code != jobs.CodeInternal {
			return
		}
		t.Errorf("%d %s", w.Code, w.Body)
	})
}

func BenchmarkSubmit(b *testing.B) {
	s, _ := newServer(b, func(*jobs.File) servertest.Run {
		return servertest.Run{Refuse: &jobs.Problem{Code: jobs.CodeBusy}} // what is measured ends before any job begins
	})
	file, err := json.Marshal(jobs.FileFor("builtin:hello", []string{"Ada"})) // as clients send it
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		ask(s, "POST", "/v1/jobs", string(file))
	}
}
