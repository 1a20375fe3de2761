package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
)

// waitStep is how long one request waits for a job.
const waitStep = time.Minute

// SubmitOptions are what a submission says beside the file.
type SubmitOptions struct {
	Dir  string                            // where file: references start; empty: the working directory
	Key  string                            // idempotency key
	Wait time.Duration                     // answer later, when the job has ended, but at most so much later
	Put  func(ref jobs.Ref, blob api.Blob) // told of each upload; may be nil
}

// Submit uploads what the file names, submits it, and returns when the job is
// acknowledged. The same key finds the job that lives.
func (c *Client) Submit(ctx context.Context, file *jobs.File, o SubmitOptions) (job api.Job, err error) {
	if file, err = c.Upload(ctx, file, o); err != nil {
		return job, err
	}
	return c.SubmitUploaded(ctx, file, o)
}

// SubmitUploaded submits a file that Upload has returned. Of o, it uses key and
// wait.
func (c *Client) SubmitUploaded(ctx context.Context, file *jobs.File, o SubmitOptions) (job api.Job, err error) {
	body, err := json.Marshal(file)
	if err != nil {
		return job, err
	}
	r := request{method: http.MethodPost, path: api.PathJobs, body: bytes.NewReader(body), mediaType: api.TypeJSON, key: o.Key}
	if o.Wait > 0 {
		r.query = url.Values{"wait": {o.Wait.String()}}
	}
	return job, c.call(ctx, r, &job)
}

// Job finds a job by job id, request id or a unique prefix.
func (c *Client) Job(ctx context.Context, id string) (job api.Job, err error) {
	return job, c.get(ctx, jobPath(id), &job)
}

// Query selects jobs. Zero values select everything.
type Query struct {
	State  jobs.State
	Label  string // key or key=value
	Limit  int    // 1 to 1,000
	Cursor string
}

// Jobs returns one page of jobs, newest first.
func (c *Client) Jobs(ctx context.Context, q Query) (page api.Jobs, err error) {
	v := url.Values{}
	for name, value := range map[string]string{"state": string(q.State), "label": q.Label, "cursor": q.Cursor} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return page, c.call(ctx, request{method: http.MethodGet, path: api.PathJobs, query: v}, &page)
}

// Wait returns when the job is terminal. When ctx ends first, it returns the
// job as last seen, and ctx's error.
func (c *Client) Wait(ctx context.Context, id string) (job api.Job, err error) {
	for {
		var now api.Job
		err := c.call(ctx, request{method: http.MethodGet, path: jobPath(id), query: url.Values{"wait": {waitStep.String()}}}, &now)
		if err != nil {
			return job, err
		}
		if job = now; job.State.Terminal() {
			return job, nil
		}
	}
}

// Cancel asks for the outcome cancelled.
func (c *Client) Cancel(ctx context.Context, id string) (job api.Job, err error) {
	return job, c.call(ctx, request{method: http.MethodPost, path: jobPath(id) + "/cancel"}, &job)
}

// Retry submits a job that failed or was cancelled again, under its request id,
// and returns the job that takes its place.
func (c *Client) Retry(ctx context.Context, id string) (job api.Job, err error) {
	return job, c.call(ctx, request{method: http.MethodPost, path: jobPath(id) + "/retry"}, &job)
}

// LogOptions say which logs of a job that has not ended are wanted.
type LogOptions struct {
	Follow bool   // what comes, too, until the job is terminal, and then what was certified past what was shown
	Member string // whose run: its peer id, the beginning of it, or its name; empty: whoever has written first
}

// Logs calls fn for what one of the job's runs has written or, once the job is
// terminal, for what was certified, as the node says. The first error of fn ends it
// and is returned.
func (c *Client) Logs(ctx context.Context, id string, o LogOptions, fn func(api.LogChunk) error) error {
	r := request{method: http.MethodGet, path: jobPath(id) + "/logs", accept: api.TypeNDJSON, query: url.Values{}}
	if o.Follow {
		r.query.Set("follow", "true")
	}
	if o.Member != "" {
		r.query.Set("member", o.Member)
	}
	return each(ctx, c, r, fn)
}

// Events calls fn for every event after the id (empty: from now on; "0": from
// the oldest kept) until ctx ends or fn fails. Where some after the id were not
// kept, the first one says so (api.EventGap).
func (c *Client) Events(ctx context.Context, after string, fn func(api.Event) error) error {
	r := request{method: http.MethodGet, path: api.PathEvents, accept: api.TypeNDJSON}
	if after != "" {
		r.query = url.Values{"after": {after}}
	}
	return each(ctx, c, r, fn)
}

func jobPath(id string) string { return api.PathJobs + "/" + url.PathEscape(id) }

// each reads a stream of values. A problem among them is its end.
func each[T any](ctx context.Context, c *Client, r request, fn func(T) error) error {
	body, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	in := &bounded{in: body}
	for d := json.NewDecoder(in); ; {
		var line json.RawMessage
		in.left = maxValue
		if err := d.Decode(&line); err == io.EOF && ctx.Err() == nil {
			return nil
		} else if err != nil {
			return c.unreachable(ctx, err)
		}
		var p api.Problem
		if _ = json.Unmarshal(line, &p); p.Schema == api.SchemaProblem { // also one of which parts cannot be read
			return p.Problem()
		}
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return err
		}
		if err := fn(v); err != nil {
			return err
		}
	}
}
