package consensus

import (
	"errors"
	"fmt"
	"slices"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// Ending is the kind of a value that a height can decide.
type Ending uint64

// The kinds of values. Handover ends a height and leaves the job to the next one
// (protocol, section 7); the others end the job. Numbers 5 and 6 are kept for
// progress and continuations; no height of version 1 decides them.
const (
	Result    Ending = 1
	Failed    Ending = 2
	Cancelled Ending = 3
	Handover  Ending = 4
)

// Failure is the class of a Failed value.
type Failure uint64

// The failure classes. Trap, exit, limit and tasks are deterministic: their
// trees and codes must match. The others carry code 0 and no tree, so that the
// value is one (protocol, section 5). Tasks is an array job of which some tasks
// failed; its code says how many, its tree is the array result. Rejected is a job
// under assurance endorsed of which the check found nothing good that f+1 members
// left.
const (
	FailedTrap         Failure = 1
	FailedExit         Failure = 2
	FailedLimit        Failure = 3
	FailedTimeout      Failure = 4
	FailedHost         Failure = 5
	FailedDisagreement Failure = 6
	FailedDeadline     Failure = 7
	FailedTasks        Failure = 8
	FailedRejected     Failure = 9
)

// Deterministic reports whether runs of one task must fail alike in this class.
func (f Failure) Deterministic() bool {
	return f >= FailedTrap && f <= FailedLimit || f == FailedTasks
}

var failureNames = [...]string{"", "trap", "exit", "limit", "timeout", "host", "disagreement", "deadline", "tasks", "rejected"}

// String names the class.
func (f Failure) String() string {
	if f >= 1 && int(f) < len(failureNames) {
		return failureNames[f]
	}
	return fmt.Sprintf("failure(%d)", uint64(f))
}

// Value is what one height decides: a job's outcome, or who replaces whom. An
// outcome is a list of four, a handover one of five.
type Value struct {
	_     struct{} `cbor:",toarray"`
	Kind  Ending
	Class Failure       // of Failed; 0 otherwise
	Code  uint64        // of Failed(exit): the exit code; of trap and limit: a stable reason; of tasks: how many failed
	Tree  *dagcbor.Link // the result tree, of Result and deterministic failures
	Pairs []Pair        `cbor:",omitempty"` // of Handover: by ascending seat and reserve
}

// Pair is one replacement in a handover: the holder of a seat loses it to a
// reserve. Seats are places in the roster, and keep their numbers; reserves are
// places in the charter's list of them.
type Pair struct {
	_       struct{} `cbor:",toarray"`
	Seat    uint64
	Reserve uint64
}

var errValueForm = errors.New("value: a handover, and nothing else, has pairs")

// Validate checks that the parts of v go together.
func (v Value) Validate() error {
	tree := v.Tree != nil
	switch {
	case v.Kind == Handover:
		if v.Class != 0 || v.Code != 0 || tree {
			return errors.New("value: a handover carries its pairs and nothing else")
		}
		return validatePairs(v.Pairs)
	case len(v.Pairs) > 0:
		return errValueForm
	case v.Kind == Result:
		if v.Class != 0 || v.Code != 0 || !tree {
			return errors.New("value: a result is a tree and nothing else")
		}
	case v.Kind == Cancelled:
		if v.Class != 0 || v.Code != 0 || tree {
			return errors.New("value: cancelled carries nothing")
		}
	case v.Kind == Failed && v.Class.Deterministic():
		if !tree {
			return errors.New("value: a deterministic failure has a tree")
		}
		if v.Class == FailedExit && v.Code == 0 {
			return errors.New("value: exit code 0 is no failure")
		}
		if v.Class == FailedTasks && (v.Code == 0 || v.Code > MaxTasks || !v.IsArray()) {
			return errors.New("value: failed tasks are counted, and stand in an array result")
		}
	case v.Kind == Failed && (v.Class >= FailedTimeout && v.Class <= FailedDeadline || v.Class == FailedRejected):
		if v.Code != 0 || tree {
			return errors.New("value: this failure carries code 0 and no tree")
		}
	default:
		return fmt.Errorf("value: kind %d class %d is not known", v.Kind, v.Class)
	}
	if tree && !namedBySHA256(*v.Tree) {
		return errors.New("value: its tree is not named by a SHA-256")
	}
	return nil
}

// validatePairs wants seats and reserves distinct and in order, so that one
// handover has one hash: the lowest seat gets the first of the reserves.
func validatePairs(pairs []Pair) error {
	if len(pairs) == 0 || len(pairs) > MaxRoster {
		return fmt.Errorf("value: a handover of %d seats", len(pairs))
	}
	for i, p := range pairs {
		if p.Seat >= MaxRoster || p.Reserve >= MaxRoster {
			return errors.New("value: a handover of a seat or to a reserve that no charter has")
		}
		if i > 0 && (pairs[i-1].Seat >= p.Seat || pairs[i-1].Reserve >= p.Reserve) {
			return errors.New("value: a handover's seats and reserves ascend")
		}
	}
	return nil
}

// Fits reports whether a job of this charter can end so: where one report makes a
// value valid, no two can disagree, and only what is checked is rejected (protocol,
// section 5).
func (v Value) Fits(c *Charter) bool {
	switch {
	case v.Kind != Failed:
		return true
	case v.Class == FailedDisagreement:
		return c.Thresholds().Match > 1
	case v.Class == FailedRejected:
		return c.Assurance == Endorsed
	}
	return true
}

// Matched reports whether the value rests on matching reports.
func (v Value) Matched() bool {
	return v.Kind == Result || v.Kind == Failed && v.Class.Deterministic()
}

// Contradicts reports whether a run that ended in v cannot be right when the
// job's outcome is w: both rest on matching runs, and they differ. A run that
// timed out, or that broke, contradicts nothing; nor does an array some of whose
// tasks failed, for what they failed of may be time (decision 012).
func (v Value) Contradicts(w Value) bool {
	if !v.Matched() || !w.Matched() || v.Class == FailedTasks || w.Class == FailedTasks {
		return false
	}
	return v.Kind != w.Kind || v.Class != w.Class || v.Code != w.Code || !v.Tree.Equals(w.Tree.Cid)
}

// Equal reports whether v and w are one value, with one hash.
func (v Value) Equal(w Value) bool {
	sameTree := v.Tree == w.Tree || v.Tree != nil && w.Tree != nil && v.Tree.Equals(w.Tree.Cid)
	return v.Kind == w.Kind && v.Class == w.Class && v.Code == w.Code && sameTree && slices.Equal(v.Pairs, w.Pairs)
}

// Hash is what votes carry.
func (v Value) Hash(network admission.Network) (Hash, error) {
	sum, err := dagcbor.SumSealed(TagValue, network[:], &v)
	return Hash(sum), err
}

// Less orders values as a member that holds several valid ones takes them:
// Result, deterministic failures, Cancelled, then disagreement or rejected, timeout,
// host, deadline, handover; ties by lower hash (protocol, section 5).
func (v Value) Less(w Value, vHash, wHash Hash) bool {
	if a, b := v.order(), w.order(); a != b {
		return a < b
	}
	return string(vHash[:]) < string(wHash[:])
}

func (v Value) order() int {
	switch {
	case v.Kind == Result:
		return 0
	case v.Kind == Failed && v.Class.Deterministic():
		return 1
	case v.Kind == Cancelled:
		return 2
	case v.Class == FailedDisagreement, v.Class == FailedRejected:
		return 3
	case v.Class == FailedTimeout:
		return 4
	case v.Class == FailedHost:
		return 5
	case v.Kind == Handover:
		return 7
	}
	return 6
}

// String says the value in words: result bafy..., failed exit 3, cancelled,
// handover of seat 2 to reserve 0.
func (v Value) String() string {
	switch v.Kind {
	case Result:
		if v.Tree == nil {
			return "result of nothing" // not validated
		}
		return "result " + v.Tree.String()
	case Failed:
		switch v.Class {
		case FailedExit:
			return fmt.Sprintf("failed exit %d", v.Code)
		case FailedTasks:
			return fmt.Sprintf("failed tasks %d", v.Code)
		}
		return "failed " + v.Class.String()
	case Cancelled:
		return "cancelled"
	case Handover:
		words := "handover of"
		for i, p := range v.Pairs {
			if i > 0 {
				words += ","
			}
			words += fmt.Sprintf(" seat %d to reserve %d", p.Seat, p.Reserve)
		}
		return words
	}
	return fmt.Sprintf("value(%d)", uint64(v.Kind))
}

// Report is what an executor says of one run. Only Value is matched, or Normal
// where ends are compared by what they come to; Use is told beside it: cpu_ns,
// wall_ns, mem_peak, in_bytes, out_bytes. A report without Normal is a list of
// four.
type Report struct {
	_      struct{} `cbor:",toarray"`
	Run    uint64   // the number of this member's execution, from 1
	Salt   [16]byte
	Value  Value
	Use    map[string]uint64
	Normal *Hash `cbor:",omitempty"` // under assurance majority-equal, of values that reports match
}

// Key is what reports are matched by.
func (r Report) Key(value Hash) Hash {
	if r.Normal != nil {
		return *r.Normal
	}
	return value
}

// Fits reports whether the report has a normal form where, and only where, the
// assurance compares them.
func (r Report) Fits(a Assurance) bool {
	return (r.Normal != nil) == (a == MajorityEqual && r.Value.Matched())
}

// Validate checks the report's form. Members report results and failures of
// runs: never cancellations, disagreements or deadlines.
func (r Report) Validate() error {
	if r.Run == 0 {
		return errors.New("report: runs are numbered from 1")
	}
	if err := CheckUse(r.Use); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	v := r.Value
	if v.Kind != Result && (v.Kind != Failed || v.Class > FailedHost && v.Class != FailedTasks) {
		return fmt.Errorf("report: %s is nothing a run ends in", v)
	}
	return v.Validate()
}

// CheckUse bounds what is told of a run beside its end.
func CheckUse(use map[string]uint64) error {
	if len(use) > 16 {
		return errors.New("at most 16 quantities")
	}
	for name := range use {
		if name == "" || len(name) > 32 {
			return errors.New("quantities have names of 1 to 32 bytes")
		}
	}
	return nil
}

// Hash is what a report's statement carries.
func (r Report) Hash(network admission.Network) (Hash, error) {
	sum, err := dagcbor.SumSealed(TagReport, network[:], &r)
	return Hash(sum), err
}

// CommitHash is H(tag, job, run, member, salt, kind, CID): what a ReportCommit
// carries, and what the report opens.
func (r Report) CommitHash(network admission.Network, job JobID, member admission.Key) (Hash, error) {
	sum, err := dagcbor.SumSealed(TagCommit, network[:], &struct {
		_      struct{} `cbor:",toarray"`
		Job    JobID
		Run    uint64
		Member admission.Key
		Salt   [16]byte
		Value  Value
		Normal *Hash `cbor:",omitempty"`
	}{Job: job, Run: r.Run, Member: member, Salt: r.Salt, Value: r.Value, Normal: r.Normal})
	return Hash(sum), err
}
