package node_test

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
	"github.com/muster-network/muster/node"
)

// failing is a job that one member runs, and that fails.
func failing(t *testing.T, n *node.Node) *jobs.File {
	t.Helper()
	blob, err := n.PutFile(t.Context(), bytes.NewReader(asm.Program{Pages: 1, Code: asm.Join(asm.Unreachable)}.Module()))
	if err != nil {
		t.Fatal(err)
	}
	f := jobs.FileFor("cid:"+blob.CID, nil)
	f.Run.Quorum.Size = 1
	return f
}

// verdict returns the certificate of a job that ended, and what it says.
func (l *lab) verdict(n *node.Node, j jobs.Job) ([]byte, consensus.Verdict) {
	l.t.Helper()
	data, err := n.Certificate(l.ctx, j.ID)
	l.must(err)
	network, err := n.Network(l.ctx)
	l.must(err)
	certificate, err := consensus.OpenCertificate(data)
	l.must(err)
	verdict, err := certificate.Verify(network.Genesis)
	l.must(err)
	return data, verdict
}

// Whoever has read a job's certificate knows its request id, and can certify a job
// of its own under it, alone: that one is nobody else's.
func TestAFailedJobIsRetriedThoughAnotherClaimsItsRequest(t *testing.T) {
	l := newLab(t, 2, testPolicy(), func(int) node.Faults { return node.Faults{} })
	owner, thief := l.nodes[0], l.nodes[1]
	j, err := owner.Submit(l.ctx, failing(t, owner), server.SubmitOptions{Key: "key"})
	l.must(err)
	if j = l.ended(owner, j.ID); j.State != jobs.Failed {
		t.Fatalf("%+v", j)
	}
	data, verdict := l.verdict(owner, j)
	closed, err := thief.Claim(l.ctx, data, verdict.Charter.Request, func(*consensus.Charter) {})
	l.must(err)
	l.must(thief.Bring(l.ctx, owner, closed))
	next, err := owner.Retry(l.ctx, j.ID)
	l.must(err)
	if next.Supersedes != j.ID || next.Owner != owner.Key().String() {
		t.Errorf("in its place there is %+v", next)
	}
	l.ended(owner, next.ID)
}

func TestAFailedJobStandsUnderItsKeyThoughItsRetryWasWithdrawn(t *testing.T) {
	l := newLab(t, 1, testPolicy(), func(int) node.Faults { return node.Faults{} })
	n := l.nodes[0]
	f := failing(t, n)
	first, err := n.Submit(l.ctx, f, server.SubmitOptions{Key: "key"})
	l.must(err)
	first = l.ended(n, first.ID)
	l.must(n.Withdrawn(l.ctx, first.Request))
	again, err := n.Submit(l.ctx, f, server.SubmitOptions{Key: "key"})
	l.must(err)
	found, err := n.Job(l.ctx, first.Request)
	l.must(err)
	if again.ID != first.ID || found.ID != first.ID {
		t.Errorf("job %s; submitted again it is %s, by its request id %s", first.ID, again.ID, found.ID)
	}
	next, err := n.Retry(l.ctx, first.ID)
	l.must(err)
	if next.Supersedes != first.ID {
		t.Errorf("retried, it supersedes %q", next.Supersedes)
	}
	l.ended(n, next.ID)
}

