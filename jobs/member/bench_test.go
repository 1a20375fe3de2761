package member

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
	"github.com/muster-network/muster/store/storetest"
	"github.com/muster-network/muster/store/tree"
)

// bench is one member with everything around it faked, in virtual time. What it
// does stands in done, in order.
type bench struct {
	t     *testing.T
	n     *consensustest.Network
	me    consensustest.Node
	m     *Member
	begun time.Time
	end   func()

	storetest.Memory // of this node
	others           storetest.Memory
	class            exec.Class

	mutex   sync.Mutex
	records storetest.Records
	done    []string
	opened  []Opening
	refused []string
	told    []string // events, when they are told
	fail    error    // of Open and Append
	late    bool     // whether jobs are opened after accept_by
	accused []*consensus.Evidence
	revoked map[admission.Key]bool

	faults  uint64 // f of the jobs
	cpu     uint64 // that they take; 0: what jobs take where nothing is said
	total   jobs.Resources
	slow    time.Duration          // how long a fetch takes
	silent  map[admission.Key]bool // who answers nothing
	fetches atomic.Int32
	read    time.Duration // how long it takes to read a block that is here
	reads   atomic.Int32
	run     func(context.Context) (exec.Result, error)

	check    string           // the module that results are checked by; empty: nothing is checked
	spoil    func(*jobs.Task) // changes the check
	requests []exec.Request   // what was run
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, n: consensustest.New(6), begun: time.Now(), class: exec.Portable,
		faults: 1, total: jobs.Resources{CPU: 4_000, Memory: 8 << 30}, run: hello}
	b.me = b.n.Nodes[1]
	b.start()
	return b
}

func (b *bench) start() {
	b.t.Helper()
	m, err := New(Config{Network: b.n.ID, Genesis: b.n.Genesis, Policy: b.n.Genesis.Policy, Self: b.me.Key(), Incarnation: b.me.Incarnation,
		Agreement: b, Quorum: b, Store: b, Fetcher: b, Journal: tape{b}, Executor: executor{bench: b}, Total: b.total,
		Seen: func() []election.Seen { return nil }, Revoked: func(k admission.Key) bool { return b.revoked[k] }, Events: b, Accuse: b.accuse, Clock: b.now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	b.m, b.end = m, sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			b.t.Errorf("run ends with %v", err)
		}
	})
}

func (b *bench) now() int64 { return consensustest.Now + time.Since(b.begun).Milliseconds() }

func (b *bench) did(what string) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.done = append(b.done, what)
}

// What follows are the seams.

func (b *bench) accuse(e *consensus.Evidence) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.accused = append(b.accused, e)
}

func (b *bench) Put(ctx context.Context, blks ...blocks.Block) error {
	b.did("put")
	return b.Memory.Put(ctx, blks...)
}

func (b *bench) Get(ctx context.Context, c cid.Cid) ([]byte, error) {
	data, err := b.Memory.Get(ctx, c)
	if err == nil && b.read > 0 {
		b.reads.Add(1)
		<-time.After(b.read)
	}
	return data, err
}

func (b *bench) Sync(context.Context) error { b.did("sync"); return nil }

func (b *bench) Open(_ context.Context, o Opening) error {
	<-time.After(2 * time.Millisecond)
	if b.fail != nil {
		return b.fail
	}
	if b.late {
		return ErrLate
	}
	b.did("open")
	b.mutex.Lock()
	b.opened = append(b.opened, o)
	b.mutex.Unlock()
	return tape{b}.Append(context.Background(), o.Entries...)
}

func (b *bench) Ran(_ context.Context, _ consensus.JobID, r Ran) error {
	b.did(map[bool]string{false: "ran ", true: "began, and ran "}[r.Begun] + r.Value.String())
	return nil
}

func (b *bench) State(_ context.Context, _ consensus.JobID, s RunState) error {
	b.did(map[bool]string{false: "waits", true: "runs"}[s.Running])
	return nil
}

func (b *bench) Checked(_ context.Context, _ consensus.JobID, _ consensus.Hash, endorses bool) error {
	b.did(map[bool]string{false: "rejects", true: "endorses"}[endorses])
	return nil
}

