// Package runner drives the machines of all jobs that this node is a member of:
// it checks what peers send, steps the machines, makes their records durable,
// signs what they say in batches, sends it, and sends it again until it was
// heard (protocol, sections 6, 14 and 15).
//
// step.go and again.go are pure: the rule that nothing leaves before its record is
// durable, and the rule of what is sent again, live there and nowhere else.
// check.go is pure, too: what a machine may believe of what a peer says. receive.go
// turns bytes from a peer into messages, hear.go hands them to the machines, loop.go
// does the I/O.
package runner

import (
	"context"
	"sync"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
)

// Record is one thing to make durable: a key and its value.
type Record struct{ Key, Value []byte }

// Journal makes records durable: all of one call or none, in order of calls.
// done is called once, when they are durable or the journal has failed.
type Journal interface {
	AppendAsync(records []Record, done func(error))
}

// Transport sends a frame to a peer, some time, or not: it never blocks, keeps
// the order of frames while a connection lasts, and may lose them.
type Transport interface {
	Send(to admission.Key, frame []byte)
}

// Host is the member's side: what is done when agreement asks for it. No method
// blocks.
type Host interface {
	// Offered brings a charter; a witness shows accepts and the handovers so far,
	// unchecked.
	Offered(from admission.Key, offer consensus.Offer, accepts []consensus.Vote, chain []consensus.Decision)
	Execute(job consensus.JobID, run uint64)
	// Fetch makes the blocks of value durable, then Held must be told: with
	// normals, only if the value comes to one of these forms.
	Fetch(job consensus.JobID, value consensus.Value, hash consensus.Hash, normals []consensus.Hash, from []admission.Key)
	// Check runs the job's check on a value whose blocks are durable here, then
	// Checked must be told.
	Check(job consensus.JobID, value consensus.Value, hash consensus.Hash)
	Started(job consensus.JobID)
	// Reached tells that members were replaced, and who they are now.
	Reached(job consensus.JobID, height consensus.Height)
	// Decided tells how the job ended, durable here, how it then stood, and the
	// keys of its records, which may go when the outcome is archived.
	Decided(job consensus.JobID, ended consensus.Conclusion, standing bft.View, records [][]byte)
	// Equivocated tells that a peer signed two things in one slot; also of a job
	// that was decided a moment ago.
	Equivocated(job consensus.JobID, charter *consensus.Charter, first, second consensus.Signed)
	// Disagreed tells, before Decided, of a report that the outcome contradicts.
	Disagreed(job consensus.JobID, report consensus.SignedReport)
	Abandoned(job consensus.JobID)
	// Expired tells that a job never started here, or has no need of this node,
	// and that nothing is to be kept of it: records are the keys of what agreement
	// kept.
	Expired(job consensus.JobID, records [][]byte)
	// Blocks hands over small blocks that came along with a report.
	Blocks(job consensus.JobID, blocks []consensus.Block)
	// Inline returns the blocks of a value's tree if they are small, or none.
	Inline(ctx context.Context, value consensus.Value) []consensus.Block
	// Closed returns how a job ended, if it is known.
	Closed(job consensus.JobID) (consensus.Conclusion, bool)
}

// Heard is what a submitter is told: a checked statement about its job.
type Heard struct {
	From    admission.Key
	Kind    consensus.Kind // 0 for the job's end
	Seat    int
	Proof   consensus.Proof
	Reason  string // of a refusal
	Accepts []consensus.Vote
	Ended   *consensus.Conclusion
}

// Config is what a runner needs.
type Config struct {
	Network     admission.Network
	Genesis     admission.Genesis
	Signer      admission.Signer
	Incarnation admission.Incarnation
	Policy      admission.Policy
	Journal     Journal
	Transport   Transport
	Host        Host
	Revoked     func(admission.Key) bool // whether a peer's credential was revoked; nil: nobody's was
	Clock       func() int64             // Unix milliseconds
	Session     uint64                   // random, one for each start
	// Lie returns what a testnet's liar signs in place of a statement's value: one
	// value or more; nil for honest nodes.
	Lie func(consensus.Statement) []consensus.Hash
}

