package node

import (
	"context"
	"errors"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/runner"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/stream"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
)

// Faults are what a test puts in the way of a node. Nil: nothing.
type Faults struct {
	Run   func(*exec.Result)                                    // changes how runs end
	Lose  func(to admission.Key) bool                           // frames that do not arrive
	Fetch func(ctx context.Context, from []admission.Key) error // comes before a tree is fetched
}

// OpenWith is Open with faults.
func OpenWith(cfg Config, f Faults) (*Node, error) {
	return open(cfg, func(n *Node) {
		if f.Run != nil {
			n.executor = faultyExecutor{n.executor, f.Run}
		}
		if f.Lose != nil {
			n.transport = faultyTransport{n.transport, f.Lose}
		}
		if f.Fetch != nil {
			n.fetcher = faultyFetcher{n.fetcher, f.Fetch}
		}
	})
}

type faultyExecutor struct {
	exec.Executor
	change func(*exec.Result)
}

func (e faultyExecutor) Run(ctx context.Context, req exec.Request) (exec.Result, error) {
	r, err := e.Executor.Run(ctx, req)
	if err == nil {
		e.change(&r)
	}
	return r, err
}

type faultyTransport struct {
	runner.Transport
	lose func(admission.Key) bool
}

func (t faultyTransport) Send(to admission.Key, frame []byte) {
	if !t.lose(to) {
		t.Transport.Send(to, frame)
	}
}

type faultyFetcher struct {
	member.Fetcher
	before func(context.Context, []admission.Key) error
}

func (f faultyFetcher) Fetch(ctx context.Context, root cid.Cid, from []admission.Key, bytes int64) error {
	if err := f.before(ctx, from); err != nil {
		return err
	}
	return f.Fetcher.Fetch(ctx, root, from, bytes)
}

// Key is who the node is.
func (n *Node) Key() admission.Key { return n.home.identity.Signer.Key() }

// OpenRecords counts what the journal holds of open jobs.
func (n *Node) OpenRecords() (count int, err error) {
	for _, prefix := range []string{"c/", "r/"} {
		err := n.journal.Scan([]byte(prefix), nil, func([]byte, []byte) (bool, error) {
			count++
			return true, nil
		})
		if err != nil {
			return count, err
		}
	}
	return count, nil
}

// Keeps returns the job that this node itself has the outcome of under a request id,
// and whether its submission is forgotten.
func (n *Node) Keeps(request string) (id string, forgotten bool, err error) {
	r, ok := parseRequest(request)
	if !ok {
		return "", false, errors.New("no request id")
	}
	job, ok, err := n.archive.Own(r, n.Key())
	if err != nil || !ok {
		return "", false, err
	}
	_, outstanding, err := n.submitter.Outstanding(r)
	return job.String(), !outstanding, err
}

// Withdrawn leaves in this node's index what a charter leaves there that was issued
// after the job of a request, accepted here, and withdrawn.
func (n *Node) Withdrawn(ctx context.Context, request string) error {
	r, ok := parseRequest(request)
	if !ok {
		return errors.New("no request id")
	}
	var later []byte
	err := n.journal.Scan(append([]byte("q/"), r[:]...), nil, func(key, _ []byte) (bool, error) {
		later = append(later, key...)
		return false, nil
	})
	if err != nil {
		return err
	}
	later[len(later)-33]-- // of the time, which is inverted
	later[len(later)-1]++  // of the job
	return n.journal.Append(ctx, journal.Entry{Key: later})
}

// Opens counts the jobs that are open here.
func (n *Node) Opens() int { return len(n.member.Open()) }

// HearsEnd has the node take in the word that a job of its own has ended, which is
// open here.
func (n *Node) HearsEnd(ctx context.Context, id string) error {
	job, _ := parseJob(id)
	open, ok := n.member.Job(job)
	if !ok {
		return errors.New("it is not open")
	}
	return n.archiveSubmitted(ctx, consensus.Offer{Charter: open.Signed}, open.Charter, job, consensus.Conclusion{})
}

// Unrecorded removes the submission's record of a job that is open here, as if it had
// been withdrawn and lapsed.
func (n *Node) Unrecorded(ctx context.Context, id string) error {
	job, _ := parseJob(id)
	open, ok := n.member.Job(job)
	if !ok {
		return errors.New("it is not open")
	}
	return n.submitter.Forget(ctx, open.Charter.Request, job)
}

// Answering returns the job that a submission under a request id is answered with.
func (n *Node) Answering(request string) (string, error) {
	r, _ := parseRequest(request)
	a, ok, err := n.answering(r)
	if err != nil || !ok {
		return "", err
	}
	return a.Job.String(), nil
}

// DoubleVote is evidence that the node prepared two values.
func (n *Node) DoubleVote() (*consensus.Evidence, error) {
	s := consensus.Statement{Kind: consensus.KindPrepare, Network: n.home.network, Job: consensus.JobID{1}, Previous: consensus.Hash{1},
		Sender: n.Key(), Incarnation: n.incarnation}
	var signed [2]consensus.Signed
	for i := range signed {
		s.Value = consensus.Hash{byte(i)}
		leaf, err := s.Leaf()
		if err != nil {
			return nil, err
		}
		batch, err := consensus.NewBatch([][]byte{leaf})
		if err != nil {
			return nil, err
		}
		header, err := consensus.BatchHeader(n.home.network, n.incarnation, 1, batch.Root())
		if err != nil {
			return nil, err
		}
		signed[i] = consensus.Signed{Statement: s, Proof: consensus.Proof{Count: 1, Path: batch.Path(0), Signature: n.home.identity.Signer.Sign(header)}}
	}
	return consensus.NewEquivocation(n.home.credential, signed[0], signed[1])
}

