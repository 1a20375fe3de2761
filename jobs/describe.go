package jobs

import "github.com/muster-network/muster/consensus"

// Describe says what a charter says of a job, and who its members are at a
// height. The rest is the word of whoever tells of it.
func Describe(at consensus.Height) Job {
	id, c := at.Job, at.Charter
	t := c.Thresholds()
	j := Job{
		ID: id.String(), Request: c.Request.String(), Task: c.Task.String(), Owner: c.Owner.String(), Submitter: c.Submitter.String(),
		Class: string(c.Class), Assurance: string(c.Assurance), Effects: string(c.Effects), Fault: c.Fault.String(), Faults: int(c.F), Size: t.N, Quorum: t.Quorum,
		Issued: c.Issued, Deadline: c.Deadline,
	}
	if c.Supersedes != nil {
		j.Supersedes = c.Supersedes.String()
	}
	for _, seat := range at.Roster() {
		j.Members = append(j.Members, Member{Peer: seat.Peer.String(), Name: seat.Peer.Name()})
	}
	j.Replaced = ReplacedBefore(at)
	return j
}

// Certified says what a certificate says of its job: all that Describe does, and
// how the job ended, in which round, and who signed that.
func Certified(v consensus.Verdict) Job {
	j := Describe(v.Height)
	j.State, j.Round, j.Outcome = StateOf(v.Value), int(v.Round), outcomeOf(v)
	for _, seat := range v.Signers {
		j.Members[seat].Signed = true
	}
	return j
}

// ReplacedBefore says, for people, which members lost their seats before a height.
func ReplacedBefore(at consensus.Height) []Replaced {
	var list []Replaced
	for _, r := range at.Replaced {
		out, in := at.Charter.Party(r.Out).Peer, at.Charter.Party(r.In).Peer
		list = append(list, Replaced{Height: r.Height, Seat: r.Seat, Peer: out.String(), Name: out.Name(), By: in.String(), ByName: in.Name()})
	}
	return list
}

// StateOf names the terminal state of a value.
func StateOf(v consensus.Value) State {
	switch v.Kind {
	case consensus.Result:
		return Succeeded
	case consensus.Cancelled:
		return Cancelled
	}
	return Failed
}

func outcomeOf(v consensus.Verdict) *Outcome {
	o := &Outcome{Signed: len(v.Signers)}
	switch v.Value.Kind {
	case consensus.Result:
		o.Kind = "result"
	case consensus.Cancelled:
		o.Kind = "cancelled"
	case consensus.Failed:
		o.Kind, o.Class, o.Code = "failed", v.Value.Class.String(), int(v.Value.Code)
	}
	if v.Value.Tree != nil {
		o.Result = v.Value.Tree.String()
	}
	return o
}
