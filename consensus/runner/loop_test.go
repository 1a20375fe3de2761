package runner

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/consensustest"
)

// wires joins runners in memory, in virtual time. Frames take a millisecond,
// keep their order, and get lost as the random source says.
type wires struct {
	t     *testing.T
	n     *consensustest.Network
	job   consensustest.Job
	ctx   context.Context
	begun time.Time
	tasks sync.WaitGroup

	mutex sync.Mutex
	rng   *rand.Rand
	loss  int // per cent
	nodes map[admission.Key]*wired
}

// wired is one node: its runner, and what its member and its disk would be.
type wired struct {
	Host    // what no test here asks of it
	w       *wires
	me      consensustest.Node
	runner  *Runner
	inbox   chan parcel
	broken  error // of the journal
	records map[string][]byte
	sent    int
	closed  *consensus.Conclusion // what it knows of a job that ended
	decided []consensus.Decision
	gone    [][]byte // the keys it was told with the decision
	heard   []Heard
	ends    consensus.Value // of its runs; none: as everybody's

	accused   []admission.Key // of equivocation
	disagreed []consensus.SignedReport
	expired   [][][]byte // the keys it was told with each expiry
}

type parcel struct {
	from  admission.Key
	frame []byte
}

// newWires starts a runner for every node of a network, within a bubble.
func newWires(t *testing.T, ctx context.Context, seed uint64, loss int) *wires { //nolint:revive // t comes first
	t.Helper()
	n := consensustest.New(6)
	w := &wires{t: t, n: n, job: n.Job(consensus.Byzantine, 1), ctx: ctx, begun: time.Now(), rng: rand.New(rand.NewPCG(seed, 1)),
		loss: loss, nodes: map[admission.Key]*wired{}}
	for i, me := range n.Nodes {
		node := &wired{w: w, me: me, inbox: make(chan parcel, 1024), records: map[string][]byte{}}
		node.runner = New(Config{Network: n.ID, Genesis: n.Genesis, Signer: me, Incarnation: me.Incarnation, Policy: n.Genesis.Policy,
			Journal: node, Transport: node, Host: node, Clock: w.now, Session: uint64(i + 1)})
		w.nodes[me.Key()] = node
	}
	return w
}

func (w *wires) now() int64 { return consensustest.Now + time.Since(w.begun).Milliseconds() }

// start runs a node until the bubble's context ends.
func (n *wired) start() {
	n.w.tasks.Go(func() {
		if err := n.runner.Run(n.w.ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, n.broken) {
			n.w.t.Errorf("the runner ends with %v", err)
		}
	})
	n.w.tasks.Go(func() {
		for {
			select {
			case p := <-n.inbox:
				if err := n.runner.Receive(p.from, p.frame); err != nil {
					n.w.t.Errorf("a frame is refused: %v", err)
				}
			case <-n.w.ctx.Done():
				return
			}
		}
	})
}

// seat is the node that holds a seat.
func (w *wires) seat(seat int) *wired { return w.nodes[w.job.Roster[seat].Peer] }

// opening is how the job is accepted at a seat.
func (w *wires) opening(seat int) Open {
	return Open{First: bft.AcceptJob{}, Offer: consensus.Offer{Charter: w.job.Signed}, Config: bft.Config{Network: w.n.ID, Genesis: w.n.Genesis, Job: w.job.ID, Charter: w.job.Charter,
		Self: seat, Runners: []int{0, 1, 2, 3}, Timing: bft.Timing{Beat: 1_000, Round: 1_000, RoundMax: 60_000, Timeout: w.job.Timeout}}}
}

