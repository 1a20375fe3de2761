package sim

import (
	"fmt"
	"strings"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/runner"
)

// Sight is something that a run can show: a rule at work, a point at which a
// process ended and began again, a race.
type Sight int

// The sights.
const (
	SawAcknowledged Sight = iota
	SawRefusal
	SawWitness
	SawWithdraw
	SawVoided
	SawStartAfterVoid
	SawAbandon
	SawExpire
	SawBackup
	SawRevealed
	SawFetchAgain
	SawPrepareFirst
	SawPrepareLed
	SawPrepareAgainstLock
	SawCommitUnprepared
	SawLock
	SawLockAgain
	SawProposeCertified
	SawProposeOwn
	SawRoundTimer
	SawRoundJump
	SawDecideVoted
	SawDecideShown
	SawDecideLate
	SawClosedAnswer
	SawAsk
	SawAccused
	SawRelayedEvidence
	SawRelayedHighest

	SawSuspect
	SawReserveOffers
	SawReserveRefuses
	SawPassedOver
	SawReserveForgets
	SawReserveRuns
	SawLiarSeated
	SawGone
	SawRevoked
	SawReplaced
	SawReplacedAgain
	SawReplacedAtOnce
	SawOlderVote
	SawRemovedDecides

	SawDisagrees
	SawFalseForm
	SawEquals
	SawMajority

	SawSlip
	SawProgress
	SawLateTask
	SawArray
	SawFailedTasks

	SawFoundGood
	SawFoundBad
	SawNoVerdict

	SawGrant
	SawGrantAgain
	SawActs
	SawActsAgain
	SawGivesWay
	SawCameToNothing
	SawBroke
	SawCutRunOver
	SawClosed
	SawReplacedOver
	SawReplacedOpen
	SawStandsStill
	SawStandsUnbegun

	SawResult
	SawFailedRun
	SawTimeout
	SawHost
	SawDisagreement
	SawDeadline
	SawCancelled
	SawRejected

	SawLoss
	SawTwice
	SawPartition
	SawClockStep
	SawRestart
	SawSyncCut
	SawDiskLost

	SawRaceCancelResult
	SawRaceDeadlineResult
	SawRaceVoidStart
	SawRaceRoundCommit
	SawRaceRoundDecide
	SawRaceTwoCertificates
	SawRaceRestartVote
	SawRaceHandoverResult
	SawRaceHandoverCancel
	SawRaceHeights
	SawRaceEquals
	SawRaceGrants
	SawRaceRuns

	sights
)

var sightNames = [sights]string{
	"rule: f+1 started acknowledge", "rule: a member refuses", "rule: a witness brings the job", "rule: the submitter withdraws",
	"rule: a member gives the job up", "rule: one that gave up starts", "rule: the place in the queue is given up",
	"rule: a job that never started is forgotten", "rule: a backup is called",
	"rule: a report is shown after commits", "rule: blocks are asked for again", "rule: prepare in round 0", "rule: prepare what a leader proposes",
	"rule: prepare against the lock, by a newer certificate", "rule: commit without having prepared", "rule: lock", "rule: lock again, in a later round",
	"rule: propose the highest certificate", "rule: propose an own value", "rule: a round's time is over", "rule: jump to a later round",
	"rule: decide by own votes", "rule: decide by a decision shown", "rule: decide in a round that was left", "rule: a closed job answers",
	"rule: ask after a restart", "rule: equivocation is told", "rule: evidence is relayed", "rule: a certificate is relayed",
	"rule: a member is suspected", "rule: a reserve would take a seat", "rule: a reserve refuses", "rule: a reserve is passed over", "rule: a reserve forgets the job",
	"rule: a reserve executes", "rule: a reserve that lies takes a seat", "rule: gone, says another incarnation", "rule: revoked, before it is missed",
	"rule: members are replaced", "rule: members are replaced a second time",
	"rule: two members are replaced at once", "rule: a vote for an older height is heard", "rule: a removed member learns the outcome",
	"rule: a report contradicts the outcome", "rule: a value that comes to another form is not held", "rule: equal ends of different bytes are decided", "rule: a form is decided that others did not come to",
	"rule: some time out or break, and their word is not the outcome", "rule: a member says how many tasks have ended", "rule: an array ends otherwise on a slow machine", "outcome: result of an array", "outcome: failed tasks",
	"rule: a value is found good", "rule: a value is judged", "rule: a machine cannot run the check",
	"rule: a run is granted", "rule: another run is granted", "rule: a run that acts begins", "rule: one begins after another",
	"rule: a number is given up", "rule: a run that came to nothing is over", "race: a run begins to act and comes to nothing", "rule: at-least-once a run that was cut off is over",
	"rule: who prepared a handover grants nothing more", "rule: members are replaced after a run", "rule: at-least-once members are replaced in a run",
	"rule: once stands still, for a reason that is known", "rule: likewise, and no run has begun",
	"outcome: result", "outcome: failed run", "outcome: failed timeout", "outcome: failed host", "outcome: failed disagreement",
	"outcome: failed deadline", "outcome: cancelled", "outcome: failed rejected",
	"fault: a frame is lost", "fault: a frame comes twice", "fault: partition", "fault: a clock steps", "fault: restart with an intact disk",
	"fault: a sync is cut short", "fault: a disk is lost",
	"race: cancel and result are both prepared", "race: deadline and result are both prepared", "race: one member starts, another gives up",
	"race: one member commits in a round, another leaves it", "race: decided in a round, another member is in a later one",
	"race: certificates for two values", "race: a restarted member votes on in its round",
	"race: handover and result are both prepared", "race: handover and cancel are both prepared", "race: a height is voted on after another value than the handover had votes before",
	"race: two of the values that are equal are both prepared", "race: two runs are granted, by some each", "race: at-least-once two runs go on at a time",
}

