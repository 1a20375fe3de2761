package jobs_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/muster-network/muster/jobs"
)

var update = flag.Bool("update", false, "write the golden files")

func TestTheSchemaIsTheOneThatWasPublished(t *testing.T) {
	const golden = "testdata/schema.json"
	if *update {
		if err := os.WriteFile(golden, jobs.Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(jobs.Schema(), want) {
		t.Error("the schema changed; if that is meant: go test ./jobs -update")
	}
}

// Editors judge by the schema and the node by Parse: what the schema can say at
// all, they say alike.
func TestTheSchemaAgreesWithParse(t *testing.T) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(jobs.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(jobs.SchemaID, document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(jobs.SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("testdata/wordcount.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for text, good := range map[string]bool{
		string(example): true,
		"version: 1\nrun: {wasm: builtin:hello}\n":                                                          true,
		"version: 1\nrun: {wasm: file:a, resources: {cpu: 0.1, memory: 1024, disk: 1.5Gi}}\n":               true,
		"version: 1\nrun: {wasm: file:a, resources: {cpu: 500m, memory: 64MiB, disk: 1G}}\n":                true,
		"version: 1\npriority: 0\ndeadline: 2h\nrun: {wasm: file:a, timeout: 1m30s}\n":                      true,
		"version: 1\nrun: {wasm: file:a, quorum: {size: 3, faults: crash}}\n":                               true,
		"version: 1\nrun: {wasm: file:a, quorum: {size: 4, assurance: single}}\n":                           true,
		"version: 1\nrun: {wasm: file:a, quorum: {compare: {float: 1.0e-6, ignore: [/at], text: true}}}\n":  true,
		"version: 1\nrun: {wasm: file:a, quorum: {compare: {float: \"0.5\"}, assurance: majority-equal}}\n": true,
		"version: 1\nrun: {wasm: file:a, quorum: {assurance: sworn}}\n":                                     false,
		"version: 1\nrun: {wasm: file:a, quorum: {compare: {float: near}}}\n":                               false,
		"version: 1\nrun: {wasm: file:a, quorum: {compare: {float: -1}}}\n":                                 false,
		"version: 1\nrun: {wasm: file:a, quorum: {compare: {text: 1}}}\n":                                   false,
		"version: 2\nrun: {wasm: file:a}\n":                                                                 false,
		"run: {wasm: file:a}\n":                                                                             false,
		"version: 1\n":                                                                                      false,
		"version: 1\nrun: {args: [a]}\n":                                                                    false,
		"version: 1\nrun: {wasm: ./a}\n":                                                                    false,
		"version: 1\nrun: {wasm: file:a}\nsteps: {}\n":                                                      false,
		"version: 1\nrun: {wasm: file:a, recources: {}}\n":                                                  false,
		"version: 1\nrun: {wasm: file:a, args: [1]}\n":                                                      false,
		"version: 1\nrun: {wasm: file:a, args: a}\n":                                                        false,
		"version: 1\nrun: {wasm: file:a, env: {A: 1}}\n":                                                    false,
		"version: 1\nrun: {wasm: file:a, inputs: {a: b}}\n":                                                 false,
		"version: 1\nrun: {wasm: file:a, resources: {memory: 128mi}}\n":                                     false,
		"version: 1\nrun: {wasm: file:a, resources: {memory: 0}}\n":                                         false,
		"version: 1\nrun: {wasm: file:a, resources: {cpu: -1}}\n":                                           false,
		"version: 1\nrun: {wasm: file:a, timeout: 30}\n":                                                    false,
		"version: 1\nrun: {wasm: file:a, quorum: {size: 0}}\n":                                              false,
		"version: 1\nrun: {wasm: file:a, quorum: {faults: liars}}\n":                                        false,
		"version: 1\npriority: 101\nrun: {wasm: file:a}\n":                                                  false,
		"version: 1\nrun: {wasm: file:a, labels: [a]}\n":                                                    false,
	} {
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); (err == nil) != good {
			t.Errorf("%s\nthe schema says %v", text, err)
		}
		if _, err := jobs.Parse("f", []byte(text)); (err == nil) != good {
			t.Errorf("%s\nParse says %v", text, err)
		}
	}
}
