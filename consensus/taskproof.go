package consensus

import (
	"fmt"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// TagTaskProof is the tag of the proof of one task.
const TagTaskProof = "muster/taskproof/1"

// maxTaskProof bounds an encoded proof, in bytes.
const maxTaskProof = MaxCertificate + maxArray + 2<<10

// TaskProof shows how one task of an array job ended to somebody who has seen
// nothing else of the job: the job's certificate, the array result that it
// certifies, and the path from the task's outcome to its root. As in a
// certificate, no byte is in it that no check covers.
type TaskProof struct {
	_           struct{} `cbor:",toarray"`
	Certificate Certificate
	Array       []byte // the sealed array result
	Task        TaskOutcome
	Path        []Hash // siblings from the leaf up; a promoted node has none at that level
}

// TaskVerdict is what a proof that verified says.
type TaskVerdict struct {
	Verdict
	Array ArrayResult
	Task  TaskOutcome
}

// Encode returns the proof's bytes.
func (p *TaskProof) Encode(network admission.Network) ([]byte, error) {
	return dagcbor.Seal(TagTaskProof, network[:], p)
}

// VerifyTaskProof checks a proof's bytes, given only those of a genesis: the
// certificate as Certificate.Verify does, then that the task's outcome is a leaf
// of the array result that the certified value names.
func VerifyTaskProof(data, genesis []byte) (TaskVerdict, error) {
	_, network, err := admission.OpenGenesis(genesis)
	if err != nil {
		return TaskVerdict{}, err
	}
	if len(data) > maxTaskProof {
		return TaskVerdict{}, fmt.Errorf("proof: %d bytes, at most %d", len(data), maxTaskProof)
	}
	p := new(TaskProof)
	if err := dagcbor.Unseal(TagTaskProof, network[:], data, p); err != nil {
		return TaskVerdict{}, fmt.Errorf("proof: %w", err)
	}
	verdict, err := p.Certificate.Verify(genesis)
	if err != nil {
		return TaskVerdict{}, err
	}
	array, err := OpenArray(network, p.Array, verdict.Value)
	if err != nil {
		return TaskVerdict{}, err
	}
	if err := array.CheckTask(network, p.Task, p.Path); err != nil {
		return TaskVerdict{}, err
	}
	return TaskVerdict{Verdict: verdict, Array: array, Task: p.Task}, nil
}

// CheckTask verifies that path leads from a task's outcome to the root.
func (a ArrayResult) CheckTask(network admission.Network, t TaskOutcome, path []Hash) error {
	if err := t.Validate(); err != nil {
		return err
	}
	leaf, err := t.leaf(network)
	if err != nil {
		return err
	}
	root, err := climb(leaf, a.Count, t.Index, path)
	if err != nil {
		return fmt.Errorf("proof: task %d of %d: %w", t.Index, a.Count, err)
	}
	if root != a.Root {
		return fmt.Errorf("proof: task %d did not end so", t.Index)
	}
	return nil
}
