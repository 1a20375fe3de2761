package testnet_test

import (
	"fmt"
	"testing"

	"github.com/anishathalye/porcupine"
)

// What is done to a job.
const (
	opSubmit = "submit"
	opCancel = "cancel"
	opLook   = "look"
)

// observation is an operation with what came back.
type observation struct {
	op        string
	node      int
	submitter bool // the node is the one that took the submission
	answered  bool
	missing   bool   // the node knows of no such job
	job       string // its id; "" with a wish that came too late
	ended     bool
	own       bool   // the node told from its own journal
	outcome   string // where a look shows it
	cancelled bool   // it is the outcome
}

// registerState is a submission as the register holds it.
type registerState struct {
	acknowledged string // job
	wished       bool   // that it be cancelled
	decided      bool
	early        bool // decided when nobody had wished that it be cancelled
	told         [8]bool
	outcomes     [4]jobOutcome // those shown so far: of the job, and of draws that were withdrawn
}

type jobOutcome struct{ job, outcome string }

// register is the object that a job is to its clients (protocol, sections 4
// and 17):
//   - once a submission is acknowledged with a job id, the same key gives that id,
//     and the node that took it never again says that there is no such job;
//   - a job's outcome, once shown anywhere, is the one shown everywhere: I1, I2;
//   - it is "cancelled" only if somebody had wished so before it was decided: I9;
//   - a node that showed its outcome from its own journal never again says that
//     the job is open or unknown, whatever kills came between.
//
// What else a node says of a job that is open is a view that may be old, and
// says nothing. At a node that did not take the submission, the key may name
// another job: one that was drawn before the acknowledged one and withdrawn, but
// not in time for its members (section 4: two copies waste work only). Then that
// job has one outcome, too.
func register() porcupine.Model {
	return porcupine.Model{
		Init:  func() any { return registerState{} },
		Equal: func(a, b any) bool { return a.(registerState) == b.(registerState) },
		Step: func(state, _, output any) (bool, any) {
			return step(state.(registerState), output.(observation))
		},
		DescribeOperation: func(_, output any) string { return fmt.Sprintf("%+v", output) },
		DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
	}
}

func step(s registerState, o observation) (bool, any) {
	switch o.op {
	case opSubmit:
		legal := s.acknowledged == "" || s.acknowledged == o.job
		s.acknowledged = o.job
		return legal, s
	case opCancel:
		if o.ended {
			return decide(s, o)
		}
		s.wished = true // even where no answer came
		return true, s
	}
	switch {
	case o.ended:
		return decide(s, o)
	case o.missing:
		return !(o.submitter && s.acknowledged != "") && !s.told[o.node], s
	}
	if o.job != s.acknowledged {
		return !(o.submitter && s.acknowledged != ""), s
	}
	return !s.told[o.node], s
}

// decide takes a job's end, with its outcome if that is shown.
func decide(s registerState, o observation) (bool, any) {
	if o.submitter && s.acknowledged != "" && o.job != s.acknowledged {
		return false, s
	}
	if o.own && o.job == s.acknowledged {
		s.told[o.node] = true
	}
	if o.job == "" || o.job == s.acknowledged {
		if !s.decided {
			s.decided, s.early = true, !s.wished
		}
		if o.cancelled && s.early {
			return false, s
		}
	}
	return o.job == "" || s.shown(jobOutcome{o.job, o.outcome}), s
}

// shown reports whether an outcome may be shown, and notes that it was.
func (s *registerState) shown(o jobOutcome) bool {
	for i := range s.outcomes {
		if s.outcomes[i].job == "" || s.outcomes[i].job == o.job {
			first := s.outcomes[i].job == ""
			if first {
				s.outcomes[i] = o
			}
			return first || s.outcomes[i] == o
		}
	}
	return false // more draws than a submission has
}

func TestTheRegisterRefusesWhatNoJobMayShow(t *testing.T) {
	submit := observation{op: opSubmit, answered: true, node: 1, submitter: true, job: "a"}
	open := observation{op: opLook, answered: true, node: 2, job: "a"}
	missing := observation{op: opLook, answered: true, missing: true, node: 1, submitter: true}
	result := observation{op: opLook, answered: true, node: 2, job: "a", ended: true, own: true, outcome: "result x"}
	cancelled := observation{op: opLook, answered: true, node: 3, job: "a", ended: true, outcome: "cancelled", cancelled: true}
	wish := observation{op: opCancel, answered: true, node: 1, job: "a"}
	tooLate := observation{op: opCancel, answered: true, ended: true, node: 1}
	with := func(o observation, change func(*observation)) observation { change(&o); return o }
	for _, c := range []struct {
		name string
		all  []observation
		ok   bool
	}{
		{"submitted, open, decided", []observation{submit, open, result, result}, true},
		{"decided, and open where nobody had said so", []observation{submit, result, with(open, func(o *observation) { o.node = 4 })}, true},
		{"cancelled", []observation{submit, wish, cancelled}, true},
		{"a wish without an answer", []observation{submit, with(wish, func(o *observation) { o.answered = false }), cancelled}, true},
		{"a wish in vain", []observation{submit, wish, result, tooLate}, true},
		{"unknown before it was acknowledged", []observation{missing, submit}, true},
		{"two jobs for one key", []observation{submit, with(submit, func(o *observation) { o.job = "b" })}, false},
		{"another job shown by who took it", []observation{submit, with(open, func(o *observation) { o.job, o.node, o.submitter = "b", 1, true })}, false},
		{"another job shown by others", []observation{submit, with(open, func(o *observation) { o.job = "b" })}, true},
		{"a withdrawn draw's outcome", []observation{submit, with(result, func(o *observation) { o.job, o.outcome = "b", "result y" }), with(result, func(o *observation) { o.node = 3 })}, true},
		{"two outcomes of a withdrawn draw", []observation{submit, with(result, func(o *observation) { o.job = "b" }), with(result, func(o *observation) { o.job, o.outcome = "b", "failed" })}, false},
		{"a withdrawn draw's outcome by who took it", []observation{submit, with(result, func(o *observation) { o.job, o.submitter = "b", true })}, false},
		{"lost by who took it", []observation{submit, missing}, false},
		{"two outcomes", []observation{submit, result, with(result, func(o *observation) { o.outcome = "result y" })}, false},
		{"a result, then cancelled", []observation{submit, wish, result, cancelled}, false},
		{"cancelled unasked", []observation{submit, cancelled}, false},
		{"cancelled after it had ended", []observation{submit, tooLate, wish, cancelled}, false},
		{"open again", []observation{submit, result, open}, false},
		{"forgotten", []observation{submit, result, with(missing, func(o *observation) { o.node, o.submitter = 2, false })}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var history []porcupine.Operation
			for i, o := range c.all {
				history = append(history, porcupine.Operation{Input: o, Output: o, Call: int64(2 * i), Return: int64(2*i + 1)})
			}
			if ok := porcupine.CheckOperations(register(), history); ok != c.ok {
				t.Errorf("linearizable: %v", ok)
			}
		})
	}
}
