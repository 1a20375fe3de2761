package consensus_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/dagcbor"
)

// directory is the link to a stand-in result tree.
func directory(words string) *dagcbor.Link {
	link := dagcbor.LinkTo(cid.NewCidV1(cid.DagProtobuf, consensustest.Link(words).Hash()))
	return &link
}

// outcomes are those of count tasks, every fifth of which failed, each in
// another way.
func outcomes(count int) []consensus.TaskOutcome {
	all := make([]consensus.TaskOutcome, count)
	for i := range all {
		v := consensus.Value{Kind: consensus.Result, Tree: directory(fmt.Sprint("tree ", i))}
		if i%5 == 3 {
			v.Kind, v.Class, v.Code = consensus.Failed, consensus.FailedTrap+consensus.Failure(i%4), uint64(i%7+1)
			if v.Class == consensus.FailedTimeout {
				v.Code, v.Tree = 0, nil
			}
		}
		all[i] = consensus.TaskOutcome{Index: uint64(i), Name: fmt.Sprintf("task-%05d", i), Outcome: v}
	}
	return all
}

// array makes an array result of outcomes, and its pages.
func array(t testing.TB, n *consensustest.Network, all []consensus.TaskOutcome) (consensus.ArrayResult, []consensus.ArrayPage, [][]byte) {
	t.Helper()
	tree, err := consensus.NewArrayTree(n.ID, all)
	check(t, err)
	a := consensus.ArrayResult{Count: uint64(len(all)), Root: tree.Root()}
	var pages []consensus.ArrayPage
	var sealed [][]byte
	for part := range slices.Chunk(all, consensus.PageTasks) {
		page := consensus.ArrayPage{Packs: []consensus.ArrayPack{{Tasks: uint64(len(part)), File: consensustest.Link("pack")}}}
		for _, o := range part {
			page.Tasks = append(page.Tasks, consensus.PageTask(o))
			if o.Failed() {
				a.Failed++
			}
		}
		data, link, err := page.Seal(n.ID)
		check(t, err)
		a.Pages, pages, sealed = append(a.Pages, link), append(pages, page), append(sealed, data)
	}
	return a, pages, sealed
}

// proven makes the proof of one task of a certified array job.
func proven(t testing.TB, n *consensustest.Network, all []consensus.TaskOutcome, index int) *consensus.TaskProof {
	t.Helper()
	a, _, _ := array(t, n, all)
	sealed, link, err := a.Seal(n.ID)
	check(t, err)
	tree, err := consensus.NewArrayTree(n.ID, all)
	check(t, err)
	job := n.Job(consensus.Byzantine, 1)
	return &consensus.TaskProof{Certificate: *n.Certify(job, n.Decide(job, a.Value(link))), Array: sealed,
		Task: all[index], Path: tree.Path(uint64(index))}
}

func TestEveryTaskOfAnArrayIsProvenByItsPath(t *testing.T) {
	n := consensustest.New(4)
	for _, count := range append(upTo(40), 1000) {
		all := outcomes(count)
		a, _, _ := array(t, n, all)
		tree, err := consensus.NewArrayTree(n.ID, all)
		check(t, err)
		for i, o := range all {
			if err := a.CheckTask(n.ID, o, tree.Path(uint64(i))); err != nil {
				t.Fatalf("task %d of %d: %v", i, count, err)
			}
		}
	}
	all := outcomes(consensus.MaxTasks)
	a, _, sealed := array(t, n, all)
	tree, err := consensus.NewArrayTree(n.ID, all)
	check(t, err)
	for _, i := range []int{0, 1, 65_535, 65_536, consensus.MaxTasks - 1} {
		check(t, a.CheckTask(n.ID, all[i], tree.Path(uint64(i))))
	}
	header, link, err := a.Seal(n.ID)
	check(t, err)
	if _, err := consensus.OpenArray(n.ID, header, a.Value(link)); err != nil || len(header) > 2<<10 {
		t.Errorf("an array result of %d bytes: %v", len(header), err)
	}
	if last := len(sealed) - 1; len(sealed[0]) > 1<<20 {
		t.Errorf("pages of %d and %d bytes", len(sealed[0]), len(sealed[last]))
	}
}

