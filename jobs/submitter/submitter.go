// Package submitter is the submitting side of a node: it stores a job's spec
// and task, draws a quorum, signs the charter, offers it to the members, and
// does not call it acknowledged before f+1 of them have said that it started
// (protocol, section 4).
//
// draw.go makes a charter, attempt.go takes one charter to its answer, outstanding.go
// tells of those whose outcome is not known here, inquire.go asks the members for it,
// and recover.go goes on with what was pending when the node went down. Once a job
// is acknowledged the submitter has no part in it any more: it may die.
package submitter

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	blocks "github.com/ipfs/go-block-format"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
)

// Quorum is the members of a job, as the submitter speaks to them.
type Quorum interface {
	// Watch calls heard, from any goroutine, for every checked word about the
	// job, until Forget. It does not block.
	Watch(job consensus.JobID, charter *consensus.Charter, heard func(Heard))
	Forget(job consensus.JobID)
	Offer(ctx context.Context, to admission.Key, job consensus.JobID, offer consensus.Offer) error
	Void(ctx context.Context, to admission.Key, job consensus.JobID) error
}

// Heard is a checked word of a member about a job.
type Heard struct {
	Seat   int
	Kind   consensus.Kind // accept, started, refuse, voided; 0 with the job's end
	Proof  consensus.Proof
	Reason string
	Ended  *consensus.Conclusion
}

// Journal keeps what must survive.
type Journal interface {
	Append(ctx context.Context, entries ...journal.Entry) error
	Get(key []byte) ([]byte, error)
	Scan(prefix, after []byte, fn func(key, value []byte) (bool, error)) error
}

// Config is what a submitter needs.
type Config struct {
	Network    admission.Network
	Policy     admission.Policy
	Signer     admission.Signer
	Credential func() admission.SignedCredential
	Quorum     Quorum
	Store      store.Blocks
	Journal    Journal
	// Roll returns the roll to draw from, durable.
	Roll func(ctx context.Context) (*consensus.Roll, dagcbor.Link, error)
	// Known returns the job that lives, or has ended, under a request id: the
	// submission's own record goes when the outcome is archived.
	Known func(request consensus.RequestID) (Acknowledged, bool, error)
	// Ended returns a job whose outcome is archived here.
	Ended func(job consensus.JobID) (Acknowledged, bool, error)
	// Decided is told the outcome of a job submitted here; it does not block.
	Decided func(offer consensus.Offer, charter *consensus.Charter, job consensus.JobID, ended consensus.Conclusion)
	Random  io.Reader
	Clock   func() int64 // Unix milliseconds
	Log     *slog.Logger
}

// Submitter submits jobs for one node.
type Submitter struct {
	cfg    Config
	policy consensus.Hash

	mutex     sync.Mutex
	pending   map[consensus.RequestID]*submission
	lasting   map[consensus.JobID]consensus.RequestID // whose ends are asked for, and not archived
	forgets   map[consensus.RequestID]chan struct{}   // closed when a record is gone
	told      map[toldKey]struct{}                    // blocks that members have been sent
	runs      sync.WaitGroup
	start     chan *submission
	lapses    chan lapse
	inquiries chan inquiry
	ended     chan struct{} // closed when Run takes nothing more
}

// New returns a submitter. Run must run before Submit is called.
func New(cfg Config) (*Submitter, error) {
	digest, err := cfg.Policy.Digest(cfg.Network)
	if err != nil {
		return nil, err
	}
	return &Submitter{cfg: cfg, policy: digest, pending: map[consensus.RequestID]*submission{}, lasting: map[consensus.JobID]consensus.RequestID{},
		forgets: map[consensus.RequestID]chan struct{}{}, told: map[toldKey]struct{}{},
		start: make(chan *submission), lapses: make(chan lapse), inquiries: make(chan inquiry), ended: make(chan struct{})}, nil
}

