package member

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/normal"
	"github.com/muster-network/muster/store/tree"
)

// normal returns what the end of an own run comes to, where the job's ends are
// compared by that; nil otherwise.
func (m *Member) normal(j *job, v consensus.Value, r exec.Result) (*consensus.Hash, error) {
	if j.spec.Compare == nil || !v.Matched() {
		return nil, nil
	}
	e := normal.End{Value: v, Stdout: r.Stdout}
	for _, f := range r.Out {
		e.Out = append(e.Out, normal.File{Path: f.Path, Data: f.Data})
	}
	return m.form(j, e)
}

func (m *Member) form(j *job, e normal.End) (*consensus.Hash, error) {
	slices.SortFunc(e.Out, func(a, b normal.File) int { return cmp.Compare(a.Path, b.Path) })
	form, err := normal.Form(m.cfg.Network, *j.spec.Compare, e)
	return &form, err
}

var errForm = errors.New("it does not come to the form that its executor reported")

// comesTo finds out whether a value, all of whose blocks are here, comes to one
// of the forms that were reported for it. None are given where forms do not
// matter, or where others have found out.
func (m *Member) comesTo(ctx context.Context, id consensus.JobID, v consensus.Value, normals []consensus.Hash) error {
	j, ok := m.job(id)
	if len(normals) == 0 || !ok {
		return nil
	}
	if j.spec.Compare == nil {
		return fmt.Errorf("a form where none is compared: %w", errForm)
	}
	r, err := tree.ReadResult(ctx, m.cfg.Store, v.Tree.Cid, readable(j.charter.Limits.Output))
	if err != nil {
		return err
	}
	e := normal.End{Value: v, Stdout: r.Stdout}
	for _, f := range r.Out {
		e.Out = append(e.Out, normal.File{Path: f.Path, Data: f.Data})
	}
	form, err := m.form(j, e)
	if err == nil && !slices.Contains(normals, *form) {
		err = errForm
	}
	return err
}
