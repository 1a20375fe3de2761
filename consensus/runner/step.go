package runner

import (
	"container/heap"
	"errors"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
)

// Core steps the machines of many jobs and gathers what they ask for into
// batches. What a batch says and does is out of reach until the batch is
// durable: that is the whole of persist-before-send. It is pure and not safe
// for concurrent use.
type Core struct {
	self   admission.Key
	resend int64 // first back-off, milliseconds
	jobs   map[consensus.JobID]*job
	ended  int // of jobs
	wakes  wakes
	batch  Batch

	// Batches that follow each other are about as long: so long was the last.
	entries, says int
}

// job is one machine and what was heard of what it said.
type job struct {
	id      consensus.JobID
	machine *bft.Machine
	charter *consensus.Charter
	offer   consensus.Offer
	self    int
	nextSeq uint64
	said    []said
	decided uint64 // parties that say that they have the outcome
	backoff int64
	nudge   int64 // when to say again what was not acknowledged
	spoke   int64 // when it first spoke since the last time; 0: not yet
	ask     int64 // when to ask the others what became of the job
	quiet   int64 // how long after the last step forward
	wake    int64 // when the machine wants a tick
	due     int64 // the earlier of both, as it stands in the heap; 0: not in it
	place   int
	ended   int64

	answered []int64 // by party: when it was last told what it had asked for
	offered  int64   // when its submitter last offered it again, and was answered; 0: not yet
	voided   int64   // likewise: withdrew it
}

// due reports whether a submitter's word that comes now is to be answered, and notes that
// it was: each is small and what answers it is not (protocol, section 16). It repeats one
// with the first back-off at the soonest, so at twice that rate none of its own is missed.
// A clock that was set back keeps nobody waiting.
func (c *Core) due(last *int64, now int64) bool {
	if *last != 0 && now >= *last && now < *last+c.resend/2 {
		return false
	}
	*last = now
	return true
}

// SayKey names a message within a job.
type SayKey struct {
	kind   consensus.Kind
	note   consensus.Note
	height uint64
	round  uint32
	value  consensus.Hash
}

// KeyOf returns the name of what is said.
func KeyOf(o bft.Outgoing) SayKey { return SayKey{o.Kind, o.Note, o.Height, o.Round, o.Value} }

// Entry is one record of one job.
type Entry struct {
	Job    consensus.JobID
	Seq    uint64
	Record bft.Record
}

// Say is one message to send: to parties of the job, nil for its charter's
// roster, and to its submitter. Own says that it is new: the machine itself is
// told, too.
type Say struct {
	Job     consensus.JobID
	Charter *consensus.Charter
	Out     bft.Outgoing
	To      []int
	Self    int
	Own     bool
	Offer   *consensus.Offer // to ride along with a witness's accepts
}

// Do is one effect of one job.
type Do struct {
	Job     consensus.JobID
	Charter *consensus.Charter
	Effect  bft.Effect
	View    *bft.View // with Decided: how the job stood
	Records uint64    // with Decided and Expire: how many records the job has
}

// Batch is what steps asked for: make Entries and Extra durable together, then
// do Dos, then send Says.
type Batch struct {
	Entries []Entry
	Extra   []Record
	Dos     []Do
	Says    []Say
}

// Empty reports whether there is nothing in the batch.
func (b *Batch) Empty() bool {
	return len(b.Entries) == 0 && len(b.Extra) == 0 && len(b.Says) == 0 && len(b.Dos) == 0
}

// NewCore returns a core without jobs. Back-offs begin at resend milliseconds.
func NewCore(self admission.Key, resend int64) *Core {
	return &Core{self: self, resend: resend, jobs: map[consensus.JobID]*job{}}
}

// Flush hands over all that was gathered, and begins a new batch.
func (c *Core) Flush() Batch {
	b := c.batch
	c.batch, c.entries, c.says = Batch{}, len(b.Entries), len(b.Says)
	return b
}

// Pending reports whether Flush has something to hand over.
func (c *Core) Pending() bool { return !c.batch.Empty() }

// ErrLate is returned by Open for a job that has no place here: its first step came
// after accept_by and nothing was accepted, or there are no records to resume it
// from. Nothing of it is kept, so that q accepts still open it.
var ErrLate = errors.New("accept_by has passed")

