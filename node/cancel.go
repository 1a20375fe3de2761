package node

import (
	"context"
	"errors"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
)

// sendCancel hands a signed wish to the job's members, this node included. One
// that has it is enough: members relay it.
func (n *Node) sendCancel(ctx context.Context, wish consensus.Cancel, j jobs.Job) error {
	data, err := dagcbor.Marshal(wish)
	if err != nil {
		return err
	}
	var last error
	reached := 0
	for _, m := range j.Members {
		key, err := admission.ParseKey(m.Peer)
		if err != nil {
			return err
		}
		if key == n.home.identity.Signer.Key() {
			err = n.takeCancel(ctx, data)
		} else {
			_, err = n.ask(ctx, key.Peer(), question{Op: opCancel, Data: data})
		}
		if err != nil {
			last = err
			continue
		}
		reached++
	}
	if reached == 0 {
		return &jobs.Problem{Code: jobs.CodeNodeDown, What: "no member of the job could be told", Why: last.Error(), Try: "again later", Retryable: true}
	}
	return nil
}

// takeCancel checks a wish and hands it to the job's machine here.
func (n *Node) takeCancel(ctx context.Context, data []byte) error {
	var wish consensus.Cancel
	if err := dagcbor.Unmarshal(data, &wish); err != nil {
		return err
	}
	open, ok := n.member.Job(wish.Job)
	if !ok {
		return errors.New("the job is not open here")
	}
	if err := wish.Check(n.home.founded, n.home.network, wish.Job, open.Charter); err != nil {
		return err
	}
	return n.agreement.Cancel(ctx, wish.Job, wish)
}
