// Package member is the quorum side of a node: it looks at the charters that
// are offered, accepts or refuses, queues and runs what it is told to execute,
// keeps the blocks that agreement asks for, and puts the certificate away
// (protocol, sections 4, 5, 12 and 15).
//
// The walk: offers.go (whose is looked at), intake.go (offer to accept), execute.go (queue, run, report),
// endorse.go (the check of what another left), blocks.go (what must be held before
// a vote), finish.go (outcome to archive), misconduct.go (what others did wrong),
// recover.go and checkpoint.go (after a restart), archive.go (what is on disk).
// Agreement itself is elsewhere, behind the
// Agreement interface.
package member

import (
	"context"
	"log/slog"
	"sync"

	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/backlog"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/sched"
	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/journal"
)

// Agreement is the machine that this member's jobs are agreed on by.
type Agreement interface {
	// Open begins or resumes a job; it returns when its first records are durable, or
	// ErrLate.
	Open(ctx context.Context, o Opening) error
	// Ran says that an own run ended; the tree in its value is durable.
	Ran(ctx context.Context, job consensus.JobID, r Ran) error
	// State says where an own run stands.
	State(ctx context.Context, job consensus.JobID, s RunState) error
	// Checked says what the job's check found of a value.
	Checked(ctx context.Context, job consensus.JobID, value consensus.Hash, endorses bool) error
	// Held says that the blocks of a value are durable.
	Held(ctx context.Context, job consensus.JobID, value consensus.Hash, normals []consensus.Hash) error
}

// Ran says how a run ended.
type Ran struct {
	Run    uint64
	Value  consensus.Value
	Normal *consensus.Hash // what the value comes to, where ends are compared by that
	Begun  bool            // of one that came to nothing: the program may have begun
	Use    map[string]uint64
}

// RunState says where a run stands.
type RunState struct {
	Run     uint64
	Running bool   // false: queued
	Done    uint64 // of an array: tasks that have ended
}

// Quorum is the other members of a job, as far as agreement does not speak to
// them itself.
type Quorum interface {
	// Refuse answers an offer with a signed reason.
	Refuse(ctx context.Context, to admission.Key, job consensus.JobID, reason string) error
	// Gone answers an offer by the name of this node in an older incarnation.
	Gone(ctx context.Context, to admission.Key, job consensus.JobID, older consensus.Hash) error
	// Decided answers an offer of a job that has ended.
	Decided(ctx context.Context, to admission.Key, job consensus.JobID, ended consensus.Conclusion) error
}

// Standing is an open job for people.
type Standing struct {
	State   jobs.State
	Round   int
	Seats   []jobs.Member
	Waiting []int // seats whose word would bring the job on
	Stuck   *Stuck
	Closed  *Closing
}

// Stuck is a run that acts on the world, whose end nobody knows: under once it
// holds the job up.
type Stuck struct {
	Seat  int
	Run   uint64
	Since int64 // Unix milliseconds
	Why   string
}

// Closing is seats that prepared a handover which was not decided: under once no
// run is granted any more while its height lasts.
type Closing struct {
	Seats []int
	Since int64 // Unix milliseconds
}

// Fetcher makes all blocks below a root durable here, from members who say
// that they hold them.
type Fetcher interface {
	Fetch(ctx context.Context, root cid.Cid, from []admission.Key, bytes int64) error
	// Block fetches a single block.
	Block(ctx context.Context, id cid.Cid, from admission.Key) error
}

// Opening is what agreement needs to begin or resume a job.
type Opening struct {
	Job     consensus.JobID
	Charter *consensus.Charter
	Offer   consensus.Offer      // without blocks
	Self    int                  // own party
	Runners []int                // seats that may execute
	Spares  []int                // reserves that may execute, as parties
	Resume  bool                 // from the journal's records
	Witness bool                 // not accepted, but shown q accepts
	Accepts []consensus.Vote     // those, checked
	Chain   []consensus.Decision // and the handovers so far, likewise
	Check   int64                // longest run of the job's check, milliseconds; 0: it has none
	Entries []journal.Entry      // durable together with the first records
}

// Journal keeps what must survive.
type Journal interface {
	Append(ctx context.Context, entries ...journal.Entry) error
	Get(key []byte) ([]byte, error)
	Scan(prefix, after []byte, fn func(key, value []byte) (bool, error)) error
}

// Config is what a member needs. Every field is required.
type Config struct {
	Network     admission.Network
	Genesis     admission.Genesis
	Policy      admission.Policy
	Self        admission.Key
	Incarnation admission.Incarnation
	Agreement   Agreement
	Quorum      Quorum
	Store       store.Blocks
	Fetcher     Fetcher
	Journal     Journal
	Executor    exec.Executor
	Total       jobs.Resources
	Seen        func() []election.Seen
	Revoked     func(admission.Key) bool // whether the credential of a key was revoked
	Events      Events
	Accuse      func(*consensus.Evidence) // told of misconduct that this member saw; does not block
	Clock       func() int64              // Unix milliseconds
	Log         *slog.Logger
}

