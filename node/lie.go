package node

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
)

// Lie is how a testnet's node lies.
type Lie string

// The lies. Honest is none.
const (
	Honest     Lie = ""
	LieResults Lie = "results" // it reports false results, and votes for them
	LieTwice   Lie = "twice"   // it reports what is true, and casts every vote twice
)

// check refuses a lie that is none.
func (l Lie) check() error {
	switch l {
	case Honest, LieResults, LieTwice:
		return nil
	}
	return &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("no node lies by %q", string(l)), Try: "results (false reports and votes) or twice (two votes for one)"}
}

// votes returns what a liar signs in place of what its machine has come to
// believe; nil for an honest node.
func (l Lie) votes() func(consensus.Statement) []consensus.Hash {
	switch l {
	case LieResults:
		return func(s consensus.Statement) []consensus.Hash {
			if !isVote(s) {
				return []consensus.Hash{s.Value}
			}
			return []consensus.Hash{falseValue(s)}
		}
	case LieTwice:
		return func(s consensus.Statement) []consensus.Hash {
			if !isVote(s) {
				return []consensus.Hash{s.Value}
			}
			return []consensus.Hash{s.Value, falseValue(s)}
		}
	}
	return nil
}

func isVote(s consensus.Statement) bool {
	return s.Kind == consensus.KindPrepare || s.Kind == consensus.KindCommit
}

// falseValue is one that no honest member reported, the same for all liars.
func falseValue(s consensus.Statement) consensus.Hash {
	return sha256.Sum256(append([]byte("muster/lie/1"), s.Job[:]...))
}

// liar is an executor that falsifies what programs leave: a testnet's, to be
// outvoted.
type liar struct{ exec.Executor }

// Run implements exec.Executor.
func (l liar) Run(ctx context.Context, req exec.Request) (exec.Result, error) {
	r, err := l.Executor.Run(ctx, req)
	if err == nil {
		falsify(&r)
	}
	return r, err
}

// RunEach implements exec.Executor: of an array, one task is lied about.
func (l liar) RunEach(ctx context.Context, req exec.Request, next func() (exec.Task, bool, error), done func(exec.Result) error) error {
	var lies []bool // of the tasks taken, in order
	return l.Executor.RunEach(ctx, req, func() (exec.Task, bool, error) {
		t, ok, err := next()
		lies = append(lies, slices.Contains(t.Env, lieAbout))
		return t, ok, err
	}, func(r exec.Result) error {
		if lies[0] {
			falsify(&r)
		}
		lies = lies[1:]
		return done(r)
	})
}

// lieAbout is the variable of the one task of an array that is lied about.
const lieAbout = "MUSTER_TASK_INDEX=1"

func falsify(r *exec.Result) {
	if r.Kind.Deterministic() {
		r.Kind, r.Code = exec.Exited, 0
		r.Stdout = append([]byte("(a lie) "), r.Stdout...)
	}
}
