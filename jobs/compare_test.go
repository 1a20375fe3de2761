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

func compared(t *testing.T, quorum string) (*jobs.Spec, error) {
	t.Helper()
	f, err := jobs.Parse("job.yaml", []byte("version: 1\nrun:\n  wasm: builtin:hello\n  quorum: "+quorum+"\n"))
	if err != nil {
		return nil, err
	}
	return f.Spec(link("a task"), nil, jobs.Defaults{Policy: admission.DefaultPolicy()})
}

func TestWhatAgreementRestsOnFollowsFromTheFile(t *testing.T) {
	for quorum, want := range map[string]consensus.Assurance{
		"{size: 4}":                                                   consensus.Replicated,
		"{size: 4, assurance: replicated}":                            consensus.Replicated,
		"{size: 1}":                                                   consensus.Single,
		"{size: 1, assurance: single}":                                consensus.Single,
		"{size: 4, assurance: single}":                                consensus.Single,
		"{size: 3, faults: crash, assurance: single}":                 consensus.Single,
		"{size: 4, compare: {float: 1.0e-6}}":                         consensus.MajorityEqual,
		"{size: 4, compare: {}}":                                      consensus.MajorityEqual,
		"{size: 7, compare: {text: true}, assurance: majority-equal}": consensus.MajorityEqual,
	} {
		s, err := compared(t, quorum)
		if err != nil {
			t.Errorf("%s: %v", quorum, err)
			continue
		}
		if got := s.Rests(); got != want {
			t.Errorf("%s rests on %s, not %s", quorum, got, want)
		}
		data, _, err := s.Seal(admission.Network{1})
		if err != nil {
			t.Errorf("%s: %v", quorum, err)
		}
		if again, err := jobs.OpenSpec(admission.Network{1}, data); err != nil || again.Rests() != want {
			t.Errorf("%s, read again: %v", quorum, err)
		}
	}
}

func TestAComparisonHasOneForm(t *testing.T) {
	for _, tolerance := range []string{"1.0e-6", "1e-6", "0.000001", "1E-06", "\"0.0000010\"", "10e-7"} {
		s, err := compared(t, "{size: 4, compare: {float: "+tolerance+", ignore: [/b, /a, /b]}}")
		if err != nil {
			t.Fatalf("%s: %v", tolerance, err)
		}
		if s.Compare.Float != "1e-6" || !slices.Equal(s.Compare.Ignore, []string{"/a", "/b"}) {
			t.Errorf("%s becomes %+v", tolerance, s.Compare)
		}
	}
	if s, err := compared(t, "{size: 4, compare: {float: 25}}"); err != nil || s.Compare.Float != "25e0" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestAComparisonThatCannotBeIsRefusedWithWhatToTry(t *testing.T) {
	for quorum, says := range map[string]string{
		"{size: 4, assurance: singel}":                        "did you mean single?",
		"{size: 4, assurance: majority-equal}":                "compare: {float: 1.0e-6}",
		"{size: 4, assurance: single, compare: {text: true}}": "leave assurance out",
		"{size: 1, compare: {text: true}}":                    "size 4 or more",
		"{size: 3, faults: crash, compare: {text: true}}":     "faults: byzantine",
		"{size: 4, compare: {float: 0}}":                      "1.0e-6",
		"{size: 4, compare: {float: -1}}":                     "1.0e-6",
		"{size: 4, compare: {float: near}}":                   "1.0e-6",
		"{size: 4, compare: {float: 1e999}}":                  "1.0e-6",
		"{size: 4, compare: {ignore: [time]}}":                "/time",
		"{size: 4, compare: {ignore: [$.a.b]}}":               "/a/b",
		"{size: 4, compare: {ignore: [/a~b]}}":                "JSON pointer",
		"{size: 4, compare: {flaot: 1}}":                      "float",
		"{size: 4, compare: {text: maybe}}":                   "true or false",
	} {
		_, err := compared(t, quorum)
		p := new(jobs.Problem)
		if !errors.As(err, &p) || !strings.Contains(p.What+" "+p.Why+" "+p.Try, says) || !strings.HasPrefix(p.What, "job.yaml:4:") {
			t.Errorf("%s: %+v", quorum, err)
		}
	}
}

func TestTheResultsOfAnArrayAreNotCompared(t *testing.T) {
	f, err := jobs.Parse("job.yaml", []byte("version: 1\nrun:\n  wasm: builtin:hello\n  array: {count: 3}\n  quorum: {size: 4, compare: {text: true}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Spec(link("a task"), nil, jobs.Defaults{Policy: admission.DefaultPolicy()}); err == nil || !strings.Contains(err.Error(), "not compared") {
		t.Errorf("%v", err)
	}
}
