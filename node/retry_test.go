package node_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/node"
)

// unknown asks for something that does not come to be acknowledged, and returns when
// that goes on without the caller.
func unknown(t *testing.T, what string, ask func(context.Context) (jobs.Job, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	j, err := ask(ctx)
	if p := new(jobs.Problem); !errors.As(err, &p) || p.Code != jobs.CodePlaceUnknown {
		t.Errorf("%s is answered %s, %v", what, j.ID, err)
	}
}

func TestTheEndOfARetriedJobIsOnDiskBeforeAnotherTakesItsPlace(t *testing.T) {
	var lost atomic.Pointer[admission.Key]
	p := testPolicy()
	p.NoSubmitter = true
	run := make(chan struct{})
	end := sync.OnceFunc(func() { close(run) })
	t.Cleanup(end)
	l := newLab(t, 2, p, func(int) node.Faults {
		return node.Faults{Run: func(*exec.Result) { <-run },
			Lose: func(to admission.Key) bool { key := lost.Load(); return key != nil && to == *key }}
	})
	n := l.nodes[0]
	j, err := n.Submit(l.ctx, failing(t, n), server.SubmitOptions{Key: "key"})
	l.must(err)
	key := n.Key()
	lost.Store(&key)
	end()
	l.ended(l.nodes[1], j.ID)
	unknown(t, "a retry whose members are not heard", func(ctx context.Context) (jobs.Job, error) { return n.Retry(ctx, j.ID) })
	if id, _, err := n.Keeps(j.Request); err != nil || id != j.ID {
		t.Errorf("on disk is the end of %q, %v", id, err)
	}
}

func TestASubmissionIsForgottenWhenItsOutcomeIsOnDiskAndNotBefore(t *testing.T) {
	run := make(chan struct{})
	end := sync.OnceFunc(func() { close(run) })
	t.Cleanup(end)
	l := newLab(t, 1, testPolicy(), func(int) node.Faults {
		return node.Faults{Run: func(*exec.Result) { <-run }}
	})
	n := l.nodes[0]
	j, err := n.Submit(l.ctx, failing(t, n), server.SubmitOptions{Key: "key"})
	l.must(err)
	if err := n.HearsEnd(l.ctx, j.ID); !errors.Is(err, member.ErrOpen) {
		t.Errorf("told of its end, before its own member comes to that: %v", err)
	}
	end()
	l.ended(n, j.ID)
	l.await("it is forgotten", func() bool {
		_, forgotten, err := n.Keeps(j.Request)
		return err == nil && forgotten
	})
}
