package sim

import (
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/runner"
)

// resend is the first back-off of what is said again, in milliseconds.
const resend = 500

// node is one member's process, with its disk and its clock.
type node struct {
	w     *world
	id    int
	key   admission.Key
	liar  *liar // nil: it is honest
	skew  int64 // of its clock
	disk  disk
	host  source // luck of its runs and blocks
	flaws source // luck of its disk

	up     bool
	life   int  // how often it has ended
	gone   bool // its disk was lost: it is another incarnation than the roster's
	ended  bool // it never comes back
	busy   bool // it refuses
	intake bool // it looks at an offer
	opened bool // the job is open
	core   *runner.Core
	stash  mail          // of a job that is not open here
	flight *runner.Batch // under way to the disk
	tickAt int64         // when the next tick is planned; 0: none
	wishes bool          // the owner's wish came before the job
	knows  uint32        // whose credentials were revoked; durable
	armed  *Fault        // how it ends, at the next chance
	told   []int64       // by node: when it was last answered with the decision
	lives  []int         // by node: 1 + the life that was last heard of

	noBlocks int64 // no blocks arrive before
	slowRuns int64
	decided  *consensus.Conclusion // known to this process

	height  uint64  // that this process has reached
	heard   []int64 // by party: when, by this node's clock
	before  []int64 // likewise, as it was when the batch before the one under way was flushed
	after   []int64 // likewise, as it was when the one under way was
	flushed int64   // when that was, by this node's clock
	stepped bool    // its clock was: how long ago is anybody's guess
}

func newNode(w *world, id int) *node {
	n := &node{w: w, id: id, key: keyOf(id), up: true, skew: w.plan.Skew[id], host: newSource(w.plan.Seed, 10+id),
		flaws: newSource(w.plan.Seed, 50+id), told: make([]int64, w.plan.parties()), lives: make([]int, w.plan.parties())}
	n.core = runner.NewCore(n.key, resend)
	n.heard, n.before, n.after = make([]int64, w.plan.parties()), make([]int64, w.plan.parties()), make([]int64, w.plan.parties())
	return n
}

// now is the time by this node's clock.
func (n *node) now() int64 { return n.w.now + n.skew }

// honest reports whether the node follows the protocol, and has its memory.
func (n *node) honest() bool { return n.liar == nil && !n.gone }

// faulty reports whether the node is one of the f that a roster bears, now or
// before long.
func (n *node) faulty() bool {
	return n.liar != nil || n.gone || n.ended || slices.ContainsFunc(n.w.plan.Faults, func(f Fault) bool {
		return f.Node == n.id && (f.Kind == Die || f.Kind == LoseDisk)
	})
}

// isOpen reports whether the job is open here.
func (n *node) isOpen() bool { return n.up && n.opened }

// plan plans an event of this node's life.
func (n *node) plan(delay int64, e event) {
	e.at, e.node, e.life = n.w.now+delay, n.id, n.life
	n.w.queue.push(e)
}

func (n *node) later(delay int64, then func()) { n.plan(delay, event{kind: evCall, then: then}) }

// input steps the machine, and begins what it asks for.
func (n *node) input(in bft.Input) {
	n.step(in)
	n.settle()
}

func (n *node) step(in bft.Input) {
	n.w.steps++
	n.core.Input(n.now(), n.w.job, in)
}

func (n *node) tick(at int64) {
	if n.tickAt != at {
		return // another was planned since
	}
	n.tickAt = 0
	n.core.Tick(n.now())
	n.w.checks.bounded(n)
	n.settle()
}

// meet notes which life of a peer speaks, as sessions in frames say it.
func (n *node) meet(peer *node, life int) {
	if n.lives[peer.id] != life+1 {
		if n.lives[peer.id] != 0 {
			n.core.Renewed(peer.key)
		}
		n.lives[peer.id] = life + 1
	}
}

// sign signs a claim of this node's, and counts it.
func (n *node) sign(c runner.Claim) *mailed {
	c.Proof = n.w.ledger.sign(n.key, statementOf(&c))
	n.w.checks.count(n.id, &c)
	return n.w.address(c)
}

func (n *node) decision() *mailed {
	return n.w.address(n.claim(bft.Outgoing{Note: consensus.NoteDecided, Value: n.decided.Outcome.Commits.Value,
		Payload: &consensus.Payload{Chain: n.decided.Chain, Decision: &n.decided.Outcome}}))
}

// claim is a message of this node as peers see it, not signed yet.
func (n *node) claim(out bft.Outgoing) runner.Claim {
	return runner.Claim{From: n.key, Incarnation: firstLife(n.id), Kind: out.Kind, Note: out.Note, Job: n.w.job, Height: out.Height,
		Previous: out.Previous, Round: out.Round, Value: out.Value, Payload: out.Payload}
}

// take fetches what the job needs, and opens it.
func (n *node) take(first bft.Input, accepts []consensus.Vote) {
	if n.intake {
		return
	}
	n.intake = true
	n.later(n.host.until(40), func() {
		n.intake = false
		if accepts == nil && n.now() > n.w.charter.AcceptBy {
			return
		}
		if accepts != nil {
			n.w.cover.hit(SawWitness)
		}
		n.open(runner.Open{First: first, Extra: []runner.Record{{Key: []byte("charter")}}})
	})
}

