package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
)

// submit takes a job file, as YAML or JSON, and answers when the job is
// acknowledged: 202, or 200 if it ended while the caller waited.
func (s *Server) submit(w http.ResponseWriter, r *http.Request) error {
	wait, err := waitFor(r)
	if err != nil {
		return err
	}
	key := r.Header.Get(api.HeaderKey)
	if len(key) > 256 {
		return &jobs.Problem{Code: jobs.CodeUsage, What: "the idempotency key is too long", Why: "at most 256 bytes are taken"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFile))
	if err != nil {
		return err
	}
	file, err := parse(body)
	if err != nil {
		return err
	}
	job, err := s.config.Jobs.Submit(r.Context(), file, SubmitOptions{Key: key})
	if err != nil {
		return err
	}
	if wait > 0 {
		if job, err = s.await(r.Context(), job.ID, wait); err != nil {
			return err
		}
	}
	status := http.StatusAccepted
	if job.State.Terminal() {
		status = http.StatusOK
	}
	w.Header().Set("Location", api.PathJobs+"/"+job.ID)
	return writeJSON(w, status, api.JobOf(job))
}

// parse reads a job file. One in the very form that encoding/json writes, as
// clients send it, takes a quarter of the time that the YAML parser takes: what
// encodes to the same bytes again holds no unknown and no repeated key. In all
// that is wrong, the parser has the better words.
func parse(body []byte) (*jobs.File, error) {
	file := new(jobs.File)
	if json.Unmarshal(body, file) == nil && file.Validate() == nil {
		if again, err := json.Marshal(file); err == nil && bytes.Equal(again, body) {
			return file, nil
		}
	}
	return jobs.Parse("job", body)
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	query := ListQuery{Label: q.Get("label"), Cursor: q.Get("cursor"), Limit: 100}
	switch state := q.Get("state"); {
	case state == stalled:
		query.Stalled = true
	case state != "":
		if query.State = jobs.State(state); !slices.Contains(jobs.States(), query.State) {
			return &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("no state %.64q", state), Try: "one of " + stateNames()}
		}
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("limit %.64q is not 1 to 1000", text), Try: "limit=100, and the cursor of each page for the next"}
		}
		query.Limit = n
	}
	page, next, err := s.config.Jobs.List(r.Context(), query)
	if err != nil {
		return err
	}
	answer := api.Jobs{Schema: api.SchemaJobs, Jobs: make([]api.Job, len(page)), Next: next}
	for i, j := range page {
		answer.Jobs[i] = api.JobOf(j)
	}
	return writeJSON(w, http.StatusOK, answer)
}

// stalled is no state but a condition beside it, by which jobs can be chosen too.
const stalled = "stalled"

func stateNames() string {
	var names []string
	for _, state := range jobs.States() {
		names = append(names, string(state))
	}
	return strings.Join(append(names, stalled), ", ")
}

func (s *Server) job(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	wait, err := waitFor(r)
	if err != nil {
		return err
	}
	var job jobs.Job
	if wait > 0 {
		job, err = s.await(r.Context(), id, wait)
	} else {
		job, err = s.config.Jobs.Job(r.Context(), id)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, api.JobOf(job))
}

func (s *Server) cancel(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	job, err := s.config.Control.Cancel(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, api.JobOf(job))
}

func (s *Server) retry(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	job, err := s.config.Control.Retry(r.Context(), id)
	if err != nil {
		return err
	}
	w.Header().Set("Location", api.PathJobs+"/"+job.ID)
	return writeJSON(w, http.StatusAccepted, api.JobOf(job))
}

// await returns the job when it is terminal or the wait is over.
func (s *Server) await(ctx context.Context, id string, wait time.Duration) (jobs.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return s.config.Jobs.Wait(ctx, id)
}

// waitFor reads ?wait=30s: 0 when it is not there, at most maxWait.
func waitFor(r *http.Request) (time.Duration, error) {
	if r.URL.RawQuery == "" {
		return 0, nil
	}
	text := r.URL.Query().Get("wait")
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("wait %q is not a duration", text), Try: "wait=30s"}
	}
	return min(d, maxWait), nil
}

// jobID refuses what cannot be an id or a short form of one before anybody
// looks for it.
func jobID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	ok := len(id) > 0 && len(id) <= 128
	for _, c := range []byte(id) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.')
	}
	if !ok {
		return "", &jobs.Problem{Code: jobs.CodeNotFound, What: fmt.Sprintf("no job %.128q", id), Why: "this is not an id", Try: "muster ps"}
	}
	return id, nil
}
