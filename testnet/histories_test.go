package testnet_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sync/errgroup"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/testnet"
)

var (
	histories   = flag.Int("histories", 16, "jobs whose histories are checked")
	historySeed = flag.Uint64("history-seed", 0, "of what clients and crashes do; 0 takes one from the clock")
)

// historyBatch is how many jobs share one network.
const historyBatch = 50

// What clients see of each job, at several nodes, while nodes are killed and
// come back, is what one register would show that is written once.
func TestHistoriesOfJobsAreThoseOfRegistersDecidedOnce(t *testing.T) {
	seed := *historySeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-history-seed %d -histories %d", seed, *histories)
	var all tallyOfHistories
	for begun := 0; begun < *histories; begun += historyBatch {
		jobs := min(historyBatch, *histories-begun)
		t.Run(fmt.Sprint("from ", begun), func(t *testing.T) {
			h := &recorder{network: up(t, testnet.Options{Nodes: 5}), r: rand.New(rand.NewPCG(seed, uint64(begun))), began: time.Now()}
			h.record(jobs)
			h.check(&all)
		})
		if t.Failed() {
			break
		}
	}
	t.Logf("%+v", all)
	// One job in ten is cancelled: of a few perhaps none.
	if all.Decided == 0 || all.Kills == 0 || *histories >= 100 && (all.Cancelled == 0 || all.Unanswered == 0) {
		t.Error("too little happened for the histories to say anything")
	}
}

// tallyOfHistories says how much happened in them.
type tallyOfHistories struct{ Histories, Operations, Decided, Cancelled, Kills, Unanswered int }

// recorder lets clients loose on a network and records what they see. Each job
// is a register of its own, and a history of many registers is linearizable if
// and only if that of each is (Herlihy and Wing, 1990): so each job's history is
// checked, and counted, alone.
type recorder struct {
	*network
	r          *rand.Rand
	began      time.Time
	ops        atomic.Int64
	kills      int
	mutex      sync.Mutex
	history    map[string][]porcupine.Operation // by key
	unanswered int
}

// keyed is one submission: its idempotency key, at the one node that takes it.
type keyed struct {
	key     string
	node    int
	request string // what the job can be asked for by, before its id is known
	seed    uint64
	cancel  bool
}

// record has the clients of some jobs work at a time, with crashes between, and
// then, with all nodes up, awaits on each node every job that was acknowledged.
func (h *recorder) record(jobs int) {
	h.history = map[string][]porcupine.Operation{}
	working, stop := context.WithCancel(h.ctx)
	var breaker errgroup.Group
	crashes := rand.New(rand.NewPCG(h.r.Uint64(), 1))
	breaker.Go(func() error { defer stop(); return h.crash(working, crashes) })
	var clients errgroup.Group
	clients.SetLimit(6)
	var submitted []keyed
	for i := range jobs {
		k := keyed{key: fmt.Sprint("history ", i), node: 1 + h.r.IntN(len(h.Nodes)), seed: h.r.Uint64(), cancel: h.r.IntN(3) == 0}
		k.request = h.requestOf(k)
		submitted = append(submitted, k)
		file := hello("Ada", 4)
		if h.r.IntN(3) == 0 {
			file = spin(h.t, 1<<22) // long enough to be cancelled in time
		}
		file.Name = k.key
		clients.Go(func() error { return h.job(k, file) })
	}
	h.must(clients.Wait())
	stop()
	h.must(breaker.Wait())
	for _, node := range h.Nodes {
		if !node.Running() {
			h.must(node.Start(h.ctx))
		}
	}
	h.must(h.Meet(h.ctx))
	var last errgroup.Group
	last.SetLimit(8)
	for _, k := range submitted {
		for number := range h.Nodes {
			last.Go(func() error { return h.await(k, number+1) })
		}
	}
	h.must(last.Wait())
}

// requestOf derives what a submission is called before there is a job.
func (h *recorder) requestOf(k keyed) string {
	_, network, err := admission.OpenGenesis(h.genesis)
	h.must(err)
	owner, err := admission.ParseKey(h.node(k.node).Peer)
	h.must(err)
	id, err := consensus.NewRequestID(network, owner, k.key)
	h.must(err)
	return id.String()
}

// crash kills one node at a time, now and then all of them, and starts them
// again, whenever clients have done a few things more.
func (h *recorder) crash(ctx context.Context, r *rand.Rand) error {
	for {
		if !h.opsFrom(ctx, 10+r.IntN(40)) {
			return nil
		}
		victims := []*testnet.Node{h.Nodes[r.IntN(len(h.Nodes))]}
		if r.IntN(5) == 0 {
			victims = h.Nodes
		}
		for _, node := range victims {
			if err := node.Kill(); err != nil {
				return err
			}
			h.kills++
		}
		h.opsFrom(ctx, r.IntN(20))
		for _, node := range victims {
			if err := node.Start(h.ctx); err != nil {
				return err
			}
		}
	}
}

