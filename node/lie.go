package node

import (
	"context"
	"crypto/sha256"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs/exec"
)

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

// lieInVotes makes a testnet's liar vote for a value that no honest member
// reported, whatever its machine has come to believe.
func (n *Node) lieInVotes(s consensus.Statement) consensus.Hash {
	if s.Kind != consensus.KindPrepare && s.Kind != consensus.KindCommit {
		return s.Value
	}
	return sha256.Sum256(append([]byte("muster/lie/1"), s.Job[:]...))
}
