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

func TestARetryThatIsAskedForAgainIsNotAnsweredBeforeItIsAcknowledged(t *testing.T) {
	var self atomic.Pointer[admission.Key] // whose frames to others are lost
	p := testPolicy()
	p.Accept, p.Start = 60_000, 60_000
	l := newLab(t, 4, p, func(int) node.Faults {
		return node.Faults{Lose: func(to admission.Key) bool { me := self.Load(); return me != nil && to != *me }}
	})
	n := l.nodes[0]
	f := failing(t, n)
	f.Run.Quorum.Size = 4
	first, err := n.Submit(l.ctx, f, server.SubmitOptions{Key: "key"})
	l.must(err)
	first = l.ended(n, first.ID)
	l.await("it is archived", func() bool {
		id, forgotten, err := n.Keeps(first.Request)
		return err == nil && id == first.ID && forgotten
	})
	key := n.Key()
	self.Store(&key)
	retry := func(ctx context.Context) (jobs.Job, error) { return n.Retry(ctx, first.ID) }
	unknown(t, "a retry that one member accepts", retry)
	l.await("that member has accepted", func() bool { return n.Opens() == 1 })
	unknown(t, "one that is asked for again", retry)
	if _, verdict := l.verdict(n, jobs.Job{ID: first.Request}); verdict.Job.String() != first.ID {
		t.Errorf("meanwhile its request has the outcome of %s, want %s", verdict.Job, first.ID)
	}
	if j, err := n.Job(l.ctx, first.Request); err != nil || j.ID != first.ID || j.State != jobs.Failed {
		t.Errorf("its request names %s, %s, %v", j.ID, j.State, err)
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

// running is a network of one node and a job that it runs until end is called.
func running(t *testing.T) (l *lab, j jobs.Job, end func()) {
	t.Helper()
	run := make(chan struct{})
	end = sync.OnceFunc(func() { close(run) })
	t.Cleanup(end)
	l = newLab(t, 1, testPolicy(), func(int) node.Faults {
		return node.Faults{Run: func(*exec.Result) { <-run }}
	})
	j, err := l.nodes[0].Submit(l.ctx, failing(t, l.nodes[0]), server.SubmitOptions{Key: "key"})
	l.must(err)
	return l, j, end
}

func TestASubmissionIsForgottenWhenItsOutcomeIsOnDiskAndNotBefore(t *testing.T) {
	l, j, end := running(t)
	n := l.nodes[0]
	if err := n.HearsEnd(l.ctx, j.ID); !errors.Is(err, member.ErrOpen) {
		t.Errorf("told of its end, before its own member comes to that: %v", err)
	}
	if id, err := n.Answering(j.Request); err != nil || id != j.ID {
		t.Errorf("its request is answered by %q, %v", id, err)
	}
	end()
	l.ended(n, j.ID)
	l.await("it is forgotten", func() bool {
		_, forgotten, err := n.Keeps(j.Request)
		return err == nil && forgotten
	})
}

// A charter that was withdrawn may have been started by single members: nobody was told
// that it lives, and it ends as cancelled.
func TestAnOpenJobThatWasNotAcknowledgedAnswersNoRequest(t *testing.T) {
	l, j, end := running(t)
	n := l.nodes[0]
	l.must(n.Unrecorded(l.ctx, j.ID))
	l.must(n.Withdrawn(l.ctx, j.Request))
	if shown, err := n.Job(l.ctx, j.Request); err != nil || shown.ID != j.ID {
		t.Errorf("nothing else is known, and its request names %q, %v", shown.ID, err)
	}
	next, err := n.Submit(l.ctx, failing(t, n), server.SubmitOptions{Key: "key"})
	l.must(err)
	if next.ID == j.ID {
		t.Error("it was answered with the one that is open")
	}
	end()
	l.ended(n, j.ID)
	l.ended(n, next.ID)
	if id, err := n.Answering(j.Request); err != nil || id != next.ID {
		t.Errorf("ended, its request is answered by %q, %v", id, err)
	}
}