// opsFrom waits until so many operations more were done; false when it is over.
func (h *recorder) opsFrom(ctx context.Context, more int) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for until := h.ops.Load() + int64(more); h.ops.Load() < until; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// job is what three clients do about one job, at the same time: the first
// submits it until it is told the job's id, the others look for it, and one of
// them may cancel it.
func (h *recorder) job(k keyed, file *jobs.File) error {
	var g errgroup.Group
	done := make(chan struct{})
	g.Go(func() error {
		defer close(done)
		for h.ctx.Err() == nil {
			if id, ok := h.submit(k, file); ok {
				h.look(0, k, k.node, id)
				return nil
			}
			h.pause()
		}
		return h.ctx.Err()
	})
	for who := 1; who <= 2; who++ {
		g.Go(func() error {
			r := rand.New(rand.NewPCG(k.seed, uint64(who)))
			for i := 0; i < 4+r.IntN(8) || !closed(done); i++ {
				at := 1 + r.IntN(len(h.Nodes))
				if r.IntN(3) == 0 {
					at = k.node
				}
				if who == 2 && k.cancel && closed(done) && r.IntN(3) == 0 {
					h.cancel(who, k)
				} else {
					h.look(who, k, at, k.request)
				}
				if h.ctx.Err() != nil {
					return h.ctx.Err()
				}
				h.pause()
			}
			return nil
		})
	}
	return g.Wait()
}

func closed(done chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// pause lets others go first: a node that is down refuses at once.
func (h *recorder) pause() {
	tick := time.NewTimer(10 * time.Millisecond)
	defer tick.Stop()
	select {
	case <-tick.C:
	case <-h.ctx.Done():
	}
}

// The operations.

func (h *recorder) submit(k keyed, file *jobs.File) (string, bool) {
	call := h.now()
	job, err := h.client(k.node).Submit(h.ctx, file, client.SubmitOptions{Key: k.key})
	h.add(k, 0, observation{op: opSubmit, node: k.node, job: job.ID, answered: err == nil}, call)
	return job.ID, err == nil
}

func (h *recorder) cancel(who int, k keyed) {
	call := h.now()
	job, err := h.client(k.node).Cancel(h.ctx, k.request)
	var p *jobs.Problem
	conflict := errors.As(err, &p) && p.Code == jobs.CodeConflict
	h.add(k, who, observation{op: opCancel, node: k.node, job: job.ID, answered: err == nil || conflict, ended: conflict}, call)
}

func (h *recorder) look(who int, k keyed, at int, id string) {
	call := h.now()
	job, err := h.client(at).Job(h.ctx, id)
	var p *jobs.Problem
	missing := errors.As(err, &p) && p.Code == jobs.CodeNotFound
	h.add(k, who, h.seen(k, at, job, missing, err), call)
}

// await is a look that waits for the end.
func (h *recorder) await(k keyed, at int) error {
	call := h.now()
	job, err := h.client(at).Wait(h.ctx, k.request)
	if err != nil {
		return fmt.Errorf("n%d: %s, acknowledged, does not end: %w %s", at, k.key, err, states(job))
	}
	h.add(k, 2+at, h.seen(k, at, job, false, nil), call)
	return nil
}

func (h *recorder) seen(k keyed, at int, job api.Job, missing bool, err error) observation {
	o := observation{op: opLook, node: at, submitter: at == k.node, job: job.ID, answered: err == nil || missing, missing: missing}
	if err == nil && job.State.Terminal() {
		o.ended, o.own = true, job.Source == h.node(at).Name
		o.outcome = fmt.Sprintf("%s %s %d %s", job.Outcome.Kind, job.Outcome.Class, job.Outcome.Code, job.Outcome.Result)
		o.cancelled = job.State == jobs.Cancelled
	}
	return o
}

func (h *recorder) now() int64 { return int64(time.Since(h.began)) }

// add records an operation. A wish that was not answered may have its effect at
// any time after; another operation without an answer says nothing.
func (h *recorder) add(k keyed, who int, o observation, call int64) {
	h.ops.Add(1)
	back := h.now()
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if !o.answered {
		h.unanswered++
		if o.op != opCancel {
			return
		}
		back = math.MaxInt64
	}
	h.history[k.key] = append(h.history[k.key], porcupine.Operation{ClientId: who, Input: o, Output: o, Call: call, Return: back})
}

func (h *recorder) check(all *tallyOfHistories) {
	for key, operations := range h.history {
		all.Histories++
		all.Operations += len(operations)
		decided, cancelled := false, false
		for _, op := range operations {
			o := op.Output.(observation)
			decided, cancelled = decided || o.ended, cancelled || o.cancelled
		}
		if decided {
			all.Decided++
		}
		if cancelled {
			all.Cancelled++
		}
		if result := porcupine.CheckOperationsTimeout(register(), operations, hang); result != porcupine.Ok {
			h.t.Errorf("%s: %s", key, result)
			for _, op := range operations {
				h.t.Logf("%d [%d, %d] %+v", op.ClientId, op.Call/1000, op.Return/1000, op.Output)
			}
		}
	}
	all.Kills += h.kills
	all.Unanswered += h.unanswered
}