// open opens the job at a seat.
func (w *wires) open(seat int) {
	w.t.Helper()
	n := w.seat(seat)
	if err := n.runner.Open(w.ctx, w.opening(seat)); err != nil {
		w.t.Fatal(err)
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if _, ok := n.records[string(RecordKey(w.job.ID, 0))]; !ok && n.decided == nil {
		w.t.Errorf("seat %d is open before its first record is durable", seat)
	}
}

// AppendAsync implements Journal: what is appended is durable a while later.
func (n *wired) AppendAsync(records []Record, done func(error)) {
	time.AfterFunc(2*time.Millisecond, func() {
		n.w.mutex.Lock()
		if n.broken == nil {
			for _, r := range records {
				n.records[string(r.Key)] = r.Value
			}
		}
		err := n.broken
		n.w.mutex.Unlock()
		done(err)
	})
}

// Send implements Transport, and checks that what leaves rests on what is durable.
func (n *wired) Send(to admission.Key, data []byte) {
	n.w.mutex.Lock()
	defer n.w.mutex.Unlock()
	_, b, err := decodeFrame(data)
	if err != nil {
		n.w.t.Errorf("a frame that nobody can read: %v", err)
	}
	for _, it := range b.Items {
		kind, holds := needs[it.Kind], []byte(nil)
		if kind == bft.RecordSlot {
			holds = it.Value[:]
		}
		if lies := n.runner.cfg.Lie != nil; kind != 0 && !lies && !n.durable(kind, holds) {
			n.w.t.Errorf("%v leaves without its record", it.Kind)
		}
	}
	n.sent++
	receiver := n.w.nodes[to]
	if receiver == nil || n.w.rng.IntN(100) < n.w.loss {
		return
	}
	select {
	case receiver.inbox <- parcel{n.me.Key(), data}:
	default: // a full queue loses, too
	}
}

func (n *wired) durable(kind bft.RecordKind, holds []byte) bool {
	for _, value := range n.records {
		if r, err := DecodeRecord(value); err == nil && r.Kind == kind && bytes.Contains(r.Data, holds) {
			return true
		}
	}
	return false
}

func (n *wired) input(job consensus.JobID, in bft.Input) {
	n.w.tasks.Go(func() {
		if err := n.runner.Input(n.w.ctx, job, in); err != nil && n.w.ctx.Err() == nil {
			n.w.t.Errorf("input: %v", err)
		}
	})
}

// What follows implements Host.

func (n *wired) Offered(admission.Key, consensus.Offer, []consensus.Vote, []consensus.Decision) {}

func (n *wired) Execute(job consensus.JobID, run uint64) {
	n.input(job, bft.Ran{Run: run, Value: n.outcome()})
}

func (n *wired) Fetch(job consensus.JobID, _ consensus.Value, hash consensus.Hash, normals []consensus.Hash, _ []admission.Key) {
	n.input(job, bft.Held{Value: hash, Normals: normals})
}

func (n *wired) Started(consensus.JobID) {}

func (n *wired) Reached(consensus.JobID, consensus.Height) {}

func (n *wired) Decided(_ consensus.JobID, ended consensus.Conclusion, _ bft.View, records [][]byte) {
	n.w.mutex.Lock()
	defer n.w.mutex.Unlock()
	if !n.durable(bft.RecordDecided, nil) {
		n.w.t.Error("the outcome is told before it is durable")
	}
	n.decided, n.gone = append(n.decided, ended.Outcome), records
}

func (n *wired) Abandoned(consensus.JobID) {}

func (n *wired) Blocks(consensus.JobID, []consensus.Block) {}

func (n *wired) Inline(context.Context, consensus.Value) []consensus.Block { return nil }

func (n *wired) Closed(consensus.JobID) (consensus.Conclusion, bool) {
	if n.closed == nil {
		return consensus.Conclusion{}, false
	}
	return *n.closed, true
}

// bubble runs a test in virtual time. That all goroutines end with the context
// is part of it.
func bubble(t *testing.T, test func(*testing.T, context.Context)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		test(t, ctx)
	})
}

