package runner

import (
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
)

// said remembers who acknowledged one message, for as long as this member would
// say it again.
type said struct {
	key    SayKey
	had    uint64 // parties
	stands bool   // it was among what would be said when that was last gone through
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
	j.said = append(j.said, said{key: key, had: 1 << party})
}

// has reports whether a party has a message. What shows a member that it has to
// start is said until it shows that it did: an acknowledgement proves only that
// its process knew (protocol, section 4). A question marks what still stands: see
// forget.
func (j *job) has(key SayKey, party int) bool {
	if key.note == consensus.NoteAccepts {
		return false
	}
	if key.note == consensus.NoteDecided && j.decided&(1<<party) != 0 {
		return true
	}
	for i := range j.said {
		if j.said[i].key == key {
			j.said[i].stands = true
			return j.said[i].had&(1<<party) != 0
		}
	}
	return false
}

// forget drops what was acknowledged and was not asked for by has since the last
// time: a job that lasts says something new in each round, and no more what it
// said in those before. What stands again later is said again.
func (j *job) forget() {
	j.said = slices.DeleteFunc(j.said, func(s said) bool { return !s.stands })
	for i := range j.said {
		j.said[i].stands = false
	}
}

// postpone gives others the time to acknowledge what was just said. Whoever has
// to speak on and on, or is made to, still comes to say the rest again.
func (j *job) postpone(now int64) {
	if j.spoke == 0 {
		j.spoke = now
	}
	j.nudge = min(now, j.spoke+j.backoff) + j.backoff
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

// nudge says again, to each party, what it has not acknowledged. A job that
// ended is dropped when all have its decision, or after linger.
func (c *Core) nudge(now int64, j *job) {
	again, since := false, len(c.batch.Says)
	j.spoke = 0
	for party := range j.charter.Parties() {
		if party != j.self && c.sayCurrent(j, party, since) {
			again = true
		}
	}
	j.forget()
	if j.ended != 0 && (!again || now >= j.ended+linger) {
		c.drop(j)
		return
	}
	if j.ended == 0 && now >= j.ask {
		j.quiet = min(j.quiet+j.quiet/2, maxSilence)
		j.ask = now + j.quiet
		ask := bft.Outgoing{Note: consensus.NoteAsk}
		c.say(j, ask, j.machine.Members(), false)
	}
	j.backoff = min(j.backoff+j.backoff/2, maxBackoff)
	j.nudge = now + j.backoff + jitter(j.id, now)%(j.backoff/4+1)
}

// sayCurrent says again to a party what it has not acknowledged, and reports
// whether there was anything. What others are told of the same job since a point
// in the batch is said once to them all.
func (c *Core) sayCurrent(j *job, party, since int) bool {
	again := false
	for _, out := range j.machine.Current(party) {
		key := KeyOf(out)
		if j.has(key, party) {
			continue
		}
		again = true
		told := slices.IndexFunc(c.batch.Says[since:], func(s Say) bool { return KeyOf(s.Out) == key })
		if told >= 0 {
			s := &c.batch.Says[since+told]
			s.To = append(s.To, party)
			continue
		}
		out.Submitter = false
		c.say(j, out, []int{party}, false)
	}
	return again
}

// answer says to a party that asks what it has to know: at once if it was not told
// within the first back-off, and else when that is over. A question is small, and
// its answer is not (protocol, section 16).
func (c *Core) answer(now int64, j *job, party int) {
	if due := j.answered[party] + c.resend; now < due {
		j.nudge = min(j.nudge, due)
		return
	}
	j.answered[party] = now
	c.sayCurrent(j, party, len(c.batch.Says))
}

// jitter spreads back-offs by what is at hand, so that the core needs no
// randomness.
func jitter(id consensus.JobID, now int64) int64 {
	return int64(id[0])<<8 | int64(id[1]) ^ now&0xff
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
