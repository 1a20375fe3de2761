package jobs_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"

	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
)

func cidOf(s string) cid.Cid { return dagcbor.CID([]byte(s)) }

func TestTheDocumentedJobFileIsRead(t *testing.T) {
	data, err := os.ReadFile("testdata/wordcount.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := jobs.Parse("job.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"version":1,"name":"wordcount","run":{"wasm":"file:./wc.wasm","args":["--top","10"],` +
		`"env":{"LANG":"C"},"inputs":{"text":"file:./book.txt"},"outputs":["counts.json"],` +
		`"resources":{"cpu":"1","memory":"128Mi","disk":"64Mi"},"timeout":"30s",` +
		`"quorum":{"size":4,"faults":"byzantine"},"labels":{"team":"wiki"}}}`
	if string(got) != want {
		t.Errorf("read\n%s\nwant\n%s", got, want)
	}
}

func TestEveryWayOfWritingAFileIsTheSameFile(t *testing.T) {
	for name, text := range map[string]string{
		"block":             "version: 1\nname: é😀/\nrun:\n  wasm: file:./a.wasm\n  args: [b]\n",
		"windows":           "version: 1\r\nname: é😀/\r\nrun:\r\n  wasm: file:./a.wasm\r\n  args: [b]\r\n",
		"with a mark":       "\ufeffversion: 1\nname: é😀/\nrun:\n  wasm: file:./a.wasm\n  args: [b]\n",
		"between markers":   "%YAML 1.2\n---\nversion: 1\nname: é😀/\nrun:\n  wasm: file:./a.wasm\n  args:\n  - b\n...\n",
		"JSON":              `{"version":1,"name":"é😀/","run":{"wasm":"file:./a.wasm","args":["b"]}}`,
		"JSON with tabs":    "{\n\t\"version\": 1,\n\t\"name\": \"é😀/\",\n\t\"run\": {\n\t\t\"wasm\": \"file:./a.wasm\",\n\t\t\"args\": [\"b\"]\n\t}\n}\n",
		"JSON of 7 bits":    `{"version":1,"name":"\u00e9\ud83d\ude00\/","run":{"wasm":"file:.\/a.wasm","args":["b"]}}`,
		"folded and quoted": "version: 1\nname: \"\\u00e9\\ud83d\\ude00/\"\nrun:\n  wasm: >-\n    file:./a.wasm\n  args: ['b']\n",
	} {
		f, err := jobs.Parse("f", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := json.Marshal(f); err != nil || string(got) != `{"version":1,"name":"é😀/","run":{"wasm":"file:./a.wasm","args":["b"]}}` {
			t.Errorf("%s: read %s, %v", name, got, err)
		}
	}
}

// What a person sees of a bad file is a contract: the table holds whole
// problems.
func TestBadFilesSayWhereAndWhatToDo(t *testing.T) {
	head := "version: 1\nrun:\n  wasm: file:./a.wasm\n"
	c := cidOf("x").String()
	for name, test := range map[string]struct{ file, code, what, try string }{
		"misspelt key":          {head + "  recources: {cpu: 1}\n", jobs.CodeSpecKey, `job.yaml:4:3: unknown key "recources"`, `did you mean "resources"?`},
		"misspelt key, nested":  {head + "  resources:\n    memroy: 1Gi\n", jobs.CodeSpecKey, `job.yaml:5:5: unknown key "memroy"`, `did you mean "memory"?`},
		"misspelt key, in flow": {head + "  quorum: {size: 4, fault: crash}\n", jobs.CodeSpecKey, `job.yaml:4:21: unknown key "fault"`, `did you mean "faults"?`},
		"unlike any key":        {head + "colour: red\n", jobs.CodeSpecKey, `job.yaml:4:1: unknown key "colour"`, `keys here: deadline, name, priority, run, version`},
		"steps":                 {"version: 1\nsteps:\n  a: {}\n", jobs.CodeSpecKey, `job.yaml:2:1: "steps" is not in this version`, `keys here: deadline, name, priority, run, version`},
		"triggers":              {head + "triggers: []\n", jobs.CodeSpecKey, `job.yaml:4:1: "triggers" is not in this version`, `keys here: deadline, name, priority, run, version`},
		"process":               {"version: 1\nrun: {process: [./a]}\n", jobs.CodeSpecKey, `job.yaml:2:7: "process" is not in this version`, `keys here: args, array, effects, env, inputs, labels, outputs, program, quorum, resources, timeout, wasm`},
		"twice":                 {head + "  args: [a]\n  args: [b]\n", jobs.CodeSpecKey, `job.yaml:5:3: key "args" stands twice, first at line 4`, ``},
		"twice in a map":        {head + "  env: {A: x, A: y}\n", jobs.CodeSpecKey, `job.yaml:4:15: key "A" stands twice, first at line 4`, ``},

		"nothing":            {"", jobs.CodeSpecSyntax, `job.yaml: there is nothing in it`, ``},
		"only a comment":     {"# hello\n", jobs.CodeSpecSyntax, `job.yaml: there is nothing in it`, ``},
		"two documents":      {head + "---\n" + head, jobs.CodeSpecSyntax, `job.yaml: 2 documents where one job belongs`, ``},
		"open bracket":       {head + "  args: [a\n", jobs.CodeSpecSyntax, `job.yaml:4:9: sequence end token ']' not found`, ``},
		"bad indent":         {"version: 1\n  run: a\n", jobs.CodeSpecSyntax, `job.yaml:1:10: mapping value is not allowed in this context`, ``},
		"deep":               {head + "  args: " + strings.Repeat("[", 5000), jobs.CodeSpecSyntax, `job.yaml:4:25: nested too deeply`, ``},
		"deep in one line":   {strings.Repeat("- ", 5000), jobs.CodeSpecSyntax, `job.yaml:1:33: nested too deeply`, ``},
		"many keys":          {head + "  env: {" + strings.Repeat("a: b, ", 3000) + "}\n", jobs.CodeSpecSyntax, `job.yaml:4:17986: more words than a job can have`, ``},
		"a long key":         {head + strings.Repeat("x", 5000) + ": 1\n", jobs.CodeSpecKey, `job.yaml:4:1: unknown key "` + strings.Repeat("x", 227) + `...`, `keys here: deadline, name, priority, run, version`},
		"not UTF-8":          {head + "name: \xff\n", jobs.CodeSpecSyntax, `job.yaml: not a text in UTF-8`, ``},
		"too large":          {head + strings.Repeat("#", jobs.MaxFile), jobs.CodeSpecSyntax, `job.yaml: more than the 1048576 bytes of a job file`, ``},
		"an alias":           {head + "  env: &e {A: b}\n  labels: *e\n", jobs.CodeSpecValue, `job.yaml:4:8: an anchor or alias, which job files do not have, where a map of keys and values belongs`, ``},
		"a tag":              {head + "  args: [!!str 3]\n", jobs.CodeSpecValue, `job.yaml:4:10: a tag, which job files do not have, where a text belongs`, ``},
		"a merge":            {head + "  env: {<<: {A: b}}\n", jobs.CodeSpecValue, `job.yaml:4:9: an anchor or alias, which job files do not have, where a text belongs`, ``},
		"a list of jobs":     {"- version: 1\n", jobs.CodeSpecValue, `job.yaml:1:1: a list where a map of keys and values belongs`, ``},
		"a text":             {"hello\n", jobs.CodeSpecValue, `job.yaml:1:1: a text where a map of keys and values belongs`, ``},
		"no version":         {"run: {wasm: file:./a.wasm}\n", jobs.CodeSpecValue, `job.yaml:1:1: no version`, `version: 1`},
		"another version":    {"version: 2\nrun: {wasm: file:./a.wasm}\n", jobs.CodeSpecValue, `job.yaml:1:10: version 2 is not known`, `version: 1`},
		"no run":             {"version: 1\n", jobs.CodeSpecValue, `job.yaml:1:1: no module to run`, `run: {wasm: file:./program.wasm}`},
		"no module":          {"version: 1\nrun:\n  args: [a]\n", jobs.CodeSpecValue, `job.yaml:3:3: no module to run`, `run: {wasm: file:./program.wasm}`},
		"no value":           {head + "  args:\n", jobs.CodeSpecValue, `job.yaml:4:9: nothing where a list belongs`, ``},
		"number as text":     {head + "  args: [--top, 10]\n", jobs.CodeSpecValue, `job.yaml:4:17: 10 where a text belongs`, `quote it: "10"`},
		"truth as text":      {head + "  env: {A: true}\n", jobs.CodeSpecValue, `job.yaml:4:12: true where a text belongs`, `quote it: "true"`},
		"text as list":       {head + "  outputs: a.txt\n", jobs.CodeSpecValue, `job.yaml:4:12: a text where a list belongs`, ``},
		"text as number":     {head + "priority: high\n", jobs.CodeSpecValue, `job.yaml:4:11: a text where a whole number belongs`, ``},
		"priority":           {head + "priority: 101\n", jobs.CodeSpecValue, `job.yaml:4:11: priority is 0 to 100`, ``},
		"priority below 0":   {head + "priority: -1\n", jobs.CodeSpecValue, `job.yaml:4:11: -1 where a whole number belongs`, ``},
		"size":               {head + "  resources: {memory: 128m}\n", jobs.CodeSpecValue, `job.yaml:4:23: "128m" is not a size`, `128Mi, 1G, or a whole number of bytes, up to 1Ti`},
		"size of 0":          {head + "  resources: {disk: 0}\n", jobs.CodeSpecValue, `job.yaml:4:21: "0" is not a size`, `128Mi, 1G, or a whole number of bytes, up to 1Ti`},
		"cores":              {head + "  resources: {cpu: 0.0001}\n", jobs.CodeSpecValue, `job.yaml:4:20: "0.0001" is not a number of cores`, `0.1, 2, or 500m, in steps of 1m, up to 1024`},
		"time":               {head + "  timeout: 30\n", jobs.CodeSpecValue, `job.yaml:4:12: "30" is not a time`, `30s, 1m30s or 2h, in whole milliseconds, up to 87600h`},
		"deadline":           {head + "  timeout: 2h\ndeadline: 1h\n", jobs.CodeSpecValue, `job.yaml:5:11: the deadline is before the timeout of the run`, ``},
		"fault model":        {head + "  quorum: {faults: liars}\n", jobs.CodeSpecValue, `job.yaml:4:20: "liars" is not a fault model`, `byzantine or crash`},
		"no model's quorum":  {head + "  quorum: {size: 6}\n", jobs.CodeQuorum, `job.yaml:4:18: a byzantine quorum of 6 fits no number of faults`, `size 4 or 7`},
		"quorum":             {head + "  quorum: {size: 5, faults: byzantine}\n", jobs.CodeQuorum, `job.yaml:4:18: a byzantine quorum of 5 fits no number of faults`, `size 4 or 7`},
		"quorum of none":     {head + "  quorum: {size: 0}\n", jobs.CodeSpecValue, `job.yaml:4:18: a quorum has at least 1 member`, ``},
		"reference":          {"version: 1\nrun: {wasm: ./a.wasm}\n", jobs.CodeSpecValue, `job.yaml:2:13: "./a.wasm" is not a reference`, `file:./PATH, cid:CID or builtin:NAME`},
		"cid":                {"version: 1\nrun: {wasm: \"cid:bafy\"}\n", jobs.CodeSpecValue, `job.yaml:2:13: "cid:bafy" is not cid: with a CIDv1 by SHA-256`, ``},
		"folder as module":   {"version: 1\nrun: {wasm: \"file:..\"}\n", jobs.CodeSpecValue, `job.yaml:2:13: ".." is not the name of a program`, ``},
		"program":            {"version: 1\nrun: {wasm: \"cid:" + c + "\", program: a/b}\n", jobs.CodeSpecValue, `job.yaml:2:89: "a/b" is not the name of a program`, ``},
		"builtin as input":   {head + "  inputs: {a: builtin:hello}\n", jobs.CodeSpecValue, `job.yaml:4:15: a builtin is a program, not an input`, `file:./PATH or cid:CID`},
		"input with a slash": {head + "  inputs: {a/b: file:./x}\n", jobs.CodeSpecValue, `job.yaml:4:17: "a/b" is not the name of an entry under /in`, ``},
		"output above":       {head + "  outputs:\n    - ok\n    - ../x\n", jobs.CodeSpecValue, `job.yaml:6:7: "../x" is not a clean path`, `a path below /out, such as counts.json`},
		"variable":           {head + "  env: {\"A=B\": c}\n", jobs.CodeSpecValue, `job.yaml:4:16: "A=B" is not a variable: no '=' in its name, and no zero byte`, ``},
		"a name with a line": {"version: 1\nname: \"a\\nb\"\nrun:\n  wasm: file:./wc.wasm\n", jobs.CodeSpecValue, `job.yaml:2:7: a name holds no control characters`, ``},
		"an escape in label": {head + "  labels: {a: \"\\e[31m\"}\n", jobs.CodeSpecValue, `job.yaml:4:15: a label holds no control characters`, ``},
		"a tab":              {"version: 1\nrun:\n\twasm: file:./wc.wasm\n", jobs.CodeSpecSyntax, `job.yaml:3:1: a tab where spaces belong`, `indent with spaces`},
		"label":              {head + "  labels: {\"\": c}\n", jobs.CodeSpecValue, `job.yaml:4:16: a label has a key of 1 to 64 bytes and a value of at most 256`, ``},
		"zero byte":          {head + "  args: [\"a\\0b\"]\n", jobs.CodeSpecValue, `job.yaml:4:10: an argument holds a zero byte`, ``},
		"many words":         {head + "  args: [\"" + strings.Repeat("x", 41<<10) + "\"]\n", jobs.CodeSpecValue, `job.yaml:3:3: 41990 bytes of arguments, variables and outputs, at most 40960`, `hand large values over as inputs`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := jobs.Parse("job.yaml", []byte(test.file))
			var p *jobs.Problem
			if !errors.As(err, &p) {
				t.Fatalf("got %v, not a problem", err)
			}
			if p.Code != test.code || p.What != test.what || p.Try != test.try {
				t.Errorf("got\n%s\n%s\n%s\nwant\n%s\n%s\n%s", p.Code, p.What, p.Try, test.code, test.what, test.try)
			}
		})
	}
}