// settle lets time pass, and what is due by then be done.
func (w *wires) settle(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (w *wires) checkDecided(seats ...int) {
	w.t.Helper()
	w.checkOutcome(consensustest.Result("hello"), seats...)
}

func (w *wires) checkOutcome(v consensus.Value, seats ...int) {
	w.t.Helper()
	w.mutex.Lock()
	defer w.mutex.Unlock()
	want, err := v.Hash(w.n.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, seat := range seats {
		n := w.seat(seat)
		if len(n.decided) != 1 || n.decided[0].Commits.Value != want {
			w.t.Errorf("seat %d decided %d times", seat, len(n.decided))
			continue
		}
		for _, key := range n.gone {
			if _, ok := n.records[string(key)]; !ok {
				w.t.Errorf("seat %d was told of a record that is not there", seat)
			}
		}
		if len(n.gone) != len(n.records) {
			w.t.Errorf("seat %d was told of %d of its %d records", seat, len(n.gone), len(n.records))
		}
	}
}

func TestFourRunnersDecideTheSameWhateverIsLost(t *testing.T) {
	for _, loss := range []int{0, 10, 40} {
		seed := rand.Uint64()
		t.Logf("loss %d%%, seed %d", loss, seed)
		bubble(t, func(t *testing.T, ctx context.Context) {
			ctx, cancel := context.WithCancel(ctx)
			w := newWires(t, ctx, seed, loss)
			submitter := w.nodes[w.job.Submitter]
			submitter.runner.Watch(w.job.ID, w.job.Charter, func(h Heard) {
				w.mutex.Lock()
				defer w.mutex.Unlock()
				submitter.heard = append(submitter.heard, h)
			})
			for _, n := range w.nodes {
				n.start()
			}
			for seat := range 4 {
				w.open(seat)
			}
			w.settle(10 * time.Minute)
			w.checkDecided(0, 1, 2, 3)
			w.mutex.Lock()
			if loss == 0 && !slices.ContainsFunc(submitter.heard, func(h Heard) bool { return h.Ended != nil }) {
				t.Errorf("the submitter heard %d words, and no decision", len(submitter.heard))
			}
			w.mutex.Unlock()
			for seat := range 4 {
				if _, open, err := w.seat(seat).runner.View(ctx, w.job.ID); open || err != nil {
					t.Errorf("seat %d keeps the job: %v", seat, err)
				}
			}
			cancel()
			w.tasks.Wait()
		})
	}
}

func TestAMemberThatComesLateCatchesUp(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		w := newWires(t, ctx, 1, 0)
		for _, n := range w.nodes {
			n.start()
		}
		for seat := range 3 {
			w.open(seat)
		}
		w.settle(3 * time.Second) // the others decide, and what they say to seat 3 is kept there
		w.checkDecided(0, 1, 2)
		w.open(3)
		w.settle(time.Minute)
		w.checkDecided(3)
		cancel()
		w.tasks.Wait()
	})
}

// What a submitter withdrew at one member only ends for all, without the
// submitter and with one member gone (decision 007).
func TestAMemberThatGaveTheJobUpShowsTheOthersWhy(t *testing.T) {
	for _, seated := range []bool{true, false} {
		bubble(t, func(t *testing.T, ctx context.Context) {
			ctx, cancel := context.WithCancel(ctx)
			w := newWires(t, ctx, 1, 0)
			submitter := w.n.Nodes[0].Key()
			for nonce := byte(1); (w.job.Place(submitter) >= 0) != seated; nonce++ {
				w.job = w.n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Nonce = consensus.Hash{nonce} })
			}
			voided, dead := max(w.job.Place(submitter), 0), 3
			if voided == dead {
				dead = 0
			}
			for _, n := range w.nodes {
				n.start()
			}
			w.open(voided)
			if err := w.nodes[submitter].runner.Speak(ctx, Speech{To: w.job.Roster[voided].Peer, Job: w.job.ID, Kind: consensus.KindVoid}); err != nil {
				t.Fatal(err)
			}
			w.settle(time.Second)
			if !w.seat(voided).durable(bft.RecordVoid, nil) {
				t.Fatal("the job is not withdrawn")
			}
			var living []int
			for seat := range 4 {
				if seat != dead {
					living = append(living, seat)
				}
				if seat != dead && seat != voided {
					w.open(seat)
				}
			}
			w.settle(10 * time.Minute)
			w.checkOutcome(consensus.Value{Kind: consensus.Cancelled}, living...)
			cancel()
			w.tasks.Wait()
		})
	}
}

