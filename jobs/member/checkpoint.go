package member

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
	"github.com/muster-network/muster/store/tree"
)

// Checkpoints keep what an array's tasks ended in while the job is open, so that
// the run that a restart begins goes on where the last one was (decision 012). A
// checkpoint is a block; the record k/<job><number> names it when it is durable.

const (
	tagCheckpoint = "muster/checkpoint/1"

	// Results are kept when they took as long as a restart may cost: at least
	// keepAfter, so that a short job keeps none, and a part of the whole run, so
	// that a long one keeps hundreds and not as many as it has tasks.
	keepAfter = 3 * time.Second
	keepPart  = 100

	maxCheckpoint = 1 << 20  // bytes of results in one block
	maxUnkept     = 16 << 20 // bytes of results that wait to be kept
)

// checkpoint is results of tasks, in the order in which they came. It names its
// job, so that the block is no other job's, and is removed with this one.
type checkpoint struct {
	_    struct{} `cbor:",toarray"`
	Job  consensus.JobID
	Ends []taskEnd
}

// taskEnd is a deterministic result: whoever runs the task again gets the same.
type taskEnd struct {
	_              struct{} `cbor:",toarray"`
	Index          uint64
	Kind           exec.Kind
	Code           int32
	Tree           *dagcbor.Link // a result that is too long to stand here
	Stdout, Stderr []byte
	Out            []endFile
	CPU, Peak      int64
	In, Written    int64
}

type endFile struct {
	_    struct{} `cbor:",toarray"`
	Path string
	Data []byte
}

// checkpoints are those of one job.
type checkpoints struct {
	mutex  sync.Mutex
	blocks []cid.Cid // by number
	closed bool      // the job ends: there will be no more
}

func checkpointKey(id consensus.JobID, number int) []byte {
	return binary.BigEndian.AppendUint64(keyOf(prefixCheckpoint, id), uint64(number))
}

// add makes a job's checkpoints durable, and then the records that name them.
func (k *checkpoints) add(ctx context.Context, m *Member, id consensus.JobID, made []blocks.Block) error {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.closed {
		return nil
	}
	if err := m.cfg.Store.Put(ctx, made...); err != nil {
		return err
	}
	if err := m.cfg.Store.Sync(ctx); err != nil {
		return err
	}
	entries := make([]journal.Entry, len(made))
	for i, b := range made {
		entries[i] = journal.Entry{Key: checkpointKey(id, len(k.blocks)), Value: b.Cid().Bytes()}
		k.blocks = append(k.blocks, b.Cid()) // also if the append fails: the record may be there
	}
	return m.cfg.Journal.Append(ctx, entries...)
}

// close returns what removes the records, of which there will be no more.
func (k *checkpoints) close(id consensus.JobID) []journal.Entry {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.closed = true
	entries := make([]journal.Entry, len(k.blocks))
	for i := range k.blocks {
		entries[i] = journal.Entry{Key: checkpointKey(id, i), Delete: true}
	}
	return entries
}

func (k *checkpoints) list() []cid.Cid {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.blocks
}

// findCheckpoints reads which checkpoints there are of a job.
func (m *Member) findCheckpoints(j *job) error {
	return m.cfg.Journal.Scan(keyOf(prefixCheckpoint, j.id), nil, func(_, value []byte) (bool, error) {
		c, err := cid.Cast(value)
		if err != nil {
			return false, fmt.Errorf("journal: checkpoint of job %s: %w", j.id, err)
		}
		j.checkpoints.blocks = append(j.checkpoints.blocks, c)
		return true, nil
	})
}

// dropCheckpoints removes the blocks of a job that is put away. Nobody else has
// them, so what a crash leaves is lost space and nothing more.
func (m *Member) dropCheckpoints(ctx context.Context, j *job) {
	if dropped := j.checkpoints.list(); len(dropped) > 0 {
		if err := m.cfg.Store.Delete(ctx, dropped...); err != nil && ctx.Err() == nil {
			m.cfg.Log.Warn("checkpoints not removed", "job", j.id, "error", err)
		}
	}
}

// keeper collects results of a run for the next checkpoint.
type keeper struct {
	m   *Member
	job *job

	mutex sync.Mutex // also while a checkpoint is made: lanes that are too fast wait
	ends  []kept
	bytes int
	took  time.Duration // what ends took
	whole time.Duration // what all results of the run took
}

type kept struct {
	index  int
	result exec.Result
}