// Events hears what happens to jobs on this node.
type Events interface {
	// Tell is for how jobs get on: refused, started,
	// replaced, abandoned, running, reported, checked.
	Tell(Event)
	// Keep is for what becomes of jobs: accepted, expired, and the terminal
	// states. The entries, which only add to the journal when a job is accepted, go into the append of what the event tells of, and
	// settled is called once, with how that append ended: nobody hears of the
	// event before.
	Keep(Event) (entries []journal.Entry, settled func(error))
}

// Event is something that happened to a job on this node.
type Event struct {
	Type string // see Events; a terminal state by its name
	Job  consensus.JobID
	Data map[string]any
	End  *End // of a job that has its outcome
}

// End is what is told of a job that ended.
type End struct {
	Height  consensus.Height // of the outcome
	Outcome consensus.Decision
	Closed  *Closed
}

// Member is the quorum side of one node.
type Member struct {
	cfg    Config
	policy consensus.Hash // digest of the policy in force

	work    *backlog.Backlog[func(context.Context)] // short, and asks nobody: workers take it
	tasks   *backlog.Backlog[func(context.Context)] // long: each gets a goroutine
	offers  *offers
	mutex   sync.Mutex
	open    map[consensus.JobID]*job
	intake  map[consensus.JobID]*look
	queue   *sched.Queue
	pool    *sched.Pool
	waiting map[place]waiting
	running int
	waiters map[consensus.JobID][]chan struct{}
	copies  *copies
	rolls   *rollCache
	modules *moduleCache
	reading chan struct{} // modules, each whole
}

// New returns a member that does nothing before Run.
func New(cfg Config) (*Member, error) {
	digest, err := cfg.Policy.Digest(cfg.Network)
	if err != nil {
		return nil, err
	}
	return &Member{
		cfg: cfg, policy: digest,
		work:    backlog.New[func(context.Context)](),
		tasks:   backlog.New[func(context.Context)](),
		offers:  newOffers(),
		open:    map[consensus.JobID]*job{},
		intake:  map[consensus.JobID]*look{},
		queue:   sched.NewQueue(sched.Limits{Jobs: 2 * int(cfg.Policy.MaxJobs), Bytes: 1 << 40, Age: 1_000, Patience: 10_000}), // runs, and as many checks
		pool:    sched.New(cfg.Total),
		waiting: map[place]waiting{},
		waiters: map[consensus.JobID][]chan struct{}{},
		copies:  newCopies(maxCopies, maxCopied),
		rolls:   newRollCache(),
		modules: newModuleCache(),
		reading: make(chan struct{}, maxReading),
	}, nil
}

// workers do the short work that agreement asks for. Runs and fetches of large
// trees have goroutines of their own, bounded by resources and open jobs, and so
// have looks at offers, bounded by their places.
const workers = 4

// Run does the member's work until ctx ends, and waits for what it began.
func (m *Member) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for range workers {
		group.Go(func() error { return each(ctx, m.work, func(do func(context.Context)) { do(ctx) }) })
	}
	group.Go(func() error {
		for {
			o, err := m.offers.take(ctx)
			if err != nil {
				return err
			}
			group.Go(func() error {
				defer m.offers.leave(o.from)
				m.consider(ctx, o)
				return nil
			})
		}
	})
	group.Go(func() error {
		return each(ctx, m.tasks, func(do func(context.Context)) {
			group.Go(func() error { do(ctx); return nil })
		})
	})
	return group.Wait()
}

// each hands over what waits, until ctx ends. Who adds are agreement's loop and the readers
// of streams; what waits is bounded by the jobs that a member accepts.
func each(ctx context.Context, b *backlog.Backlog[func(context.Context)], handle func(func(context.Context))) error {
	for {
		do, err := b.Take(ctx)
		if err != nil {
			return err
		}
		handle(do)
	}
}

func (m *Member) job(id consensus.JobID) (*job, bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	j, ok := m.open[id]
	return j, ok
}

// job is one open job on this member.
type job struct {
	id      consensus.JobID
	charter *consensus.Charter
	offer   consensus.Offer
	spec    *jobs.Spec
	task    *jobs.Task
	check   *jobs.Task         // what others' results are checked by; nil: nothing
	self    int                // own party
	at      consensus.Height   // who the members are
	inline  map[cid.Cid][]byte // small blocks that came with reports
	inlined int
	logs    *Logs

	checkpoints checkpoints

	fetching  map[consensus.Hash]fetching           // those under way
	judging   map[consensus.Hash]context.CancelFunc // of values whose blocks have come
	cancel    map[uint64]context.CancelFunc         // of own runs
	checks    map[consensus.Hash]context.CancelFunc // of checks that run, by what they are of
	disagreed []consensus.SignedReport              // reports that the outcome contradicts
	done      bool
	leaving   bool // it is being put away (see leave)
	idle      bool // it has no place here: it did not start in time (see Abandoned), or this node has no seat
}
