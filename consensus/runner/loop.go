package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
)

// loop is what only the loop's goroutine touches.
type loop struct {
	r       *Runner
	ctx     context.Context // Run's own
	core    *Core
	durable chan error // outcome of the append under way
	flight  *Batch     // what that append is for
	opened  []chan<- error
	opening []chan<- error
	spoken  []Speech
	peers   map[admission.Key]*peer
	stash   *stash
	pace    pace
	out     []outgoing // room for the next batch's messages
}

// peer is what the loop keeps of one peer it exchanges frames with.
type peer struct {
	session uint64 // of its process, as its last frame says
	renewed int64  // when it last said another, Unix milliseconds
	seq     uint64
	have    []have
	missed  int // in have
	flight  map[uint64][]sentKey
	oldest  uint64 // that may be in flight
	keys    int    // in flight
}

type sentKey struct {
	job   consensus.JobID
	party int // -1 for somebody whom the charter does not name
	key   SayKey
}

// acknowledge is how long an acknowledgement waits for a frame to ride on.
const acknowledge = 20 * time.Millisecond

// maxFlight bounds the frames to one peer whose acknowledgement is awaited, and
// maxFlightKeys what they hold. Beyond that the oldest are forgotten: what they held
// is said again in time.
const (
	maxFlight     = 4096
	maxFlightKeys = 16 * maxMessages
)

// fly awaits the acknowledgement of a frame.
func (p *peer) fly(seq uint64, keys []sentKey) {
	p.flight[seq] = keys
	p.keys += len(keys)
	for p.oldest+maxFlight <= seq || p.keys > maxFlightKeys {
		p.land(p.oldest)
		p.oldest++
	}
}

// land awaits it no more.
func (p *peer) land(seq uint64) {
	p.keys -= len(p.flight[seq])
	delete(p.flight, seq)
}

// Run drives the machines until ctx ends or the journal fails. It is the only
// goroutine that steps them.
func (r *Runner) Run(ctx context.Context) error {
	defer close(r.ended)
	l := &loop{r: r, ctx: ctx, core: NewCore(r.cfg.Signer.Key(), r.cfg.Policy.Resend), durable: make(chan error, 1),
		peers: map[admission.Key]*peer{}, stash: newStash()}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	pause := time.NewTimer(time.Hour)
	defer pause.Stop()
	acks := time.NewTicker(acknowledge)
	defer acks.Stop()
	for {
		l.arm(timer)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-l.durable:
			if err != nil {
				return fmt.Errorf("journal: %w", err)
			}
			l.release()
		case ev := <-r.inbox:
			l.input(ev)
		case f := <-r.frames:
			l.frame(f)
		case <-timer.C:
			l.core.Tick(r.cfg.Clock())
		case <-pause.C:
		case <-acks.C:
			l.acknowledge()
			continue
		}
		l.drain()
		if wait := l.pace.wait(time.Now(), l.core.Len()); wait > 0 && l.waiting() {
			pause.Reset(wait)
			continue
		}
		l.flush()
	}
}

func (l *loop) waiting() bool {
	return l.flight == nil && (l.core.Pending() || len(l.opened) > 0 || len(l.spoken) > 0)
}

func (l *loop) arm(timer *time.Timer) {
	wake := l.core.Wake()
	if wake == 0 {
		timer.Reset(time.Hour)
		return
	}
	timer.Reset(time.Duration(max(wake-l.r.cfg.Clock(), 0)) * time.Millisecond)
}

// drain takes what else has arrived, so that it shares a sync and a signature.
func (l *loop) drain() {
	for range consensus.MaxBatch {
		select {
		case ev := <-l.r.inbox:
			l.input(ev)
		case f := <-l.r.frames:
			l.frame(f)
		default:
			return
		}
	}
}

func (l *loop) input(ev event) {
	now := l.r.cfg.Clock()
	switch {
	case ev.again:
		l.core.Repeat(now, ev.job)
	case ev.lost != nil:
		l.core.Revoked(now, *ev.lost)
	case ev.speak != nil:
		l.spoken = append(l.spoken, *ev.speak)
	case ev.view != nil:
		ev.view(l.core.View(ev.job))
	case ev.open != nil:
		l.open(now, ev)
	default:
		l.core.Input(now, ev.job, ev.input)
	}
}

func (l *loop) open(now int64, ev event) {
	id := ev.open.Config.Job
	if err := l.core.Open(now, *ev.open); err != nil {
		ev.done <- err
		return
	}
	info := newCharterInfo(l.r.cfg.Network, id, ev.open.Config.Charter)
	heights := l.core.Heights(id)
	for _, h := range heights {
		info = info.reach(h)
	}
	l.r.known.Store(id, info)
	for party := range info.charter.Parties() {
		if l.r.cfg.Revoked(info.charter.Party(party).Peer) {
			l.core.Input(now, id, bft.Revoked{Party: party})
		}
	}
	l.opened = append(l.opened, ev.done)
	l.unstash(info, id)
	if len(ev.open.Records) > 0 && len(heights) > 0 { // none: it is forgotten at once
		last := heights[len(heights)-1]
		for seat, party := range last.Members {
			if party != ev.open.Config.Self {
				l.spoken = append(l.spoken, Speech{To: last.Holder(seat).Peer, Job: id, Note: consensus.NoteAsk})
			}
		}
	}
}