func TestNothingLeavesANodeWhoseJournalFails(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		w := newWires(t, ctx, 1, 0)
		n := w.seat(0)
		n.broken = errors.New("no space left")
		ended := make(chan error, 1)
		w.tasks.Go(func() { ended <- n.runner.Run(ctx) })
		opened := make(chan error, 1)
		w.tasks.Go(func() {
			opened <- n.runner.Open(ctx, Open{First: bft.AcceptJob{}, Config: bft.Config{Network: w.n.ID, Job: w.job.ID, Charter: w.job.Charter, Runners: []int{0, 1, 2, 3}}})
		})
		if err := <-ended; !errors.Is(err, n.broken) {
			t.Errorf("the runner ends with %v", err)
		}
		cancel()
		if err := <-opened; err == nil {
			t.Error("the job is open, and nothing of it durable")
		}
		w.tasks.Wait()
		if n.sent != 0 {
			t.Errorf("%d frames left", n.sent)
		}
	})
}

// What waits for its charter would be lost with the process, or to make room: it
// is not acknowledged, so that it is said again.
func TestWhatWaitsForItsCharterIsNotAcknowledged(t *testing.T) {
	n := consensustest.New(4)
	job := n.Job(consensus.Byzantine, 1)
	r := New(Config{Network: n.ID, Genesis: n.Genesis, Signer: n.Nodes[0], Policy: n.Genesis.Policy, Host: noHost{}, Clock: func() int64 { return 0 }})
	l := &loop{r: r, core: NewCore(n.Nodes[0].Key(), resend), peers: map[admission.Key]*peer{}, stash: newStash()}
	from := n.Nodes[1].Key()
	early := stashed{from: from, item: item{Kind: consensus.KindAccept, Job: job.ID}}
	l.frame(frameEvent{from: from, session: 1, seq: 1, unknown: []stashed{early}, missed: []uint64{0}})
	if have := l.peers[from].have; len(have) != 1 || !slices.Equal(have[0].Missed, []uint64{0}) {
		t.Errorf("acknowledged: %+v", have)
	}
	if kept := l.stash.take(job.ID); len(kept) != 1 {
		t.Errorf("%d messages wait", len(kept))
	}
}

func TestWhoAsksAboutAJobThatEndedIsAnswered(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		w := newWires(t, ctx, 1, 0)
		d := w.n.Decide(w.job, consensustest.Result("hello"))
		w.seat(1).closed = &consensus.Conclusion{Outcome: d}
		asker := w.seat(0)
		asker.runner.Watch(w.job.ID, w.job.Charter, func(h Heard) {
			w.mutex.Lock()
			defer w.mutex.Unlock()
			asker.heard = append(asker.heard, h)
		})
		asker.start()
		w.seat(1).start()
		if err := asker.runner.Speak(ctx, Speech{To: w.job.Roster[1].Peer, Job: w.job.ID, Note: consensus.NoteAsk}); err != nil {
			t.Fatal(err)
		}
		w.settle(time.Second)
		w.mutex.Lock()
		if len(asker.heard) != 1 || asker.heard[0].Ended == nil || asker.heard[0].From != w.job.Roster[1].Peer {
			t.Errorf("heard %+v", asker.heard)
		}
		w.mutex.Unlock()
		cancel()
		w.tasks.Wait()
	})
}
