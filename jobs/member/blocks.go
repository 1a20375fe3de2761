package member

import (
	"context"
	"errors"
	"fmt"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/tree"
)

// maxInlineBlocks bounds how many small blocks ride along with one report.
const maxInlineBlocks = 64

// inlined bounds the trees that ride along.
func inlined() tree.Limits {
	return tree.Limits{Bytes: consensus.MaxInline, Blocks: maxInlineBlocks}
}

// Blocks keeps small blocks that came along with a report until agreement asks
// for the value they belong to. They are not stored before that: an executor
// may send what nobody will vote for.
func (m *Member) Blocks(id consensus.JobID, inline []consensus.Block) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	j, ok := m.open[id]
	if !ok || len(inline) > maxInlineBlocks {
		return
	}
	most := consensus.MaxInline * (len(j.charter.Roster) + 1)
	for _, b := range inline {
		if _, held := j.inline[b.Link.Cid]; held || j.inlined+len(b.Data) > most || store.Verify(b.Link.Cid, b.Data) != nil {
			continue
		}
		j.inline[b.Link.Cid] = b.Data
		j.inlined += len(b.Data)
	}
}

// Inline returns the blocks of a value's tree if they are small enough to ride
// along, or none.
func (m *Member) Inline(ctx context.Context, v consensus.Value) []consensus.Block {
	if v.Tree == nil {
		return nil
	}
	var out []consensus.Block
	err := tree.Walk(ctx, m.cfg.Store, v.Tree.Cid, inlined(), func(c cid.Cid, data []byte) error {
		out = append(out, consensus.Block{Link: dagcbor.LinkTo(c), Data: data})
		return nil
	})
	if err != nil {
		return nil
	}
	return out
}

// Fetch makes a value's blocks durable and tells agreement. It begins with what
// rode along, and asks the other members for the rest. A fetch that fails is
// asked for again when others claim to hold the blocks than were asked.
// With normals, a value that comes to none of them is not held.
func (m *Member) Fetch(id consensus.JobID, v consensus.Value, hash consensus.Hash, normals []consensus.Hash, from []admission.Key) {
	m.work.Add(func(ctx context.Context) {
		if done, err := m.fetchInline(ctx, id, v); err == nil && done {
			m.held(ctx, id, v, hash, normals)
			return
		}
		if m.claimFetch(id, hash, fetching{normals: normals, from: from}) {
			m.tasks.Add(func(ctx context.Context) { m.fetchTree(ctx, id, v, hash, from) })
		}
	})
}

func (m *Member) held(ctx context.Context, id consensus.JobID, v consensus.Value, hash consensus.Hash, normals []consensus.Hash) {
	if err := m.comesTo(ctx, id, v, normals); err != nil {
		m.cfg.Log.Warn("result not taken", "job", id, "value", v, "error", err)
		return
	}
	if err := m.cfg.Store.Sync(ctx); err != nil {
		m.cfg.Log.Error("blocks not synced", "error", err)
		return
	}
	if err := m.cfg.Agreement.Held(ctx, id, hash, normals); err != nil && ctx.Err() == nil {
		m.cfg.Log.Error("agreement not told", "job", id, "error", err)
	}
}