// Open begins or resumes a job's machine. A job that is open stays as it is.
func (c *Core) Open(now int64, o Open) error {
	if _, ok := c.jobs[o.Config.Job]; ok {
		return nil
	}
	j := &job{id: o.Config.Job, charter: o.Config.Charter, offer: o.Offer, self: o.Config.Self, backoff: c.resend, nudge: now + c.resend, ask: now + silence, quiet: silence,
		answered: make([]int64, o.Config.Charter.Parties())}
	var ready bft.Ready
	if len(o.Records) > 0 {
		machine, first, err := bft.Restore(o.Config, o.Records, now)
		if err != nil {
			return err
		}
		j.machine, ready, j.nextSeq = machine, first, uint64(len(o.Records))
	} else if o.First != nil {
		j.machine = bft.New(o.Config)
		ready = j.machine.Step(now, o.First)
	}
	if j.nextSeq == 0 && len(ready.Records) == 0 {
		return ErrLate // who accepts, or was shown accepts, begins with that record
	}
	c.jobs[j.id] = j
	c.batch.Extra = append(c.batch.Extra, o.Extra...)
	c.gather(now, j, ready)
	return nil
}

// Heights returns the heights that a job reached here, from height 0.
func (c *Core) Heights(id consensus.JobID) []consensus.Height {
	j, ok := c.jobs[id]
	if !ok {
		return nil
	}
	return j.machine.Heights()
}

// Input steps one job's machine. Inputs for jobs that are not open are dropped.
func (c *Core) Input(now int64, id consensus.JobID, in bft.Input) {
	j, ok := c.jobs[id]
	if !ok {
		return
	}
	if _, ok := in.(bft.SubmitterVoid); ok && !c.due(&j.voided, now) {
		return
	}
	if m, ok := in.(bft.Message); ok && m.Note == consensus.NoteAsk {
		for i := range j.said {
			j.said[i].had &^= 1 << m.From
		}
		j.decided &^= 1 << m.From
		c.answer(now, j, m.From)
		m.Note = consensus.NoteAlive // who asks is there
		c.gather(now, j, j.machine.Step(now, m))
		return
	}
	if m, ok := in.(bft.Message); ok && m.Note == consensus.NoteDecided && m.From >= 0 {
		j.decided |= 1 << m.From
		if m.Payload == nil {
			if !c.dropHeard(j) && !j.machine.Done() {
				m.Note = consensus.NoteAlive // who has decided is there, and says little more
				c.gather(now, j, j.machine.Step(now, m))
			}
			return
		}
	}
	c.gather(now, j, j.machine.Step(now, in))
}

// Revoked tells the machine of every job in which a peer has a part that its
// credential was revoked.
func (c *Core) Revoked(now int64, peer admission.Key) {
	for _, id := range c.Jobs() {
		if j := c.jobs[id]; j.charter.PartyOf(peer) >= 0 {
			c.gather(now, j, j.machine.Step(now, bft.Revoked{Party: j.charter.PartyOf(peer)}))
		}
	}
}

// Repeat says again to a job's submitter what it has to know: it asks by
// offering what is open already.
func (c *Core) Repeat(now int64, id consensus.JobID) {
	if j, ok := c.jobs[id]; ok && c.due(&j.offered, now) {
		for _, out := range j.machine.ForSubmitter() {
			c.say(j, out, out.To, false)
		}
	}
}

// Len returns how many jobs have no outcome yet.
func (c *Core) Len() int { return len(c.jobs) - c.ended }

// View shows a job's machine.
func (c *Core) View(id consensus.JobID) (bft.View, bool) {
	j, ok := c.jobs[id]
	if !ok {
		return bft.View{}, false
	}
	return j.machine.View(), true
}

// gather takes over what a step asked for. Records come first in a batch, so
// that nothing of the same step can be said before them.
func (c *Core) gather(now int64, j *job, ready bft.Ready) {
	if len(ready.Records) > 0 && c.batch.Entries == nil {
		c.batch.Entries = make([]Entry, 0, max(c.entries, len(ready.Records)))
	}
	for _, record := range ready.Records {
		c.batch.Entries = append(c.batch.Entries, Entry{j.id, j.nextSeq, record})
		j.nextSeq++
	}
	if len(ready.Records) > 0 {
		j.quiet, j.ask = silence, now+silence
	}
	decided, expired := false, false
	for _, effect := range ready.Do {
		do := Do{Job: j.id, Charter: j.charter, Effect: effect}
		if _, ok := effect.(bft.Expire); ok {
			expired, do.Records = true, j.nextSeq
		}
		if d, ok := effect.(bft.Decided); ok {
			decided = true
			view := j.machine.View()
			do.View, do.Records = &view, j.nextSeq
			c.sayDecided(j, d.Conclusion)
		}
		c.batch.Dos = append(c.batch.Dos, do)
	}
	for _, out := range ready.Say {
		if decided && out.Note == consensus.NoteDecided {
			continue // the hint stands for it
		}
		c.say(j, out, out.To, true)
		j.backoff = c.resend
	}
	if expired {
		c.drop(j)
		return
	}
	j.wake = ready.Wake
	if len(ready.Say) > 0 || decided {
		j.postpone(now)
	}
	if j.machine.Done() && j.ended == 0 {
		j.ended = now
		c.ended++
		if c.dropHeard(j) {
			return
		}
	}
	c.schedule(j)
}