func TestQuantitiesAreReadAndWritten(t *testing.T) {
	for text, want := range map[string]uint64{
		"128Mi": 128 << 20, "64MiB": 64 << 20, "1G": 1e9, "2GB": 2e9, "1.5Gi": 3 << 29, "1024": 1024, "7B": 7, "1Ti": 1 << 40, "5k": 5000, "0.5Ki": 512,
	} {
		var s, again jobs.Size
		if err := s.UnmarshalText([]byte(text)); err != nil || uint64(s) != want {
			t.Errorf("%s: got %d, %v; want %d", text, s, err, want)
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%s: written as %s, read as %d, %v", text, s, again, err)
		}
	}
	for _, text := range []string{"", "Mi", "1 000", "-1", "+1", "1e6", "0x10", "1/2", "1Pi", "0.5", "2Ti", "1.Mi", ".5Mi", "1iB", strings.Repeat("9", 40)} {
		if s := jobs.Size(0); s.UnmarshalText([]byte(text)) == nil {
			t.Errorf("size %q was read as %d", text, s)
		}
	}
	for text, want := range map[string]uint64{"0.1": 100, "1": 1000, "500m": 500, "2.5": 2500, "1024": 1024000, "0.001": 1} {
		var c, again jobs.CPU
		if err := c.UnmarshalText([]byte(text)); err != nil || uint64(c) != want {
			t.Errorf("%s: got %d, %v; want %d", text, c, err, want)
		}
		if err := again.UnmarshalText([]byte(c.String())); err != nil || again != c {
			t.Errorf("%s: written as %s, read as %d, %v", text, c, again, err)
		}
	}
	for _, text := range []string{"", "0", "0m", "0.5m", "1025", "-1", "1e3", "one"} {
		if c := jobs.CPU(0); c.UnmarshalText([]byte(text)) == nil {
			t.Errorf("cpu %q was read as %d", text, c)
		}
	}
	for text, want := range map[string]int64{"30s": 30_000, "2h": 7_200_000, "1m30s": 90_000, "1ms": 1, "0.5s": 500} {
		var d jobs.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.Milliseconds() != want {
			t.Errorf("%s: got %d, %v; want %d", text, d.Milliseconds(), err, want)
		}
	}
	for _, text := range []string{"", "0s", "-1s", "1us", "1500us", "1d", "999999h", "soon"} {
		if d := jobs.Duration(0); d.UnmarshalText([]byte(text)) == nil {
			t.Errorf("time %q was read as %v", text, d)
		}
	}
}

