package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
)

// handler is an HTTP handler that may end in an error, which is answered as a
// problem.
type handler func(w http.ResponseWriter, r *http.Request) error

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h(w, r); err != nil {
		writeError(w, err)
	}
}

func writeError(w http.ResponseWriter, err error) {
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		err = &jobs.Problem{Code: jobs.CodeUsage, What: "the request is too large",
			Why: fmt.Sprintf("at most %d bytes are taken", tooLarge.Limit)}
		writeProblem(w, err, http.StatusRequestEntityTooLarge)
		return
	}
	writeProblem(w, err, 0)
}

// writeProblem answers with err under a status; 0: the one of its code.
func writeProblem(w http.ResponseWriter, err error, status int) {
	p := api.ProblemOf(err)
	if status != 0 {
		p.Status = status
	}
	w.Header().Set("Content-Type", api.TypeProblem)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the caller may be gone
}

// writeJSON encodes before it answers, so that an error can still be told.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", api.TypeJSON)
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
	return nil
}

func writeBytes(w http.ResponseWriter, mediaType, name string, data []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
	_, _ = w.Write(data)
}

// readJSON decodes one strict JSON object of at most maxSmall bytes.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSmall))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return nil
		}
		err = errors.New("there is more than one JSON value")
	}
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return err
	}
	return &jobs.Problem{Code: jobs.CodeUsage, What: "the request's body does not decode", Why: err.Error()}
}

// stream writes values one by one, as Server-Sent Events or NDJSON, whichever
// the caller accepts; each is flushed.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	events  bool
	begun   bool
}

func newStream(w http.ResponseWriter, r *http.Request) *stream {
	s := &stream{w: w, control: http.NewResponseController(w)}
	s.events = strings.Contains(r.Header.Get("Accept"), api.TypeEvents)
	return s
}

// begin sends the header, so that a reader knows that the stream stands.
func (s *stream) begin() error {
	if s.begun {
		return nil
	}
	s.begun = true
	mediaType := api.TypeNDJSON
	if s.events {
		mediaType = api.TypeEvents
	}
	s.w.Header().Set("Content-Type", mediaType)
	s.w.Header().Set("Cache-Control", "no-store")
	s.w.WriteHeader(http.StatusOK)
	return s.control.Flush()
}

// send writes one value. A reader that takes nothing for stallTimeout is given up.
func (s *stream) send(kind, id string, v any) error {
	if err := s.begin(); err != nil {
		return err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	s.limit()
	var b bytes.Buffer
	if s.events {
		if id != "" {
			fmt.Fprintf(&b, "id: %s\n", id)
		}
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", kind, data)
	} else {
		b.Write(data)
		b.WriteByte('\n')
	}
	if _, err := s.w.Write(b.Bytes()); err != nil {
		return err
	}
	return s.control.Flush()
}

// limit gives the reader stallTimeout from now on to take what is written next.
// The last value's may have passed long ago: nothing need come for hours.
func (s *stream) limit() {
	_ = s.control.SetWriteDeadline(time.Now().Add(stallTimeout)) // not every writer has one
}

// end closes the stream with what ended it. Before the first value an error
// is an ordinary answer; after it, the last value.
func (s *stream) end(r *http.Request, err error) error {
	if r.Context().Err() != nil {
		return nil // nobody listens
	}
	if err != nil {
		if !s.begun {
			return err
		}
		_ = s.send("problem", "", api.ProblemOf(err))
		return nil
	}
	s.limit() // for what the server writes after the handler, too
	_ = s.begin()
	if s.events {
		_, _ = io.WriteString(s.w, "event: end\ndata: {}\n\n")
	}
	return nil
}
