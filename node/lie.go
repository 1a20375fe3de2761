package node

import (
	"context"
	"crypto/sha256"
	"fmt"

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
	if err == nil && r.Kind.Deterministic() {
		r.Kind, r.Code = exec.Exited, 0
		r.Stdout = append([]byte("(a lie) "), r.Stdout...)
	}
	return r, err
}
