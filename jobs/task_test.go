package jobs_test

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
)

func goodTask() *jobs.Task {
	inputs := link("inputs")
	return &jobs.Task{
		V: 1, Kind: jobs.KindWASM, Module: link("module"), Args: []string{"wc.wasm", "--top"}, Env: []string{"A=1", "B="},
		Inputs: &inputs, Outputs: []string{"a", "b/c"}, Limits: jobs.TaskLimits{Memory: 1 << 20, Disk: 0, Stream: 1 << 10}, Profile: jobs.Profile,
	}
}

func goodSpec() *jobs.Spec {
	return &jobs.Spec{
		V: 1, Task: link("task"), Name: "n", Labels: map[string]string{"k": "v"}, Resources: resources(),
		Timeout: 1000, Deadline: 2000, Quorum: jobs.Quorum{Size: 4}, Priority: 50,
	}
}

func resources() jobs.Resources { return jobs.Resources{CPU: 1000, Memory: 1 << 20, Disk: 1} }

// A change of these bytes is a change of every task id: it needs a new version
// of the format.
func TestATaskKeepsItsID(t *testing.T) {
	data, id, err := goodTask().Seal(network)
	if err != nil {
		t.Fatal(err)
	}
	const want = "bafyreiejmdwjo3muecne6uniuek4op2oz3uwmgdxmxg7a3z5owvxe6qcwq"
	if id.String() != want {
		t.Errorf("task %s, want %s\n%s", id, want, hex.EncodeToString(data))
	}
}

func TestTasksAndSpecsOpenAsTheyWereSealed(t *testing.T) {
	data, id, err := goodTask().Seal(network)
	if err != nil {
		t.Fatal(err)
	}
	task, err := jobs.OpenTask(network, data)
	if err != nil {
		t.Fatal(err)
	}
	if again, _, err := task.Seal(network); err != nil || !bytes.Equal(again, data) || !id.Equals(dagcbor.CID(data)) {
		t.Errorf("sealed again: %x, %v", again, err)
	}
	other := network
	other[0]++
	if _, err := jobs.OpenTask(other, data); err == nil {
		t.Error("another network's task was opened")
	}
	data, _, err = goodSpec().Seal(network)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jobs.OpenSpec(network, data); err != nil {
		t.Error(err)
	}
	if _, err := jobs.OpenTask(network, data); err == nil {
		t.Error("a spec was opened as a task")
	}
	if _, err := jobs.OpenSpec(network, bytes.Repeat([]byte{0}, jobs.MaxSpec+1)); err == nil {
		t.Error("a spec over its size was opened")
	}
}

func TestTasksThatCannotBeAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*jobs.Task){
		"version":            func(t *jobs.Task) { t.V = 2 },
		"kind":               func(t *jobs.Task) { t.Kind = "process" },
		"profile":            func(t *jobs.Task) { t.Profile = 2 },
		"no module":          func(t *jobs.Task) { t.Module = dagcbor.Link{} },
		"no args":            func(t *jobs.Task) { t.Args = nil },
		"zero byte":          func(t *jobs.Task) { t.Args[1] = "a\x00" },
		"many args":          func(t *jobs.Task) { t.Args = slices.Repeat([]string{"a"}, 1025) },
		"no key":             func(t *jobs.Task) { t.Env[0] = "=1" },
		"no value":           func(t *jobs.Task) { t.Env[0] = "A" },
		"unsorted variables": func(t *jobs.Task) { slices.Reverse(t.Env) },
		"variable twice":     func(t *jobs.Task) { t.Env = []string{"A=1", "A=2"} },
		"unsorted outputs":   func(t *jobs.Task) { slices.Reverse(t.Outputs) },
		"output twice":       func(t *jobs.Task) { t.Outputs = []string{"a", "a"} },
		"output above":       func(t *jobs.Task) { t.Outputs[0] = "../a" },
		"params":             func(t *jobs.Task) { t.Params = map[string]string{"a": "b"} },
		"no memory":          func(t *jobs.Task) { t.Limits.Memory = 0 },
		"disk":               func(t *jobs.Task) { t.Limits.Disk = 1<<40 + 1 },
		"stream":             func(t *jobs.Task) { t.Limits.Stream = 1<<30 + 1 },
		"too large":          func(t *jobs.Task) { t.Args[1] = strings.Repeat("a", jobs.MaxTask) },
	} {
		task := goodTask()
		spoil(task)
		if _, _, err := task.Seal(network); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

func TestSpecsThatCannotBeAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*jobs.Spec){
		"version":             func(s *jobs.Spec) { s.V = 0 },
		"no task":             func(s *jobs.Spec) { s.Task = dagcbor.Link{} },
		"name":                func(s *jobs.Spec) { s.Name = strings.Repeat("n", 129) },
		"no timeout":          func(s *jobs.Spec) { s.Timeout = 0 },
		"deadline":            func(s *jobs.Spec) { s.Deadline = 999 },
		"deadline for ever":   func(s *jobs.Spec) { s.Deadline = 1 << 62 },
		"priority":            func(s *jobs.Spec) { s.Priority = 101 },
		"quorum":              func(s *jobs.Spec) { s.Quorum.Size = 5 },
		"label without a key": func(s *jobs.Spec) { s.Labels = map[string]string{"": "v"} },
		"long label":          func(s *jobs.Spec) { s.Labels = map[string]string{"k": strings.Repeat("v", 257)} },
		"no resources":        func(s *jobs.Spec) { s.Resources = jobs.Resources{} },
	} {
		spec := goodSpec()
		spoil(spec)
		if _, _, err := spec.Seal(network); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

func FuzzOpenTask(f *testing.F) {
	data, _, err := goodTask().Seal(network)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		task, err := jobs.OpenTask(network, data)
		if err != nil {
			return
		}
		if again, _, err := task.Seal(network); err != nil || !bytes.Equal(again, data) {
			t.Errorf("opened %x, sealed %x, %v", data, again, err)
		}
	})
}

func FuzzOpenSpec(f *testing.F) {
	data, _, err := goodSpec().Seal(network)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := jobs.OpenSpec(network, data)
		if err != nil {
			return
		}
		if again, _, err := spec.Seal(network); err != nil || !bytes.Equal(again, data) {
			t.Errorf("opened %x, sealed %x, %v", data, again, err)
		}
	})
}
