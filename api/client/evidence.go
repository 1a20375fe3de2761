package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

// Evidence returns the misconduct that the node says it can prove, newest first:
// that of a peer (id or name), that in a job, or, for an empty of, all of it.
func (c *Client) Evidence(ctx context.Context, of string) (list api.EvidenceList, err error) {
	r := request{method: http.MethodGet, path: api.PathEvidence}
	if of != "" {
		r.query = url.Values{"of": {of}}
	}
	return list, c.call(ctx, r, &list)
}

// Proven is evidence that verified.
type Proven struct {
	Bytes   []byte
	Finding consensus.Finding
}

// EvidenceFile fetches a piece of evidence by its id and verifies it.
func (c *Client) EvidenceFile(ctx context.Context, id string) (Proven, error) {
	genesis, err := c.Genesis(ctx)
	if err != nil {
		return Proven{}, err
	}
	body, err := c.send(ctx, request{method: http.MethodGet, path: api.PathEvidence + "/" + url.PathEscape(id)})
	if err != nil {
		return Proven{}, err
	}
	defer func() { _ = body.Close() }()
	data, err := io.ReadAll(io.LimitReader(body, consensus.MaxEvidence+1))
	if err != nil {
		return Proven{}, c.unreachable(ctx, err)
	}
	if got := consensus.EvidenceID(data).String(); got != id {
		return Proven{}, unproven(fmt.Errorf("it is %s", got))
	}
	f, err := VerifyEvidence(data, genesis)
	return Proven{Bytes: data, Finding: f}, err
}

// IsEvidence reports whether data has the form of evidence, valid or not.
func IsEvidence(data []byte) bool {
	_, err := consensus.OpenEvidence(data)
	return err == nil
}

// VerifyEvidence checks evidence given only a genesis: no network, no clock, no
// state. What convicts nobody is a *jobs.Problem with CodeCertificate.
func VerifyEvidence(evidence, genesis []byte) (consensus.Finding, error) {
	e, err := consensus.OpenEvidence(evidence)
	if err != nil {
		return consensus.Finding{}, unproven(err)
	}
	f, err := e.Verify(genesis)
	if err != nil {
		return consensus.Finding{}, unproven(err)
	}
	return f, nil
}

func unproven(err error) error {
	return &jobs.Problem{Code: jobs.CodeCertificate, What: "the evidence proves nothing", Why: err.Error(),
		Try: "hold it against nobody"}
}
