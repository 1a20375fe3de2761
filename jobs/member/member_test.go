package member

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
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
	records map[string][]byte
	done    []string
	opened  []Opening
	refused []string
	told    []string // events, when they are told
	fail    error    // of Open and Append
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, n: consensustest.New(6), begun: time.Now(), class: exec.Portable, records: map[string][]byte{}}
	b.me = b.n.Nodes[1]
	b.start()
	return b
}

func (b *bench) start() {
	b.t.Helper()
	m, err := New(Config{Network: b.n.ID, Genesis: b.n.Genesis, Policy: b.n.Genesis.Policy, Self: b.me.Key(), Incarnation: b.me.Incarnation,
		Agreement: b, Quorum: b, Store: b, Fetcher: b, Journal: tape{b}, Executor: executor{bench: b}, Total: jobs.Resources{CPU: 4_000, Memory: 8 << 30},
		Seen: func() []election.Seen { return nil }, Events: b, Accuse: func(*consensus.Evidence) {}, Clock: b.now, Log: slog.New(slog.DiscardHandler)})
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

func (b *bench) Put(ctx context.Context, blks ...blocks.Block) error {
	b.did("put")
	return b.Memory.Put(ctx, blks...)
}

func (b *bench) Sync(context.Context) error { b.did("sync"); return nil }

func (b *bench) Open(_ context.Context, o Opening) error {
	<-time.After(2 * time.Millisecond)
	if b.fail != nil {
		return b.fail
	}
	b.did("open")
	b.mutex.Lock()
	b.opened = append(b.opened, o)
	b.mutex.Unlock()
	return tape{b}.Append(context.Background(), o.Entries...)
}

func (b *bench) Ran(_ context.Context, _ consensus.JobID, _ uint64, v consensus.Value, _ *consensus.Hash, _ map[string]uint64) error {
	b.did("ran " + v.String())
	return nil
}

func (b *bench) State(context.Context, consensus.JobID, RunState) error { return nil }

func (b *bench) Held(context.Context, consensus.JobID, consensus.Hash) error {
	b.did("held")
	return nil
}

func (b *bench) Refuse(_ context.Context, _ admission.Key, _ consensus.JobID, reason string) error {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.refused = append(b.refused, reason)
	return nil
}

func (b *bench) Decided(context.Context, admission.Key, consensus.JobID, consensus.Conclusion) error {
	b.did("decided")
	return nil
}

func (b *bench) Gone(context.Context, admission.Key, consensus.JobID, consensus.Hash) error {
	b.did("gone")
	return nil
}

func (b *bench) Fetch(ctx context.Context, root cid.Cid, _ []admission.Key, _ int64) error {
	return tree.Walk(ctx, everywhere{b}, root, tree.Limits{Bytes: 1 << 20, Blocks: 100}, func(c cid.Cid, data []byte) error {
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

func (b *bench) Block(ctx context.Context, id cid.Cid, _ admission.Key) error {
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

func (b tape) Append(_ context.Context, entries ...journal.Entry) error {
	if b.fail != nil {
		return b.fail
	}
	b.did("append")
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for _, e := range entries {
		if e.Delete {
			delete(b.records, string(e.Key))
		} else {
			b.records[string(e.Key)] = e.Value
		}
	}
	return nil
}

func (b tape) Get(key []byte) ([]byte, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if value, ok := b.records[string(key)]; ok {
		return value, nil
	}
	return nil, journal.ErrNotFound
}

func (b tape) Scan(prefix, after []byte, fn func(key, value []byte) (bool, error)) error {
	b.mutex.Lock()
	records := maps.Clone(b.records)
	b.mutex.Unlock()
	for _, key := range slices.Sorted(maps.Keys(records)) {
		if !strings.HasPrefix(key, string(prefix)) || after != nil && key <= string(after) {
			continue
		}
		if more, err := fn([]byte(key), records[key]); !more || err != nil {
			return err
		}
	}
	return nil
}

// executor runs single tasks; no test here asks for an array.
type executor struct {
	*bench
	exec.Executor
}

func (e executor) Inspect([]byte) (exec.Class, error) { return e.class, nil }

func (e executor) Run(context.Context, exec.Request) (exec.Result, error) {
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
	f.Run.Quorum.Size = 4
	d := jobs.Defaults{Policy: b.n.Genesis.Policy}
	task, err := f.Task(module, nil, nil, d)
	must(err)
	task.Limits.Disk = 0
	taskData, taskLink, err := task.Seal(b.n.ID)
	must(err)
	spec, err := f.Spec(taskLink, d)
	must(err)
	spec.Resources.Disk = 0 // of which the nodes here say nothing
	specData, specLink, err := spec.Seal(b.n.ID)
	must(err)
	put(taskData, taskLink)
	put(specData, specLink)
	put(b.n.RollSealed, b.n.RollLink)
	c := b.n.Charter(consensus.Byzantine, 1)
	c.Spec, c.Task, c.Limits, c.Timeout, c.Deadline = specLink, taskLink, task.CharterLimits(b.n.Genesis.Policy), spec.Timeout, c.Issued+spec.Deadline
	c.Needs, c.RunNeeds, c.End = spec.Needs(), spec.RunNeeds(), c.Deadline+b.n.Genesis.Policy.Retain
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

func as(*consensus.Charter) {}

func (b *bench) offer(j consensustest.Job, change func(*consensus.Offer), accepts ...consensus.Vote) {
	o := consensus.Offer{Charter: j.Signed, Credentials: []admission.SignedCredential{b.n.Nodes[0].Credential}, Blocks: []consensus.Block{}}
	if change != nil {
		change(&o)
	}
	b.m.Offered(b.n.Nodes[0].Key(), o, accepts, nil)
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

func TestAnOfferIsAcceptedWhenItsBlocksAreOnDiskAndNotBefore(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		b.offer(j, nil)
		if len(b.refused) != 0 || len(b.opened) != 1 {
			t.Fatalf("refused: %q, opened %d", b.refused, len(b.opened))
		}
		if got := strings.Join(slices.Compact(b.done), ", "); got != "put, sync, open, append" {
			t.Errorf("did %s", got)
		}
		for _, link := range []dagcbor.Link{j.Spec, j.Task, j.Roll} {
			if has, err := b.Has(t.Context(), link.Cid); !has || err != nil {
				t.Errorf("%s is not here: %v", link, err)
			}
		}
		if _, ok := b.records[string(keyOf(prefixOpen, j.ID))]; !ok || !slices.Equal(b.told, []string{"accepted"}) {
			t.Errorf("its charter is on disk: %t, told %q", ok, b.told)
		}
		b.offer(j, nil)
		if len(b.opened) != 1 || len(b.refused) != 0 {
			t.Error("what is open is looked at again")
		}
	})
}

func TestAnOfferIsRefusedWithItsReason(t *testing.T) {
	for name, rule := range map[string]struct {
		code   string
		change func(*consensus.Charter)
		after  func(*consensus.Charter)
		offer  func(*consensus.Offer)
		before func(*bench)
	}{
		"no seat":                   {code: RefuseInvalid, before: func(b *bench) { b.me = b.n.NewNode("another"); b.end(); b.start(); b.me = b.n.Nodes[1] }},
		"another life of this node": {code: RefuseGone, before: func(b *bench) { b.me.Incarnation[0] ^= 1; b.end(); b.start() }},
		"too late":                  {code: RefuseLate, before: func(b *bench) { <-time.After(time.Duration(b.n.Genesis.Policy.Accept+1) * time.Millisecond) }},
		"from the future":           {code: RefuseLate, before: func(b *bench) { b.begun = b.begun.Add(2 * time.Minute) }},
		"no credential":             {code: RefuseDenied, offer: func(o *consensus.Offer) { o.Credentials = nil }},
		"a forged credential":       {code: RefuseDenied, offer: func(o *consensus.Offer) { o.Credentials[0].Signature[0] ^= 1 }},
		"another's credential":      {code: RefuseDenied, offer: func(o *consensus.Offer) { o.Credentials[0].Body.Subject[0] ^= 1 }},
		"another draw":              {code: RefuseDraw, after: func(c *consensus.Charter) { c.Roster[0], c.Roster[1] = c.Roster[1], c.Roster[0] }},
		"another policy":            {code: RefuseUnsupported, change: func(c *consensus.Charter) { c.Policy[0] ^= 1 }},
		"another timeout":           {code: RefuseInvalid, change: func(c *consensus.Charter) { c.Timeout++ }},
		"a spec nobody has":         {code: RefuseMissing, change: func(c *consensus.Charter) { c.Spec = consensustest.Link("gone") }},
		"a module of another class": {code: RefuseInvalid, before: func(b *bench) { b.class = "arch/amd64" }},
		"a full queue":              {code: RefuseBusy, before: func(b *bench) { b.m.cfg.Policy.MaxJobs = 0 }},
		"a submitter with too many": {code: RefuseBusy, before: func(b *bench) { b.m.cfg.Policy.MaxOpen = 0 }},
	} {
		play(t, func(t *testing.T, b *bench) {
			change, after := rule.change, rule.after
			if change == nil {
				change = as
			}
			if after == nil {
				after = as
			}
			j := b.job(change, after)
			if rule.before != nil {
				rule.before(b)
			}
			b.offer(j, rule.offer)
			if len(b.refused) != 1 || !strings.HasPrefix(b.refused[0], rule.code+": ") || len(b.opened) != 0 || len(b.records) != 0 {
				t.Errorf("%s: refused with %q, opened %d, %d records", name, b.refused, len(b.opened), len(b.records))
			}
		})
	}
}

// accepts are what a witness shows of a job.
func (b *bench) accepts(j consensustest.Job, seats ...int) []consensus.Vote {
	return b.n.Votes(j, consensus.KindAccept, 0, consensus.Hash{}, seats...).Votes
}

func TestAWitnessIsBelievedWhenItIsLateAndTheQueueFullAndOnlyWithQAccepts(t *testing.T) {
	for _, shown := range []int{2, 3} {
		play(t, func(t *testing.T, b *bench) {
			j := b.job(as, as)
			for n := range b.n.Genesis.Policy.MaxJobs {
				b.m.open[consensus.JobID{byte(n), byte(n >> 8), 1}] = &job{charter: j.Charter}
			}
			<-time.After(time.Duration(b.n.Genesis.Policy.Accept+1) * time.Millisecond)
			b.offer(j, nil, b.accepts(j, []int{0, 1, 2}[:shown]...)...)
			if shown == 2 {
				if len(b.opened) != 0 || len(b.refused) != 1 {
					t.Errorf("opened on %d accepts, refused %q", shown, b.refused)
				}
				return
			}
			if len(b.opened) != 1 || !b.opened[0].Witness || len(b.opened[0].Accepts) != 3 || len(b.refused) != 0 {
				t.Errorf("opened %d, refused %q", len(b.opened), b.refused)
			}
		})
	}
}

func TestAJobWhoseFirstRecordsFailIsNotOpenAndNotTold(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		b.fail = errors.New("disk full")
		b.offer(j, nil)
		if _, open := b.m.Job(j.ID); open || len(b.told) != 1 || b.told[0] != "refused" {
			t.Errorf("open: %t, told %q", open, b.told)
		}
		b.fail = nil
		b.offer(j, nil) // it is offered again
		if _, open := b.m.Job(j.ID); !open || b.told[len(b.told)-1] != "accepted" {
			t.Errorf("open: %t, told %q", open, b.told)
		}
	})
}

func TestWhatWasOpenIsOpenedAgainFromDiskAlone(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		b.offer(j, nil)
		b.end()
		b.others, b.opened = storetest.Memory{}, nil //nolint:govet // nobody uses it any more
		b.start()
		if n, err := b.m.Recover(t.Context()); n != 1 || err != nil {
			t.Fatalf("%d resumed: %v", n, err)
		}
		if len(b.opened) != 1 || !b.opened[0].Resume || b.opened[0].Job != j.ID || len(b.opened[0].Entries) != 0 {
			t.Errorf("opened %+v", b.opened)
		}
		// Under a new incarnation this node has no vote in it.
		b.end()
		b.me.Incarnation[0] ^= 1
		b.opened = nil
		b.start()
		if _, err := b.m.Recover(t.Context()); err != nil || len(b.opened) != 0 {
			t.Errorf("another life opens %d jobs: %v", len(b.opened), err)
		}
	})
}

func TestAnOutcomeTakesThePlaceOfAllThatWasKeptInOneAppend(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		b.offer(j, nil)
		record := []byte("r/one")
		b.records[string(record)] = []byte{1}
		b.done = nil
		ended, _ := b.m.Await(j.ID)
		d := b.n.Decide(j, consensus.Value{Kind: consensus.Cancelled})
		b.m.Decided(j.ID, consensus.Conclusion{Outcome: d}, Standing{}, [][]byte{record})
		<-ended
		synctest.Wait()
		if got := strings.Join(b.done, ", "); got != "append" {
			t.Errorf("did %s", got)
		}
		if _, open := b.m.Job(j.ID); open || !slices.Equal(b.told, []string{"accepted", "cancelled"}) {
			t.Errorf("open: %t, told %q", open, b.told)
		}
		for _, key := range []string{string(keyOf(prefixOpen, j.ID)), string(record)} {
			if _, ok := b.records[key]; ok {
				t.Errorf("%q is left", key)
			}
		}
		if known, ok := b.m.Closed(j.ID); !ok || known.Outcome.Value.Kind != consensus.Cancelled {
			t.Error("the decision is not known")
		}
		b.offer(j, nil)
		if len(b.opened) != 1 || b.done[len(b.done)-1] != "decided" {
			t.Errorf("offered again, it did %s", b.done)
		}
	})
}

func TestARunGivesBackWhatItTookAndIsReportedWhenItsTreeIsSynced(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		b.offer(j, nil)
		b.m.Execute(j.ID, 1)
		<-time.After(10 * time.Millisecond)
		synctest.Wait()
		if load := b.m.Load(); load.Free != load.Total || load.Running != 0 || load.Open != 1 {
			t.Errorf("after the run: %+v", load)
		}
		last := b.done[len(b.done)-2:]
		if last[0] != "sync" || !strings.HasPrefix(last[1], "ran result") {
			t.Errorf("did %s at last, want its tree synced before it is reported", last)
		}
	})
}