func (b *bench) Held(context.Context, consensus.JobID, consensus.Hash, []consensus.Hash) error {
	b.did("held")
	return nil
}

func (b *bench) Refuse(_ context.Context, _ admission.Key, _ consensus.JobID, reason string) error {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.refused = append(b.refused, reason)
	return nil
}

func (b *bench) refusals() []string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return slices.Clone(b.refused)
}

func (b *bench) Decided(context.Context, admission.Key, consensus.JobID, consensus.Conclusion) error {
	b.did("decided")
	return nil
}

func (b *bench) Gone(context.Context, admission.Key, consensus.JobID, consensus.Hash) error {
	b.did("gone")
	return nil
}

func (b *bench) Fetch(ctx context.Context, root cid.Cid, from []admission.Key, _ int64) error {
	b.fetches.Add(1)
	var source tree.Source = &b.Memory
	if !slices.Equal(from, []admission.Key{b.me.Key()}) {
		if source = (everywhere{b}); b.wait(ctx, from...) != nil {
			return ctx.Err()
		}
	}
	return tree.Walk(ctx, source, root, tree.Limits{Bytes: 1 << 20, Blocks: 100}, func(c cid.Cid, data []byte) error {
		return b.keep(ctx, c, data)
	})
}

// everywhere reads here first, then from the others.
type everywhere struct{ *bench }

func (e everywhere) Get(ctx context.Context, c cid.Cid) ([]byte, error) {
	data, err := e.Memory.Get(ctx, c)
	if errors.Is(err, store.ErrNotFound) {
		return e.others.Get(ctx, c)
	}
	return data, err
}

// wait is how long the others take to send something.
func (b *bench) wait(ctx context.Context, from ...admission.Key) error {
	b.mutex.Lock()
	slow, silent := b.slow, len(from) > 0
	for _, key := range from {
		silent = silent && b.silent[key]
	}
	b.mutex.Unlock()
	if silent {
		slow = 24 * time.Hour
	}
	select {
	case <-time.After(slow):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *bench) Block(ctx context.Context, id cid.Cid, from admission.Key) error {
	if from == b.me.Key() {
		return store.ErrNotFound
	}
	if err := b.wait(ctx, from); err != nil {
		return err
	}
	data, err := b.others.Get(ctx, id)
	if err != nil {
		return err
	}
	return b.keep(ctx, id, data)
}

func (b *bench) keep(ctx context.Context, c cid.Cid, data []byte) error {
	block, err := blocks.NewBlockWithCid(data, c)
	if err != nil {
		return err
	}
	return b.Put(ctx, block)
}

func (b *bench) Tell(e Event) { b.hear(e.Type) }

func (b *bench) hear(what string) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.told = append(b.told, what)
}

func (b *bench) Keep(e Event) ([]journal.Entry, func(error)) {
	return []journal.Entry{{Key: []byte("n/" + e.Type), Value: []byte{1}}}, func(err error) {
		if err == nil {
			b.hear(e.Type)
		}
	}
}

// tape is the bench's journal.
type tape struct{ *bench }

func (b tape) Append(ctx context.Context, entries ...journal.Entry) error {
	if b.fail != nil {
		return b.fail
	}
	b.did("append")
	return b.records.Append(ctx, entries...)
}

func (b tape) Get(key []byte) ([]byte, error) { return b.records.Get(key) }

func (b tape) Scan(prefix, after []byte, fn func(key, value []byte) (bool, error)) error {
	return b.records.Scan(prefix, after, fn)
}

// executor runs single tasks; no test here asks for an array.
type executor struct {
	*bench
	exec.Executor
}

func (e executor) Inspect([]byte) (exec.Class, error) { return e.class, nil }

func (e executor) Run(ctx context.Context, r exec.Request) (exec.Result, error) {
	e.mutex.Lock()
	e.requests = append(e.requests, r)
	e.mutex.Unlock()
	return e.run(ctx)
}

func hello(context.Context) (exec.Result, error) {
	return exec.Result{Kind: exec.Exited, Stdout: []byte("hello")}, nil
}

var _ store.Blocks = (*bench)(nil)