// fetchInline stores the tree if all of it is here or rode along, and it is as small
// as what does: workers do it.
func (m *Member) fetchInline(ctx context.Context, id consensus.JobID, v consensus.Value) (bool, error) {
	j, ok := m.job(id)
	if !ok {
		return false, nil
	}
	m.mutex.Lock()
	inline := make(map[cid.Cid][]byte, len(j.inline))
	for c, data := range j.inline {
		inline[c] = data
	}
	m.mutex.Unlock()
	src := overlay{inline, m.cfg.Store}
	var fresh []blocks.Block
	err := tree.Walk(ctx, src, v.Tree.Cid, inlined(), func(c cid.Cid, data []byte) error {
		if _, ok := inline[c]; ok {
			block, err := blocks.NewBlockWithCid(data, c)
			if err != nil {
				return err
			}
			fresh = append(fresh, block)
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, tree.ErrLimit) {
		return false, nil
	}
	if err == nil {
		err = m.checkTree(ctx, src, j, v)
	}
	if err != nil {
		return false, err
	}
	return true, m.cfg.Store.Put(ctx, fresh...)
}

// checkTree verifies that a value's tree is what its kind of job leaves, that both name one
// exit code (a check is shown the tree, and whoever reads the outcome the value), and that
// whoever reads it as files reads no more than the charter and the contract of
// executors allow. All honest members judge alike.
func (m *Member) checkTree(ctx context.Context, src tree.Sized, j *job, v consensus.Value) error {
	if array := j.task.Array != nil; array != v.IsArray() {
		return fmt.Errorf("%s is not what this job leaves", v)
	} else if array {
		return m.checkArray(ctx, src, j, v)
	}
	return checkResult(ctx, tree.NewSurveyor(src, readable(j.charter.Limits.Output)), v.Tree.Cid, v.Code)
}

// overlay reads blocks that rode along before those in the store.
type overlay struct {
	inline map[cid.Cid][]byte
	below  store.Blocks
}

func (o overlay) Get(ctx context.Context, c cid.Cid) ([]byte, error) {
	if data, ok := o.inline[c]; ok {
		return data, nil
	}
	return o.below.Get(ctx, c)
}

// Size implements tree.Sized.
func (o overlay) Size(ctx context.Context, c cid.Cid) (int, error) {
	if data, ok := o.inline[c]; ok {
		return len(data), nil
	}
	return o.below.Size(ctx, c)
}

// fetching is what was asked for last of a value that is being fetched.
type fetching struct {
	normals []consensus.Hash
	from    []admission.Key
	renewed bool // after the fetch that is under way had begun
}

// claimFetch reports whether a fetch is to begin. One that is under way answers the
// forms that were asked for last, and if it fails those are asked whom it did not.
func (m *Member) claimFetch(id consensus.JobID, hash consensus.Hash, f fetching) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	j, ok := m.open[id]
	if !ok {
		return false
	}
	_, f.renewed = j.fetching[hash]
	j.fetching[hash] = f
	return !f.renewed
}

// fetchTree fetches a value's blocks and judges it, for whoever has claimed that.
func (m *Member) fetchTree(ctx context.Context, id consensus.JobID, v consensus.Value, hash consensus.Hash, from []admission.Key) {
	j, ok := m.job(id)
	if !ok {
		return
	}
	var f fetching
	var err error
	for again := true; again; from = f.from {
		err = m.cfg.Fetcher.Fetch(ctx, v.Tree.Cid, from, int64(j.charter.Limits.Output))
		missing := err != nil
		if !missing {
			err = m.judge(ctx, j, v, hash)
		}
		m.mutex.Lock()
		f = j.fetching[hash]
		if again = missing && f.renewed && ctx.Err() == nil; again {
			j.fetching[hash] = fetching{normals: f.normals, from: f.from}
		} else {
			delete(j.fetching, hash)
		}
		m.mutex.Unlock()
	}
	if err != nil {
		m.cfg.Log.Debug("result not fetched", "job", id, "error", fmt.Errorf("fetch %s: %w", v, err))
		return
	}
	m.held(ctx, id, v, hash, f.normals)
}

// judge checks a value whose blocks are here, for as long as the job is of use here.
func (m *Member) judge(ctx context.Context, j *job, v consensus.Value, hash consensus.Hash) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.mutex.Lock()
	if j.done {
		cancel()
	}
	j.judging[hash] = cancel
	m.mutex.Unlock()
	defer func() {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		delete(j.judging, hash)
	}()
	return m.checkTree(ctx, m.cfg.Store, j, v)
}
