package bft

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

var (
	seedFlag  = flag.Uint64("bft.seed", 0, "replay this one seed of the simulator, with its trace")
	seedsFlag = flag.Int("bft.seeds", 0, "number of seeds for each scenario of the simulator; 0: a default")
)

// scenario is a kind of world; the seed settles the rest.
type scenario struct {
	name  string
	fault consensus.Fault
	f     uint64
	liar  bool // in the Byzantine model: one seat lies
	dead  bool // one seat stops for good before the network behaves
	// contested: several values are valid at once, rounds are short, decisions
	// hardly spread, and a liar is everybody's accomplice: what locks are for.
	contested bool
}

var scenarios = []scenario{
	{name: "n=1", fault: consensus.Byzantine, f: 0},
	{name: "n=4", fault: consensus.Byzantine, f: 1, liar: true},
	{name: "n=4 dead", fault: consensus.Byzantine, f: 1, dead: true},
	{name: "n=7", fault: consensus.Byzantine, f: 2, liar: true, dead: true},
	{name: "contested n=4", fault: consensus.Byzantine, f: 1, liar: true, contested: true},
	{name: "contested n=7", fault: consensus.Byzantine, f: 2, liar: true, contested: true},
	{name: "contested crash n=3", fault: consensus.Crash, f: 1, contested: true},
	{name: "crash n=3", fault: consensus.Crash, f: 1, dead: true},
	{name: "crash n=5", fault: consensus.Crash, f: 2, dead: true},
}

const (
	defaultSeeds = 300

	epoch  = 1_000_000
	calm   = epoch + 20_000 // from here on the network behaves, and nobody crashes
	bound  = 180_000        // milliseconds after calm within which every honest member decides
	within = 24             // rounds after calm within which it does
)

func TestSimulatedQuorumsDecideOnceAndDecide(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if *seedFlag != 0 {
				runWorld(t, s, *seedFlag, true)
				return
			}
			n := *seedsFlag
			if n == 0 {
				n = defaultSeeds
			}
			for seed := range n {
				if !runWorld(t, s, uint64(seed)+1, false) {
					return
				}
			}
		})
	}
}

func TestTheSameSeedGivesTheSameTrace(t *testing.T) {
	for seed := range uint64(5) {
		a, b := newWorld(scenarios[3], seed+1, true), newWorld(scenarios[3], seed+1, true)
		a.run()
		b.run()
		if a.trace.String() != b.trace.String() {
			t.Fatalf("seed %d: two runs, two traces", seed+1)
		}
	}
}

// runWorld runs one seed and reports whether every invariant held.
func runWorld(t *testing.T, s scenario, seed uint64, trace bool) bool {
	t.Helper()
	w := newWorld(s, seed, trace)
	w.run()
	if trace {
		t.Log("\n" + w.trace.String())
	}
	if w.failure != "" {
		t.Errorf("%s, -bft.seed=%d: %s", s.name, seed, w.failure)
	}
	return w.failure == ""
}

// world is machines, their journals, a network and a liar under one virtual
// clock. Everything follows from the seed.
type world struct {
	scenario
	rng        *rand.Rand
	now        int64
	events     events
	seq        int
	charter    *consensus.Charter
	job        consensus.JobID
	t          consensus.Thresholds
	nodes      []*node // one for each seat; two for a liar with two faces
	liar       int     // seat, or -1
	dead       int     // seat, or -1
	truth      consensus.Value
	accomplice bool // the liar votes with everybody
	diverse    bool // the task is not deterministic
	cancels    bool
	said       map[utterance]bool // every slot that was let out
	order      []utterance        // the same, in order
	values     map[consensus.Hash]consensus.Value
	signed     map[int]consensus.SignedReport
	slots      map[slotKey]utterance // of honest seats: the first in its slot
	reports    map[int]consensus.Value
	outcome    *consensus.Hash
	failure    string
	trace      strings.Builder
	tracing    bool
	steps      int
}

type utterance struct {
	seat  int
	kind  consensus.Kind
	round uint32
	value consensus.Hash
}

type slotKey struct {
	seat  int
	kind  consensus.Kind
	round uint32
}

// node is one process: a machine and what survives it.
type node struct {
	w       *world
	seat    int
	honest  bool
	face    int // of a liar with two faces: which seats it talks to
	machine *Machine
	epoch   int // incremented by each crash: events for an earlier life are void
	up      bool
	first   Input
	journal []Record
	kinds   map[RecordKind]bool // in the journal
	slots   map[utterance]bool  // in the journal
	locks   uint32              // 1 + the round of the lock in the journal
	pending []Ready             // not durable yet
	blocks  map[consensus.Hash]bool
	heard   map[int]map[string]bool // acknowledged, by seat
	backoff int64
	value   consensus.Value // what its runs end in
	decided *consensus.Decision
	entered uint32 // the round it was in when the network calmed down
}

