package sim

import (
	"fmt"
	"strings"

	"github.com/muster-network/muster/consensus"
)

// Schedule is everything that is settled before a run: who lies and how, what
// fails and when. Times are virtual milliseconds since the start. What is left
// open, each frame's delay and loss, follows from the seed.
type Schedule struct {
	Scenario Scenario
	Seed     uint64

	Loss  int // per cent of the frames that are lost, until the network behaves
	Twice int // likewise that arrive twice
	Slow  int // likewise that take seconds

	// Contested makes several values valid at once, rounds short and decisions
	// slow to spread: what locks are for.
	Contested bool
	Deaf      int   // per cent of the frames with commits that are lost, likewise
	Deafer    bool  // of those with prepares, too
	Round     int64 // T0
	Deadline  int64
	Truth     ending  // what an honest run ends in, but for Slips
	Slips     []slip  // by party
	Skew      []int64 // of each node's clock
	Liars     []Liar  // who lies, and how
	Faults    []Fault // by time
	Seats     int     // of the roster
	Reserves  int     // who may take a seat; 0: nobody is replaced
	Replace   int     // the charter's bound of replacements
	Patience  int64   // silence after which a member is suspected; 0: never
	Work      int64   // no run takes longer, but for slow ones
	Submitter int     // the seat that submits, or -1: somebody without one
	Equal     equals  // what runs come to, where ends are compared by that
	Effects   consensus.Effects
	Checked   checked // what the check finds, where there is one
	Single    bool    // one report makes a value valid
	Array     array   // what tasks come to, where the job is an array
}

// Kind is the job's assurance, or, where runs act on the world, how often they may,
// or array.
func (s *Schedule) Kind() string {
	if s.Array.On {
		return "array"
	}
	if s.Effects != "" {
		return string(s.Effects)
	}
	return string(s.assurance())
}

func (s *Schedule) assurance() consensus.Assurance {
	switch {
	case s.Equal.On:
		return consensus.MajorityEqual
	case s.Effects != "" || s.Single:
		return consensus.Single
	case s.Checked.On:
		return consensus.Endorsed
	}
	return consensus.Replicated
}

// Liar is a member that lies.
type Liar struct {
	Node int
	Kind Lie
}

// ending says what honest runs end in.
type ending uint8

const (
	endsWell    ending = iota
	endsExit           // a deterministic failure
	endsTimeout        // all time out
	endsDiverse        // each otherwise: the task is not deterministic
	endsHost           // otherwise, and some hosts fail
)

// FaultKind is a kind of fault or event.
type FaultKind uint8

// The kinds of faults.
const (
	Crash      FaultKind = iota // the process ends at Point, and comes back after For
	Die                         // likewise, and never comes back
	LoseDisk                    // likewise, and comes back with nothing, as another incarnation
	DieAgain                    // likewise it never comes back, if the roster can bear it now that others were replaced
	FailSync                    // the next sync fails: the node stops, and comes back after For
	Partition                   // the nodes of Mask hear nobody else, and nobody hears them, for For
	SlowBlocks                  // no blocks arrive at the node for For
	SlowRuns                    // runs at the node take For longer
	StepClock                   // the node's clock jumps by For
	Busy                        // the node refuses the job
	Wish                        // the owner's wish to cancel reaches the node
	Withdraw                    // the submitter withdraws the job, unless it was acknowledged
	Vanish                      // the submitter ends for good
	Revoke                      // the nodes of Mask hear that the node's credential was revoked
)

var faultNames = [...]string{"crash", "die", "lose the disk", "die after others", "fail to sync", "partition", "slow blocks", "slow runs",
	"step the clock", "busy", "cancel", "withdraw", "submitter vanishes", "revoke"}

// String names the kind.
func (k FaultKind) String() string { return faultNames[k] }

// Point says where in a step a process ends.
type Point uint8

// The points.
const (
	AtOnce       Point = iota // whatever it does
	BeforeSync                // with an append under way, of which nothing is on disk
	TornSync                  // likewise, and all of it is on disk
	BeforeSend                // its next append is durable, and nothing of it was said
	BetweenSends              // likewise, and some were told
)

var pointNames = [...]string{"at once", "before a sync", "in a sync", "before a send", "between sends"}

// String names the point.
func (p Point) String() string { return pointNames[p] }

// Fault is one thing that happens to one node, or to all.
type Fault struct {
	At    int64
	Kind  FaultKind
	Node  int
	For   int64
	Point Point
	Mask  uint32
}

// String says the fault in words.
func (f Fault) String() string {
	switch f.Kind {
	case Partition:
		return fmt.Sprintf("%5d partition %b for %d ms", f.At, f.Mask, f.For)
	case Crash, Die, DieAgain, LoseDisk:
		return fmt.Sprintf("%5d node %d: %s %s, %d ms", f.At, f.Node, f.Kind, f.Point, f.For)
	case Revoke:
		return fmt.Sprintf("%5d node %d: %s, %b hear of it", f.At, f.Node, f.Kind, f.Mask)
	case Withdraw, Vanish:
		return fmt.Sprintf("%5d %s", f.At, f.Kind)
	}
	return fmt.Sprintf("%5d node %d: %s, %d ms", f.At, f.Node, f.Kind, f.For)
}