func TestAProofVerifiesFromItsBytesAndTheGenesisAlone(t *testing.T) {
	n := consensustest.New(4)
	foreign := consensustest.New(4, func(g *admission.Genesis) { g.Name = "foreign" })
	all := outcomes(10)
	for i := range all {
		data, err := proven(t, n, all, i).Encode(n.ID)
		check(t, err)
		v, err := consensus.VerifyTaskProof(data, n.Sealed)
		if err != nil || v.Task.Name != all[i].Name || fmt.Sprint(v.Task) != fmt.Sprint(all[i]) || v.Array.Count != 10 || v.Array.Failed != 2 {
			t.Errorf("task %d: %+v, %v", i, v.Task, err)
		}
		if _, err := consensus.VerifyTaskProof(data, foreign.Sealed); err == nil {
			t.Errorf("task %d is proven in a foreign network", i)
		}
	}
}

func TestAnyFlippedByteOfAProofIsSeen(t *testing.T) {
	n := consensustest.New(4)
	data, err := proven(t, n, outcomes(7), 3).Encode(n.ID)
	check(t, err)
	for i := range data {
		bad := slices.Clone(data)
		bad[i] ^= 1
		if _, err := consensus.VerifyTaskProof(bad, n.Sealed); err == nil {
			t.Errorf("byte %d of %d flipped: accepted", i, len(data))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		bad := slices.Clone(data)
		bad[rapid.IntRange(0, len(bad)-1).Draw(t, "byte")] ^= rapid.ByteRange(1, 255).Draw(t, "flip")
		if _, err := consensus.VerifyTaskProof(bad, n.Sealed); err == nil {
			t.Fatal("accepted")
		}
	})
}

// I8 for tasks: what no quorum certified has no proof.
func TestForgedProofsAreRefused(t *testing.T) {
	n := consensustest.New(4)
	for _, f := range forgeries(t, n) {
		if _, err := consensus.VerifyTaskProof(f.data, n.Sealed); err == nil {
			t.Errorf("%s: accepted", f.name)
		}
	}
}

// forgery is the encoded proof of a task, and what is wrong with it.
type forgery struct {
	name string
	data []byte
}

// forgeries are of proofs of the fifth of eleven tasks.
func forgeries(t *testing.T, n *consensustest.Network) (made []forgery) {
	all := outcomes(11)
	reseal := func(p *consensus.TaskProof, change func(a *consensus.ArrayResult)) {
		a, _, _ := array(t, n, all)
		change(&a)
		var err error
		p.Array, err = dagcbor.Seal(consensus.TagArray, n.ID[:], a)
		check(t, err)
	}
	for _, forged := range []struct {
		name   string
		change func(p *consensus.TaskProof)
	}{
		{"another index", func(p *consensus.TaskProof) { p.Task.Index++ }},
		{"an index beyond", func(p *consensus.TaskProof) { p.Task.Index = 11 }},
		{"another task's path", func(p *consensus.TaskProof) {
			tree, err := consensus.NewArrayTree(n.ID, all)
			check(t, err)
			p.Path = tree.Path(9)
		}},
		{"another name", func(p *consensus.TaskProof) { p.Task.Name = all[3].Name }},
		{"another tree", func(p *consensus.TaskProof) { p.Task.Outcome.Tree = directory("lie") }},
		{"a failure made a success", func(p *consensus.TaskProof) {
			p.Task = all[3]
			p.Task.Outcome = consensus.Value{Kind: consensus.Result, Tree: directory("lie")}
		}},
		{"a longer path", func(p *consensus.TaskProof) { p.Path = append(p.Path, consensus.Hash{}) }},
		{"a shorter path", func(p *consensus.TaskProof) { p.Path = p.Path[1:] }},
		{"a path without end", func(p *consensus.TaskProof) { p.Path = make([]consensus.Hash, 18) }},
		{"another count under the root", func(p *consensus.TaskProof) { reseal(p, func(a *consensus.ArrayResult) { a.Count = 12 }) }},
		{"fewer failures", func(p *consensus.TaskProof) { reseal(p, func(a *consensus.ArrayResult) { a.Failed-- }) }},
		{"another root", func(p *consensus.TaskProof) { reseal(p, func(a *consensus.ArrayResult) { a.Root[0] ^= 1 }) }},
		{"the certificate of another value", func(p *consensus.TaskProof) {
			job := n.Job(consensus.Byzantine, 1)
			p.Certificate = *n.Certify(job, n.Decide(job, consensustest.Result("other")))
		}},
		{"a certificate without a quorum", func(p *consensus.TaskProof) {
			p.Certificate.Outcome.Commits.Votes = p.Certificate.Outcome.Commits.Votes[:2]
		}},
	} {
		p := proven(t, n, all, 4)
		forged.change(p)
		data, err := p.Encode(n.ID)
		check(t, err)
		made = append(made, forgery{forged.name, data})
	}
	return made
}

