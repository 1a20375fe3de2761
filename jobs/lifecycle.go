package jobs

import "slices"

// next holds the states that may follow each state. A peer that learns of a job
// late may see it jump ahead, never back; a terminal state is certified and
// stays.
var next = map[State][]State{
	Pending:  {Accepted, Queued, Running, Agreeing, Succeeded, Failed, Cancelled, Refused},
	Accepted: {Queued, Running, Agreeing, Succeeded, Failed, Cancelled},
	Queued:   {Running, Agreeing, Succeeded, Failed, Cancelled},
	Running:  {Agreeing, Succeeded, Failed, Cancelled},
	Agreeing: {Succeeded, Failed, Cancelled},
}

// Can reports whether a job may go from s to other. Staying is not going.
func (s State) Can(other State) bool { return slices.Contains(next[s], other) }

// Valid reports whether s is one of the states.
func (s State) Valid() bool {
	return next[s] != nil || s.Terminal() || s == Refused
}

// RefusePast begins the refusal of a member by whose clock the job's deadline has
// passed, and which has none of it: it will never grant a run of it (decision 017).
const RefusePast = "past"
