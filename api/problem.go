package api

import (
	"context"
	"errors"
	"net/http"
	"syscall"

	"github.com/muster-network/muster/jobs"
)

// Problem is jobs.Problem on the wire (RFC 9457), with the same four parts that
// the command line shows.
type Problem struct {
	Schema    string `json:"schema"`
	Type      string `json:"type"` // about:blank: the code says more
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Code      string `json:"code"`
	Hint      string `json:"hint,omitempty"`
	Retryable bool   `json:"retryable"`
}

// ProblemOf puts any error in the form that callers are promised. What is no
// *jobs.Problem is internal, unless it is a context's end.
func ProblemOf(err error) Problem {
	p := new(jobs.Problem)
	if !errors.As(err, &p) {
		p = &jobs.Problem{Code: jobs.CodeInternal, What: "the node could not do this", Why: err.Error(),
			Try: "look into the node's log"}
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			p.What, p.Try = "the node's disk is full", "make room on it and start the node again: what was acknowledged is kept"
		}
		if errors.Is(err, context.DeadlineExceeded) {
			p = &jobs.Problem{Code: jobs.CodeTimeout, What: "the time for this request was up", Why: err.Error(), Retryable: true}
		}
	}
	return Problem{Schema: SchemaProblem, Type: "about:blank", Title: p.What, Status: Status(p.Code),
		Detail: p.Why, Code: p.Code, Hint: p.Try, Retryable: p.Retryable}
}

// Problem returns the error that p carries.
func (p Problem) Problem() *jobs.Problem {
	code := p.Code
	if code == "" {
		code = jobs.CodeInternal
	}
	return &jobs.Problem{Code: code, What: p.Title, Why: p.Detail, Try: p.Hint, Retryable: p.Retryable}
}

// Status maps a stable code to the HTTP status it travels with.
func Status(code string) int {
	switch code {
	case jobs.CodeSpecSyntax, jobs.CodeUsage:
		return http.StatusBadRequest
	case jobs.CodeSpecKey, jobs.CodeSpecValue, jobs.CodeSpecFile, jobs.CodeModule, jobs.CodeQuorum,
		jobs.CodeCertificate, jobs.CodeTicket:
		return http.StatusUnprocessableEntity
	case jobs.CodeNotFound:
		return http.StatusNotFound
	case jobs.CodeDenied:
		return http.StatusForbidden
	case jobs.CodeAmbiguous, jobs.CodeConflict, jobs.CodeNotDone:
		return http.StatusConflict
	case jobs.CodeBusy:
		return http.StatusTooManyRequests
	case jobs.CodePlaceCapacity, jobs.CodePlaceRefused, jobs.CodePlaceUnknown, jobs.CodeNodeDown, jobs.CodeNoNetwork:
		return http.StatusServiceUnavailable
	case jobs.CodeTimeout:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}