// String names the sight.
func (s Sight) String() string { return sightNames[s] }

var recordNames = [...]string{"", "accept", "witness", "started", "void", "cancel", "run", "report", "held", "lock", "slot", "decided", "handover", "suspect",
	"grant", "begun", "ended", "closed", "found"}

// Coverage counts runs, what they showed, and what came of lies. The zero value
// is empty.
type Coverage struct {
	Runs     uint64
	Steps    uint64
	Saw      [sights]uint64
	Ended    [len(recordNames)]uint64 // processes, with such a record durable and nothing of it said
	Points   [len(pointNames)]uint64  // processes, by where in a step they ended
	Lies     [lies]uint64             // runs, by kind of lie
	Refused  [lies]uint64             // messages of liars that no member believed
	Believed [lies]uint64
}

// Add adds the counts of another coverage.
func (c *Coverage) Add(d *Coverage) {
	c.Runs += d.Runs
	c.Steps += d.Steps
	addAll(c.Saw[:], d.Saw[:])
	addAll(c.Ended[:], d.Ended[:])
	addAll(c.Points[:], d.Points[:])
	addAll(c.Lies[:], d.Lies[:])
	addAll(c.Refused[:], d.Refused[:])
	addAll(c.Believed[:], d.Believed[:])
}

func addAll(to, from []uint64) {
	for i, n := range from {
		to[i] += n
	}
}

// String is a table: one line for each sight, with how often it was seen.
func (c *Coverage) String() string {
	var b strings.Builder
	for s, n := range c.Saw {
		fmt.Fprintf(&b, "%12d  %s\n", n, Sight(s))
	}
	for kind := 1; kind < len(recordNames); kind++ {
		fmt.Fprintf(&b, "%12d  restart: a %s record is durable, nothing was said\n", c.Ended[kind], recordNames[kind])
	}
	for at, n := range c.Points {
		fmt.Fprintf(&b, "%12d  restart: ended %s\n", n, Point(at))
	}
	for kind := range lies {
		fmt.Fprintf(&b, "%12d  lie: %s (messages: %d believed, %d refused)\n", c.Lies[kind], kind, c.Believed[kind], c.Refused[kind])
	}
	return b.String()
}

// Least returns what was seen least often, and how often.
func (c *Coverage) Least() (string, uint64) {
	name, least := "", ^uint64(0)
	see := func(what string, n uint64) {
		if n < least {
			name, least = what, n
		}
	}
	for s, n := range c.Saw {
		see(Sight(s).String(), n)
	}
	for kind := 1; kind < len(recordNames); kind++ {
		see("restart: "+recordNames[kind], c.Ended[kind])
	}
	for at, n := range c.Points {
		see("restart: ended "+Point(at).String(), n)
	}
	for kind := range lies {
		see("lie: "+kind.String(), c.Lies[kind])
	}
	return name, least
}

func (c *Coverage) hit(s Sight) { c.Saw[s]++ }

// ends counts a process that ends at a point, and what of the batch in flight was
// durable by then and unsaid.
func (c *Coverage) ends(at Point, b *runner.Batch) {
	c.Points[at]++
	if at != BeforeSend {
		return
	}
	for _, e := range b.Entries {
		c.Ended[e.Record.Kind]++
	}
}

// received counts what an open job's machine is about to hear.
func (c *Coverage) received(n *node, m *mailed) {
	if m.claim.Kind.Slot() && m.claim.Height < n.height {
		c.hit(SawOlderVote)
	}
	switch m.claim.Note {
	case consensus.NoteAsk:
		c.hit(SawAsk)
	case consensus.NoteEvidence:
		c.hit(SawRelayedEvidence)
	case consensus.NoteHighest:
		c.hit(SawRelayedHighest)
	case consensus.NoteDecided:
		if n.decided == nil && m.claim.Payload != nil {
			c.hit(SawDecideShown)
		}
	}
}

// outcome counts what a run came to.
func (c *Coverage) outcome(v consensus.Value) {
	switch {
	case v.Kind == consensus.Result:
		c.hit(SawResult)
	case v.Kind == consensus.Cancelled:
		c.hit(SawCancelled)
	case v.Class.Deterministic():
		c.hit(SawFailedRun)
	case v.Class == consensus.FailedRejected:
		c.hit(SawRejected)
	default:
		c.hit(SawTimeout + map[consensus.Failure]Sight{consensus.FailedTimeout: 0, consensus.FailedHost: 1,
			consensus.FailedDisagreement: 2, consensus.FailedDeadline: 3}[v.Class])
	}
}