// job is a charter by node 0, with a seat for this member, whose blocks the
// others have. change alters it before it is drawn, after after that.
func (b *bench) job(change, after func(*consensus.Charter)) consensustest.Job {
	b.t.Helper()
	ctx := context.Background()
	must := func(err error) {
		b.t.Helper()
		if err != nil {
			b.t.Fatal(err)
		}
	}
	put := func(data []byte, link dagcbor.Link) {
		block, err := blocks.NewBlockWithCid(data, link.Cid)
		must(err)
		must(b.others.Put(ctx, block))
	}
	written, err := tree.WriteFile(ctx, &b.others, strings.NewReader("module"))
	must(err)
	module := dagcbor.LinkTo(written.Root)
	f := jobs.FileFor("cid:"+module.String(), []string{"Ada"})
	f.Run.Quorum.Size = 3*b.faults + 1
	d := jobs.Defaults{Policy: b.n.Genesis.Policy}
	check := b.checkFor(f, d, put)
	task, err := f.Task(module, nil, nil, d)
	must(err)
	task.Limits.Disk = 0
	taskData, taskLink, err := task.Seal(b.n.ID)
	must(err)
	spec, err := f.Spec(taskLink, check, d)
	must(err)
	spec.Resources.Disk = 0 // of which the nodes here say nothing
	spec.Resources.CPU = cmp.Or(b.cpu, spec.Resources.CPU)
	specData, specLink, err := spec.Seal(b.n.ID)
	must(err)
	put(taskData, taskLink)
	put(specData, specLink)
	put(b.n.RollSealed, b.n.RollLink)
	c := b.n.Charter(consensus.Byzantine, b.faults)
	c.Spec, c.Task, c.Limits, c.Timeout, c.Deadline = specLink, taskLink, task.CharterLimits(b.n.Genesis.Policy), spec.Timeout, c.Issued+spec.Deadline
	c.Needs, c.RunNeeds, c.End = spec.Needs(), spec.RunNeeds(), c.Deadline+b.n.Genesis.Policy.Retain
	c.Assurance = spec.Rests()
	change(c)
	for nonce := byte(1); ; nonce++ {
		c.Nonce = consensus.Hash{nonce}
		b.n.Draw(c)
		if c.Place(b.me.Key()) >= 0 {
			break
		}
	}
	after(c)
	return b.n.Sign(c)
}

// checkFor gives a file its check, if there is one, and returns its name.
func (b *bench) checkFor(f *jobs.File, d jobs.Defaults, put func([]byte, dagcbor.Link)) *dagcbor.Link {
	if b.check == "" {
		return nil
	}
	written, err := tree.WriteFile(context.Background(), &b.others, strings.NewReader(b.check))
	if err != nil {
		b.t.Fatal(err)
	}
	module := dagcbor.LinkTo(written.Root)
	f.Run.Quorum.Check = &jobs.RunCheck{WASM: jobs.Reference("cid:" + module.String()), Args: []string{"strictly"}}
	check, err := f.Check(&module, d)
	if err != nil {
		b.t.Fatal(err)
	}
	check.Limits.Disk = 0
	if b.spoil != nil {
		b.spoil(check)
	}
	data, link, err := check.Seal(b.n.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	put(data, link)
	return &link
}

func as(*consensus.Charter) {}

func (b *bench) offerOf(j consensustest.Job) consensus.Offer {
	return consensus.Offer{Charter: j.Signed, Credentials: []admission.SignedCredential{b.n.Nodes[0].Credential}, Blocks: []consensus.Block{}}
}

func (b *bench) offer(j consensustest.Job, change func(*consensus.Offer), accepts ...consensus.Vote) {
	o := b.offerOf(j)
	if change != nil {
		change(&o)
	}
	b.bring(b.n.Nodes[0].Key(), o, accepts...)
}

func (b *bench) bring(from admission.Key, o consensus.Offer, accepts ...consensus.Vote) {
	b.m.Offered(from, o, accepts, nil)
	<-time.After(10 * time.Millisecond)
	synctest.Wait()
}

func play(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer func() { b.end() }()
		test(t, b)
	})
}

func revoked(nodes ...consensustest.Node) map[admission.Key]bool {
	keys := map[admission.Key]bool{}
	for _, n := range nodes {
		keys[n.Key()] = true
	}
	return keys
}
