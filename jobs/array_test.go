package jobs_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
)

const arrayHead = "version: 1\nrun:\n  wasm: file:./a.wasm\n"

func arrayTask(t *testing.T, f *jobs.File, items *dagcbor.Link, count int) *jobs.Task {
	t.Helper()
	array, err := f.ArrayOf(items, count)
	if err != nil {
		t.Fatal(err)
	}
	task, err := f.Task(link("module"), nil, array, defaults())
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// A change of these bytes is a change of every array's task id.
func TestAnArrayTaskKeepsItsID(t *testing.T) {
	task := goodTask()
	items := link("items")
	task.Array = &jobs.Array{Count: 3, Input: "page", Items: &items}
	data, id, err := task.Seal(network)
	if err != nil {
		t.Fatal(err)
	}
	const want = "bafyreia7cpotps6o42zlw6rzey3ejdkwszue6yqffkgninr6s5p4iggstm"
	if id.String() != want {
		t.Errorf("task %s, want %s\n%s", id, want, hex.EncodeToString(data))
	}
	again, err := jobs.OpenTask(network, data)
	if err != nil || again.Tasks() != 3 || goodTask().Tasks() != 0 {
		t.Errorf("%d tasks, %v", again.Tasks(), err)
	}
}

func TestTasksOfACountDifferByTheirIndex(t *testing.T) {
	f := parse(t, arrayHead+"  args: [x]\n  env: {A: '1', MUSTER_TASK: a, MUSTER_TASKS: b, Z: ''}\n  array: {count: 101}\n")
	task := arrayTask(t, f, nil, 0)
	one := task.Task(nil, 7)
	want := []string{"A=1", "MUSTER_TASK=a", "MUSTER_TASK_COUNT=101", "MUSTER_TASK_INDEX=7", "MUSTER_TASK_NAME=007", "MUSTER_TASKS=b", "Z="}
	if one.Name != "007" || one.Index != 7 || one.Input.Defined() || !slices.Equal(one.Args, []string{"a.wasm", "x"}) || !sameSet(one.Env, want) {
		t.Errorf("%+v", one)
	}
	for i := 1; i < len(one.Env); i++ {
		a, _, _ := strings.Cut(one.Env[i-1], "=")
		if b, _, _ := strings.Cut(one.Env[i], "="); a >= b {
			t.Errorf("variables %q and %q are not in order", a, b)
		}
	}
	if first, last := task.Task(nil, 0), task.Task(nil, 100); first.Name != "000" || last.Name != "100" {
		t.Errorf("named %q and %q", first.Name, last.Name)
	}
	if jobs.TaskName(0, 1) != "0" || jobs.TaskName(9, 10) != "9" || jobs.TaskName(9, 11) != "09" {
		t.Error("names do not sort as their tasks do")
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func TestTasksOfArgsDifferByTheirLastArguments(t *testing.T) {
	f := parse(t, arrayHead+"  args: [x]\n  array:\n    args:\n      - a\n      - [b, c]\n      - []\n")
	data, itemsLink, err := f.Items().Seal(network)
	if err != nil {
		t.Fatal(err)
	}
	task := arrayTask(t, f, &itemsLink, 0)
	items, err := task.OpenItems(network, data)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]string{{"a.wasm", "x", "a"}, {"a.wasm", "x", "b", "c"}, {"a.wasm", "x"}} {
		if got := task.Task(items, uint64(i)).Args; !slices.Equal(got, want) {
			t.Errorf("task %d has %q, want %q", i, got, want)
		}
	}
}

func TestTasksOfInputsAreNamedByThem(t *testing.T) {
	f := parse(t, arrayHead+"  array: {inputs: {page: \"file:./pages/*\"}}\n")
	if refs := f.Refs(); len(refs) != 2 || refs[0].Each || !refs[1].Each || refs[1].Key != "run.array.inputs.page" {
		t.Fatalf("references %+v", refs)
	}
	folder := cidOf("folder")
	resolved, err := f.Resolve(func(jobs.Ref) (cid.Cid, error) { return folder, nil })
	if err != nil {
		t.Fatal(err)
	}
	if name, at, err := resolved.Each(); name != "page" || !at.Equals(folder) || err != nil {
		t.Errorf("%q %s, %v", name, at, err)
	}
	if f.Run.Array.Inputs["page"] != "file:./pages/*" {
		t.Error("Resolve changed the file it was called on")
	}
	items := &jobs.Items{Inputs: []jobs.ItemInput{{Name: "a.html", CID: cidOf("a").Bytes()}, {Name: "b.html", CID: cidOf("b").Bytes()}},
		Packs: []consensus.ArrayPack{{Tasks: 2, File: link("pack")}}}
	data, itemsLink, err := items.Seal(network)
	if err != nil {
		t.Fatal(err)
	}
	task := arrayTask(t, resolved, &itemsLink, 2)
	opened, err := task.OpenItems(network, data)
	if err != nil {
		t.Fatal(err)
	}
	if one := task.Task(opened, 1); one.Name != "b.html" || !one.Input.Equals(cidOf("b")) || !slices.Contains(one.Env, "MUSTER_TASK_NAME=b.html") {
		t.Errorf("%+v", one)
	}
	for _, count := range []int{0, consensus.MaxTasks + 1} {
		if _, err := resolved.ArrayOf(&itemsLink, count); err == nil {
			t.Errorf("an array of %d inputs", count)
		}
	}
}

func TestItemsThatCannotBeAreRefused(t *testing.T) {
	inputs := func(names ...string) []jobs.ItemInput {
		var all []jobs.ItemInput
		for _, name := range names {
			all = append(all, jobs.ItemInput{Name: name, CID: cidOf(name).Bytes()})
		}
		return all
	}
	pack := func(tasks uint64) []consensus.ArrayPack {
		return []consensus.ArrayPack{{Tasks: tasks, File: link("p")}}
	}
	items := link("items")
	byArgs, byInput := goodTask(), goodTask()
	byArgs.Array = &jobs.Array{Count: 2, Items: &items}
	byInput.Array = &jobs.Array{Count: 2, Items: &items, Input: "in"}
	for name, c := range map[string]struct {
		task *jobs.Task
		i    jobs.Items
	}{
		"too few arguments":        {byArgs, jobs.Items{Args: [][]string{{"a"}}}},
		"arguments and inputs":     {byArgs, jobs.Items{Args: [][]string{{"a"}, {"b"}}, Inputs: inputs("a")}},
		"arguments and packs":      {byArgs, jobs.Items{Args: [][]string{{"a"}, {"b"}}, Packs: pack(1)}},
		"a zero byte":              {byArgs, jobs.Items{Args: [][]string{{"a"}, {"b\x00"}}}},
		"too many arguments":       {byArgs, jobs.Items{Args: [][]string{{"a"}, slices.Repeat([]string{"a"}, 1023)}}},
		"too few inputs":           {byInput, jobs.Items{Inputs: inputs("a")}},
		"inputs and arguments":     {byInput, jobs.Items{Inputs: inputs("a", "b"), Args: [][]string{{"a"}}}},
		"inputs out of order":      {byInput, jobs.Items{Inputs: inputs("b", "a")}},
		"an input twice":           {byInput, jobs.Items{Inputs: inputs("a", "a")}},
		"a name that is a path":    {byInput, jobs.Items{Inputs: inputs("a", "b/c")}},
		"no CID":                   {byInput, jobs.Items{Inputs: []jobs.ItemInput{{Name: "a"}, {Name: "b"}}}},
		"an empty pack":            {byInput, jobs.Items{Inputs: inputs("a", "b"), Packs: pack(0)}},
		"a pack too large":         {byInput, jobs.Items{Inputs: inputs("a", "b"), Packs: pack(3)}},
		"more trees than inputs":   {byInput, jobs.Items{Inputs: inputs("a", "b"), Large: []dagcbor.Link{items, items, items}}},
		"packs that go beyond":     {byInput, jobs.Items{Inputs: inputs("a", "b"), Packs: append(pack(2), pack(1)...)}},
		"a name that does not fit": {byInput, jobs.Items{Inputs: inputs("a", strings.Repeat("n", 256))}},
	} {
		data, _, err := c.i.Seal(network)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.task.OpenItems(network, data); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	for name, spoil := range map[string]func(*jobs.Task){
		"no task":               func(t *jobs.Task) { t.Array.Count = 0 },
		"too many":              func(t *jobs.Task) { t.Array.Count = consensus.MaxTasks + 1 },
		"an input without item": func(t *jobs.Task) { t.Array.Items = nil },
		"an input that is none": func(t *jobs.Task) { t.Array.Input = "a/b" },
		"its own variables":     func(t *jobs.Task) { t.Env = []string{"MUSTER_TASK_INDEX=1"} },
	} {
		task := goodTask()
		task.Array = &jobs.Array{Count: 2, Items: &items, Input: "in"}
		spoil(task)
		if _, _, err := task.Seal(network); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

// The items of an array are whatever its submitter stored: what opens is for every
// task, and no two of them are told apart in vain.
func FuzzOpenItems(f *testing.F) {
	inputs := []jobs.ItemInput{{Name: "a.html", CID: cidOf("a").Bytes()}, {Name: "b.html", CID: cidOf("b").Bytes()}, {Name: "c.html", CID: cidOf("c").Bytes()}}
	for _, seed := range []struct {
		items jobs.Items
		count uint64
		input string
	}{
		{jobs.Items{Args: [][]string{{"a"}, {"b", "c"}, {}}}, 3, ""},
		{jobs.Items{Args: [][]string{{"a"}, {"b"}}, Inputs: inputs}, 2, ""},
		{jobs.Items{Args: [][]string{{"a"}, slices.Repeat([]string{"a"}, 1023)}}, 2, ""},
		{jobs.Items{Inputs: []jobs.ItemInput{inputs[1], inputs[0]}}, 2, "page"},
		{jobs.Items{Inputs: inputs, Packs: []consensus.ArrayPack{{Tasks: 2, File: link("pack")}}, Large: []dagcbor.Link{link("tree")}}, 3, "page"},
		{jobs.Items{Inputs: inputs, Packs: []consensus.ArrayPack{{Tasks: 2, File: link("p")}, {Tasks: 1, File: link("q")}}}, 3, "page"},
		{jobs.Items{Inputs: inputs, Packs: []consensus.ArrayPack{{Tasks: 2, File: link("p")}, {Tasks: 2, File: link("q")}}}, 3, "page"},
	} {
		data, _, err := seed.items.Seal(network)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, seed.count, seed.input)
	}
	f.Fuzz(func(t *testing.T, data []byte, count uint64, input string) {
		items := link("items")
		task := goodTask()
		task.Array = &jobs.Array{Count: count, Items: &items, Input: input}
		if _, _, err := task.Seal(network); err != nil {
			return // no such task is ever opened
		}
		opened, err := task.OpenItems(network, data)
		if err != nil {
			return
		}
		if again, _, err := opened.Seal(network); err != nil || !bytes.Equal(again, data) {
			t.Errorf("opened %x, sealed %x, %v", data, again, err)
		}
		packed := uint64(0)
		for _, p := range opened.Packs {
			packed += p.Tasks
		}
		if packed > count || uint64(len(opened.Large)) > count {
			t.Errorf("%d tasks in packs and %d in trees, of %d", packed, len(opened.Large), count)
		}
		for i, before := uint64(0), ""; i < count; i++ {
			one := task.Task(opened, i)
			if one.Name <= before || len(one.Args) > 1024 || one.Input.Defined() != (input != "") {
				t.Fatalf("task %d after %q: %+v", i, before, one)
			}
			before = one.Name
		}
	})
}

func TestBadArraysSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct{ text, what, try string }{
		"two ways":      {"{count: 2, args: [a]}", "job.yaml:4:10: an array has one of inputs, args and count", "array: {count: 100}"},
		"no way":        {"{}", "job.yaml:4:10: an array has one of inputs, args and count", "array: {args: [a, b]}"},
		"two inputs":    {"{inputs: {a: file:a, b: file:b}}", "job.yaml:4:10: an array has one of inputs", "array: {inputs:"},
		"no count":      {"{count: 0}", "job.yaml:4:18: 0 tasks, 1 to 100,000", ""},
		"a large count": {"{count: 100001}", "job.yaml:4:18: 100001 tasks, 1 to 100,000", ""},
		"a word":        {"{count: many}", "job.yaml:4:18: a text where a whole number belongs", ""},
		"a key":         {"{cuont: 2}", `job.yaml:4:11: unknown key "cuont"`, `did you mean "count"?`},
		"a number":      {"{args: [1]}", "job.yaml:4:18: 1 where a text belongs", `quote it: "1"`},
		"a builtin":     {"{inputs: {a: builtin:hello}}", "job.yaml:4:23: a builtin is a program", "file:./PATTERN"},
		"a path":        {"{inputs: {a/b: file:a}}", `job.yaml:4:25: "a/b" is not the name`, ""},
		"a bad item":    {"{inputs: {a: pages}}", `job.yaml:4:23: "pages" is not a reference`, ""},
		"a zero byte":   {`{args: ["a", ["\0"]]}`, "job.yaml:4:23: items: an argument holds a zero byte", ""},
		"a shared name": {"{inputs: {a: file:a}}\n  inputs: {a: file:b}", `job.yaml:4:23: "a" is an input of all tasks already`, ""},
		"its variable":  {"{count: 2}\n  env: {MUSTER_TASK_INDEX: a}", "job.yaml:5:28: variables MUSTER_TASK_... are set for each task", ""},
	} {
		_, err := jobs.Parse("job.yaml", []byte(arrayHead+"  array: "+c.text+"\n"))
		var p *jobs.Problem
		if !errors.As(err, &p) || !strings.HasPrefix(p.What, c.what) || !strings.Contains(p.Try, c.try) {
			t.Errorf("%s: %+v, want %s", name, p, c.what)
		}
	}
}

func TestAnArrayOfThousandsIsReadAndTravels(t *testing.T) {
	var text strings.Builder
	text.WriteString(arrayHead + "  array:\n    args:\n")
	for i := range 20_000 {
		fmt.Fprintf(&text, "    - [--seed, '%d']\n", i)
	}
	f := parse(t, text.String())
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	again, err := jobs.Parse("body", data)
	if err != nil || len(again.Run.Array.Args) != 20_000 {
		t.Fatalf("%v", err)
	}
	sealed, link, err := again.Items().Seal(network)
	if err != nil {
		t.Fatal(err)
	}
	if first, _, err := f.Items().Seal(network); err != nil || !bytes.Equal(first, sealed) {
		t.Errorf("the items of a file that travelled differ: %v", err)
	}
	task := arrayTask(t, again, &link, 0)
	items, err := task.OpenItems(network, sealed)
	if err != nil || task.Tasks() != 20_000 || task.Task(items, 19_999).Args[2] != "19999" {
		t.Errorf("%d tasks, %v", task.Tasks(), err)
	}
	f.Run.Array.Args[0] = jobs.Words{strings.Repeat("a", 1<<20)}
	if err := f.Validate(); err == nil {
		t.Error("arguments without end are taken")
	}
}

func TestARunOfAnArrayIsAsLongAsItsTasks(t *testing.T) {
	spec, task := goodSpec(), goodTask()
	spec.Timeout, spec.Deadline = 1000, 10_000
	if got := spec.RunTimeout(task); got != 1000 {
		t.Errorf("a plain run has %d ms", got)
	}
	task.Array = &jobs.Array{Count: 7}
	if got := spec.RunTimeout(task); got != 7000 {
		t.Errorf("seven tasks have %d ms", got)
	}
	task.Array.Count = 100_000
	if got := spec.RunTimeout(task); got != 10_000 {
		t.Errorf("a run beyond the deadline has %d ms", got)
	}
}

func TestEveryTaskHasASeedOfItsOwn(t *testing.T) {
	seen := map[[32]byte]bool{{1}: true}
	for i := range uint64(1000) {
		seen[jobs.TaskSeed([32]byte{1}, i)] = true
		seen[jobs.TaskSeed([32]byte{2}, i)] = true
	}
	if len(seen) != 2001 {
		t.Errorf("%d seeds", len(seen))
	}
	const want = "2b19df7681f27d4a86e5b1ec1849a63aeee1eb11d0022be48d6160a07759d26d"
	if seed := jobs.TaskSeed([32]byte{1}, 300); hex.EncodeToString(seed[:]) != want {
		t.Errorf("seed %x, want %s", seed, want)
	}
}
