package member

import (
	"errors"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/storetest"
	"github.com/muster-network/muster/store/tree"
)

// A liar may report a form that its result does not come to: whoever fetches the
// result finds out, and does not hold it.
func TestAResultThatDoesNotComeToTheFormReportedIsNotTaken(t *testing.T) {
	n := consensustest.New(4)
	m := memberAt(t, n)
	blocks := new(storetest.Memory)
	m.cfg.Store = blocks
	c := n.Job(consensus.Byzantine, 1)
	j := &job{id: c.ID, charter: c.Charter, spec: &jobs.Spec{Compare: &jobs.Compare{Float: "1e-3", Ignore: []string{}}}}
	m.open[j.id] = j

	ends := func(stdout string) (consensus.Value, exec.Result) {
		r := exec.Result{Kind: exec.Exited, Stdout: []byte(stdout), Out: []exec.File{{Path: "b", Data: []byte("x")}, {Path: "a.json", Data: []byte("[1]")}}}
		var files []tree.File
		for _, f := range r.Out {
			files = append(files, tree.File{Path: f.Path, Data: f.Data})
		}
		written, err := tree.WriteResult(t.Context(), blocks, tree.Result{Stdout: r.Stdout, Out: files})
		if err != nil {
			t.Fatal(err)
		}
		link := dagcbor.LinkTo(written.Root)
		return consensus.Value{Kind: consensus.Result, Tree: &link}, r
	}
	mine, run := ends(`{"auc": 0.9101}`)
	form, err := m.normal(j, mine, run)
	if err != nil || form == nil {
		t.Fatal(form, err)
	}
	equal, _ := ends(`{"auc": 0.9104}`)
	lie, _ := ends(`{"auc": 0.99}`)
	for name, test := range map[string]struct {
		v       consensus.Value
		normals []consensus.Hash
		taken   bool
	}{
		"one's own":            {mine, []consensus.Hash{*form}, true},
		"an equal one":         {equal, []consensus.Hash{*form}, true},
		"one of several forms": {equal, []consensus.Hash{{1}, *form}, true},
		"another result":       {lie, []consensus.Hash{*form}, false},
		"no form is asked for": {lie, nil, true},
		"another form":         {equal, []consensus.Hash{{1}}, false},
	} {
		err := m.comesTo(t.Context(), j.id, test.v, test.normals)
		if test.taken != (err == nil) || err != nil && !errors.Is(err, errForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
	j.spec = &jobs.Spec{}
	if form, err := m.normal(j, mine, run); form != nil || err != nil {
		t.Errorf("a form where none is compared: %v, %v", form, err)
	}
	if err := m.comesTo(t.Context(), j.id, mine, []consensus.Hash{*form}); !errors.Is(err, errForm) {
		t.Errorf("a form where none is compared: %v", err)
	}
}
