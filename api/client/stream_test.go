package client

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/muster-network/muster/api"
)

// answering answers every request with the same body.
type answering []byte

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Request: r, Body: io.NopCloser(bytes.NewReader(a))}, nil
}

// eventsIn follows a node that says just this.
func eventsIn(t *testing.T, body []byte) (list []api.Event, err error) {
	t.Helper()
	c, err := New(Config{Address: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	c.http.Transport = answering(body)
	err = c.Events(t.Context(), "", func(e api.Event) error {
		list = append(list, e)
		return nil
	})
	return list, err
}

// Events are a stream of whatever a node says. What is shown of it is what would be
// shown again of what was shown, and nothing that stands after a problem.
func FuzzEvents(f *testing.F) {
	event := `{"schema":"` + api.SchemaEvent + `","specversion":"1.0","id":"1/2","source":"muster:a/b","type":"muster.job.accepted","time":"2026-01-02T03:04:05Z","data":{"a":[1,"b",null]}}`
	problem := `{"schema":"` + api.SchemaProblem + `","code":"internal","title":"it failed"}`
	for _, seed := range []string{"", event, event + "\n" + event + "\n", event + "\n" + problem + "\n" + event, event + `{"schema":`, "null 5", `[{}]`,
		`{"schema":"` + api.SchemaProblem + `","code":5}`, `{"id":"\ud800","data":{"a":1e400}}`, "{}\n\n \t{}\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := eventsIn(t, body)
		if len(list) > len(body)/2 {
			t.Fatalf("%d events in %d bytes", len(list), len(body))
		}
		lines := linesOf(t, list)
		again, failed := eventsIn(t, lines)
		if failed != nil || !bytes.Equal(linesOf(t, again), lines) {
			t.Errorf("shown %+v, and then %+v, %v", list, again, failed)
		}
		longer := append(bytes.Clone(body), "\n"+`{"id":"last"}`...)
		if more, _ := eventsIn(t, longer); err != nil && len(more) != len(list) {
			t.Errorf("what failed with %v after %d events goes on to %d", err, len(list), len(more))
		}
	})
}

// linesOf writes events as a node does.
func linesOf(t *testing.T, list []api.Event) []byte {
	t.Helper()
	var lines bytes.Buffer
	for _, e := range list {
		if e.Schema == api.SchemaProblem {
			t.Fatal("a problem is shown as an event")
		}
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	return lines.Bytes()
}