// Accuse is what a member does that comes by evidence.
func (n *Node) Accuse(e *consensus.Evidence) { n.accuse(e) }

// Bars reports whether a node is not drawn by this one any more.
func (n *Node) Bars(key admission.Key) bool { return n.misconduct.bars(key) }

// Claim has the node end a job alone, at once, under any request id, like the job of
// a certificate in the rest. It keeps the certificate, which verifies, and returns it.
func (n *Node) Claim(ctx context.Context, like []byte, request consensus.RequestID, change func(*consensus.Charter)) (*member.Closed, error) {
	opened, err := consensus.OpenCertificate(like)
	if err != nil {
		return nil, err
	}
	verdict, err := opened.Verify(n.home.genesis)
	if err != nil {
		return nil, err
	}
	c := *verdict.Charter
	c.Request, c.Owner, c.Submitter, c.Issued = request, n.Key(), n.Key(), c.Issued+1
	c.Fault, c.F, c.Runners, c.Replace, c.Assurance = consensus.Byzantine, 0, 1, 0, consensus.Single
	c.Roster, c.Reserves = []consensus.Seat{{Peer: n.Key(), Incarnation: n.incarnation}}, nil
	change(&c)
	signed, id, err := consensus.SignCharter(n.home.network, &c, n.home.identity.Signer)
	if err != nil {
		return nil, err
	}
	at := consensus.FirstHeight(n.home.network, id, &c)
	hash, err := verdict.Value.Hash(n.home.network)
	if err != nil {
		return nil, err
	}
	commit, err := n.proofs(at.Statement(consensus.KindCommit, 0, 0, hash))
	if err != nil {
		return nil, err
	}
	outcome := consensus.Decision{Value: verdict.Value, Commits: consensus.VoteSet{Value: hash, Votes: []consensus.Vote{{Proof: commit[0]}}}}
	known := func(admission.Key) (admission.SignedCredential, bool) { return n.home.credential, true }
	certificate, err := consensus.Assemble(signed, &c, known, nil, outcome)
	if err != nil {
		return nil, err
	}
	data, err := certificate.Encode()
	if err != nil {
		return nil, err
	}
	closed := &member.Closed{Certificate: data, Finished: n.clock(), Name: "claimed", Labels: map[string]string{}, Seats: []member.Seat{{}}}
	f, err := n.foundClosed(closed, "")
	if err != nil {
		return nil, err
	}
	return closed, n.member.Keep(ctx, *f.verdict, *closed)
}

// Bring asks another node to keep what this one tells of a job that ended.
func (n *Node) Bring(ctx context.Context, to *Node, closed *member.Closed) error {
	data, err := dagcbor.Marshal(closed)
	if err != nil {
		return err
	}
	_, err = n.ask(ctx, to.home.identity.Peer, question{Op: opKeep, Data: data})
	return err
}

// Named returns the job that the node names to another one under a request id.
func (n *Node) Named(ctx context.Context, to *Node, request string) (jobs.Job, error) {
	id, _ := parseRequest(request)
	ref := reference{text: request, request: id}
	f, err := to.askJob(ctx, n.Key(), question{Op: opRequest, ID: id[:]}, ref)
	if err != nil || f == nil {
		return jobs.Job{}, errors.Join(err, errors.New("nothing is named"))
	}
	return f.job, nil
}

func (n *Node) proofs(statements ...consensus.Statement) ([]consensus.Proof, error) {
	leaves := make([][]byte, len(statements))
	for i, s := range statements {
		leaf, err := s.Leaf()
		if err != nil {
			return nil, err
		}
		leaves[i] = leaf
	}
	batch, err := consensus.NewBatch(leaves)
	if err != nil {
		return nil, err
	}
	header, err := consensus.BatchHeader(n.home.network, n.incarnation, uint64(len(leaves)), batch.Root())
	if err != nil {
		return nil, err
	}
	signature := n.home.identity.Signer.Sign(header)
	proofs := make([]consensus.Proof, len(leaves))
	for i := range proofs {
		proofs[i] = consensus.Proof{Count: uint64(len(leaves)), Index: uint64(i), Path: batch.Path(i), Signature: signature}
	}
	return proofs, nil
}

// Silence has the node answer no question about a job until a channel closes; each
// is told of.
func (n *Node) Silence(ctx context.Context, asked chan<- struct{}, until <-chan struct{}) {
	answer := func(ctx context.Context, from peer.ID, request []byte) ([]byte, error) {
		var q question
		if err := dagcbor.Unmarshal(request, &q); err != nil || q.Op != opJob {
			return n.answer(ctx, from, request)
		}
		asked <- struct{}{}
		<-until
		return nil, errors.New("silent")
	}
	go func() {
		_ = stream.Serve(ctx, n.p2p.Host, p2p.Protocol(n.home.network, "ask"), stream.Limits{Request: 256 << 10}, answer)
	}()
}

// AskLogs asks a node for what its run of a job has written after the first chunks,
// which hold as many bytes of stdout and none of stderr.
func AskLogs(ctx context.Context, n, of *Node, id string, chunks int, stdout uint64) error {
	job, err := consensus.ParseJobID(id)
	if err != nil {
		return err
	}
	_, err = n.ask(ctx, of.Key().Peer(), question{Op: opLogs, ID: job[:], At: uint64(chunks), Data: encodeLength(member.LogLength{Stdout: stdout})})
	return err
}