type event struct {
	at  int64
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (w *world) after(delay int64, do func()) {
	w.seq++
	heap.Push(&w.events, event{w.now + delay, w.seq, do})
}

func (w *world) logf(format string, args ...any) {
	if w.tracing {
		fmt.Fprintf(&w.trace, "%7d ", w.now-epoch)
		fmt.Fprintf(&w.trace, format+"\n", args...)
	}
}

func (w *world) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf("at %d ms: ", w.now-epoch) + fmt.Sprintf(format, args...)
		w.logf("FAILURE %s", w.failure)
	}
}

func (w *world) chance(percent int) bool { return w.rng.IntN(100) < percent }

func tree(name string) *dagcbor.Link {
	link := dagcbor.LinkTo(dagcbor.CID([]byte(name)))
	return &link
}

func result(name string) consensus.Value {
	return consensus.Value{Kind: consensus.Result, Tree: tree(name)}
}

func failed(class consensus.Failure) consensus.Value {
	return consensus.Value{Kind: consensus.Failed, Class: class}
}

// testCharter makes a charter as far as the machine looks at it.
func testCharter(fault consensus.Fault, f uint64, start int64) *consensus.Charter {
	c := &consensus.Charter{Issued: start, AcceptBy: start + 10_000, StartBy: start + 15_000, Deadline: start + 3_600_000,
		Timeout: 5_000, Fault: fault, F: f}
	for seat := range c.Thresholds().N {
		c.Roster = append(c.Roster, consensus.Seat{Peer: admission.Key{byte(seat + 1)}})
	}
	return c
}

func testConfig(charter *consensus.Charter, self int) Config {
	cfg := Config{Job: consensus.JobID{1}, Charter: charter, Self: self, Salt: [16]byte{byte(self)},
		Timing: Timing{Beat: 1_000, Round: 1_000, RoundMax: 60_000, Timeout: charter.Timeout}}
	for seat := range charter.Roster {
		cfg.Runners = append(cfg.Runners, seat)
	}
	return cfg
}

func newWorld(s scenario, seed uint64, trace bool) *world {
	w := &world{scenario: s, rng: rand.New(rand.NewPCG(seed, 1)), now: epoch, job: consensus.JobID{1}, liar: -1, dead: -1, tracing: trace,
		said: map[utterance]bool{}, slots: map[slotKey]utterance{}, reports: map[int]consensus.Value{},
		values: map[consensus.Hash]consensus.Value{}, signed: map[int]consensus.SignedReport{}}
	w.charter = testCharter(s.fault, s.f, epoch)
	w.t = w.charter.Thresholds()
	if w.chance(5) {
		w.charter.Deadline = epoch + 5_000 + w.rng.Int64N(30_000)
	}
	if s.dead {
		w.dead = w.rng.IntN(w.t.N)
	}
	if s.liar {
		for w.liar = w.rng.IntN(w.t.N); w.liar == w.dead; {
			w.liar = w.rng.IntN(w.t.N)
		}
	}
	w.truth = result("truth")
	switch {
	case w.chance(10):
		w.truth = consensus.Value{Kind: consensus.Failed, Class: consensus.FailedExit, Code: 3, Tree: tree("exit")}
	case w.chance(5):
		w.truth = failed(consensus.FailedTimeout)
	case w.chance(5):
		w.diverse = true
	}
	w.cancels = w.contested || w.chance(10)
	if w.contested && w.chance(50) {
		w.charter.Deadline = epoch + 1_000 + w.rng.Int64N(5_000)
	}
	for seat := range w.t.N {
		w.addNode(seat, seat != w.liar, 0)
	}
	if w.liar >= 0 {
		w.addLiar()
	}
	return w
}

func (w *world) addNode(seat int, honest bool, face int) *node {
	n := &node{w: w, seat: seat, honest: honest, face: face, blocks: map[consensus.Hash]bool{}, heard: map[int]map[string]bool{},
		kinds: map[RecordKind]bool{}, slots: map[utterance]bool{}, backoff: 500, value: w.truth, first: AcceptJob{}}
	if w.diverse {
		n.value = result(fmt.Sprint("differs ", seat))
		if w.chance(30) {
			n.value = failed(consensus.FailedHost)
		}
	}
	w.nodes = append(w.nodes, n)
	return n
}