// String says the whole schedule, one line for each fault.
func (s *Schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, seed %d: loss %d%%, twice %d%%, slow %d%%, T0 %d ms, deadline %d ms, submitter %d, clocks %v, ends %d",
		s.Scenario.Name, s.Seed, s.Loss, s.Twice, s.Slow, s.Round, s.Deadline, s.Submitter, s.Skew, s.Truth)
	if s.Contested {
		fmt.Fprintf(&b, ", contested, commits lost %d%%, prepares %v", s.Deaf, s.Deafer)
	}
	if s.Reserves > 0 {
		fmt.Fprintf(&b, "\n      %d reserves, %d may take a seat, after %d ms of silence; runs of %d ms", s.Reserves, s.Replace, s.Patience, s.Work)
	}
	if s.Single {
		b.WriteString(", one report is enough")
	}
	if s.Effects != "" {
		fmt.Fprintf(&b, ", acts %s", s.Effects)
	}
	if s.Equal.On {
		fmt.Fprintf(&b, "\n      ends are compared by their forms; runs end in %v, of the forms %v", s.Equal.Runs, s.Equal.Forms)
	}
	if s.Checked.On {
		fmt.Fprintf(&b, "\n      results are checked; they differ %v, those of %b are bad", s.Checked.Differ, s.Checked.Bad)
	}
	if s.slips() {
		fmt.Fprintf(&b, "\n      runs that time out (1) or whose hosts fail (2): %v", s.Slips)
	}
	if s.Array.On {
		fmt.Fprintf(&b, "\n      an array of %d tasks, of which these are late: %v", s.Array.Tasks, s.Array.Late)
	}
	for _, l := range s.Liars {
		fmt.Fprintf(&b, "\n      node %d lies: %s", l.Node, l.Kind)
	}
	for _, f := range s.Faults {
		fmt.Fprintf(&b, "\n%s", f)
	}
	return b.String()
}

const (
	calm   = 10_000  // from here on the network behaves, and nothing fails any more
	bound  = 180_000 // within so much after calm every honest member decides
	within = 24      // and within so many rounds
)

// Settle derives a schedule from a seed.
func Settle(sc Scenario, seed uint64) *Schedule {
	rng := newSource(seed, 0)
	t, err := sc.Fault.For(sc.F)
	if err != nil {
		panic(err) // scenarios are written here
	}
	s := &Schedule{Scenario: sc, Seed: seed, Seats: t.N, Work: 1_500, Round: 1_000, Deadline: 3_600_000, Submitter: -1}
	if rng.chance(50) {
		s.Loss, s.Twice, s.Slow = rng.below(35), rng.below(15), rng.below(12)
	}
	if s.Contested = t.N > 1 && rng.chance(35); s.Contested {
		s.Round = 200
		if rng.chance(60) {
			s.Deaf, s.Deafer = 40+rng.below(55), rng.chance(50)
		}
	}
	switch {
	case s.Contested && rng.chance(50):
		s.Deadline = 1_500 + rng.until(5_000)
	case rng.chance(5):
		s.Deadline = 3_000 + rng.until(15_000)
	}
	s.Truth = s.pickEnding(&rng)
	if sc.F > 0 && rng.chance(35) {
		s.settleReserves(&rng)
	}
	s.Skew = make([]int64, s.parties())
	if rng.chance(30) {
		for i := range s.Skew {
			s.Skew[i] = rng.until(4_000) - 2_000
		}
	}
	if rng.chance(25) {
		s.Submitter = rng.below(t.N)
	}
	s.settleFaulty(&rng)
	s.settleFaults(&rng)
	s.settleEqual()
	s.settleRevoked()
	s.settleEffects()
	s.settleChecked()
	s.settleLyingReserve()
	s.settleSingle()
	s.settleArray()
	s.settleSlips()
	return s
}

// parties are all nodes: those with a seat, and reserves.
func (s *Schedule) parties() int { return s.Seats + s.Reserves }

// settleReserves lets members be replaced: runs that last give them the time to be
// missed.
func (s *Schedule) settleReserves(rng *source) {
	f := int(s.Scenario.F)
	s.Reserves, s.Replace = 1+rng.below(f), 1+rng.below(f)
	if rng.chance(50) {
		s.Reserves, s.Replace = f, f
	}
	s.Patience = 1_000 + rng.until(1_500)
	if rng.chance(80) {
		s.Work = 2_000 + rng.until(6_000)
	}
}

func (s *Schedule) pickEnding(rng *source) ending {
	switch at := rng.below(100); {
	case at < 80:
		return endsWell
	case at < 88:
		return endsExit
	case at < 92:
		return endsTimeout
	case at < 96:
		return endsDiverse
	}
	return endsHost
}

// settleLyingReserve lets a liar be among those that may take a seat, by draws from
// a source of its own.
func (s *Schedule) settleLyingReserve() {
	rng := newSource(s.Seed, 8)
	if len(s.Liars) > 0 && s.Reserves > 0 && rng.chance(30) {
		s.Liars[0].Node = s.Seats + rng.below(s.Reserves)
	}
}

