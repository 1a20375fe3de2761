package jobs_test

import (
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
)

func TestACharterPromisesWhatItsSpecAsksFor(t *testing.T) {
	type all struct {
		charter consensus.Charter
		spec    jobs.Spec
		task    jobs.Task
		policy  admission.Policy
	}
	good := func() *all {
		a := &all{spec: *goodSpec(), task: *goodTask(), policy: admission.DefaultPolicy()}
		a.task.Limits.Stream = a.policy.MaxStream
		a.charter = consensus.Charter{
			Task: a.spec.Task, Assurance: consensus.Replicated, Fault: consensus.Byzantine, F: 1, Runners: 4, Issued: 1_000_000,
			Deadline: 1_000_000 + a.spec.Deadline, Timeout: a.spec.Timeout,
			Limits: a.task.CharterLimits(a.policy), Needs: a.spec.Needs(), RunNeeds: a.spec.RunNeeds(),
		}
		return a
	}
	check := func(a *all) error { return jobs.CheckCharter(&a.charter, &a.spec, &a.task, a.policy) }
	if err := check(good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*all){
		"another task":      func(a *all) { a.charter.Task = link("another") },
		"another assurance": func(a *all) { a.charter.Assurance = consensus.Single },
		"it acts":           func(a *all) { a.charter.Assurance, a.charter.Effects = consensus.Single, consensus.Once },
		"it acts otherwise": func(a *all) {
			a.spec.Effects, a.charter.Assurance, a.charter.Effects = consensus.Once, consensus.Single, consensus.AtLeastOnce
		},
		"it acts in an array": func(a *all) {
			a.spec.Effects, a.charter.Assurance, a.charter.Effects = consensus.Once, consensus.Single, consensus.Once
			a.task.Array = &jobs.Array{Count: 1}
		},
		"it has its own token": func(a *all) {
			a.spec.Effects, a.charter.Assurance, a.charter.Effects = consensus.Once, consensus.Single, consensus.Once
			a.task.Env = []string{"MUSTER_FENCE=x"}
		},
		"another comparison":     func(a *all) { a.spec.Compare = &jobs.Compare{Ignore: []string{}} },
		"fewer faults":           func(a *all) { a.charter.F = 0; a.charter.Runners = 1 },
		"another fault model":    func(a *all) { a.charter.Fault = consensus.Crash; a.charter.Runners = 3 },
		"a size that fits no f":  func(a *all) { a.spec.Quorum.Size = 5 },
		"a longer timeout":       func(a *all) { a.charter.Timeout++ },
		"a later deadline":       func(a *all) { a.charter.Deadline++ },
		"timeout over policy":    func(a *all) { a.policy.MaxTimeout = a.spec.Timeout - 1 },
		"deadline over policy":   func(a *all) { a.policy.Deadline = a.spec.Deadline - 1 },
		"memory over policy":     func(a *all) { a.policy.MaxMemory = a.spec.Resources.Memory - 1 },
		"more memory than asked": func(a *all) { a.task.Limits.Memory = a.spec.Resources.Memory + 1 },
		"more disk than asked":   func(a *all) { a.task.Limits.Disk = a.spec.Resources.Disk + 1 },
		"streams over policy":    func(a *all) { a.policy.MaxStream-- },
		"other limits":           func(a *all) { a.charter.Limits.Output++ },
		"less CPU in the draw":   func(a *all) { a.charter.RunNeeds.Quantities[jobs.QuantityCPU]-- },
		"needs of voters":        func(a *all) { a.charter.Needs.Quantities[jobs.QuantityCPU] = 1 },
		"fewer runners":          func(a *all) { a.charter.Runners = 3 },
	} {
		a := good()
		spoil(a)
		if check(a) == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