// An inner node, a statement or a task of a smaller array that passed for a
// leaf would prove what nobody ran.
func TestLeavesAndNodesOfAnArrayCannotBeConfused(t *testing.T) {
	n := consensustest.New(4)
	all := outcomes(4)
	a, _, _ := array(t, n, all)
	tree, err := consensus.NewArrayTree(n.ID, all)
	check(t, err)
	for i := range all {
		path := tree.Path(uint64(i))
		for _, count := range []uint64{1, 2, 3, 5, 8} {
			other := a
			other.Count = count
			if other.CheckTask(n.ID, all[i], path) == nil && count != 3 {
				t.Errorf("task %d of 4 is also one of %d", i, count)
			}
			if uint64(i) < count && other.CheckTask(n.ID, all[i], path[1:]) == nil {
				t.Errorf("task %d passes a level above its own as one of %d", i, count)
			}
		}
	}
	leaf, err := dagcbor.Seal(consensus.TagArrayTask, n.ID[:], all[0])
	check(t, err)
	if single, err := consensus.NewArrayTree(n.ID, all[:1]); err != nil || single.Root() != newBatch(t, [][]byte{leaf}).Root() {
		t.Errorf("a leaf is not H(0x00 || task): %v", err)
	}
	s := n.Statement(n.Job(consensus.Byzantine, 1), 0, consensus.KindCommit, 0, consensus.Hash{})
	statement, err := s.Leaf()
	check(t, err)
	if bytes.HasPrefix(leaf, statement[:20]) {
		t.Error("tasks and statements begin alike")
	}
}

func TestAnArrayResultIsWhatItsPagesSay(t *testing.T) {
	n := consensustest.New(4)
	for _, count := range []int{1, 7, consensus.PageTasks, consensus.PageTasks + 1, 3 * consensus.PageTasks} {
		all := outcomes(count)
		a, pages, sealed := array(t, n, all)
		for i := range pages {
			p, err := a.OpenPage(n.ID, i, sealed[i])
			check(t, err)
			pages[i] = p
		}
		got, err := a.Outcomes(n.ID, pages)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(all) {
			t.Fatalf("%d tasks came back otherwise: %v", count, err)
		}
		last := uint64(count - 1)
		if page, place := consensus.PageOf(last); pages[page].Tasks[place].Name != all[last].Name {
			t.Errorf("task %d is not where PageOf says", last)
		}
		if _, err := a.Outcomes(n.ID, pages[1:]); err == nil {
			t.Error("a page may be missing")
		}
		pages[0].Tasks = slices.Clone(pages[0].Tasks)
		pages[0].Tasks[0].Code, pages[0].Tasks[0].Kind, pages[0].Tasks[0].Class = 1, consensus.Failed, consensus.FailedTrap
		if _, err := a.Outcomes(n.ID, pages); err == nil {
			t.Error("an outcome may be another")
		}
	}
}

