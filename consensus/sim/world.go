package sim

import (
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/runner"
)

// epoch is the Unix time at which a run begins, in milliseconds.
const epoch = 1_000_000

// world is one run: nodes, their network and disks under one virtual clock.
type world struct {
	plan  *Schedule
	cover *Coverage
	trace trace
	queue queue
	now   int64
	steps int

	job     consensus.JobID
	charter *consensus.Charter
	offer   consensus.Offer
	t       consensus.Thresholds
	runners []int
	spares  []int              // reserves
	heights []consensus.Height // those that an honest node has reached
	judge   *runner.Judge
	ledger  ledger

	nodes     []*node
	submitter submitter
	links     []source // by sender and receiver
	cuts      []cut    // partitions that last
	revoked   uint32   // whose credentials were

	checks  checks
	failure *Failure
	outcome *consensus.Value
}

func newWorld(s *Schedule, coverage *Coverage, words bool) *world {
	w := &world{plan: s, cover: coverage, now: epoch}
	w.trace.words = words
	if w.cover == nil {
		w.cover = new(Coverage)
	}
	src := newSource(s.Seed, 1)
	w.job = consensus.JobID{byte(src.next()), byte(src.next()), byte(src.next())}
	w.charter = w.newCharter()
	w.t = w.charter.Thresholds()
	w.offer = consensus.Offer{Charter: consensus.SignedCharter{Bytes: []byte("charter")}}
	w.judge = runner.NewJudge(network, w.job, w.charter, runner.Verifier{Proof: w.ledger.verify, Cancel: w.ledger.cancel})
	w.heights = []consensus.Height{consensus.FirstHeight(network, w.job, w.charter)}
	for i := range s.parties() {
		if i < w.t.N {
			w.runners = append(w.runners, i)
		} else {
			w.spares = append(w.spares, i)
		}
		w.nodes = append(w.nodes, newNode(w, i))
	}
	for _, l := range s.Liars {
		w.nodes[l.Node].liar = newLiar(w, w.nodes[l.Node], l.Kind)
	}
	w.links = make([]source, (len(w.nodes)+1)*(len(w.nodes)+1))
	for i := range w.links {
		w.links[i] = newSource(s.Seed, 100+i)
	}
	w.submitter = newSubmitter(w)
	w.checks = newChecks(w)
	return w
}

func (w *world) newCharter() *consensus.Charter {
	c := &consensus.Charter{Issued: epoch, AcceptBy: epoch + min(5_000, w.plan.Deadline),
		StartBy: epoch + min(8_000, w.plan.Deadline), Deadline: epoch + w.plan.Deadline,
		Timeout: 5_000, Fault: w.plan.Scenario.Fault, F: w.plan.Scenario.F, Owner: admission.Key{0xfe}, Submitter: admission.Key{0xff},
		End: epoch + 3_600_000 + w.plan.Deadline, Replace: uint64(w.plan.Replace),
		Assurance: w.plan.assurance(), Effects: w.plan.Effects}
	for i := range w.plan.Seats {
		c.Roster = append(c.Roster, consensus.Seat{Peer: keyOf(i), Incarnation: firstLife(i)})
	}
	for i := range w.plan.Reserves {
		c.Reserves = append(c.Reserves, consensus.Seat{Peer: keyOf(w.plan.Seats + i), Incarnation: firstLife(w.plan.Seats + i)})
	}
	if w.plan.Submitter >= 0 {
		c.Submitter = keyOf(w.plan.Submitter)
	}
	return c
}

func keyOf(node int) admission.Key { return admission.Key{byte(node + 1)} }

func firstLife(node int) admission.Incarnation { return admission.Incarnation{byte(node + 1), 1} }

// secondLife is the incarnation of a node that lost its disk.
func secondLife(node int) admission.Incarnation { return admission.Incarnation{byte(node + 1), 2} }

// last is the last height that an honest node has reached.
func (w *world) last() consensus.Height { return w.heights[len(w.heights)-1] }

