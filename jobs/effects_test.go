package jobs_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
)

// acting parses a job file whose run has these lines, and makes its spec.
func acting(t *testing.T, lines ...string) (*jobs.Spec, error) {
	t.Helper()
	f, err := jobs.Parse("job.yaml", []byte("version: 1\nrun:\n  wasm: builtin:hello\n  "+strings.Join(lines, "\n  ")+"\n"))
	if err != nil {
		return nil, err
	}
	return f.Spec(link("a task"), nil, jobs.Defaults{Policy: admission.DefaultPolicy()})
}

func TestAProgramThatActsRunsUnderAssuranceSingle(t *testing.T) {
	for effects, want := range map[string]consensus.Effects{"once": consensus.Once, "at-least-once": consensus.AtLeastOnce} {
		for _, quorum := range []string{"{size: 1}", "{size: 4}", "{size: 3, faults: crash}", "{size: 4, assurance: single}"} {
			s, err := acting(t, "effects: "+effects, "quorum: "+quorum)
			if err != nil || s.Effects != want || s.Rests() != consensus.Single {
				t.Errorf("%s, %s: %+v, %v", effects, quorum, s, err)
			}
		}
	}
}

func TestEffectsThatCannotBeAreRefusedWithWhatToTry(t *testing.T) {
	for lines, says := range map[string]string{
		"effects: onec":  "did you mean once?",
		"effects: twice": "once",
		"effects: once\n  quorum: {size: 4, assurance: replicated}": "leave",
		"effects: once\n  quorum: {compare: {text: true}}":          "leave",
		"effects: once\n  array: {count: 3}":                        "a job for each task",
		"effects: once\n  env: {MUSTER_FENCE: mine}":                "MUSTER_FENCE",
	} {
		_, err := acting(t, lines)
		p := new(jobs.Problem)
		if !errors.As(err, &p) || !strings.Contains(p.What+" "+p.Why+" "+p.Try, says) || !strings.HasPrefix(p.What, "job.yaml:") {
			t.Errorf("%q: %v, %+v", lines, err, p)
		}
	}
}

func TestTokensOfOneJobSortByHeightAndRun(t *testing.T) {
	job := consensus.JobID{7}
	order := []string{jobs.Fence(job, 0, 1), jobs.Fence(job, 0, 2), jobs.Fence(job, 0, 10), jobs.Fence(job, 1, 11), jobs.Fence(job, 10, 12), jobs.Fence(job, 10, 1<<32-1)}
	if !slices.IsSorted(order) || !strings.HasPrefix(order[0], job.String()+"/") {
		t.Error(order)
	}
}

func TestATokenStandsInItsPlaceAndNotInTheTask(t *testing.T) {
	env := []string{"A=1", "MUSTER_FENC=2", "Z=3"}
	if got := jobs.Fenced(env, "t"); !slices.Equal(got, []string{"A=1", "MUSTER_FENC=2", "MUSTER_FENCE=t", "Z=3"}) || len(env) != 3 {
		t.Error(got, env)
	}
	if got := jobs.Fenced(nil, "t"); !slices.Equal(got, []string{"MUSTER_FENCE=t"}) {
		t.Error(got)
	}
}