// flush begins to make a batch durable, unless one is under way: what is
// gathered meanwhile forms the next batch.
func (l *loop) flush() {
	for l.waiting() {
		l.pace.begin(time.Now())
		batch := l.core.Flush()
		l.flight, l.opening, l.opened = &batch, l.opened, nil
		records := make([]Record, 0, len(batch.Extra)+len(batch.Entries))
		records = append(records, batch.Extra...)
		for _, e := range batch.Entries {
			records = append(records, Record{Key: RecordKey(e.Job, e.Seq), Value: EncodeRecord(e.Record)})
		}
		if len(records) > 0 {
			l.r.cfg.Journal.AppendAsync(records, func(err error) { l.durable <- err })
			return
		}
		l.release()
	}
}

// release lets out what a durable batch says and does.
func (l *loop) release() {
	batch := l.flight
	l.flight = nil
	for _, done := range l.opening {
		done <- nil
	}
	l.opening = nil
	for _, d := range batch.Dos {
		l.do(d)
	}
	l.send(batch.Says)
}

func (l *loop) do(d Do) {
	host := l.r.cfg.Host
	switch e := d.Effect.(type) {
	case bft.Execute:
		host.Execute(d.Job, e.Run)
	case bft.Fetch:
		from := make([]admission.Key, 0, len(e.From))
		for _, party := range e.From {
			from = append(from, d.Charter.Party(party).Peer)
		}
		host.Fetch(d.Job, e.Value, e.Hash, e.Normals, from)
	case bft.Check:
		host.Check(d.Job, e.Value, e.Hash)
	case bft.StartedJob:
		host.Started(d.Job)
	case bft.Decided:
		host.Decided(d.Job, e.Conclusion, *d.View, recordKeys(d))
		if w, ok := l.r.watcher(d.Job); ok {
			w.heard(Heard{From: l.r.cfg.Signer.Key(), Ended: &e.Conclusion})
		}
	case bft.Reached:
		host.Reached(d.Job, e.Height)
		if info, ok := l.r.info(d.Job); ok {
			info = info.reach(e.Height)
			l.r.known.Store(d.Job, info)
			l.unstash(info, d.Job)
		}
	case bft.Equivocation:
		host.Equivocated(d.Job, d.Charter, e.First, e.Second)
	case bft.Disagreement:
		host.Disagreed(d.Job, e.Report)
	case bft.Abandon:
		host.Abandoned(d.Job)
	case bft.Expire:
		host.Expired(d.Job, recordKeys(d))
	case dropped:
		l.r.known.Delete(d.Job)
	}
}

// Open opens or resumes a job and returns when its first records are durable, or
// ErrLate.
func (r *Runner) Open(ctx context.Context, o Open) error {
	done := make(chan error, 1)
	if err := r.post(ctx, event{open: &o, done: done}); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Input hands a local input to a job's machine: Ran, RunState, Checked, Held, CancelWish.
func (r *Runner) Input(ctx context.Context, job consensus.JobID, in bft.Input) error {
	return r.post(ctx, event{job: job, input: in})
}

// Revoke tells the machines of all open jobs that a peer's credential was revoked:
// its place may be taken at once. Config.Revoked says so of it from now on.
func (r *Runner) Revoke(ctx context.Context, peer admission.Key) error {
	return r.post(ctx, event{lost: &peer})
}

// View shows the machine of an open job.
func (r *Runner) View(ctx context.Context, job consensus.JobID) (bft.View, bool, error) {
	type answer struct {
		view bft.View
		ok   bool
	}
	answers := make(chan answer, 1)
	err := r.post(ctx, event{job: job, view: func(v bft.View, ok bool) { answers <- answer{v, ok} }})
	if err != nil {
		return bft.View{}, false, err
	}
	select {
	case a := <-answers:
		return a.view, a.ok, nil
	case <-ctx.Done():
		return bft.View{}, false, ctx.Err()
	}
}

// Speech is something said outside of any machine: a submitter's offer or void,
// a refusal, an answer to somebody who is behind.
type Speech struct {
	To      admission.Key
	Job     consensus.JobID
	Kind    consensus.Kind // of a statement, which is signed; 0 for a note
	Note    consensus.Note
	Value   consensus.Hash
	Payload *consensus.Payload
}

// Speak sends a speech once. What it claims must be durable already.
func (r *Runner) Speak(ctx context.Context, s Speech) error {
	return r.post(ctx, event{speak: &s})
}

// errEnded is returned for what is asked of a runner that has stopped.
var errEnded = errors.New("runner: stopped")

func (r *Runner) post(ctx context.Context, ev event) error {
	select {
	case r.inbox <- ev:
		return nil
	case <-r.ended:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}