// after plans a call that belongs to no node's life.
func (w *world) after(delay int64, then func()) {
	w.queue.push(event{at: w.now + delay, node: -1, kind: evCall, then: then})
}

// run plays until every honest member has decided, or has no reason to.
func (w *world) run() {
	w.begin()
	for w.failure == nil && len(w.queue.heap) > 0 && !w.checks.finished() {
		e := w.queue.pop()
		w.now = max(w.now, e.at)
		if w.now > epoch+calm+bound {
			w.checks.outOfTime()
			break
		}
		w.happen(&e)
		if w.steps > 20_000 {
			w.fail("I10", "no end of it: %d steps%s", w.steps, w.checks.stand())
		}
	}
	w.checks.end()
}

func (w *world) begin() {
	for _, f := range w.plan.Faults {
		w.after(f.At, func() { w.strike(f) })
	}
	w.submitter.begin()
	w.after(calm, func() {
		w.logf("from here on the network behaves")
		w.cuts = nil
		w.revokeAll()
		w.checks.calm()
	})
	if w.plan.Effects == consensus.Once {
		w.after(calm+patient, w.lookOn)
	}
	for _, n := range w.nodes {
		if n.liar != nil {
			n.liar.begin()
		}
	}
}

// strike lets a fault of the schedule happen.
func (w *world) strike(f Fault) {
	if w.now >= epoch+calm {
		return
	}
	n := w.nodes[f.Node]
	switch f.Kind {
	case Crash, Die, LoseDisk:
		n.strike(f)
	case DieAgain:
		if w.bears(n) {
			f.Kind = Die
			n.strike(f)
		}
	case FailSync:
		if n.up && n.armed == nil {
			n.armed = &f
		}
	case Partition:
		w.logf("partition: %b", f.Mask)
		w.cuts = append(w.cuts, cut{f.Mask, w.now + f.For})
		w.cover.hit(SawPartition)
	case SlowBlocks:
		n.noBlocks = w.now + f.For
	case SlowRuns:
		n.slowRuns = f.For
	case StepClock:
		n.skew += f.For
		n.stepped = true
		w.cover.hit(SawClockStep)
	case Busy:
		n.busy = true
	case Wish:
		w.ledger.wished = true
		n.wish()
	case Withdraw:
		w.submitter.withdraw()
	case Vanish:
		w.submitter.vanish()
	case Revoke:
		w.logf("revoked: %d, to the knowledge of %b", f.Node, f.Mask)
		w.revoke(f.Node, f.Mask)
	}
}

// bears reports whether one more node can be lost for good: those that were lost
// before are replaced, and everybody who is left knows it. The budget of f holds
// for the roster of every height that somebody still votes at.
func (w *world) bears(lost *node) bool {
	if len(w.heights) == 1 || lost.faulty() {
		return false
	}
	faulty := 1
	for _, n := range w.nodes {
		if !n.faulty() && w.last().SeatOf(n.id) >= 0 && w.checks.members[n.id].height != w.last().Number {
			return false
		}
		if n.faulty() && (w.last().SeatOf(n.id) >= 0 || !w.last().Used(n.id-w.t.N) && n.id >= w.t.N) {
			faulty++
		}
	}
	return faulty <= int(w.plan.Scenario.F)
}

func (w *world) happen(e *event) {
	if e.kind == evCall && e.node < 0 {
		e.then()
		return
	}
	w.trace.note(uint64(w.now), uint64(e.kind), uint64(e.node))
	if e.node < 0 {
		w.submitter.receive(e.mail)
		return
	}
	n := w.nodes[e.node]
	if e.kind == evFrame {
		w.deliver(e, n)
		return
	}
	if n.life != e.life {
		return
	}
	switch e.kind {
	case evCall:
		e.then()
	case evTick:
		n.tick(e.at)
	case evSynced:
		n.synced()
	case evRuns:
		n.input(bft.RunState{Run: e.run, Running: true})
	case evTasks:
		n.endTasks(e.run, e.done)
	case evRan:
		n.ran(e.run)
	}
}
