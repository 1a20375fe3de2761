package jobs

import (
	"errors"
	"slices"
	"strings"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

// RunNeeds is what a member must have in all to run the spec: consensus knows
// resources as quantities only.
func (s *Spec) RunNeeds() consensus.Needs {
	return consensus.Needs{Labels: []string{}, Quantities: s.Resources.Quantities()}
}

// Needs is what every member must have, whether or not it runs: nothing. Voting
// takes no job resources.
func (s *Spec) Needs() consensus.Needs {
	return consensus.Needs{Labels: []string{}, Quantities: map[string]uint64{}}
}

// CharterLimits returns the bounds of a job's data under a policy.
func (t *Task) CharterLimits(policy admission.Policy) consensus.Limits {
	return consensus.Limits{Input: policy.MaxInput, Output: policy.MaxOutput, Stream: t.Limits.Stream}
}

// RunTimeout is the longest that one run of the task may take, in milliseconds:
// of an array, all its tasks one after the other, within the deadline.
func (s *Spec) RunTimeout(t *Task) int64 {
	return min(s.Timeout*int64(max(t.Tasks(), 1)), s.Deadline)
}

// CheckCharter verifies that a charter is for this spec and task under the
// policy, and promises neither more nor less.
func CheckCharter(c *consensus.Charter, s *Spec, t *Task, policy admission.Policy) error {
	fault, f, err := s.Quorum.Faults()
	if err != nil {
		return err
	}
	runs, every, limits := s.RunNeeds(), s.Needs(), t.CharterLimits(policy)
	switch {
	case s.Task.Cid != c.Task.Cid:
		return errors.New("the charter's task is not the spec's")
	case fault != c.Fault || f != c.F:
		return errors.New("the charter tolerates other faults than the spec asks for")
	case s.Effects != c.Effects || s.Effects != "" && t.Array != nil:
		return errors.New("the charter's effects are not the spec's, or of an array")
	case s.Effects != "" && slices.ContainsFunc(t.Env, func(e string) bool { return strings.HasPrefix(e, EnvFence+"=") }):
		return errors.New("the task sets the variable of its own token")
	case s.Rests() != c.Assurance:
		return errors.New("the charter's assurance is not the spec's")
	case (s.Compare != nil || s.Check != nil) && t.Array != nil:
		return errors.New("the results of an array are not compared or checked")
	case s.Check != nil && s.Check.Timeout > policy.MaxTimeout:
		return errors.New("the check asks for more time than the policy allows")
	case s.RunTimeout(t) != c.Timeout || c.Deadline != c.Issued+s.Deadline:
		return errors.New("the charter's times are not the spec's")
	case s.Timeout > policy.MaxTimeout || s.Deadline > policy.Deadline:
		return errors.New("the spec asks for more time than the policy allows")
	case s.Resources.Memory > policy.MaxMemory || t.Limits.Memory > s.Resources.Memory || t.Limits.Disk > s.Resources.Disk:
		return errors.New("the task's limits are above its resources, or those above the policy's")
	case t.Limits.Stream > policy.MaxStream || c.Limits != limits:
		return errors.New("the charter's limits are not the policy's")
	case !c.RunNeeds.Equal(runs) || !c.Needs.Equal(every) || c.Runners != uint64(c.Thresholds().N):
		return errors.New("the charter's needs are not the spec's")
	}
	return nil
}
