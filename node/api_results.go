package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/tree"
)

var _ server.Results = (*Node)(nil)

// Certificate implements server.Results.
func (n *Node) Certificate(ctx context.Context, id string) ([]byte, error) {
	f, err := n.ended(ctx, id)
	return f.certificate, err
}

func (n *Node) ended(ctx context.Context, id string) (found, error) {
	ref, err := n.resolve(id)
	if err != nil {
		return found{}, err
	}
	f, err := n.find(ctx, ref)
	if err != nil {
		return found{}, err
	}
	if f.certificate == nil && f.job.Source == n.name {
		// Another member may have it before this one: of this job, whatever else
		// names its request.
		id, err := consensus.ParseJobID(f.job.ID)
		if err != nil {
			return found{}, err
		}
		if at, err := n.findAtPeers(ctx, reference{text: ref.text, isJob: true, job: id}, nil); err == nil && at.certificate != nil {
			f = at
		}
	}
	if f.certificate == nil {
		return found{}, &jobs.Problem{Code: jobs.CodeNotDone, What: "the job has no outcome yet", Why: "it is " + string(f.job.State),
			Try: "muster wait " + jobs.Short(f.job.ID), Retryable: true}
	}
	return f, nil
}

// Bundle implements server.Results: certificate, roll, policy and the blocks of
// the output in one file.
func (n *Node) Bundle(ctx context.Context, id string) ([]byte, error) {
	f, err := n.ended(ctx, id)
	if err != nil {
		return nil, err
	}
	certificate, err := consensus.OpenCertificate(f.certificate)
	if err != nil {
		return nil, err
	}
	from := rosterOf(f.verdict.Height.Roster())
	roll, err := n.fetchBlock(ctx, f.verdict.Charter.Roll.Cid, append(from, f.verdict.Charter.Submitter))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := consensus.WriteBundle(&out, n.home.network, certificate, roll); err != nil {
		return nil, err
	}
	if t := f.verdict.Value.Tree; t != nil {
		if err := n.Fetch(ctx, t.Cid, from, int64(f.verdict.Charter.Limits.Output)); err != nil {
			return nil, err
		}
		err := tree.WriteCAR(ctx, &out, n.blocks, t.Cid, tree.Limits{Bytes: maxBundle, Blocks: maxFetched})
		if errors.Is(err, tree.ErrLimit) {
			return nil, &jobs.Problem{Code: jobs.CodeUsage, What: "the output is too much for one file",
				Why: fmt.Sprintf("a bundle holds at most %d MiB of output", maxBundle>>20), Try: "muster result " + jobs.Short(f.job.ID) + " -o result/"}
		}
		if err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// maxBundle bounds the output in a bundle, in bytes.
const maxBundle = 64 << 20

// rosterOf returns who holds the seats.
func rosterOf(seats []consensus.Seat) []admission.Key {
	keys := make([]admission.Key, len(seats))
	for i, seat := range seats {
		keys[i] = seat.Peer
	}
	return keys
}

// Logs implements server.Results. While a job is open it shows what its
// executors write; when it has ended, what its certificate names.
func (n *Node) Logs(ctx context.Context, id string, follow bool, fn func(api.LogChunk) error) error {
	ref, err := n.resolve(id)
	if err != nil {
		return err
	}
	shown := map[string]bool{}
	for {
		f, err := n.find(ctx, ref)
		if err != nil {
			return err
		}
		if f.certificate != nil {
			if len(shown) > 0 {
				return nil // all of it was shown as it was written
			}
			return n.finalLogs(ctx, f, fn)
		}
		if err := n.liveLogs(ctx, f.job, follow, shown, fn); err != nil || !follow {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(logPause):
		}
	}
}

// logPause is how long following waits when no executor has begun, or the one
// followed is gone.
const logPause = 200 * time.Millisecond

// liveLogs follows the first executor that has written something: one is
// enough, and two would show everything twice.
func (n *Node) liveLogs(ctx context.Context, j jobs.Job, follow bool, shown map[string]bool, fn func(api.LogChunk) error) error {
	id, err := consensus.ParseJobID(j.ID)
	if err != nil {
		return err
	}
	for _, m := range j.Members {
		if m.Run == "" && m.Report == "" || len(shown) > 0 && !shown[m.Peer] {
			continue
		}
		key, err := admission.ParseKey(m.Peer)
		if err != nil {
			return err
		}
		at := 0
		for {
			chunks, ended, err := n.logsFrom(ctx, key, id, at, follow)
			if err != nil {
				break // another executor may answer
			}
			for _, c := range chunks {
				shown[m.Peer] = true
				if err := fn(api.LogChunk{Schema: api.SchemaLog, Member: m.Peer, Name: m.Name, Stream: c.Stream, Data: c.Data}); err != nil {
					return err
				}
			}
			at += len(chunks)
			if ended || !follow {
				return nil
			}
		}
		if len(shown) > 0 {
			return errors.New("the executor whose logs were shown is gone")
		}
	}
	return nil
}

func (n *Node) logsFrom(ctx context.Context, key admission.Key, id consensus.JobID, at int, wait bool) ([]member.LogChunk, bool, error) {
	if key == n.home.identity.Signer.Key() {
		open, ok := n.member.Job(id)
		if !ok {
			return nil, true, nil
		}
		return open.Logs.Next(ctx, at, wait)
	}
	data, err := n.ask(ctx, key.Peer(), question{Op: opLogs, ID: id[:], At: uint64(at)})
	if err != nil {
		return nil, false, err
	}
	var answer logAnswer
	if err := dagcbor.Unmarshal(data, &answer); err != nil {
		return nil, false, err
	}
	return answer.Chunks, answer.Ended, nil
}

type logAnswer struct {
	_      struct{} `cbor:",toarray"`
	Chunks []member.LogChunk
	Ended  bool
}

// maxLogAnswer bounds the output in one answer, in bytes, of which a chunk takes a
// few besides its data.
const (
	maxLogAnswer = 1 << 20
	logChunkCost = 16
)

// answerLogs answers with what the runs of a job have written here. It waits for
// more for a moment, so that following does not mean asking all the time.
func (n *Node) answerLogs(ctx context.Context, q question) ([]byte, error) {
	if len(q.ID) != 32 || q.At > 1<<30 {
		return nil, errors.New("which logs?")
	}
	open, ok := n.member.Job(consensus.JobID(q.ID))
	if !ok {
		return dagcbor.Marshal(logAnswer{Ended: true})
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout/2)
	defer cancel()
	chunks, ended, err := open.Logs.Next(ctx, int(q.At), true)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	page := logPage(chunks)
	return dagcbor.Marshal(logAnswer{Chunks: page, Ended: ended && len(page) == len(chunks)})
}

// logPage returns the first chunks that go into one answer, at least one.
func logPage(chunks []member.LogChunk) []member.LogChunk {
	size := 0
	for i, c := range chunks {
		if size += len(c.Data) + logChunkCost; size > maxLogAnswer && i > 0 {
			return chunks[:i]
		}
	}
	return chunks
}

func (n *Node) finalLogs(ctx context.Context, f found, fn func(api.LogChunk) error) error {
	t := f.verdict.Value.Tree
	if t == nil {
		return nil
	}
	if err := n.Fetch(ctx, t.Cid, rosterOf(f.verdict.Height.Roster()), int64(f.verdict.Charter.Limits.Output)); err != nil {
		return err
	}
	if f.verdict.Value.IsArray() {
		return n.arrayLogs(ctx, *f.verdict, fn)
	}
	return streams(ctx, n.blocks, t.Cid, fn)
}

// streams hands on what a result tree holds of stdout and stderr.
func streams(ctx context.Context, src tree.Source, root cid.Cid, fn func(api.LogChunk) error) error {
	for _, stream := range []string{"stdout", "stderr"} {
		at, err := tree.Lookup(ctx, src, root, stream)
		if err != nil {
			return err
		}
		r, err := tree.OpenFile(ctx, src, at.CID)
		if err != nil {
			return err
		}
		if err := chunked(r, func(data []byte) error {
			return fn(api.LogChunk{Schema: api.SchemaLog, Stream: stream, Data: data})
		}); err != nil {
			return err
		}
	}
	return nil
}
