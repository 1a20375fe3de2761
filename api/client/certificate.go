package client

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

// Certified is a certificate that verified.
type Certified struct {
	Bytes   []byte
	Verdict consensus.Verdict
}

// Result returns the CID of the result tree, and whether there is one: of
// results, and of failures that all runs share.
func (c Certified) Result() (string, bool) {
	if c.Verdict.Value.Tree == nil {
		return "", false
	}
	return c.Verdict.Value.Tree.String(), true
}

// Certificate fetches the certificate of a job and verifies it against the
// genesis: it must be about the job that the id names, whatever the node says.
func (c *Client) Certificate(ctx context.Context, id string) (Certified, error) {
	genesis, err := c.Genesis(ctx)
	if err != nil {
		return Certified{}, err
	}
	body, err := c.send(ctx, request{method: http.MethodGet, path: jobPath(id) + "/certificate"})
	if err != nil {
		return Certified{}, err
	}
	defer func() { _ = body.Close() }()
	data, err := io.ReadAll(io.LimitReader(body, consensus.MaxCertificate+1))
	if err != nil {
		return Certified{}, c.unreachable(ctx, err)
	}
	verdict, err := Verify(data, genesis)
	if err != nil {
		return Certified{}, c.strange(ctx, genesis, err)
	}
	cert := Certified{Bytes: data, Verdict: verdict}
	if err := cert.isNamed(id); err != nil {
		return Certified{}, err
	}
	return cert, nil
}

// strange says more of a certificate that is not valid here when the node is
// of another network.
func (c *Client) strange(ctx context.Context, genesis []byte, err error) error {
	n, failed := c.Network(ctx)
	if failed != nil || bytes.Equal(n.Genesis, genesis) {
		return err
	}
	return &jobs.Problem{Code: jobs.CodeCertificate, What: "the node is of another network than this machine", Why: err.Error(),
		Try: "--home DIR, with a folder of that network"}
}

// Verify checks a certificate's bytes, given only a genesis: no network, no
// clock, no state. An invalid one is a *jobs.Problem with CodeCertificate.
func Verify(certificate, genesis []byte) (consensus.Verdict, error) {
	cert, err := consensus.OpenCertificate(certificate)
	if err != nil {
		return consensus.Verdict{}, invalid(err)
	}
	verdict, err := cert.Verify(genesis)
	if err != nil {
		return consensus.Verdict{}, invalid(err)
	}
	return verdict, nil
}

func invalid(err error) error {
	return &jobs.Problem{Code: jobs.CodeCertificate, What: "the certificate is not valid", Why: err.Error(),
		Try: "trust nothing that it says; ask another peer for the job's certificate"}
}

// Genesis returns what certificates are verified with: the configured genesis,
// else the node's, asked for once.
func (c *Client) Genesis(ctx context.Context) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.genesis != nil {
		return c.genesis, nil
	}
	var n api.Network
	if err := c.get(ctx, api.PathNetwork, &n); err != nil {
		return nil, err
	}
	c.genesis = n.Genesis
	return c.genesis, nil
}

// Bundle fetches the one-file bundle of a certificate's job, as it is: at most what
// a node may write into one for this charter.
func (c *Client) Bundle(ctx context.Context, cert Certified) ([]byte, error) {
	body, err := c.send(ctx, request{method: http.MethodGet, path: jobPath(cert.Verdict.Job.String()) + "/bundle"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	output := min(api.MaxBundleOutput, cert.Verdict.Charter.Limits.Output)
	data, err := io.ReadAll(&bounded{in: body, left: api.MaxBundle - api.MaxBundleOutput + int64(output)})
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	return data, nil
}