func (n *node) open(o runner.Open) {
	o.Config, o.Offer = n.config(), n.w.offer
	if err := n.core.Open(n.now(), o); err != nil {
		n.w.fail("restart", "node %d does not open the job again: %v", n.id, err)
		return
	}
	n.opened = true
	if heights := n.core.Heights(n.w.job); len(heights) > 0 { // none: it is forgotten at once
		if len(o.Records) > 0 { // what is on the disk holds, said or not
			for _, h := range heights {
				n.w.checks.reaches(n, h)
			}
		}
		n.reach(heights[len(heights)-1])
	}
	n.tellRevoked()
	if n.wishes {
		n.wishes = false
		n.step(bft.CancelWish{Cancel: n.w.cancel()})
	}
	n.settle()
}

func (n *node) config() bft.Config {
	return bft.Config{Network: network, Job: n.w.job, Charter: n.w.charter, Self: n.id, Runners: n.w.runners, Spares: n.w.spares, Salt: [16]byte{byte(n.id)},
		Timing: bft.Timing{Beat: 1_000, Round: n.w.plan.Round, RoundMax: 60_000, Timeout: n.w.charter.Timeout, Check: 1_500,
			Patience: n.w.plan.Patience}}
}

// wish brings the owner's wish that the job end.
func (n *node) wish() {
	switch {
	case n.isOpen():
		n.input(bft.CancelWish{Cancel: n.w.cancel()})
	case n.up:
		n.wishes = true
	}
}

func (w *world) cancel() consensus.Cancel {
	return consensus.Cancel{Job: w.job, By: w.charter.Owner}
}

// settle begins to make durable what was gathered, unless an append is under
// way: as the runner's loop does. What has no records is let out at once.
func (n *node) settle() {
	for n.up && n.flight == nil && n.core.Pending() {
		b := n.core.Flush()
		n.flight = &b
		n.before, n.after, n.flushed = n.after, n.before, n.now()
		copy(n.after, n.heard)
		if len(b.Entries)+len(b.Extra) > 0 {
			n.sync()
			break
		}
		n.release()
	}
	if !n.up {
		return
	}
	if wake := n.core.Wake(); wake != 0 {
		if at := max(wake-n.skew, n.w.now); n.tickAt == 0 || at < n.tickAt {
			n.tickAt = at
			n.plan(at-n.w.now, event{kind: evTick})
		}
	}
}

// release lets out what a durable batch says and does: the machine hears its own
// words, and then the others do.
func (n *node) release() {
	b := n.flight
	n.flight = nil
	for _, d := range b.Dos {
		n.do(d)
	}
	letters := make([]mail, len(n.w.nodes)+1) // the submitter's last
	for i := range b.Says {
		n.say(&b.Says[i], letters)
	}
	if n.endsAt(BetweenSends) {
		for to := range letters {
			if n.flaws.chance(50) {
				letters[to] = nil
			}
		}
		n.send(letters)
		n.w.cover.ends(BetweenSends, nil)
		n.end(*n.armed)
		return
	}
	n.send(letters)
}

func (n *node) send(letters []mail) {
	for to, m := range letters {
		if to == len(n.w.nodes) {
			to = -1
		}
		if n.liar != nil && to >= 0 {
			m = n.liar.bend(to, m)
		}
		n.w.post(n.id, to, n.life, m)
	}
}

// say signs one message, and puts it into everybody's letter.
func (n *node) say(s *runner.Say, letters []mail) {
	c := n.claim(s.Out)
	if s.Offer != nil {
		with := *c.Payload
		with.Offer = s.Offer
		c.Payload = &with
	}
	if c.Kind != 0 {
		c.Proof = n.w.ledger.sign(n.key, statementOf(&c))
	}
	m := n.w.address(c)
	n.w.checks.said(n, m, s)
	if s.Own && c.Kind != 0 && m.in != nil {
		n.step(m.in)
	}
	if s.To == nil {
		for to := range n.w.t.N {
			if to != n.id {
				letters[to] = append(letters[to], m)
			}
		}
	}
	for _, to := range s.To {
		if to != n.id {
			letters[to] = append(letters[to], m)
		}
	}
	if at := n.w.plan.Submitter; s.Out.Submitter && (at < 0 || s.To != nil && !slices.Contains(s.To, at)) {
		letters[len(n.w.nodes)] = append(letters[len(n.w.nodes)], m)
	} else if n.w.submitter.node == n.id {
		n.w.submitter.hear(m)
	}
}

func statementOf(c *runner.Claim) consensus.Statement {
	s := consensus.Statement{Kind: c.Kind, Network: network, Job: c.Job, Height: c.Height, Previous: consensus.Hash(c.Job), Round: c.Round,
		Sender: c.From, Incarnation: c.Incarnation, Value: c.Value}
	if c.Height > 0 {
		s.Previous = c.Previous
	}
	return s
}
