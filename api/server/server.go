// Package server answers the HTTP API. What it answers with comes through the
// interfaces below, which a node implements; it keeps no state of its own.
//
// Errors that a caller is meant to read are *jobs.Problem; any other error is
// answered as MUSTER-INTERNAL. A ctx carries cancellation and nothing else.
package server

import (
	"context"
	"io"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
)

// Jobs takes submissions and tells of jobs. Any peer answers for any job.
type Jobs interface {
	// Submit returns when the job is acknowledged, or a *jobs.Problem when it
	// was refused or its fate is unknown. The file names no local files any
	// more: its references are CIDs or builtins. The file is the callee's.
	Submit(ctx context.Context, file *jobs.File, o SubmitOptions) (jobs.Job, error)

	// Job finds a job by job id, request id or a unique prefix of either.
	Job(ctx context.Context, id string) (jobs.Job, error)

	// List returns a page of the jobs that the node knows, newest first, and
	// the cursor of the next, empty at the end.
	List(ctx context.Context, q ListQuery) (page []jobs.Job, next string, err error)

	// Wait returns when the job is terminal, or, without an error, with its
	// current state when ctx ends.
	Wait(ctx context.Context, id string) (jobs.Job, error)
}

// SubmitOptions are what a submission says beside the file.
type SubmitOptions struct {
	Key string // idempotency key; empty: a fresh request
}

// ListQuery selects jobs. Zero values select everything.
type ListQuery struct {
	State   jobs.State
	Stalled bool   // only those that are
	Label   string // key or key=value
	Limit   int    // 1 to 1,000; the server fills in 100
	Cursor  string
}

// Control changes what jobs do.
type Control interface {
	// Cancel asks for the outcome Cancelled and returns the job as it then is.
	// A job that ended before is a *jobs.Problem with CodeConflict.
	Cancel(ctx context.Context, id string) (jobs.Job, error)

	// Retry submits a job that failed or was cancelled again, under the same
	// request id, and returns the job that takes its place: a new one, or the one
	// that did so before and has not ended. A job that has not ended, that
	// succeeded, or whose successor has ended is a *jobs.Problem with
	// CodeConflict, and one of another owner's with CodeDenied.
	Retry(ctx context.Context, id string) (jobs.Job, error)
}

// Results hands out what jobs leave behind.
type Results interface {
	// Certificate returns the encoded certificate; CodeNotDone before there is one.
	Certificate(ctx context.Context, id string) ([]byte, error)

	// Bundle returns the certificate with roll, policy and output in one file.
	Bundle(ctx context.Context, id string) ([]byte, error)

	// Logs calls fn for what one of the job's runs has written or, once the job is
	// terminal, for what was certified. It ends with ctx or with the first error
	// of fn. A chunk's data is only fn's until it returns.
	Logs(ctx context.Context, id string, o LogOptions, fn func(api.LogChunk) error) error
}

// LogOptions say which logs of a job that has not ended are wanted.
type LogOptions struct {
	Follow bool   // what comes, too, until the job is terminal, and then what was certified past what was shown
	Member string // whose run: its peer id, the beginning of it, or its name; empty: whoever has written first
}

// Evidence tells of misconduct that can be proven.
type Evidence interface {
	// Evidence returns what the node holds, newest first: of a peer or a job that
	// of names, or all for an empty of.
	Evidence(ctx context.Context, of string) ([]api.Evidence, error)

	// EvidenceFile returns a piece of evidence by its id: it proves itself.
	EvidenceFile(ctx context.Context, id string) ([]byte, error)
}

// Blobs stores and reads files and folders by content.
type Blobs interface {
	// PutFile stores one file.
	PutFile(ctx context.Context, r io.Reader) (api.Blob, error)

	// PutTree stores a folder that comes as a tar stream.
	PutTree(ctx context.Context, tar io.Reader) (api.Blob, error)

	// Open reads what a CID, and a path below it, name. Path is empty or clean
	// and relative. The caller closes Content.
	Open(ctx context.Context, cid, path string) (Blob, error)

	// Block returns one block's raw bytes, so that a client can check them
	// against the CID itself.
	Block(ctx context.Context, cid string) ([]byte, error)
}

// Blob is an opened file or folder.
type Blob struct {
	CID     string
	Size    int64             // bytes
	Content io.ReadSeekCloser // nil for a folder
	Entries []api.Entry       // of a folder
}

// Network tells of peers and members.
type Network interface {
	Network(ctx context.Context) (api.Network, error)
	Peers(ctx context.Context) ([]api.Peer, error)
	Members(ctx context.Context) ([]api.Member, error)

	// Invite signs a ticket; CodeDenied where the node is no authority.
	Invite(ctx context.Context, r api.InviteRequest) (api.Ticket, error)
	// Revoke ends a member's credential, durably; CodeDenied where the node is no
	// authority, or the member is one.
	Revoke(ctx context.Context, r api.RevokeRequest) (api.Member, error)
}

// Events replays and follows what happens.
type Events interface {
	// Follow calls fn for every event after the id (empty: from now on; "0":
	// from the oldest kept) until ctx ends or fn fails. Where some after the id
	// were not kept, it says so first (api.EventGap).
	Follow(ctx context.Context, after string, fn func(api.Event) error) error
}

// Node tells of the node itself.
type Node interface {
	Node(ctx context.Context) (api.Node, error)

	// Ready reports whether submissions can be placed.
	Ready() bool

	// Stop begins an orderly end and returns at once.
	Stop(ctx context.Context) error
}