// settleSingle lets one report make a value valid, by draws from a source of its
// own.
func (s *Schedule) settleSingle() {
	rng := newSource(s.Seed, 7)
	s.Single = s.Scenario.Fault == consensus.Byzantine && s.Scenario.F > 0 && s.assurance() == consensus.Replicated && rng.chance(5)
}

// settleFaulty spends the fault budget: f members that lie, die or lose their
// disks.
func (s *Schedule) settleFaulty(rng *source) {
	spent := map[int]bool{}
	for range s.Scenario.F {
		node := rng.below(s.Seats)
		if spent[node] || rng.chance(25) {
			continue
		}
		spent[node] = true
		if s.Scenario.Fault == consensus.Byzantine && rng.chance(65) {
			s.Liars = append(s.Liars, Liar{node, Lie(rng.below(int(anywhere)))})
			continue
		}
		f := Fault{At: rng.until(5_000), Kind: Die, Node: node, Point: Point(rng.below(5))}
		if rng.chance(30) {
			f.Kind, f.For = LoseDisk, rng.until(3_000)
		}
		if s.Reserves > 0 {
			f.At = rng.until(2_000)
		}
		s.Faults = append(s.Faults, f)
	}
}

// settleFaults adds what a correct member must bear.
func (s *Schedule) settleFaults(rng *source) {
	add := func(f Fault) { s.Faults = append(s.Faults, f) }
	early := int64(4_000)
	for range rng.below(4) {
		add(Fault{At: rng.until(early), Kind: Crash, Node: rng.below(s.parties()), For: rng.until(3_000), Point: Point(rng.below(5))})
	}
	if rng.chance(15) {
		add(Fault{At: rng.until(early), Kind: FailSync, Node: rng.below(s.parties()), For: rng.until(3_000)})
	}
	for range rng.below(3) / 2 {
		add(Fault{At: rng.until(early), Kind: Partition, Mask: uint32(rng.below(1 << s.parties())), For: rng.until(6_000)})
	}
	if rng.chance(15) {
		add(Fault{At: rng.until(early), Kind: SlowBlocks, Node: rng.below(s.parties()), For: rng.until(12_000)})
	}
	if rng.chance(10) {
		add(Fault{At: 0, Kind: SlowRuns, Node: rng.below(s.Seats), For: rng.until(15_000)})
	}
	if rng.chance(5) {
		add(Fault{At: rng.until(early), Kind: StepClock, Node: rng.below(s.parties()), For: rng.until(6_000) - 3_000})
	}
	if rng.chance(15) {
		add(Fault{At: 0, Kind: Busy, Node: rng.below(s.Seats)})
	}
	if s.Reserves > 0 {
		s.settleSilence(rng)
	}
	s.settleEndings(rng)
}

// settleSilence adds what gets members replaced, or keeps reserves from their
// place.
func (s *Schedule) settleSilence(rng *source) {
	add := func(f Fault) { s.Faults = append(s.Faults, f) }
	if rng.chance(50) { // one is alone for longer than others have patience
		add(Fault{At: rng.until(3_000), Kind: Partition, Mask: 2 << rng.below(s.Seats), For: s.Patience + rng.until(6_000)})
	}
	if rng.chance(30) {
		add(Fault{At: 3_000 + rng.until(5_000), Kind: DieAgain, Node: rng.below(s.parties()), Point: Point(rng.below(5))})
	}
	if rng.chance(25) {
		add(Fault{At: 0, Kind: Busy, Node: s.Seats + rng.below(s.Reserves)})
	}
	if rng.chance(40) {
		add(Fault{At: 1_000 + rng.until(5_000), Kind: Crash, Node: s.Seats + rng.below(s.Reserves), For: rng.until(2_000), Point: Point(rng.below(5))})
	}
	for range rng.below(3) {
		add(Fault{At: 2_000 + rng.until(6_000), Kind: Crash, Node: rng.below(s.parties()), For: rng.until(2_000), Point: Point(rng.below(5))})
	}
}

// settleEndings adds who wants the job to end, and when.
func (s *Schedule) settleEndings(rng *source) {
	add := func(f Fault) { s.Faults = append(s.Faults, f) }
	switch {
	case s.Contested:
		for node := range s.Seats {
			if rng.chance(60) {
				add(Fault{At: rng.until(4_000), Kind: Wish, Node: node})
			}
		}
	case rng.chance(10):
		add(Fault{At: rng.until(4_000), Kind: Wish, Node: rng.below(s.Seats)})
	}
	if rng.chance(15) {
		at := rng.until(1_500)
		if rng.chance(50) {
			at = rng.until(150) // while accepts are still on their way
		}
		add(Fault{At: at, Kind: Withdraw})
		if rng.chance(40) { // a process ends just as it gives the job up
			add(Fault{At: at, Kind: Crash, Node: rng.below(s.Seats), For: rng.until(2_000), Point: BeforeSend})
		}
	}
	if rng.chance(15) {
		add(Fault{At: rng.until(2_000), Kind: Vanish})
	}
}