// run plays the world until every honest member has decided, or time is up.
func (w *world) run() {
	for _, n := range w.nodes {
		if n.first != nil {
			w.after(w.rng.Int64N(300), n.begin)
		}
	}
	for range w.rng.IntN(4) {
		w.after(w.rng.Int64N(calm-epoch-5_000), func() { w.nodes[w.rng.IntN(len(w.nodes))].crash(w.rng.Int64N(3_000)) })
	}
	if w.dead >= 0 {
		w.after(w.rng.Int64N(calm-epoch), func() { w.nodes[w.dead].crash(-1) })
	}
	for range w.rng.IntN(5) {
		if w.contested {
			w.after(w.rng.Int64N(6_000), func() { w.nodes[w.rng.IntN(len(w.nodes))].crash(w.rng.Int64N(1_000)) })
		}
	}
	for _, n := range w.nodes {
		if w.contested || w.cancels && n.seat == 0 {
			w.after(w.rng.Int64N(5_000), func() { n.step(CancelWish{}) })
		}
	}
	w.after(calm-epoch, func() {
		w.logf("the network behaves")
		for _, n := range w.nodes {
			if n.machine != nil {
				n.entered = n.machine.rounds.round
			}
		}
	})
	for w.failure == "" && len(w.events) > 0 && !w.finished() {
		e := heap.Pop(&w.events).(event)
		w.now = max(w.now, e.at)
		if w.now > calm+bound {
			w.fail("not every honest member decided: %s", w.stand())
		}
		e.do()
	}
	if w.failure == "" && !w.finished() {
		w.fail("nothing left to happen, and not every honest member decided: %s", w.stand())
	}
}

func (w *world) finished() bool {
	for _, n := range w.nodes {
		if n.honest && n.seat != w.dead && n.decided == nil {
			return false
		}
	}
	return true
}

func (w *world) stand() string {
	var b strings.Builder
	for _, n := range w.nodes {
		if n.machine != nil {
			v := n.machine.View()
			fmt.Fprintf(&b, "\n seat %d honest %v up %v: %s round %d valid %v waiting %v", n.seat, n.honest, n.up, v.Phase, v.Round, v.Valid, v.Waiting)
		}
	}
	return b.String()
}

func (n *node) config() Config {
	cfg := testConfig(n.w.charter, n.seat)
	cfg.Job = n.w.job
	if n.w.contested {
		cfg.Timing.Round = 200
	}
	return cfg
}

func (n *node) begin() {
	n.up = true
	n.machine = New(n.config())
	n.take(n.machine.Step(n.w.now, n.first))
	n.resendLater()
}

// crash ends a node's process: what was not durable is lost, and some of what
// was durable was never said. It comes back after a time; never, if negative.
func (n *node) crash(back int64) {
	if !n.up || n.seat == n.w.dead && back >= 0 {
		return
	}
	for kept := n.w.rng.IntN(len(n.pending) + 1); kept > 0; kept-- {
		n.persist(n.pending[0])
		n.pending = n.pending[1:]
	}
	n.w.logf("%d crashes, %d records are durable", n.seat, len(n.journal))
	n.up, n.pending, n.machine = false, nil, nil
	n.epoch++
	n.heard = map[int]map[string]bool{}
	if back >= 0 {
		n.w.after(back, n.restart)
	}
}

func (n *node) restart() {
	machine, ready, err := Restore(n.config(), n.journal, n.w.now)
	if err != nil {
		n.w.fail("seat %d does not restart: %v", n.seat, err)
		return
	}
	n.w.logf("%d restarts", n.seat)
	n.up, n.machine = true, machine
	n.take(ready)
	if len(n.journal) == 0 {
		n.step(n.first)
	}
	for _, other := range n.w.nodes {
		if other.seat != n.seat && other.up {
			n.w.after(n.w.delay(), func() { other.asked(n.seat) })
		}
	}
	n.resendLater()
}

// asked answers a member that lost what it had heard.
func (n *node) asked(by int) {
	if n.up {
		delete(n.heard, by)
		n.resend(by)
	}
}

// step gives the machine one input, and makes what it answers durable later.
func (n *node) step(in Input) {
	if !n.up {
		return
	}
	n.w.steps++
	n.take(n.machine.Step(n.w.now, in))
}

func (n *node) take(r Ready) {
	life := n.epoch
	if r.Wake != 0 {
		if r.Wake <= n.w.now {
			n.w.fail("seat %d wants to wake in the past", n.seat)
		}
		n.w.after(r.Wake-n.w.now, func() {
			if n.epoch == life {
				n.step(Tick{})
			}
		})
	}
	if len(r.Records)+len(r.Say)+len(r.Do) == 0 {
		return
	}
	n.pending = append(n.pending, r)
	if len(n.pending) == 1 {
		n.w.after(n.w.rng.Int64N(8), func() { n.flush(life) })
	}
}

