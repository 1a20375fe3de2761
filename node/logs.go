package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
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

// Logs implements server.Results. While a job is open it shows what its
// executors write; when it has ended, what its certificate names, past what was
// shown already.
func (n *Node) Logs(ctx context.Context, id string, o server.LogOptions, fn func(api.LogChunk) error) error {
	ref, err := n.resolve(id)
	if err != nil {
		return err
	}
	v := viewer{show: fn}
	for {
		f, err := n.find(ctx, ref)
		if err != nil {
			return err
		}
		if f.certificate != nil {
			if err := n.finalLogs(ctx, f, v.certified); err != nil {
				return err
			}
			if f.verdict.Value.Tree == nil {
				return nil // a cancelled job's output is nobody's word
			}
			return v.complete()
		}
		if err := n.liveLogs(ctx, f.job, o, &v); err != nil || !o.Follow {
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

// viewer is somebody who is shown a job's output: what one run of it writes, then
// what was certified past that. A run ends, and its job may be decided, before all
// that it wrote was handed on.
type viewer struct {
	show   func(api.LogChunk) error
	member string // whose run it is; empty: none was chosen, and none has written yet
	stdout shown
	stderr shown
}

// shown is what of a stream was shown before it was certified.
type shown struct {
	sum   hash.Hash // of it; nil: nothing
	left  int       // bytes of it that the certified stream has not come to yet
	same  hash.Hash // what the certified stream has in place of those it came to
	again int       // bytes of it that the run, read anew, has not come to yet
}

func (v *viewer) stream(name string) *shown {
	if name == "stderr" {
		return &v.stderr
	}
	return &v.stdout
}

// anew says that the run is read from its beginning: a process that has it after
// another has it in other chunks.
func (v *viewer) anew() { v.stdout.again, v.stderr.again = v.stdout.left, v.stderr.left }

// live shows a chunk of a member's run, past what was shown of its stream.
func (v *viewer) live(m jobs.Member, c member.LogChunk) error {
	v.member = m.Peer
	s := v.stream(c.Stream)
	known := min(len(c.Data), s.again)
	s.again -= known
	if c.Data = c.Data[known:]; len(c.Data) == 0 {
		return nil
	}
	if s.sum == nil {
		s.sum, s.same = sha256.New(), sha256.New()
	}
	s.sum.Write(c.Data)
	s.left += len(c.Data)
	return v.show(api.LogChunk{Schema: api.SchemaLog, Member: m.Peer, Name: m.Name, Stream: c.Stream, Data: c.Data})
}

// certified shows what of a certified chunk was not shown before.
func (v *viewer) certified(c api.LogChunk) error {
	if s := v.stream(c.Stream); s.left > 0 {
		n := min(len(c.Data), s.left)
		s.same.Write(c.Data[:n])
		c.Data = c.Data[n:]
		if s.left -= n; s.left == 0 && !bytes.Equal(s.sum.Sum(nil), s.same.Sum(nil)) {
			return errNotCertified()
		}
	}
	if len(c.Data) == 0 {
		return nil
	}
	return v.show(c)
}

// complete fails when more was shown than was certified.
func (v *viewer) complete() error {
	if v.stdout.left+v.stderr.left > 0 {
		return errNotCertified()
	}
	return nil
}

func errNotCertified() error {
	return &jobs.Problem{Code: jobs.CodeConflict, What: "the output that was shown is not the certified one",
		Why: "it is what one member's run wrote, and the job ended in another result, or in that of another run", Try: "muster logs JOB"}
}

// liveLogs follows the executor that was chosen, or the first that has written
// something: one is enough, and two would show everything twice. One that does not
// answer may again.
func (n *Node) liveLogs(ctx context.Context, j jobs.Job, o server.LogOptions, v *viewer) error {
	id, err := consensus.ParseJobID(j.ID)
	if err != nil {
		return err
	}
	if o.Member != "" && v.member == "" {
		m, err := jobs.MatchMember(o.Member, j.Members)
		if err != nil {
			return err
		}
		v.member = m.Peer
	}
	for _, m := range j.Members {
		if m.Run == "" && m.Report == "" || v.member != "" && v.member != m.Peer {
			continue
		}
		key, err := admission.ParseKey(m.Peer)
		if err != nil {
			return err
		}
		if err := v.follow(ctx, m, n.logsOf(key, id), o.Follow); errors.Is(err, errNoLogs) {
			if v.member != "" && !o.Follow { // wanted, or shown in part
				return &jobs.Problem{Code: jobs.CodeNotFound, What: m.Name + " does not show its logs to the end", Why: err.Error(),
					Try: "again, or another member", Retryable: true}
			}
			continue // another executor may answer
		} else if err != nil {
			return err
		}
		return nil
	}
	return nil
}

// errNoLogs is returned when a member does not answer for its logs.
var errNoLogs = errors.New("the member does not show its logs")

// follow shows what a member's run has written, past what was shown, in as many answers
// as that takes, and with wait what it writes, until its logs end.
func (v *viewer) follow(ctx context.Context, m jobs.Member, next nextLogs, wait bool) error {
	v.anew()
	for at := 0; ; {
		chunks, ended, err := next(ctx, at, wait)
		if err != nil {
			return fmt.Errorf("%w: %w", errNoLogs, err)
		}
		at += len(chunks)
		for _, c := range chunks {
			if err := v.live(m, c); err != nil {
				return err
			}
		}
		if ended || !wait && !mayBeCut(chunks) {
			return nil
		}
	}
}

// nextLogs is member.Logs.Next, of some member.
type nextLogs func(ctx context.Context, at int, wait bool) ([]member.LogChunk, bool, error)

// logsOf returns the logs of a member's runs. Those of this node are held on to,
// for the job may be gone by the next question.
func (n *Node) logsOf(key admission.Key, id consensus.JobID) nextLogs {
	if key == n.home.identity.Signer.Key() {
		if open, ok := n.member.Job(id); ok {
			return open.Logs.Next
		}
		return func(context.Context, int, bool) ([]member.LogChunk, bool, error) { return nil, true, nil }
	}
	told := toldLogs{most: n.home.founded.Policy.MaxStream}
	return func(ctx context.Context, at int, _ bool) ([]member.LogChunk, bool, error) {
		data, err := n.ask(ctx, key.Peer(), question{Op: opLogs, ID: id[:], At: uint64(at), Data: encodeLength(told.length)})
		if err != nil {
			return nil, false, err
		}
		answer, err := told.take(data)
		return answer.Chunks, answer.Ended, err
	}
}

// toldLogs is what another member has told of its logs.
type toldLogs struct {
	length member.LogLength
	most   uint64 // bytes that a run may write to a stream
	more   bool   // may be there than was told so far
}

// take decodes an answer and adds it.
func (t *toldLogs) take(data []byte) (answer logAnswer, err error) {
	if err := dagcbor.Unmarshal(data, &answer); err != nil {
		return logAnswer{}, err
	}
	return answer, t.add(answer)
}

// add takes an answer in. It fails when that is more than any run writes, and when the
// logs are gone before all of them were told.
func (t *toldLogs) add(answer logAnswer) error {
	for _, c := range answer.Chunks {
		if t.length.Add(c); len(c.Data) == 0 || max(t.length.Stdout, t.length.Stderr) > t.most {
			return errors.New("no run writes that")
		}
	}
	if answer.Ended && t.more && len(answer.Chunks) == 0 {
		return errors.New("the job has ended there, and what its run wrote last may not have been shown")
	}
	t.more = mayBeCut(answer.Chunks)
	return nil
}

// encodeLength is what a question for logs says of what is known of them already.
func encodeLength(l member.LogLength) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, l.Stdout), l.Stderr)
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
	if len(q.Data) == 16 { // older nodes do not say
		length := member.LogLength{Stdout: binary.BigEndian.Uint64(q.Data), Stderr: binary.BigEndian.Uint64(q.Data[8:])}
		if !open.Logs.Holds(int(q.At), length) {
			return nil, errors.New("these logs are cut otherwise, as after a restart")
		}
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

// mayBeCut reports whether logPage may have left out what comes after an answer's chunks.
func mayBeCut(page []member.LogChunk) bool {
	size := member.MaxLogChunk + logChunkCost // of the next one, at most
	for _, c := range page {
		size += len(c.Data) + logChunkCost
	}
	return size > maxLogAnswer
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
