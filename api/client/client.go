// Package client is the Go SDK of a muster node's API. It trusts the node for
// convenience only: certificates are verified here, against a genesis, and
// result bytes are checked block by block against the certified CID.
//
// Errors that a person is meant to read are *jobs.Problem. A Client is safe for
// concurrent use; methods block until the node has answered or ctx ends.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
)

// Config says which node to talk to.
type Config struct {
	Address string // unix:/path/to/socket, http://host:port or https://host:port
	Token   string // for TCP
	Genesis []byte // to verify certificates with; nil: what the node names its network's
}

// Client talks to one node.
type Client struct {
	address string
	base    string
	token   string
	http    *http.Client

	mu      sync.Mutex
	genesis []byte
}

// New makes a client. It connects when it is first used.
func New(c Config) (*Client, error) {
	client := &Client{address: c.Address, base: c.Address, token: c.Token, genesis: c.Genesis}
	transport := &http.Transport{DisableCompression: true, MaxIdleConns: 64, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}
	client.http = &http.Client{Transport: transport}
	switch scheme, rest, _ := strings.Cut(c.Address, ":"); scheme {
	case "unix":
		client.base = "http://muster"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", rest)
		}
	case "http", "https":
		client.base = strings.TrimSuffix(c.Address, "/")
	default:
		return nil, &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("%q is no address of a node", c.Address),
			Try: "unix:/path/to/muster.sock or http://127.0.0.1:7420"}
	}
	return client, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Node tells of the node that answers.
func (c *Client) Node(ctx context.Context) (n api.Node, err error) {
	return n, c.get(ctx, api.PathNode, &n)
}

// Network tells of the node's network.
func (c *Client) Network(ctx context.Context) (n api.Network, err error) {
	return n, c.get(ctx, api.PathNetwork, &n)
}

// Peers returns the other nodes as this one sees them.
func (c *Client) Peers(ctx context.Context) (p api.Peers, err error) {
	return p, c.get(ctx, api.PathPeers, &p)
}

// Members returns who has a credential.
func (c *Client) Members(ctx context.Context) (m api.Members, err error) {
	return m, c.get(ctx, api.PathMembers, &m)
}

// Revoke asks the node, an authority, to end a member's credential, for good. It
// returns when the revocation is durable there.
func (c *Client) Revoke(ctx context.Context, r api.RevokeRequest) (m api.Member, err error) {
	r.Schema = api.SchemaRevoke
	return m, c.post(ctx, api.PathRevocations, r, &m)
}

// Invite asks the node, an authority, to sign a ticket.
func (c *Client) Invite(ctx context.Context, r api.InviteRequest) (t api.Ticket, err error) {
	r.Schema = api.SchemaInvite
	return t, c.post(ctx, api.PathInvites, r, &t)
}

// Stop asks the node to end in order. It returns when the node has agreed to.
func (c *Client) Stop(ctx context.Context) error {
	var h api.Health
	return c.call(ctx, request{method: http.MethodPost, path: api.PathStop}, &h)
}

type request struct {
	method, path string
	query        url.Values
	body         io.Reader
	mediaType    string // of the body
	accept       string
	key          string // idempotency
}

func (c *Client) get(ctx context.Context, path string, out any) error {
	return c.call(ctx, request{method: http.MethodGet, path: path}, out)
}

// post sends in as JSON and decodes the JSON answer into out.
func (c *Client) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return c.call(ctx, request{method: http.MethodPost, path: path, body: bytes.NewReader(body), mediaType: api.TypeJSON}, out)
}

// call sends a request and decodes the JSON answer into out.
func (c *Client) call(ctx context.Context, r request, out any) error {
	body, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	data, err := io.ReadAll(&bounded{in: body, left: maxAnswer})
	if err != nil {
		return c.unreachable(ctx, err)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return c.unreachable(ctx, fmt.Errorf("decode the answer of %s: %w", r.path, err))
	}
	return nil
}

// Bounds of JSON that a node may make a client hold, in bytes: one answer, and one
// value of a stream. No honest node comes near them: the longest answers are a page
// of 1,000 jobs and the lists of members, peers and evidence, the longest value of a
// stream is a chunk of a log, of 64 KiB in base64.
const (
	maxAnswer = 128 << 20
	maxValue  = 4 << 20
)

// bounded reads as many bytes as are left, and is at the end with them or fails.
type bounded struct {
	in   io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.in.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return 0, &jobs.Problem{Code: jobs.CodeInternal, What: "the node's answer does not end",
			Why: "it is longer than any node of this version makes it", Try: "ask another peer"}
	}
	return n, err
}

// send sends a request and returns the body of a good answer.
func (c *Client) send(ctx context.Context, r request) (io.ReadCloser, error) {
	target := c.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	q, err := http.NewRequestWithContext(ctx, r.method, target, r.body)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"Content-Type": r.mediaType, "Accept": r.accept, api.HeaderKey: r.key} {
		if value != "" {
			q.Header.Set(name, value)
		}
	}
	if c.token != "" {
		q.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.http.Do(q)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if answer.StatusCode < 300 {
		return answer.Body, nil
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	return nil, problemOf(answer, data)
}

func problemOf(answer *http.Response, data []byte) error {
	var p api.Problem
	if strings.HasPrefix(answer.Header.Get("Content-Type"), api.TypeProblem) && json.Unmarshal(data, &p) == nil {
		return p.Problem()
	}
	return &jobs.Problem{Code: jobs.CodeInternal, What: "the node answered " + answer.Status,
		Why: fmt.Sprintf("%.200q", data), Try: "is this a muster node of the same version?"}
}

// unreachable says why no answer came. The end of ctx is told as it is, and an
// error that a body's reader made stands for itself.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("ask %s: %w", c.address, context.Cause(ctx))
	}
	if own := new(jobs.Problem); errors.As(err, &own) {
		return own
	}
	p := &jobs.Problem{Code: jobs.CodeNodeDown, What: "cannot reach a node at " + strings.TrimPrefix(c.address, "unix:"),
		Why: plain(err), Try: "muster node start", Retryable: true}
	unix := strings.HasPrefix(c.address, "unix:")
	switch {
	case unix && errors.Is(err, fs.ErrNotExist):
		p.Why = "there is no socket; no node runs for this user"
	case unix && errors.Is(err, syscall.ECONNREFUSED):
		p.Why = "the socket is left over; no process owns it"
	case errors.Is(err, syscall.ECONNREFUSED):
		p.Why = "nothing listens there"
	case errors.Is(err, os.ErrPermission):
		p.Why = "the socket belongs to another user"
		p.Try = "run muster as that user, or use --api with a token"
		p.Code = jobs.CodeDenied
		p.Retryable = false
	}
	return p
}

// plain drops what net/http puts before an error.
func plain(err error) string {
	if u := new(url.Error); errors.As(err, &u) {
		err = u.Err
	}
	return err.Error()
}
