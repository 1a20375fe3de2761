package jobs_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
)

var network = admission.Network{1, 2, 3}

func link(s string) dagcbor.Link { return dagcbor.LinkTo(cidOf(s)) }

func defaults() jobs.Defaults { return jobs.Defaults{Policy: admission.DefaultPolicy()} }

func parse(t *testing.T, text string) *jobs.File {
	t.Helper()
	f, err := jobs.Parse("job.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func taskBytes(t *testing.T, f *jobs.File) []byte {
	t.Helper()
	var inputs *dagcbor.Link
	if len(f.Run.Inputs) > 0 {
		l := link("inputs")
		inputs = &l
	}
	task, err := f.Task(link("module"), inputs, nil, defaults())
	if err != nil {
		t.Fatal(err)
	}
	data, _, err := task.Seal(network)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A task id names what is computed: not the folder of the module, not the order
// in which a file was written, not who asks for how many members.
func TestTheSameWorkHasOneTaskID(t *testing.T) {
	one := parse(t, "version: 1\nrun:\n  wasm: file:./wc.wasm\n  args: [a]\n  env: {B: x, A: y}\n  inputs: {text: file:./book.txt}\n  outputs: [z, a, z]\n")
	resolved, err := one.Resolve(func(r jobs.Ref) (cid.Cid, error) { return cidOf(r.Key), nil })
	if err != nil {
		t.Fatal(err)
	}
	want := taskBytes(t, one)
	for name, f := range map[string]*jobs.File{
		"after upload":   resolved,
		"another folder": parse(t, "version: 1\nname: other\nrun: {quorum: {size: 7}, timeout: 5s, labels: {a: b}, outputs: [a, z], inputs: {text: file:/books/b}, env: {A: y, B: x}, args: [a], wasm: file:/x/wc.wasm}\n"),
		"defaults said":  parse(t, "version: 1\nrun: {wasm: file:wc.wasm, args: [a], env: {A: y, B: x}, inputs: {text: file:b}, outputs: [a, z], resources: {memory: 128Mi, disk: 64Mi, cpu: 1}}\n"),
		"by cid":         parse(t, "version: 1\nrun: {wasm: \"cid:"+cidOf("m").String()+"\", program: wc.wasm, args: [a], env: {A: y, B: x}, inputs: {text: file:b}, outputs: [a, z]}\n"),
	} {
		if got := taskBytes(t, f); !bytes.Equal(got, want) {
			t.Errorf("%s: another task", name)
		}
	}
	for name, text := range map[string]string{
		"another program name": "{wasm: file:./wd.wasm, args: [a], env: {B: x, A: y}, inputs: {text: file:b}, outputs: [z, a]}",
		"another argument":     "{wasm: file:./wc.wasm, args: [b], env: {B: x, A: y}, inputs: {text: file:b}, outputs: [z, a]}",
		"more memory":          "{wasm: file:./wc.wasm, args: [a], env: {B: x, A: y}, inputs: {text: file:b}, outputs: [z, a], resources: {memory: 129Mi}}",
		"no inputs":            "{wasm: file:./wc.wasm, args: [a], env: {B: x, A: y}, outputs: [z, a]}",
	} {
		if bytes.Equal(taskBytes(t, parse(t, "version: 1\nrun: "+text+"\n")), want) {
			t.Errorf("%s: the same task", name)
		}
	}
}

func TestVariablesThatShareABeginningStayInTheOrderOfTheirKeys(t *testing.T) {
	f := parse(t, "version: 1\nrun: {wasm: file:a.wasm, env: {A: z, A-B: y, AB: x}}\n") // '-' sorts before '='
	task, err := f.Task(link("m"), nil, nil, defaults())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"A=z", "A-B=y", "AB=x"}; !slices.Equal(task.Env, want) {
		t.Errorf("got %v, want %v", task.Env, want)
	}
}

func TestWhatAFileLeavesOpenFollowsFromThePolicy(t *testing.T) {
	f := jobs.FileFor("dir/hello.wasm", []string{"Ada"})
	if err := f.Validate(); err != nil {
		t.Fatal(err)
	}
	task, err := f.Task(link("m"), nil, nil, defaults())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(task.Args, []string{"hello.wasm", "Ada"}) {
		t.Errorf("args %q", task.Args)
	}
	if l := task.Limits; l.Memory != 128<<20 || l.Disk != 64<<20 || l.Stream != 1<<20 {
		t.Errorf("limits %+v", l)
	}
	spec, err := f.Spec(link("t"), nil, defaults())
	if err != nil {
		t.Fatal(err)
	}
	if spec.Name != "hello" || spec.Timeout != 60_000 || spec.Deadline != 3_600_000 || spec.Priority != 50 ||
		spec.Quorum.Size != 4 || spec.Quorum.Crash || spec.Resources.CPU != 1000 {
		t.Errorf("spec %+v", spec)
	}

	small := defaults()
	small.Policy.MaxMemory, small.Policy.MaxOutput, small.Policy.MaxTimeout, small.Policy.Deadline = 1<<20, 1<<19, 5_000, 4_000
	small.Policy.Size, small.Policy.Crash = 3, true
	if spec, err = f.Spec(link("t"), nil, small); err != nil {
		t.Fatal(err)
	}
	if spec.Resources.Memory != 1<<20 || spec.Resources.Disk != 1<<19 || spec.Timeout != 4_000 || spec.Deadline != 4_000 || spec.Quorum.Size != 3 || !spec.Quorum.Crash {
		t.Errorf("under a small policy: %+v", spec)
	}
}

func TestAJobOfAFileWithALongNameIsCalledAsMuchOfItAsFits(t *testing.T) {
	for _, name := range []string{strings.Repeat("\u00e9", 100), "x" + strings.Repeat("\u00e9", 100)} {
		f := jobs.FileFor(name+".wasm", nil)
		spec, err := f.Spec(link("task"), nil, defaults())
		if err != nil || len(spec.Name) < 127 || !strings.HasPrefix(name, spec.Name) {
			t.Fatalf("%v, %+v", err, spec)
		}
		if _, _, err := spec.Seal(admission.Network{}); err != nil {
			t.Error(err)
		}
	}
}

func TestWhatThePolicyDoesNotAllowIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"run: {wasm: file:a, resources: {memory: 2Gi}}":          "job.yaml:2:41: 2Gi of memory is more than the network allows: its policy allows 1Gi",
		"run: {wasm: file:a, resources: {disk: 1Gi}}":            "job.yaml:2:39: 1Gi of disk is more than the network allows: its policy allows 256Mi",
		"run: {wasm: file:a, timeout: 2h}":                       "job.yaml:2:30: 2h0m0s is more than the network allows: its policy allows 1h0m0s",
		"deadline: 2h\nrun: {wasm: file:a}":                      "job.yaml:2:11: 2h0m0s is more than the network allows: its policy allows 1h0m0s",
		"deadline: 10s\nrun: {wasm: file:a}":                     "job.yaml:2:11: a run of 1m0s does not fit a deadline of 10s",
		"run: {wasm: file:a, quorum: {size: 3}}":                 "job.yaml:2:36: a byzantine quorum of 3 fits no number of faults",
		"run: {wasm: file:a, quorum: {faults: crash}}":           "job.yaml:2:29: a crash quorum of 4 fits no number of faults",
		"run: {wasm: file:a, quorum: {size: 34, faults: crash}}": "",
	} {
		f, err := jobs.Parse("job.yaml", []byte("version: 1\n"+text+"\n"))
		if err == nil {
			_, err = f.Spec(link("t"), nil, defaults())
		}
		var p *jobs.Problem
		if !errors.As(err, &p) || want != "" && p.Error() != want {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestTheLargestFileStaysWithinTaskAndSpec(t *testing.T) {
	f := jobs.FileFor("file:a.wasm", nil)
	f.Run.Env, f.Run.Labels = map[string]string{}, map[string]string{}
	for i := range 256 {
		key := strings.Repeat("k", 1+i%8) + string(rune('A'+i/8))
		f.Run.Env[key] = ""
		f.Run.Outputs = append(f.Run.Outputs, key)
	}
	for i := range 64 {
		f.Run.Labels[strings.Repeat("l", i+1)] = strings.Repeat("v", 60-min(i, 60))
	}
	for width := 40; ; width-- {
		f.Run.Args = slices.Repeat([]string{strings.Repeat("x", width)}, 1023)
		if err := f.Validate(); err == nil {
			break
		} else if width == 1 {
			t.Fatal(err)
		}
	}
	task, err := f.Task(link("m"), nil, nil, defaults())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := task.Seal(network); err != nil {
		t.Error(err)
	}
	spec, err := f.Spec(link("t"), nil, defaults())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := spec.Seal(network); err != nil {
		t.Error(err)
	}
}

func TestReferencesAreListedAndReplaced(t *testing.T) {
	c := cidOf("stored")
	f := parse(t, "version: 1\nrun:\n  wasm: builtin:hello\n  inputs:\n    b: file:./b.txt\n    a: file:./a\n    c: \"cid:"+c.String()+"\"\n")
	var got []string
	for _, r := range f.Refs() {
		got = append(got, r.Key+" "+string(r.Text)+" "+r.At)
	}
	if want := []string{"run.wasm builtin:hello job.yaml:3:9", "run.inputs.a file:./a job.yaml:6:8", "run.inputs.b file:./b.txt job.yaml:5:8"}; !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	if _, _, err := f.Sources(); err == nil || err.Error() != "job.yaml:3:9: builtin:hello means nothing to another machine" {
		t.Errorf("a file that is not resolved: %v", err)
	}

	boom := errors.New("boom")
	if _, err := f.Resolve(func(jobs.Ref) (cid.Cid, error) { return cid.Undef, boom }); !errors.Is(err, boom) {
		t.Errorf("got %v, want the error of put", err)
	}
	partly, err := f.Resolve(func(r jobs.Ref) (cid.Cid, error) {
		if _, ok := r.Text.Builtin(); ok {
			return cid.Undef, nil
		}
		return cidOf(r.Key), nil
	})
	if err != nil || partly.Run.WASM != "builtin:hello" || len(partly.Refs()) != 1 {
		t.Errorf("without the builtin: %+v, %v", partly, err)
	}
	before := maps.Clone(f.Run.Inputs)
	r, err := f.Resolve(func(r jobs.Ref) (cid.Cid, error) { return cidOf(r.Key), nil })
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(before, f.Run.Inputs) || f.Run.WASM != "builtin:hello" {
		t.Error("Resolve changed the file it was called on")
	}
	if r.Program() != "hello.wasm" || r.Run.Program != "hello.wasm" {
		t.Errorf("program %q, carried as %q", r.Program(), r.Run.Program)
	}
	module, inputs, err := r.Sources()
	if err != nil {
		t.Fatal(err)
	}
	want := []jobs.Input{{Name: "a", CID: cidOf("run.inputs.a")}, {Name: "b", CID: cidOf("run.inputs.b")}, {Name: "c", CID: c}}
	if module != cidOf("run.wasm") || !slices.Equal(inputs, want) {
		t.Errorf("module %s, inputs %v", module, inputs)
	}
	if refs := r.Refs(); len(refs) != 0 {
		t.Errorf("left over: %v", refs)
	}
}

func TestInputsAndTheirDirectoryGoTogether(t *testing.T) {
	l := link("d")
	if _, err := jobs.FileFor("a.wasm", nil).Task(link("m"), &l, nil, defaults()); err == nil {
		t.Error("a directory without inputs was taken")
	}
	f := parse(t, "version: 1\nrun: {wasm: file:a, inputs: {b: file:c}}\n")
	if _, err := f.Task(link("m"), nil, nil, defaults()); err == nil {
		t.Error("inputs without a directory were taken")
	}
}