// Runner runs the machines of one node.
type Runner struct {
	cfg     Config
	inbox   chan event
	known   sync.Map // consensus.JobID -> *charterInfo, for the checkers
	roots   *rootCache
	mutex   sync.Mutex
	watch   map[consensus.JobID]watcher
	frames  chan frameEvent
	ended   chan struct{} // closed when Run has returned
	told    *recent       // decisions of closed jobs: one answer for each peer and back-off (protocol, section 16)
	muted   *recent       // who showed a forgery about a job
	checker checker
}

// charterInfo is what checking a job's messages takes. It does not change: see
// reach.
type charterInfo struct {
	charter *consensus.Charter
	parties map[admission.Key]int
	heights []consensus.Height // those reached here, from height 0
}

type watcher struct {
	info  *charterInfo
	heard func(Heard)
}

// event is one input of the loop.
type event struct {
	job   consensus.JobID
	input bft.Input
	open  *Open
	done  chan<- error
	speak *Speech
	again bool           // say again to job's submitter what it has to know
	lost  *admission.Key // its credential was revoked
	view  func(bft.View, bool)
}

// Open begins or resumes the machine of one job.
type Open struct {
	Config  bft.Config
	Offer   consensus.Offer // charter and credentials, as a witness relays them
	First   bft.Input       // AcceptJob or Witnessed; nil when Records resume a job
	Extra   []Record        // durable together with the machine's first records
	Records []bft.Record
}

// New returns a runner that is not running yet.
func New(cfg Config) *Runner {
	if cfg.Revoked == nil {
		cfg.Revoked = func(admission.Key) bool { return false }
	}
	roots := newRootCache(4096)
	return &Runner{
		cfg:     cfg,
		inbox:   make(chan event, 256),
		frames:  make(chan frameEvent, 64),
		ended:   make(chan struct{}),
		told:    newRecent(),
		muted:   newRecent(),
		roots:   roots,
		checker: checker{cfg.Network, Verifier{Proof: roots.proof, Cancel: cfg.checkCancel}},
		watch:   map[consensus.JobID]watcher{},
	}
}

func (c *Config) checkCancel(cancel consensus.Cancel, job consensus.JobID, charter *consensus.Charter) error {
	return cancel.Check(c.Genesis, c.Network, job, charter)
}

// Watch tells heard of every checked accept, start, refusal, void answer and
// decision about a job that this node submitted, from the goroutine that read
// it. Forget ends it.
func (r *Runner) Watch(job consensus.JobID, charter *consensus.Charter, heard func(Heard)) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.watch[job] = watcher{info: newCharterInfo(r.cfg.Network, job, charter), heard: heard}
}

// Forget ends a Watch.
func (r *Runner) Forget(job consensus.JobID) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.watch, job)
}

func (r *Runner) watcher(job consensus.JobID) (watcher, bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	w, ok := r.watch[job]
	return w, ok
}

func (r *Runner) info(job consensus.JobID) (*charterInfo, bool) {
	if info, ok := r.known.Load(job); ok {
		return info.(*charterInfo), true
	}
	return nil, false
}

func newCharterInfo(network admission.Network, job consensus.JobID, c *consensus.Charter) *charterInfo {
	info := &charterInfo{charter: c, parties: make(map[admission.Key]int, c.Parties()),
		heights: []consensus.Height{consensus.FirstHeight(network, job, c)}}
	for party := range c.Parties() {
		info.parties[c.Party(party).Peer] = party
	}
	return info
}

// reach returns info with a height more, if h is the next one.
func (info *charterInfo) reach(h consensus.Height) *charterInfo {
	if h.Number != uint64(len(info.heights)) {
		return info
	}
	next := *info
	next.heights = append(info.heights[:len(info.heights):len(info.heights)], h)
	return &next
}

// isAhead reports whether a message is about a height that was not reached here: it
// can be judged when its height is known.
func (info *charterInfo) isAhead(s stashed) bool {
	if n := s.note; n != nil {
		return n.Note == consensus.NoteHighest && n.Payload != nil && n.Payload.Height >= uint64(len(info.heights))
	}
	return !info.reached(s.item)
}

func (info *charterInfo) reached(it item) bool {
	height := it.Height
	if it.Kind == consensus.KindAccept && height > 0 {
		height-- // a reserve's accept precedes its height
	}
	return height < uint64(len(info.heights))
}
