package jobs_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
)

// planned is what a job with a check comes to.
type planned struct {
	file  *jobs.File
	spec  *jobs.Spec
	check *jobs.Task
}

func plan(rest string) (p planned, err error) {
	if p.file, err = jobs.Parse("job.yaml", []byte("version: 1\nrun:\n  wasm: builtin:hello\n"+rest)); err != nil {
		return p, err
	}
	d := jobs.Defaults{Policy: admission.DefaultPolicy()}
	var module, check *dagcbor.Link
	if p.file.Run.Quorum.Check != nil {
		m := link("check")
		module = &m
	}
	if p.check, err = p.file.Check(module, d); err != nil {
		return p, err
	}
	if p.check != nil {
		_, l, err := p.check.Seal(admission.Network{1})
		if err != nil {
			return p, err
		}
		check = &l
	}
	p.spec, err = p.file.Spec(link("a task"), check, d)
	return p, err
}

func TestAFileWithACheckIsEndorsed(t *testing.T) {
	for _, quorum := range []string{
		"{size: 4, check: {wasm: file:./check.wasm}}",
		"{size: 7, assurance: endorsed, check: {wasm: file:./check.wasm, args: [a, b], timeout: 5s}}",
	} {
		p, err := plan("  timeout: 20s\n  resources: {memory: 64Mi}\n  quorum: " + quorum + "\n")
		if err != nil {
			t.Fatalf("%s: %v", quorum, err)
		}
		want := []string{"check.wasm"}
		timeout := int64(20_000)
		if strings.Contains(quorum, "5s") {
			want, timeout = append(want, "a", "b"), 5_000
		}
		if p.spec.Rests() != consensus.Endorsed || p.spec.Check.Timeout != timeout || !slices.Equal(p.check.Args, want) || p.check.Limits.Memory != 64<<20 {
			t.Errorf("%s: %+v, checked by %+v", quorum, p.spec, p.check)
		}
		if err := p.spec.ValidateCheck(p.check); err != nil {
			t.Errorf("%s: %v", quorum, err)
		}
		data, _, err := p.spec.Seal(admission.Network{1})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := jobs.OpenSpec(admission.Network{1}, data); err != nil || again.Check == nil || *again.Check != *p.spec.Check {
			t.Errorf("%s, read again: %+v, %v", quorum, again, err)
		}
	}
}

func TestACheckThatCannotBeIsRefusedWithWhatToTry(t *testing.T) {
	const quorum = "  quorum: "
	for text, says := range map[string]string{
		quorum + "{size: 4, assurance: endorsed}":                                                "check: {wasm: file:./check.wasm}",
		quorum + "{size: 4, assurance: endorst}":                                                 "did you mean endorsed?",
		quorum + "{size: 4, check: {}}":                                                          "check: {wasm: file:./check.wasm}",
		quorum + "{size: 4, check: {wasm: ./check.wasm}}":                                        "file:",
		quorum + "{size: 4, check: {wsam: file:a}}":                                              "wasm",
		quorum + "{size: 4, assurance: single, check: {wasm: file:a}}":                           "say endorsed",
		quorum + "{size: 4, check: {wasm: file:a}, compare: {text: true}}":                       "leave compare or check out",
		quorum + "{size: 1, check: {wasm: file:a}}":                                              "size 4 or more",
		quorum + "{size: 3, faults: crash, check: {wasm: file:a}}":                               "faults: byzantine",
		quorum + "{size: 4, check: {wasm: file:a, timeout: 1000h}}":                              "at most",
		quorum + "{size: 4, check: {wasm: file:a, args: [\"\\0\"]}}":                             "zero byte",
		quorum + "{size: 4, check: {wasm: file:a, args: [" + strings.Repeat("x", 50_000) + "]}}": "40960",
		quorum + "{size: 4, check: {wasm: file:a}}\n  effects: once":                             "leave this out",
		quorum + "{size: 4, check: {wasm: file:a}}\n  array: {count: 3}":                         "a job for each task",
	} {
		_, err := plan(text + "\n")
		p := new(jobs.Problem)
		if !errors.As(err, &p) || !strings.Contains(p.What+" "+p.Why+" "+p.Try, says) || !strings.HasPrefix(p.What, "job.yaml:4:") {
			t.Errorf("%.80s: %+v", text, err)
		}
	}
}

func TestACheckIsAReferenceOfItsFile(t *testing.T) {
	p, err := plan("  quorum: {size: 4, check: {wasm: file:./check.wasm}}\n")
	if err != nil {
		t.Fatal(err)
	}
	refs := p.file.Refs()
	if last := refs[len(refs)-1]; last.Key != "run.quorum.check.wasm" || last.Text != "file:./check.wasm" || last.At != "job.yaml:4:35" {
		t.Errorf("refers to %+v", last)
	}
	want := link("stored").Cid
	resolved, err := p.file.Resolve(func(jobs.Ref) (cid.Cid, error) { return want, nil })
	if err != nil {
		t.Fatal(err)
	}
	if c, err := resolved.Checker(); err != nil || c != want {
		t.Errorf("checked by %s, %v", c, err)
	}
	if p.file.Run.Quorum.Check.WASM != "file:./check.wasm" {
		t.Error("the file itself has changed")
	}
}

func TestACheckHasNothingOfItsOwn(t *testing.T) {
	p, err := plan("  quorum: {size: 4, check: {wasm: file:a}}\n")
	if err != nil {
		t.Fatal(err)
	}
	inputs := link("inputs")
	for name, spoil := range map[string]func(*jobs.Task){
		"inputs":              func(t *jobs.Task) { t.Inputs = &inputs },
		"outputs":             func(t *jobs.Task) { t.Outputs = []string{"a"} },
		"tasks":               func(t *jobs.Task) { t.Array = &jobs.Array{Count: 2} },
		"too much memory":     func(t *jobs.Task) { t.Limits.Memory = p.spec.Resources.Memory + 1 },
		"too much disk":       func(t *jobs.Task) { t.Limits.Disk = p.spec.Resources.Disk + 1 },
		"the end as it likes": func(t *jobs.Task) { t.Env = []string{"MUSTER_END=result"} },
	} {
		check := *p.check
		spoil(&check)
		if err := p.spec.ValidateCheck(&check); err == nil {
			t.Errorf("a check with %s is taken", name)
		}
	}
}

func TestACheckIsToldHowTheRunEnded(t *testing.T) {
	for end, v := range map[string]consensus.Value{
		"result": {Kind: consensus.Result}, "exit": {Kind: consensus.Failed, Class: consensus.FailedExit, Code: 3}, "trap": {Kind: consensus.Failed, Class: consensus.FailedTrap},
	} {
		if got := jobs.CheckEnv([]string{"A=1", "Z=2"}, v); !slices.Equal(got, []string{"A=1", "MUSTER_END=" + end, "Z=2"}) {
			t.Errorf("%s: %q", v, got)
		}
	}
}