// The client sends a file as JSON, so what encoding/json writes must be read
// as the same file, whatever its texts hold.
func TestEveryFileSurvivesTheWayThroughJSON(t *testing.T) {
	text := rapid.StringOf(rapid.RuneFrom([]rune("aé\U0001f600\"'\\/{}[]:,#&*!|>%@` \t\n\r\u2028<~-?=0.\u0001\u007f")))
	label := rapid.Map(text, func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return -1
			}
			return r
		}, s)
	})
	word := rapid.StringMatching(`[a-z]{1,8}`)
	ref := rapid.Map(text, func(s string) jobs.Reference { return jobs.Reference("file:./" + s) })
	rapid.Check(t, func(t *rapid.T) {
		f := &jobs.File{Version: 1, Name: word.Draw(t, "name"), Run: jobs.Run{
			WASM:      jobs.Reference("file:./" + word.Draw(t, "module") + ".wasm"),
			Args:      rapid.SliceOfN(text, 0, 5).Draw(t, "args"),
			Env:       rapid.MapOfN(word, text, 0, 5).Draw(t, "env"),
			Inputs:    rapid.MapOfN(word, ref, 0, 3).Draw(t, "inputs"),
			Resources: jobs.RunResources{CPU: jobs.CPU(rapid.IntRange(0, 9000).Draw(t, "cpu")), Memory: jobs.Size(rapid.Uint64Range(0, 1<<40).Draw(t, "memory"))},
			Labels:    rapid.MapOfN(word, label, 0, 3).Draw(t, "labels"),
		}}
		data, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := jobs.Parse("body", data)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		again, err := json.Marshal(got)
		if err != nil || string(again) != string(data) {
			t.Fatalf("sent %s, read %s, %v", data, again, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	if data, err := os.ReadFile("testdata/wordcount.yaml"); err == nil {
		f.Add(data)
	}
	f.Add([]byte(`{"version":1,"run":{"wasm":"builtin:hello","args":["Ada"]}}`))
	f.Add([]byte("version: 1\nrun:\n  wasm: |\n    file:./a\n  args: [&a b, *a, !c d]\n  env: {? a : b, <<: c}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := jobs.Parse("f", data)
		if err != nil {
			if p := (*jobs.Problem)(nil); !errors.As(err, &p) || p.Code == "" || p.What == "" {
				t.Fatalf("not a problem that a person can read: %#v", err)
			}
			return
		}
		if err := file.Validate(); err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(file); err != nil {
			t.Fatal(err)
		}
	})
}
