package bft

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

var (
	seedFlag  = flag.Uint64("bft.seed", 0, "replay this one seed of the simulator, with its trace")
	seedsFlag = flag.Int("bft.seeds", 0, "number of seeds for each scenario of the simulator; 0: as the scenario says")
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
	seeds     int // how many, unless a flag says otherwise
}

var scenarios = []scenario{
	{name: "n=1", fault: consensus.Byzantine, f: 0, seeds: 50},
	{name: "n=4", fault: consensus.Byzantine, f: 1, liar: true, seeds: 300},
	{name: "n=4 dead", fault: consensus.Byzantine, f: 1, dead: true, seeds: 300},
	{name: "n=7", fault: consensus.Byzantine, f: 2, liar: true, dead: true, seeds: 150},
	{name: "contested n=4", fault: consensus.Byzantine, f: 1, liar: true, contested: true, seeds: 1500},
	{name: "contested n=7", fault: consensus.Byzantine, f: 2, liar: true, contested: true, seeds: 100},
	{name: "contested crash n=3", fault: consensus.Crash, f: 1, contested: true, seeds: 500},
	{name: "crash n=3", fault: consensus.Crash, f: 1, dead: true, seeds: 400},
	{name: "crash n=5", fault: consensus.Crash, f: 2, dead: true, seeds: 300},
}

const (
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
				n = max(s.seeds/slowness, 1)
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