// add takes up the result of a task, and makes a checkpoint when that is due.
func (k *keeper) add(ctx context.Context, index int, r exec.Result) error {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.whole += r.Use.Wall
	if !r.Kind.Deterministic() {
		return nil // another run may do better
	}
	k.ends = append(k.ends, kept{index, r})
	k.bytes += sizeOf(r)
	k.took += r.Use.Wall
	if k.took < max(keepAfter, k.whole/keepPart) && k.bytes < maxUnkept {
		return nil
	}
	made, err := k.seal(ctx)
	if err != nil {
		return err
	}
	k.ends, k.bytes, k.took = nil, 0, 0
	return k.job.checkpoints.add(ctx, k.m, k.job.id, made)
}

// seal returns the results as blocks.
func (k *keeper) seal(ctx context.Context) ([]blocks.Block, error) {
	var made []blocks.Block
	next, size := checkpoint{Job: k.job.id}, 0
	cut := func() error {
		data, err := dagcbor.Seal(tagCheckpoint, k.m.cfg.Network[:], next)
		if err != nil {
			return err
		}
		b, err := blocks.NewBlockWithCid(data, dagcbor.CID(data))
		made, next.Ends, size = append(made, b), nil, 0
		return err
	}
	for _, e := range k.ends {
		end, bytes, err := k.end(ctx, e)
		if err != nil {
			return nil, err
		}
		if size > 0 && size+bytes > maxCheckpoint {
			if err := cut(); err != nil {
				return nil, err
			}
		}
		next.Ends, size = append(next.Ends, end), size+bytes
	}
	return made, cut()
}

// end returns a result as it stands in a checkpoint, and its length there. A long
// one is stored as the tree that it will be in the array result.
func (k *keeper) end(ctx context.Context, e kept) (taskEnd, int, error) {
	r := e.result
	end := taskEnd{Index: uint64(e.index), Kind: r.Kind, Code: r.Code, Stdout: r.Stdout, Stderr: r.Stderr,
		CPU: int64(r.Use.CPU), Peak: r.Use.MemoryPeak, In: r.Use.In, Written: r.Use.Out}
	for _, f := range r.Out {
		end.Out = append(end.Out, endFile{Path: f.Path, Data: f.Data})
	}
	data, err := dagcbor.Marshal(end)
	if err == nil && len(data) <= tree.MaxPacked {
		return end, len(data), nil
	}
	t, err := tree.WriteResult(ctx, k.m.cfg.Store, resultOf(r))
	if err != nil {
		return taskEnd{}, 0, err
	}
	link := dagcbor.LinkTo(t.Root)
	end.Tree, end.Stdout, end.Stderr, end.Out = &link, nil, nil, nil
	data, err = dagcbor.Marshal(end)
	return end, len(data), err
}

// openCheckpoint reads a checkpoint of a job.
func (m *Member) openCheckpoint(ctx context.Context, j *job, c cid.Cid) ([]taskEnd, error) {
	data, err := verified{m.cfg.Store}.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	var kept checkpoint
	if err := dagcbor.Unseal(tagCheckpoint, m.cfg.Network[:], data, &kept); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if kept.Job != j.id {
		return nil, errors.New("checkpoint: of another job")
	}
	return kept.Ends, nil
}

// keptResult returns the result that a checkpoint holds of a task.
func (m *Member) keptResult(ctx context.Context, j *job, end taskEnd) (exec.Result, error) {
	r := exec.Result{Kind: end.Kind, Code: end.Code, Stdout: end.Stdout, Stderr: end.Stderr,
		Use: exec.Use{CPU: time.Duration(end.CPU), MemoryPeak: end.Peak, In: end.In, Out: end.Written}}
	if end.Index >= uint64(j.task.Tasks()) || !r.Kind.Deterministic() {
		return r, errors.New("checkpoint: not a result of this job")
	}
	if end.Tree == nil {
		for _, f := range end.Out {
			r.Out = append(r.Out, exec.File{Path: f.Path, Data: f.Data})
		}
		return r, nil
	}
	stored, err := tree.ReadResult(ctx, verified{m.cfg.Store}, end.Tree.Cid, readable(j.charter.Limits.Output))
	if err != nil {
		return r, err
	}
	r.Stdout, r.Stderr = stored.Stdout, stored.Stderr
	for _, f := range stored.Out {
		r.Out = append(r.Out, exec.File{Path: f.Path, Data: f.Data})
	}
	return r, nil
}

// verified is a store whose blocks are held against their names: nobody else
// will judge what is taken from it.
type verified struct{ blocks store.Blocks }

// Get implements tree.Source.
func (v verified) Get(ctx context.Context, c cid.Cid) ([]byte, error) {
	data, err := v.blocks.Get(ctx, c)
	if err == nil {
		err = store.Verify(c, data)
	}
	return data, err
}
