package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/jobs/submitter"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/stream"
	"github.com/muster-network/muster/store/dagcbor"
)

// question is what peers ask each other outside of any job's agreement.
type question struct {
	_    struct{} `cbor:",toarray"`
	Op   string
	ID   []byte // of a job or a request; a credential's subject
	At   uint64 // position in logs
	Data []byte // what is to be kept, or is known already: of logs, how much of each stream
}

// The questions.
const (
	opAdverts = "adverts" // the adverts you have heard
	opJob     = "job"     // what you know of a job, by job id
	opRequest = "request" // the same, by request id
	opKeep    = "keep"    // keep this certificate: you rank for its job
	opLogs    = "logs"    // what your runs of a job have written
	opCancel  = "cancel"  // a signed wish that a job end

	opRevoked  = "revoked"  // whose credentials were revoked, after a subject, unless it is those of this digest
	opEvidence = "evidence" // whom you have evidence against, unless it is those of this digest
	opMisdeeds = "misdeeds" // the evidence that you have of a job, by job id
)

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 2 << 20

func (n *Node) ask(ctx context.Context, to peer.ID, q question) ([]byte, error) {
	data, err := dagcbor.Marshal(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return stream.Ask(ctx, n.p2p.Host, to, p2p.Protocol(n.home.network, "ask"), data, maxAnswer)
}

// askTimeout bounds one question.
const askTimeout = 5 * time.Second

// answer answers a peer's question.
func (n *Node) answer(ctx context.Context, from peer.ID, request []byte) ([]byte, error) {
	var q question
	if err := dagcbor.Unmarshal(request, &q); err != nil {
		return nil, err
	}
	switch q.Op {
	case opAdverts:
		return n.answerAdverts()
	case opJob, opRequest:
		if len(q.ID) != 32 {
			return nil, errors.New("an id has 32 bytes")
		}
		id := consensus.JobID(q.ID)
		if q.Op == opRequest {
			var ok bool
			var err error
			if id, ok, err = n.archive.Request(consensus.RequestID(q.ID), keyOf(from)); err != nil || !ok {
				return dagcbor.Marshal(told{})
			}
		}
		return n.answerJob(ctx, id)
	case opKeep:
		return nil, n.keep(ctx, keyOf(from), q.Data)
	case opLogs:
		return n.answerLogs(ctx, q)
	case opCancel:
		return nil, n.takeCancel(ctx, q.Data)
	case opEvidence:
		return n.answerEvidence(q.Data)
	case opMisdeeds:
		return n.answerMisdeeds(q.ID)
	case opRevoked:
		return n.answerRevoked(q)
	}
	return nil, fmt.Errorf("question %q is not known", q.Op)
}

// told is what a peer knows of a job: its certificate, or how it stands.
type told struct {
	_       struct{} `cbor:",toarray"`
	Closed  *member.Closed
	Open    []byte                   // jobs.Job as JSON
	Charter *consensus.SignedCharter // of an open job: whose it is
}

func (n *Node) answerJob(ctx context.Context, id consensus.JobID) ([]byte, error) {
	if closed, ok, err := n.archive.Closed(id); err != nil {
		return nil, err
	} else if ok {
		return dagcbor.Marshal(told{Closed: closed})
	}
	if j, ok, err := n.openJob(ctx, id); err != nil {
		return nil, err
	} else if ok {
		data, err := json.Marshal(j)
		if err != nil {
			return nil, err
		}
		t := told{Open: data}
		if open, ok := n.member.Job(id); ok {
			t.Charter = &open.Signed
		}
		return dagcbor.Marshal(t)
	}
	return dagcbor.Marshal(told{})
}

// found is a job as a look-up found it.
type found struct {
	job         jobs.Job
	certificate []byte // of a job that ended
	verdict     *consensus.Verdict
}

// local looks a job up on this node only.
func (n *Node) local(ctx context.Context, id consensus.JobID) (found, bool, error) {
	closed, ok, err := n.archive.Closed(id)
	if err != nil {
		return found{}, false, err
	}
	if ok {
		f, err := n.foundHere(closed)
		return f, err == nil, err
	}
	j, ok, err := n.openJob(ctx, id)
	return found{job: j}, ok, err
}

// find looks a job up: here, at its members if they were announced, at the
// peers that rank for the id, then at everybody connected. What comes from a
// peer counts only with a certificate that verifies; how an open job stands is
// that peer's word, and says so.
//
// A job that was acknowledged here, and has not ended as far as this node knows,
// is found even when nobody who can be asked knows of it. Under its request id
// it alone is found: others may know a charter that was withdrawn. Where none was, the
// last that ended stands, and then what is pending or open comes.
func (n *Node) find(ctx context.Context, ref reference) (found, error) {
	if ref.isJob {
		if f, ok, err := n.local(ctx, ref.job); ok || err != nil {
			return f, err
		}
	}
	own, acknowledged, err := n.outstanding(ref)
	if err != nil {
		return found{}, err
	}
	if acknowledged {
		ref.isJob, ref.job = true, own.Job
	}
	f, err := n.findAnywhere(ctx, ref)
	if p := new(jobs.Problem); acknowledged && errors.As(err, &p) && p.Code == jobs.CodeNotFound {
		at := consensus.FirstHeight(n.home.network, own.Job, own.Charter) // as far as this node knows
		j := jobs.Describe(at)
		j.State, j.Source, j.Stalled = jobs.Accepted, n.name, n.stalled(at)
		return found{job: j}, nil
	}
	return f, err
}

func (n *Node) outstanding(ref reference) (submitter.Acknowledged, bool, error) {
	if ref.isJob {
		return n.submitter.OutstandingJob(ref.job)
	}
	return n.submitter.Outstanding(ref.request)
}

func (n *Node) findAnywhere(ctx context.Context, ref reference) (found, error) {
	if ref.isJob {
		if f, ok, err := n.local(ctx, ref.job); ok || err != nil {
			return f, err
		}
		return n.findAtPeers(ctx, ref, nil)
	}
	if own, ok, err := n.answering(ref.request); err != nil {
		return found{}, err
	} else if ok {
		if f, ok, err := n.local(ctx, own.Job); ok || err != nil {
			return f, err
		}
	}
	if p, ok, err := n.submitter.Pending(ref.request); err != nil {
		return found{}, err
	} else if ok {
		j := jobs.Describe(consensus.FirstHeight(n.home.network, p.Job, p.Charter))
		j.State, j.Source = jobs.Pending, n.name
		return found{job: j}, nil
	}
	if f, ok, err := n.openUnder(ctx, ref.request); ok || err != nil {
		return f, err
	}
	var others *found
	if id, ok, err := n.archive.Request(ref.request, n.home.identity.Signer.Key()); err != nil {
		return found{}, err
	} else if ok {
		if f, ok, err := n.local(ctx, id); err != nil {
			return found{}, err
		} else if ok {
			others = &f
		}
	}
	return n.findAtPeers(ctx, ref, others)
}

// reference is how a person or a program names a job.
type reference struct {
	text    string
	isJob   bool
	job     consensus.JobID
	request consensus.RequestID
}

func (r reference) matches(id consensus.JobID, c *consensus.Charter) bool {
	if r.isJob {
		return id == r.job
	}
	return c.Request == r.request
}

func notFound(text string) error {
	return &jobs.Problem{Code: jobs.CodeNotFound, What: fmt.Sprintf("no job %q", text),
		Why: "neither this node nor any peer that it can reach knows it", Try: "muster ps"}
}

// resolve turns what somebody typed into a reference: a job id, a request id,
// or a unique prefix of a job that this node knows.
func (n *Node) resolve(text string) (reference, error) {
	if id, ok := parseJob(text); ok {
		return reference{text: text, isJob: true, job: id}, nil
	}
	if request, ok := parseRequest(text); ok {
		return reference{text: text, request: request}, nil
	}
	if text == "" || strings.ContainsAny(text, "/\\ ") {
		return reference{}, notFound(text)
	}
	ids, err := n.knownIDs()
	if err != nil {
		return reference{}, err
	}
	full, err := jobs.MatchPrefix(text, ids)
	if err != nil {
		return reference{}, err
	}
	id, err := consensus.ParseJobID(full)
	return reference{text: text, isJob: true, job: id}, err
}

// maxPrefixed bounds the finished jobs that a prefix is looked for among.
const maxPrefixed = 100_000

func (n *Node) knownIDs() ([]string, error) {
	var ids []string
	for _, o := range n.member.Open() {
		ids = append(ids, o.ID.String())
	}
	err := n.archive.List(nil, func(_ []byte, id consensus.JobID, _ member.Line) bool {
		ids = append(ids, id.String())
		return len(ids) < maxPrefixed
	})
	return ids, err
}
