package api_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
)

func TestProblemsComeBackAsTheyWent(t *testing.T) {
	want := jobs.Problem{Code: jobs.CodePlaceRefused, What: "what", Why: "why", Try: "try", Retryable: true}
	sent := api.ProblemOf(fmt.Errorf("submit: %w", &want))
	if got := sent.Problem(); *got != want || sent.Status != 503 {
		t.Errorf("%+v", sent)
	}
}

func TestOtherErrorsAreInternalOrOutOfTime(t *testing.T) {
	if p := api.ProblemOf(errors.New("disk on fire")); p.Code != jobs.CodeInternal || p.Status != 500 || p.Detail != "disk on fire" {
		t.Errorf("%+v", p)
	}
	if p := api.ProblemOf(&fs.PathError{Op: "write", Path: "blocks/7", Err: syscall.ENOSPC}); p.Title != "the node's disk is full" || p.Detail != "write blocks/7: no space left on device" || p.Hint == "" {
		t.Errorf("%+v", p)
	}
	if p := api.ProblemOf(fmt.Errorf("ask: %w", context.DeadlineExceeded)); p.Code != jobs.CodeTimeout || p.Status != 504 || !p.Retryable {
		t.Errorf("%+v", p)
	}
	if p := (api.Problem{Title: "from an older node"}).Problem(); p.Code != jobs.CodeInternal {
		t.Errorf("%+v", p)
	}
}