func (n *node) persist(r Ready) {
	for _, record := range r.Records {
		n.w.checkRecord(n, record)
		n.journal = append(n.journal, record)
	}
}

// flush makes all that is pending durable, and then lets out what it says.
func (n *node) flush(life int) {
	if n.epoch != life {
		return
	}
	batch := n.pending
	n.pending = nil
	for _, r := range batch {
		n.persist(r)
	}
	for _, r := range batch {
		for _, e := range r.Do {
			n.do(e)
		}
		for _, out := range r.Say {
			n.release(out)
		}
	}
}

// release sends what a durable step says, and hands the machine its own words.
func (n *node) release(out Outgoing) {
	n.w.check(n, out)
	to := out.To
	if to == nil {
		for seat := range n.w.t.N {
			to = append(to, seat)
		}
	}
	for _, seat := range to {
		n.w.send(n, seat, out)
	}
}

func ackKey(o Outgoing) string { return fmt.Sprint(o.Kind, o.Note, o.Round, o.Value) }

// resend says again what a seat has not acknowledged, when all that the machine
// stands for is durable.
func (n *node) resend(seat int) {
	var again []Outgoing
	for _, out := range n.machine.Current(seat) {
		if !n.heard[seat][ackKey(out)] {
			again = append(again, out)
		}
	}
	n.take(Ready{Say: again})
}

func (n *node) resendLater() {
	life := n.epoch
	n.backoff = min(n.backoff*3/2, 5_000)
	n.w.after(n.backoff+n.w.rng.Int64N(100), func() {
		if n.epoch != life || n.w.finished() {
			return
		}
		for seat := range n.w.t.N {
			n.resend(seat)
		}
		n.resendLater()
	})
}

func (n *node) do(e Effect) {
	life := n.epoch
	switch e := e.(type) {
	case Execute:
		n.w.after(n.w.rng.Int64N(500), func() {
			if n.epoch == life {
				n.step(RunState{Run: e.Run, Running: true})
			}
		})
		n.w.after(500+n.w.rng.Int64N(2_000), func() {
			if n.epoch == life {
				if hash := mustHash(n.value); n.value.Tree != nil {
					n.blocks[hash] = true
				}
				n.step(Ran{Run: e.Run, Value: n.value})
			}
		})
	case Fetch:
		n.fetch(e, life)
	case Decided:
		n.w.decided(n, e.Decision)
	}
}

// fetch brings blocks from any honest seat that claims them, after a lag.
func (n *node) fetch(e Fetch, life int) {
	n.w.after(n.w.rng.Int64N(3_000), func() {
		if n.epoch != life || n.blocks[e.Hash] {
			return
		}
		for _, other := range n.w.nodes {
			if slices.Contains(e.From, other.seat) && (other.up && other.blocks[e.Hash] || other.seat == n.w.liar && n.w.chance(50)) {
				n.blocks[e.Hash] = true
				n.step(Held{Value: e.Hash})
				return
			}
		}
		n.fetch(e, life)
	})
}

func mustHash(v consensus.Value) consensus.Hash {
	hash, err := v.Hash(admission.Network{})
	if err != nil {
		panic(err)
	}
	return hash
}

func (w *world) delay() int64 {
	if w.now >= calm {
		return 1 + w.rng.Int64N(50)
	}
	if w.chance(10) {
		return w.rng.Int64N(6_000)
	}
	return 1 + w.rng.Int64N(100)
}

// send delivers to every node in a seat: a copy may be lost or doubled until
// the network behaves, and any two may change places.
func (w *world) send(from *node, seat int, out Outgoing) {
	if from.seat != seat && !from.honest && !w.hears(from, seat) {
		return
	}
	copies := 1
	if from.seat != seat && w.now < calm {
		if w.chance(25) || w.contested && (out.Note == consensus.NoteDecided || w.chance(20)) {
			copies = 0
		} else if w.chance(10) {
			copies = 2
		}
	}
	life := from.epoch
	for range copies {
		delay := w.delay()
		if from.seat == seat {
			delay = 0
		}
		w.after(delay, func() {
			for _, to := range w.nodes {
				if to.seat != seat || to.seat == from.seat && to != from || !to.up {
					continue
				}
				if to == from && from.epoch != life {
					continue
				}
				if from.epoch == life {
					if from.heard[seat] == nil {
						from.heard[seat] = map[string]bool{}
					}
					from.heard[seat][ackKey(out)] = true
				}
				to.step(w.message(from.seat, out))
			}
		})
	}
}

func (w *world) message(from int, out Outgoing) Message {
	return Message{From: from, Kind: out.Kind, Note: out.Note, Round: out.Round, Value: out.Value, Payload: out.Payload,
		Proof: consensus.Proof{Count: 1, Index: uint64(from)}}
}