func TestARequestIsItsOwnersWhateverOthersCertifyUnderIt(t *testing.T) {
	l := newLab(t, 3, testPolicy(), func(int) node.Faults { return node.Faults{} })
	owner, thief, other := l.nodes[0], l.nodes[1], l.nodes[2]
	submit := func(key string) jobs.Job {
		t.Helper()
		j, err := owner.Submit(l.ctx, hello("Ada", 1), server.SubmitOptions{Key: key})
		l.must(err)
		return l.ended(owner, j.ID)
	}
	first := submit("first")
	data, verdict := l.verdict(owner, first)
	guessed, err := consensus.NewRequestID(verdict.Network, owner.Key(), "second")
	l.must(err)

	var claimed []jobs.Job
	for _, request := range []consensus.RequestID{verdict.Charter.Request, guessed} {
		closed, err := thief.Claim(l.ctx, data, request, func(*consensus.Charter) {})
		l.must(err)
		l.must(thief.Bring(l.ctx, owner, closed))
		l.must(thief.Bring(l.ctx, other, closed))
		j, err := thief.Job(l.ctx, request.String())
		l.must(err)
		claimed = append(claimed, j)
	}
	if claimed[0].Owner != thief.Key().String() || claimed[0].Request != first.Request || claimed[0].ID == first.ID {
		t.Fatalf("the thief has %+v", claimed[0])
	}
	if j, err := owner.Job(l.ctx, claimed[0].ID); err != nil || j.State != jobs.Succeeded {
		t.Fatalf("the owner was not brought the claim: %v", err) // so nothing would be shown
	}
	if j := submit("first"); j.ID != first.ID {
		t.Errorf("submitted again it is job %s of %s, want %s", j.ID, j.Owner, first.ID)
	}
	second := submit("second")
	if second.Owner != owner.Key().String() || second.Request != guessed.String() {
		t.Errorf("a key that was guessed comes to job %s of %s", second.ID, second.Owner)
	}
	for i, own := range []jobs.Job{first, second} {
		if j, err := owner.Job(l.ctx, own.Request); err != nil || j.ID != own.ID {
			t.Errorf("its request id names job %s of %s, %v", j.ID, j.Owner, err)
		}
		for who, want := range map[*node.Node]jobs.Job{owner: own, thief: claimed[i]} {
			if j, err := other.Named(l.ctx, who, own.Request); err != nil || j.ID != want.ID || j.Owner != want.Owner {
				t.Errorf("to the owner of %s another node names %s of %s, %v", want.ID, j.ID, j.Owner, err)
			}
		}
		if j, err := other.Job(l.ctx, own.Request); err != nil || !slices.Contains([]string{own.ID, claimed[i].ID}, j.ID) || j.Owner == "" {
			t.Errorf("elsewhere it names %+v, %v", j, err)
		}
	}
}

// Whoever waits asks peers, and one of them does not answer. That the job has ended
// comes to this node meanwhile, before the one who waits gives up or just after.
func TestWhoWaitsIsToldOfAnEndThatComesWhileAPeerIsSilent(t *testing.T) {
	l := newLab(t, 2, testPolicy(), func(int) node.Faults { return node.Faults{} })
	silent, waiter := l.nodes[0], l.nodes[1]
	j, err := silent.Submit(l.ctx, hello("Ada", 1), server.SubmitOptions{})
	l.must(err)
	data, _ := l.verdict(silent, l.ended(silent, j.ID))
	network, err := silent.Network(l.ctx)
	l.must(err)

	asked, until := make(chan struct{}, 1024), make(chan struct{})
	defer close(until)
	silent.Silence(l.ctx, asked, until)
	for round := range 21 { // which of two events is seen first is chance
		closed, err := silent.Claim(l.ctx, data, consensus.RequestID{byte(round)}, func(*consensus.Charter) {})
		l.must(err)
		certificate, err := consensus.OpenCertificate(closed.Certificate)
		l.must(err)
		verdict, err := certificate.Verify(network.Genesis)
		l.must(err)
		ctx, giveUp := context.WithCancel(l.ctx)
		var waited jobs.Job
		told := make(chan error, 1)
		go func() {
			var err error
			waited, err = waiter.Wait(ctx, verdict.Job.String())
			told <- err
		}()
		select {
		case <-asked:
		case err := <-told:
			t.Fatalf("it is told without asking: %+v, %v", waited, err)
		case <-l.ctx.Done():
			t.Fatal("nobody is asked")
		}
		if round > 0 {
			giveUp()
		}
		l.must(silent.Bring(l.ctx, waiter, closed))
		if err := <-told; err != nil || waited.ID != verdict.Job.String() || waited.State != jobs.Succeeded {
			t.Fatalf("round %d: %+v, %v", round, waited, err)
		}
		giveUp()
		until <- struct{}{}
	}
}
