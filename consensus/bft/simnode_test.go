package bft

import (
	"fmt"
	"slices"

	"github.com/muster-network/muster/consensus"
)

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
		n.w.decided(n, e.Outcome)
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