// Run carries submissions until ctx ends. What is pending then is taken up
// again by Recover.
func (s *Submitter) Run(ctx context.Context) error {
	defer s.runs.Wait()
	defer close(s.ended)
	var lapsing agenda[lapse]
	var asking agenda[inquiry]
	lapses, asks := time.NewTimer(0), time.NewTimer(0)
	defer lapses.Stop()
	defer asks.Stop()
	for {
		lapsing.wait(lapses, s.cfg.Clock())
		asking.wait(asks, s.cfg.Clock())
		select {
		case sub := <-s.start:
			s.runs.Go(func() { s.carry(ctx, sub) })
		case l := <-s.lapses:
			lapsing = lapsing.add(l.at, l)
		case <-lapses.C:
			lapsing = s.lapse(ctx, lapsing)
		case q := <-s.inquiries:
			asking = asking.add(s.cfg.Clock()+q.wait, q)
		case <-asks.C:
			asking = s.ask(ctx, asking)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Request is a job to submit.
type Request struct {
	Key   string // idempotency key
	Spec  *jobs.Spec
	Task  *jobs.Task
	Check *jobs.Task // that the spec names, if it names one
	Class consensus.Class
}

// Acknowledged is a job that lives: f+1 members have it durably and started.
type Acknowledged struct {
	Job     consensus.JobID
	Request consensus.RequestID
	Charter *consensus.Charter
}

// Submit returns when the job is acknowledged, durably, or a *jobs.Problem when
// it is refused or its fate is unknown. A key that was used before finds its
// job. When ctx ends first the submission goes on: the same key finds it.
func (s *Submitter) Submit(ctx context.Context, r Request) (Acknowledged, error) {
	request, err := consensus.NewRequestID(s.cfg.Network, s.cfg.Signer.Key(), r.Key)
	if err != nil {
		return Acknowledged{}, err
	}
	return s.submit(ctx, request, r, nil)
}

// Retry submits the job of a request again, in the place of one that ended
// without a result: see Submit. A request whose job was superseded already
// finds the job that lives. r.Key is not used.
func (s *Submitter) Retry(ctx context.Context, r Request, request consensus.RequestID, ended consensus.JobID) (Acknowledged, error) {
	return s.submit(ctx, request, r, &ended)
}

func (s *Submitter) submit(ctx context.Context, request consensus.RequestID, r Request, ended *consensus.JobID) (Acknowledged, error) {
	sub, err := s.claim(ctx, request, r, ended)
	if err != nil {
		return Acknowledged{}, err
	}
	select {
	case <-sub.done:
		return sub.result, sub.err
	case <-ctx.Done():
		return Acknowledged{}, &jobs.Problem{Code: jobs.CodePlaceUnknown, What: "the job is not acknowledged yet",
			Why: ctx.Err().Error(), Try: "ask again under the same idempotency key, or by request id " + request.String(), Retryable: true}
	}
}

// submission is one request on its way to acknowledgement.
type submission struct {
	request consensus.RequestID
	spec    *jobs.Spec
	specRef dagcbor.Link
	taskRef dagcbor.Link
	more    []dagcbor.Link // small blocks, perhaps: the module, the check and its module
	limits  consensus.Limits
	timeout int64 // of one run, milliseconds
	class   consensus.Class
	ended   *consensus.JobID // the job that this one supersedes
	blocks  []sealed         // spec, task and check, to be stored
	resume  *record          // of a node that went down
	done    chan struct{}
	result  Acknowledged
	err     error
}

// sealed is a block of a job, with its name.
type sealed struct {
	link dagcbor.Link
	data []byte
}

func (s *Submitter) claim(ctx context.Context, request consensus.RequestID, r Request, ended *consensus.JobID) (*submission, error) {
	specData, specRef, err := r.Spec.Seal(s.cfg.Network)
	if err != nil {
		return nil, err
	}
	taskData, taskRef, err := r.Task.Seal(s.cfg.Network)
	if err != nil {
		return nil, err
	}
	if r.Spec.Task.Cid != taskRef.Cid || (r.Spec.Check == nil) != (r.Check == nil) {
		return nil, errors.New("submit: the spec is for another task")
	}
	all := []sealed{{specRef, specData}, {taskRef, taskData}}
	more := []dagcbor.Link{r.Task.Module}
	if r.Check != nil {
		data, link, err := r.Check.Seal(s.cfg.Network)
		if err != nil {
			return nil, err
		}
		if r.Spec.Check.Task.Cid != link.Cid {
			return nil, errors.New("submit: the spec names another check")
		}
		all, more = append(all, sealed{link, data}), append(more, link, r.Check.Module)
	}
	sub := &submission{request: request, spec: r.Spec, specRef: specRef, taskRef: taskRef, more: more,
		limits: r.Task.CharterLimits(s.cfg.Policy), timeout: r.Spec.RunTimeout(r.Task), class: r.Class, ended: ended, blocks: all, done: make(chan struct{})}
	if other, err := s.enter(ctx, sub); other != nil || err != nil {
		return other, err
	}
	// From here on others may wait for it under the same key: it goes on without
	// this caller.
	select {
	case s.start <- sub:
	case <-s.ended:
		s.settle(sub, Acknowledged{}, errEnded)
	}
	return sub, nil
}

// errEnded is returned for what is submitted to a node that is going down.
var errEnded = errors.New("submit: the node is going down")

// enter makes sub the submission of its request, or returns the one that is
// under way. It waits until a record that is going is gone.
func (s *Submitter) enter(ctx context.Context, sub *submission) (*submission, error) {
	for {
		s.mutex.Lock()
		other, pending := s.pending[sub.request]
		gone, going := s.forgets[sub.request]
		if !pending && !going {
			s.pending[sub.request] = sub
		}
		s.mutex.Unlock()
		switch {
		case pending:
			return other, sameSpec(other.specRef, sub.specRef)
		case !going:
			return nil, nil
		}
		select {
		case <-gone:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// begin finds the job that lives under the request of a submission, or makes its
// blocks durable for a draw.
func (s *Submitter) begin(ctx context.Context, sub *submission) (known Acknowledged, lives bool, err error) {
	if err := s.sameRecord(sub); err != nil {
		return Acknowledged{}, false, err
	}
	known, ok, err := s.lives(sub.request)
	if err != nil {
		return Acknowledged{}, false, err
	}
	if ok {
		if err := sameSpec(known.Charter.Spec, sub.specRef); err != nil {
			return Acknowledged{}, false, err
		}
		if sub.ended == nil || *sub.ended != known.Job {
			return known, true, nil
		}
	}
	for _, b := range sub.blocks {
		block, err := blocks.NewBlockWithCid(b.data, b.link.Cid)
		if err != nil {
			return Acknowledged{}, false, err
		}
		if err := s.cfg.Store.Put(ctx, block); err != nil {
			return Acknowledged{}, false, err
		}
	}
	return Acknowledged{}, false, s.cfg.Store.Sync(ctx)
}

// lives returns the job that was acknowledged under a request id. While there is
// a record it alone tells: the archive may know a charter that was withdrawn. A job
// that was to be superseded by one that was not acknowledged stands.
func (s *Submitter) lives(request consensus.RequestID) (Acknowledged, bool, error) {
	r, ok, err := s.record(request)
	if err != nil {
		return Acknowledged{}, false, err
	}
	if !ok {
		return s.cfg.Known(request)
	}
	charter, job, err := r.Offer.Charter.Open(s.cfg.Network)
	switch {
	case err != nil:
		return Acknowledged{}, false, err
	case r.Acknowledged:
		return Acknowledged{Job: job, Request: request, Charter: charter}, true, nil
	case charter.Supersedes != nil:
		return s.cfg.Ended(*charter.Supersedes)
	}
	return Acknowledged{}, false, nil
}

// settle ends a submission, for everybody who waits for it.
func (s *Submitter) settle(sub *submission, result Acknowledged, err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.pending[sub.request] == sub {
		delete(s.pending, sub.request)
	}
	select {
	case <-sub.done:
	default:
		sub.result, sub.err = result, err
		close(sub.done)
	}
}

// carry takes a submission through its draws.
func (s *Submitter) carry(ctx context.Context, sub *submission) {
	if sub.resume != nil {
		s.resume(ctx, sub)
		return
	}
	if known, lives, err := s.begin(ctx, sub); lives || err != nil {
		s.settle(sub, known, err)
		return
	}
	if sub.spec.Effects != "" && !s.gone(ctx, sub) {
		return
	}
	var last fate
	for attempt := range uint64(attempts) {
		a, err := s.draw(ctx, sub, attempt)
		if err != nil {
			s.settle(sub, Acknowledged{}, err)
			return
		}
		f, err := s.attempt(ctx, sub, a)
		if err != nil {
			s.settle(sub, Acknowledged{}, err)
			return
		}
		if f.acknowledged {
			s.settle(sub, Acknowledged{Job: a.job, Request: sub.request, Charter: a.charter}, nil)
			return
		}
		s.withdrawn(ctx, sub.request, a, f)
		last = fate{unknown: last.unknown || f.unknown, reasons: f.reasons}
		if f.mayAct(a.charter) {
			break
		}
	}
	s.settle(sub, Acknowledged{}, refused(last))
}

// attempts bounds the draws of one request in one period (protocol, section 9).
const attempts = 4

func refused(f fate) error {
	p := &jobs.Problem{Code: jobs.CodePlaceRefused, What: "the job was not accepted by enough members", Why: strings.Join(f.reasons, "; "),
		Try: "wait, or ask for a smaller quorum", Retryable: true}
	if f.unknown {
		p.Code, p.What, p.Try = jobs.CodePlaceUnknown, "the job is not acknowledged, and may or may not live", "muster peers; then submit again"
	}
	return p
}
