package node

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/exchange"
	"github.com/muster-network/muster/store/tree"
)

func TestABlobThatThisNodesDiskCannotReadIsNotSaidToBeMissing(t *testing.T) {
	for _, c := range []struct {
		err  error
		code string
	}{
		{fmt.Errorf("fetch x: %w within 10s", exchange.ErrUnavailable), jobs.CodeNotFound},
		{fmt.Errorf("fetch x: %w", tree.ErrLimit), jobs.CodeUsage},
		{fmt.Errorf("fetch x: %w", tree.ErrInvalid), jobs.CodeUsage},
	} {
		var p *jobs.Problem
		if err := missingBlob("x", c.err); !errors.As(err, &p) || p.Code != c.code || p.Retryable != (c.code == jobs.CodeNotFound) {
			t.Errorf("%v is said as %v, want %s", c.err, err, c.code)
		}
	}
	broken := fmt.Errorf("fetch x: %w", &fs.PathError{Op: "read", Path: "blocks/x", Err: syscall.EIO})
	var p *jobs.Problem
	if err := missingBlob("x", broken); !errors.Is(err, syscall.EIO) || errors.As(err, &p) {
		t.Errorf("%v is said as %v", broken, err)
	}
}