func TestMalformedArraysAreRefused(t *testing.T) {
	n := consensustest.New(4)
	all := outcomes(9)
	for name, change := range map[string]func(a *consensus.ArrayResult){
		"no task":         func(a *consensus.ArrayResult) { a.Count = 0 },
		"too many":        func(a *consensus.ArrayResult) { a.Count = consensus.MaxTasks + 1 },
		"more failures":   func(a *consensus.ArrayResult) { a.Failed = 10 },
		"no page":         func(a *consensus.ArrayResult) { a.Pages = nil },
		"a page too many": func(a *consensus.ArrayResult) { a.Pages = append(a.Pages, a.Pages[0]) },
	} {
		a, _, _ := array(t, n, all)
		change(&a)
		if _, _, err := a.Seal(n.ID); err == nil {
			t.Errorf("%s: sealed", name)
		}
		data, err := dagcbor.Seal(consensus.TagArray, n.ID[:], a)
		check(t, err)
		if _, err := consensus.OpenArray(n.ID, data, a.Value(dagcbor.LinkTo(dagcbor.CID(data)))); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	for name, change := range map[string]func(p *consensus.ArrayPage){
		"a task too few":     func(p *consensus.ArrayPage) { p.Tasks = p.Tasks[1:] },
		"an empty pack":      func(p *consensus.ArrayPage) { p.Packs[0].Tasks = 0 },
		"a pack too large":   func(p *consensus.ArrayPage) { p.Packs[0].Tasks = 10 },
		"packs that overlap": func(p *consensus.ArrayPage) { p.Packs = append(p.Packs, p.Packs[0]) },
		"too many trees":     func(p *consensus.ArrayPage) { p.Large = make([]dagcbor.Link, 10); fill(p.Large) },
	} {
		a, pages, _ := array(t, n, all)
		change(&pages[0])
		data, link, err := pages[0].Seal(n.ID)
		check(t, err)
		a.Pages[0] = link
		if _, err := a.OpenPage(n.ID, 0, data); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	a, _, sealed := array(t, n, all)
	if _, err := a.OpenPage(n.ID, 1, sealed[0]); err == nil {
		t.Error("a page beyond the last opened")
	}
}

func fill(links []dagcbor.Link) {
	for i := range links {
		links[i] = consensustest.Link("large")
	}
}

func TestATaskEndsAsARunDoes(t *testing.T) {
	link := consensustest.Link("an array")
	for _, v := range []consensus.Value{
		{Kind: consensus.Cancelled},
		{Kind: consensus.Failed, Class: consensus.FailedHost},
		{Kind: consensus.Failed, Class: consensus.FailedDeadline},
		{Kind: consensus.Failed, Class: consensus.FailedTasks, Code: 1, Tree: &link},
		{Kind: consensus.Result, Tree: &link},
		{Kind: consensus.Result},
	} {
		if err := (consensus.TaskOutcome{Name: "a", Outcome: v}).Validate(); err == nil {
			t.Errorf("a task ends in %s", v)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "a\x00", "a\x1b[1m", "\xff", strings.Repeat("n", 256)} {
		if err := consensus.CheckTaskName(name); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
	for _, name := range []string{"page 1.html", "ünï", strings.Repeat("n", 255), "..."} {
		check(t, consensus.CheckTaskName(name))
	}
}

func TestFailedTasksAreCountedInAnArrayResult(t *testing.T) {
	n := consensustest.New(4)
	a, _, _ := array(t, n, outcomes(10))
	_, link, err := a.Seal(n.ID)
	check(t, err)
	v := a.Value(link)
	if v.Validate() != nil || v.String() != "failed tasks 2" || !v.Matched() || !v.IsArray() {
		t.Errorf("%s: %v", v, v.Validate())
	}
	check(t, consensus.Report{Run: 1, Value: v}.Validate())
	for name, change := range map[string]func(v *consensus.Value){
		"none":     func(v *consensus.Value) { v.Code = 0 },
		"too many": func(v *consensus.Value) { v.Code = consensus.MaxTasks + 1 },
		"no tree":  func(v *consensus.Value) { v.Tree = nil },
		"a directory": func(v *consensus.Value) {
			v.Tree = directory("tree")
		},
	} {
		bad := v
		change(&bad)
		if bad.Validate() == nil {
			t.Errorf("%s: valid", name)
		}
	}
}

// What opens is canonical, and a proof that verifies is of a task of its array.
func FuzzVerifyTaskProof(f *testing.F) {
	n := consensustest.New(4)
	for _, i := range []int{0, 3, 10} {
		data, err := proven(f, n, outcomes(11), i).Encode(n.ID)
		check(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := consensus.VerifyTaskProof(data, n.Sealed)
		if err == nil && (v.Task.Index >= v.Array.Count || v.Task.Validate() != nil || len(v.Signers) != v.Charter.Thresholds().Quorum) {
			t.Errorf("verified: %+v", v)
		}
	})
}

// Pages and array results come from peers; what opens encodes to the same bytes.
func FuzzOpenArray(f *testing.F) {
	n := consensustest.New(4)
	a, _, pages := array(f, n, outcomes(9))
	sealed, _, err := a.Seal(n.ID)
	check(f, err)
	f.Add(sealed, pages[0])
	f.Fuzz(func(t *testing.T, data, page []byte) {
		link := dagcbor.LinkTo(dagcbor.CID(data))
		var a consensus.ArrayResult
		if err := dagcbor.Unseal(consensus.TagArray, n.ID[:], data, &a); err == nil {
			if a, err = consensus.OpenArray(n.ID, data, a.Value(link)); err == nil {
				again, _, err := a.Seal(n.ID)
				if err != nil || !bytes.Equal(again, data) {
					t.Errorf("encodes to other bytes: %x, %v", again, err)
				}
			}
		}
		var p consensus.ArrayPage
		if err := dagcbor.Unseal(consensus.TagArrayPage, n.ID[:], page, &p); err != nil {
			return
		}
		b := consensus.ArrayResult{Count: max(uint64(len(p.Tasks)), 1), Pages: []dagcbor.Link{dagcbor.LinkTo(dagcbor.CID(page))}}
		if _, err := b.OpenPage(n.ID, 0, page); err != nil {
			return
		}
		if _, err := b.Outcomes(n.ID, []consensus.ArrayPage{p}); err == nil {
			t.Error("pages under no root are believed")
		} else if errors.Is(err, consensus.ErrProof) {
			t.Errorf("outcomes of a page: %v", err)
		}
	})
}
