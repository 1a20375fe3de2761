package sim

import (
	"errors"
	"fmt"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/runner"
)

// Twins is a scenario of Bano et al., Twins: BFT systems made robust (2020): seats
// that two unmodified processes hold with one key, and for each of some phases a
// partition into two sides. Processes are numbered by seat, the second of each
// twin after all seats. The owner's wish to cancel is known to one side of the
// first phase only, and reports cross no partition, so that two values are valid.
// A commit arrives in the phase after its own, across another partition than the
// prepares that it rests on.
type Twins struct {
	F          uint64
	Twins      []int    // seats
	Partitions []uint32 // by phase: who is on the second side
}

// phaseTime is how long a phase lasts, in milliseconds: some rounds.
const phaseTime = 600

// Play runs a scenario: after its phases all hear each other. It returns an error
// when two honest members decide differently, when one has not decided long after,
// or when an honest member is accused.
func (s Twins) Play() error {
	p := newPair(s)
	for _, c := range p.procs {
		p.settle(c)
	}
	for phase, side := range s.Partitions {
		p.change(side)
		if phase == 0 {
			for i, c := range p.procs {
				if side>>i&1 == 1 {
					c.core.Input(p.now, p.w.job, bft.CancelWish{Cancel: p.w.cancel()})
				}
			}
		}
		p.pass(int64(phase+1) * phaseTime)
	}
	p.calm = true
	p.change(0)
	p.pass(int64(len(s.Partitions))*phaseTime + 120_000)
	if p.err == nil && !p.done() {
		p.err = errors.New("not every honest member has decided")
	}
	return p.err
}

// pair is the processes of one scenario. Words arrive at once, or not at all.
type pair struct {
	scenario Twins
	w        *world // job, charter and ledger
	procs    []*process
	now      int64
	side     uint32
	queue    []letter
	commits  []letter // for the next phase
	calm     bool     // the phases are over
	outcome  *consensus.Hash
	err      error
}

type process struct {
	index, seat int
	core        *runner.Core
	decided     bool
}

type letter struct {
	from, to *process
	m        *mailed
}

func newPair(s Twins) *pair {
	plan := &Schedule{Scenario: Scenario{Fault: consensus.Byzantine, F: s.F}, Seed: 1, Seats: int(3*s.F + 1), Round: 200, Deadline: 3_600_000, Submitter: -1}
	plan.Skew = make([]int64, plan.Seats)
	p := &pair{scenario: s, w: newWorld(plan, nil, false), now: epoch}
	p.w.ledger.wished = true
	for seat := range plan.Seats {
		p.add(seat)
	}
	for _, seat := range s.Twins {
		p.add(seat)
	}
	return p
}

func (p *pair) add(seat int) {
	proc := &process{index: len(p.procs), seat: seat, core: runner.NewCore(keyOf(seat), resend)}
	if err := proc.core.Open(p.now, runner.Open{Config: p.w.nodes[seat].config(), Offer: p.w.offer, First: bft.AcceptJob{}}); err != nil {
		panic(err) // nothing to restore
	}
	p.procs = append(p.procs, proc)
}

func (p *pair) honest(seat int) bool { return !slices.Contains(p.scenario.Twins, seat) }

func (p *pair) done() bool {
	for _, c := range p.procs {
		if p.honest(c.seat) && !c.decided {
			return false
		}
	}
	return true
}

// pass lets time pass, with all that follows, until nothing is to be decided.
func (p *pair) pass(until int64) {
	for p.err == nil && !p.done() {
		p.deliver()
		next := epoch + until
		for _, c := range p.procs {
			if wake := c.core.Wake(); wake != 0 {
				next = min(next, wake)
			}
		}
		p.now = max(p.now, next)
		if p.now >= epoch+until {
			return
		}
		for _, c := range p.procs {
			c.core.Tick(p.now)
			p.settle(c)
		}
	}
}