// sayDecided tells all members that the decision is here, and no more: most of
// them have come to it at the same time. Who does not say the same before the
// back-off is sent the whole (decision 008). A submitter without a seat gets it
// at once.
func (c *Core) sayDecided(j *job, d consensus.Conclusion) {
	hint := bft.Outgoing{Note: consensus.NoteDecided, Value: d.Outcome.Commits.Value}
	c.say(j, hint, j.machine.Audience(), true)
	if j.charter.Place(j.charter.Submitter) < 0 {
		whole := hint
		whole.Payload, whole.Submitter = &consensus.Payload{Chain: d.Chain, Decision: &d.Outcome}, true
		c.say(j, whole, []int{}, true)
	}
}

func (c *Core) say(j *job, out bft.Outgoing, to []int, own bool) {
	s := Say{Job: j.id, Charter: j.charter, Out: out, To: to, Self: j.self, Own: own}
	if out.Note == consensus.NoteAccepts {
		s.Offer = &j.offer
	}
	if c.batch.Says == nil {
		c.batch.Says = make([]Say, 0, max(c.says, 1))
	}
	c.batch.Says = append(c.batch.Says, s)
}

// Tick gives time to every job that wants it.
func (c *Core) Tick(now int64) {
	for len(c.wakes) > 0 && c.wakes[0].due <= now {
		j := c.wakes[0]
		if j.wake != 0 && j.wake <= now {
			j.wake = 0
			c.gather(now, j, j.machine.Step(now, bft.Tick{}))
		}
		if j.nudge != 0 && j.nudge <= now {
			c.nudge(now, j)
		}
		if j.ended == 0 || j.nudge != 0 {
			c.schedule(j)
		}
	}
}

func (c *Core) drop(j *job) {
	if c.jobs[j.id] != j {
		return
	}
	delete(c.jobs, j.id)
	if j.ended != 0 {
		c.ended--
	}
	j.nudge, j.wake = 0, 0
	c.schedule(j)
	c.batch.Dos = append(c.batch.Dos, Do{Job: j.id, Charter: j.charter, Effect: dropped{}})
}

// dropped is the core's own effect: the job's checkers may forget it.
type dropped struct{ bft.Effect }

// Wake returns when Tick has something to do; 0 for never.
func (c *Core) Wake() int64 {
	if len(c.wakes) == 0 {
		return 0
	}
	return c.wakes[0].due
}

// Jobs returns the ids of all open jobs, in order.
func (c *Core) Jobs() []consensus.JobID {
	ids := make([]consensus.JobID, 0, len(c.jobs))
	for id := range c.jobs {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b consensus.JobID) int { return slices.Compare(a[:], b[:]) })
	return ids
}

func (c *Core) schedule(j *job) {
	due := j.nudge
	if j.wake != 0 && (due == 0 || j.wake < due) {
		due = j.wake
	}
	switch {
	case j.due == 0 && due != 0:
		j.due = due
		heap.Push(&c.wakes, j)
	case j.due != 0 && due == 0:
		heap.Remove(&c.wakes, j.place)
		j.due = 0
	case j.due != due:
		j.due = due
		heap.Fix(&c.wakes, j.place)
	}
}

// wakes is a heap of jobs by when they are due; ties by id, so that the order
// is the same in every run.
type wakes []*job

func (w wakes) Len() int { return len(w) }
func (w wakes) Less(i, k int) bool {
	if w[i].due != w[k].due {
		return w[i].due < w[k].due
	}
	return slices.Compare(w[i].id[:], w[k].id[:]) < 0
}
func (w wakes) Swap(i, k int) {
	w[i], w[k] = w[k], w[i]
	w[i].place, w[k].place = i, k
}
func (w *wakes) Push(x any) {
	j := x.(*job)
	j.place = len(*w)
	*w = append(*w, j)
}
func (w *wakes) Pop() any {
	old := *w
	j := old[len(old)-1]
	*w = old[:len(old)-1]
	return j
}
