package runner

import (
	"container/heap"
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
}

// said remembers who acknowledged one message.
type said struct {
	key SayKey
	had uint64 // parties
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
	View    bft.View // with Decided: how the job stood
	Records uint64   // with Decided and Expire: how many records the job has
}

// Batch is what steps asked for: make Entries and Extra durable together, then
// send Says, then do Dos.
type Batch struct {
	Entries []Entry
	Extra   []Record
	Says    []Say
	Dos     []Do
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
	c.batch = Batch{} // batches that follow each other are about as long
	if n := len(b.Entries); n > 0 {
		c.batch.Entries = make([]Entry, 0, n)
	}
	if n := len(b.Says); n > 0 {
		c.batch.Says = make([]Say, 0, n)
	}
	return b
}

// Pending reports whether Flush has something to hand over.
func (c *Core) Pending() bool { return !c.batch.Empty() }

// Open begins or resumes a job's machine. A job that is open stays as it is.
func (c *Core) Open(now int64, o Open) error {
	if _, ok := c.jobs[o.Config.Job]; ok {
		return nil
	}
	j := &job{id: o.Config.Job, charter: o.Config.Charter, offer: o.Offer, self: o.Config.Self, backoff: c.resend, nudge: now + c.resend, ask: now + silence, quiet: silence}
	var ready bft.Ready
	if len(o.Records) > 0 || o.First == nil {
		machine, first, err := bft.Restore(o.Config, o.Records, now)
		if err != nil {
			return err
		}
		j.machine, ready, j.nextSeq = machine, first, uint64(len(o.Records))
	} else {
		j.machine = bft.New(o.Config)
		ready = j.machine.Step(now, o.First)
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
	if m, ok := in.(bft.Message); ok && m.Note == consensus.NoteAsk {
		for i := range j.said {
			j.said[i].had &^= 1 << m.From
		}
		j.decided &^= 1 << m.From
		c.sayCurrent(j, m.From)
		m.Note = consensus.NoteAlive // who asks is there
		c.gather(now, j, j.machine.Step(now, m))
		return
	}
	if m, ok := in.(bft.Message); ok && m.Note == consensus.NoteDecided && m.From >= 0 {
		j.decided |= 1 << m.From
		if m.Payload == nil {
			c.dropHeard(j)
			return
		}
	}
	c.gather(now, j, j.machine.Step(now, in))
}

// Repeat says again to a job's submitter what it has to know: it asks by
// offering what is open already.
func (c *Core) Repeat(id consensus.JobID) {
	if j, ok := c.jobs[id]; ok {
		for _, out := range j.machine.ForSubmitter() {
			c.batch.Says = append(c.batch.Says, c.say(j, out, out.To, false))
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

// Acknowledged notes that a party has a message.
func (c *Core) Acknowledged(id consensus.JobID, party int, key SayKey) {
	if j, ok := c.jobs[id]; ok {
		j.mark(key, party)
		c.dropHeard(j)
	}
}

// Renewed notes that a peer is another process than before: what it has
// acknowledged, and had not on its disk, it has forgotten.
func (c *Core) Renewed(peer admission.Key) {
	for _, j := range c.jobs {
		if party := j.charter.PartyOf(peer); party >= 0 {
			for i := range j.said {
				j.said[i].had &^= 1 << party
			}
		}
	}
}

func (j *job) mark(key SayKey, party int) {
	for i := range j.said {
		if j.said[i].key == key {
			j.said[i].had |= 1 << party
			return
		}
	}
	j.said = append(j.said, said{key, 1 << party})
}

// has reports whether a party has a message. What shows a member that it has to
// start is said until it shows that it did: an acknowledgement proves only that
// its process knew (protocol, section 4).
func (j *job) has(key SayKey, party int) bool {
	if key.note == consensus.NoteAccepts {
		return false
	}
	if key.note == consensus.NoteDecided && j.decided&(1<<party) != 0 {
		return true
	}
	for i := range j.said {
		if j.said[i].key == key {
			return j.said[i].had&(1<<party) != 0
		}
	}
	return false
}

// gather takes over what a step asked for. Records come first in a batch, so
// that nothing of the same step can be said before them.
func (c *Core) gather(now int64, j *job, ready bft.Ready) {
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
			do.View, do.Records = j.machine.View(), j.nextSeq
			c.sayDecided(j, d.Conclusion)
		}
		c.batch.Dos = append(c.batch.Dos, do)
	}
	for _, out := range ready.Say {
		if decided && out.Note == consensus.NoteDecided {
			continue // the hint stands for it
		}
		c.batch.Says = append(c.batch.Says, c.say(j, out, out.To, true))
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

// postpone gives others the time to acknowledge what was just said. Whoever has
// to speak on and on, or is made to, still comes to say the rest again.
func (j *job) postpone(now int64) {
	if j.spoke == 0 {
		j.spoke = now
	}
	j.nudge = min(now, j.spoke+j.backoff) + j.backoff
}

// sayDecided tells all members that the decision is here, and no more: most of
// them have come to it at the same time. Who does not say the same before the
// back-off is sent the whole (decision 008). A submitter without a seat gets it
// at once.
func (c *Core) sayDecided(j *job, d consensus.Conclusion) {
	hint := bft.Outgoing{Note: consensus.NoteDecided, Value: d.Outcome.Commits.Value}
	c.batch.Says = append(c.batch.Says, c.say(j, hint, j.machine.Audience(), true))
	if j.charter.Place(j.charter.Submitter) < 0 {
		whole := hint
		whole.Payload, whole.Submitter = &consensus.Payload{Chain: d.Chain, Decision: &d.Outcome}, true
		c.batch.Says = append(c.batch.Says, c.say(j, whole, []int{}, true))
	}
}

func (c *Core) say(j *job, out bft.Outgoing, to []int, own bool) Say {
	s := Say{Job: j.id, Charter: j.charter, Out: out, To: to, Self: j.self, Own: own}
	if out.Note == consensus.NoteAccepts {
		s.Offer = &j.offer
	}
	return s
}

// linger is how long a job that ended is kept for members that have not
// acknowledged its decision, in milliseconds. They can still ask afterwards:
// the journal answers.
const linger = 10_000

// silence is how long a job makes no step forward here before all are asked what
// became of it, and maxSilence how long later, in milliseconds: they may have
// heard what this member said, have ended the job while it was cut off, and owe
// it nothing.
const (
	silence    = 30_000
	maxSilence = 300_000
)

// maxBackoff bounds the back-off of what is said again, in milliseconds.
const maxBackoff = 10_000

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

// nudge says again, to each party, what it has not acknowledged. A job that
// ended is dropped when all have its decision, or after linger.
func (c *Core) nudge(now int64, j *job) {
	again := false
	j.spoke = 0
	for party := range j.charter.Parties() {
		if party != j.self && c.sayCurrent(j, party) {
			again = true
		}
	}
	if j.ended != 0 && (!again || now >= j.ended+linger) {
		c.drop(j)
		return
	}
	if j.ended == 0 && now >= j.ask {
		j.quiet = min(j.quiet+j.quiet/2, maxSilence)
		j.ask = now + j.quiet
		ask := bft.Outgoing{Note: consensus.NoteAsk}
		c.batch.Says = append(c.batch.Says, c.say(j, ask, j.machine.Members(), false))
	}
	j.backoff = min(j.backoff+j.backoff/2, maxBackoff)
	j.nudge = now + j.backoff + jitter(j.id, now)%(j.backoff/4+1)
}

func (c *Core) sayCurrent(j *job, party int) bool {
	again := false
	for _, out := range j.machine.Current(party) {
		if j.has(KeyOf(out), party) {
			continue
		}
		out.Submitter = false
		c.batch.Says = append(c.batch.Says, c.say(j, out, []int{party}, false))
		again = true
	}
	return again
}

// jitter spreads back-offs by what is at hand, so that the core needs no
// randomness.
func jitter(id consensus.JobID, now int64) int64 {
	return int64(id[0])<<8 | int64(id[1]) ^ now&0xff
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

// dropHeard drops a job that ended as soon as all parties that had a part in it
// have its outcome, and reports whether it did.
func (c *Core) dropHeard(j *job) bool {
	if j.ended == 0 {
		return false
	}
	for party := range j.charter.Parties() {
		if party == j.self || j.decided&(1<<party) != 0 {
			continue
		}
		for _, out := range j.machine.Current(party) {
			if !j.has(KeyOf(out), party) {
				return false
			}
		}
	}
	c.drop(j)
	return true
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