func (p *pair) deliver() {
	for len(p.queue) > 0 {
		l := p.queue[0]
		p.queue = p.queue[1:]
		l.to.core.Input(p.now, p.w.job, l.m.in)
		if !l.m.hint {
			l.from.core.Acknowledged(p.w.job, l.to.seat, l.m.key)
		}
		p.settle(l.to)
		p.settle(l.from)
	}
}

// change begins a phase: the commits of the last arrive.
func (p *pair) change(side uint32) {
	p.side = side
	for _, l := range p.commits {
		if p.hears(l.from, l.to) {
			p.queue = append(p.queue, l)
		}
	}
	p.commits = nil
}

func (p *pair) hears(from, to *process) bool { return p.side>>from.index&1 == p.side>>to.index&1 }

// settle lets out what a process has to say: its records are durable at once.
func (p *pair) settle(c *process) {
	for c.core.Pending() {
		b := c.core.Flush()
		for _, d := range b.Dos {
			p.do(c, d.Effect)
		}
		for i := range b.Says {
			p.say(c, &b.Says[i])
		}
	}
}

func (p *pair) say(c *process, s *runner.Say) {
	claim := p.w.nodes[c.seat].claim(s.Out)
	if claim.Kind != 0 {
		claim.Proof = p.w.ledger.sign(claim.From, statementOf(&claim))
	}
	m := p.w.address(claim)
	if m.in == nil {
		return
	}
	if s.Own && claim.Kind != 0 {
		c.core.Input(p.now, p.w.job, m.in)
	}
	for _, to := range p.procs {
		if to.seat == c.seat || s.To != nil && !slices.Contains(s.To, to.seat) {
			continue
		}
		switch l := (letter{c, to, m}); {
		case claim.Kind == consensus.KindCommit && !p.calm:
			p.commits = append(p.commits, l)
		case p.hears(c, to):
			p.queue = append(p.queue, l)
		}
	}
}

func (p *pair) do(c *process, e bft.Effect) {
	switch e := e.(type) {
	case bft.Execute:
		c.core.Input(p.now, p.w.job, bft.Ran{Run: e.Run, Value: truth.value})
	case bft.Fetch:
		c.core.Input(p.now, p.w.job, bft.Held{Value: e.Hash, Normals: e.Normals})
	case bft.Equivocation:
		if p.honest(e.Seat) {
			p.err = fmt.Errorf("process %d accuses seat %d, which is honest", c.index, e.Seat)
		}
	case bft.Decided:
		hash := e.Outcome.Commits.Value
		if c.decided = true; !p.honest(c.seat) {
			return
		}
		if p.outcome != nil && *p.outcome != hash {
			p.err = fmt.Errorf("seat %d decides %s, another decided %s", c.seat, nameOf(hash), nameOf(*p.outcome))
		}
		p.outcome = &hash
	}
}

// TwinsOfFour returns one of the 4 x 16^4 scenarios with n = 4, one twin in any
// seat, and two sides in each of four phases. Leaders take turns in an order that
// the job gives, so the twin's seat settles in which rounds it leads.
func TwinsOfFour(i int) Twins {
	s := Twins{F: 1, Twins: []int{i % 4}}
	for i /= 4; len(s.Partitions) < 4; i /= 16 {
		s.Partitions = append(s.Partitions, uint32(i%16)<<1) // process 0 is on the first side
	}
	return s
}

// AllTwinsOfFour is how many of them there are.
const AllTwinsOfFour = 4 * 16 * 16 * 16 * 16

// TwinsOfSeven returns a scenario with n = 7 and two twins, drawn by seed.
func TwinsOfSeven(seed uint64) Twins {
	src := newSource(seed, 0)
	s := Twins{F: 2, Twins: []int{src.below(7)}}
	s.Twins = append(s.Twins, (s.Twins[0]+1+src.below(6))%7)
	for range 4 {
		s.Partitions = append(s.Partitions, uint32(src.below(1<<9)))
	}
	return s
}
