package testnet_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
	"github.com/muster-network/muster/testnet"
)

// counted makes a job an array of so many tasks.
func counted(f *jobs.File, count uint64) *jobs.File {
	f.Run.Array = &jobs.RunArray{Count: &count}
	return f
}

// array reads a certified array result through a node.
func (n *network) array(number int, cert client.Certified) *client.Array {
	n.t.Helper()
	a, err := n.client(number).Array(n.ctx, cert)
	n.must(err)
	return a
}

// wrote returns what a task wrote into a file of its result, through a node.
func (n *network) wrote(a *client.Array, task, path string) string {
	n.t.Helper()
	t, err := a.Find(task)
	n.must(err)
	var out bytes.Buffer
	n.must(a.ReadFile(n.ctx, t, path, &out))
	return out.String()
}

func TestTenThousandTasksAreCertifiedByOneAgreementAndEachIsProvenAlone(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 5})
	file := counted(module(t, "hello", asm.Hello().Module(), "Ada"), 10_000)
	job, cert := n.ended(1, n.submit(1, file, "").ID)
	if job.State != jobs.Succeeded || job.Array == nil || job.Array.Tasks != 10_000 || job.Array.Failed != 0 {
		t.Fatalf("%+v\n%s", job.Array, states(job))
	}
	_, others := n.numbers(job) // whoever is no member fetches it in a few blocks
	a := n.array(others[0], cert)
	if len(a.Tasks) != 10_000 || n.wrote(a, "9999", "stdout") != "Hello, Ada\n" || n.wrote(a, "17", "exit") != "0\n" {
		t.Errorf("%d tasks", len(a.Tasks))
	}
	dir := filepath.Join(t.TempDir(), "out")
	socket := n.node(others[0]).Socket
	if code, _, chatter := muster(t, "", "--socket", socket, "result", job.ID, "--task", "17", "-o", dir); code != 0 {
		t.Fatalf("result: exit %d\n%s", code, chatter)
	}
	if code, out, _ := muster(t, "", "--socket", socket, "ps"); code != 0 || !strings.Contains(out, "TASKS") || !strings.Contains(out, "10000") {
		t.Errorf("ps: exit %d\n%s", code, out)
	}
	genesis, bundle := filepath.Join(t.TempDir(), "genesis"), filepath.Join(t.TempDir(), "job.bundle")
	n.must(os.WriteFile(genesis, n.genesis, 0o600))
	if code, _, chatter := muster(t, "", "--socket", socket, "result", job.ID, "--bundle", bundle); code != 0 {
		t.Errorf("bundle: exit %d\n%s", code, chatter)
	}
	for _, node := range n.Nodes {
		n.must(node.Kill())
	}
	if code, out, chatter := muster(t, "", "verify", bundle, "--network", genesis, "--task", "17", "--result", dir); code != 0 ||
		!strings.Contains(out, "10000 tasks, result matches "+dir) || !strings.Contains(out, "draw: checked against the roll") {
		t.Errorf("verify of the bundle: exit %d\n%s%s", code, out, chatter)
	}
	proof := filepath.Join(dir, "task-17.proof")
	code, out, chatter := muster(t, "", "verify", proof, "--network", genesis)
	if code != 0 || !strings.Contains(out, "VALID, checked offline") || !strings.Contains(out, "result matches "+dir) || !strings.Contains(out, "task 0017 (17 of 10000): result baf") {
		t.Errorf("verify: exit %d\n%s%s", code, out, chatter)
	}
	checkFlips(t, proof, n.genesis)
	n.must(os.WriteFile(filepath.Join(dir, "stdout"), []byte("Hello, Eve!\n"), 0o600))
	if code, out, _ := muster(t, "", "verify", proof, "--network", genesis); code != 8 {
		t.Errorf("verify of another output: exit %d\n%s", code, out)
	}
}

// checkFlips changes every byte of a proof, one at a time.
func checkFlips(t *testing.T, path string, genesis []byte) {
	t.Helper()
	proof, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := consensus.VerifyTaskProof(proof, genesis); err != nil {
		t.Fatal(err)
	}
	for i := range proof {
		proof[i] ^= 0x10
		if _, err := consensus.VerifyTaskProof(proof, genesis); err == nil {
			t.Errorf("byte %d of %d flipped: accepted", i, len(proof))
		}
		proof[i] ^= 0x10
	}
}

func TestAFailingTaskIsNamedAndTheOthersGoOn(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4})
	file := guest(t)
	file.Run.Timeout, file.Run.Resources.Memory = jobs.Duration(3e9), 64<<20
	file.Run.Array = &jobs.RunArray{Args: []jobs.Words{{"echo", "a"}, {"exit", "3"}, {"loop"}, {"hog"}, {"flood", "stdout"}, {"echo", "b"}}}
	job, cert := n.ended(1, n.submit(1, file, "").ID)
	v := cert.Verdict.Value
	if job.State != jobs.Failed || v.Class != consensus.FailedTasks || v.Code != 4 || job.Array.Failed != 4 {
		t.Fatalf("certified: %s, %+v\n%s", v, job.Array, states(job))
	}
	job, err := n.client(2).Job(n.ctx, job.ID)
	n.must(err)
	var named []string
	for _, f := range job.Array.Failures {
		named = append(named, fmt.Sprintf("%d %s %s %d", f.Index, f.Name, f.Class, f.Code))
	}
	if want := []string{"1 1 exit 3", "2 2 timeout 0", "3 3 exit 2", "4 4 limit 3"}; !slices.Equal(named, want) {
		t.Errorf("named %q, want %q", named, want)
	}
	a := n.array(3, cert)
	if n.wrote(a, "5", "stdout") != "b\n" || n.wrote(a, "1", "exit") != "3\n" || !strings.HasPrefix(n.wrote(a, "4", "stdout"), "0123456789") {
		t.Error("the others did not go on")
	}
	socket := n.Nodes[1].Socket
	code, out, chatter := muster(t, "", "--socket", socket, "status", job.ID)
	if code != 0 || !strings.Contains(out, "failed, certified") || !strings.Contains(out, "4 of 6 tasks failed") || !strings.Contains(out, "task 1 (1) failed exit 3") {
		t.Errorf("status: exit %d\n%s%s", code, out, chatter)
	}
	if code, _, chatter := muster(t, "", "--socket", socket, "result", job.ID, "--task", "2"); code != 4 || !strings.Contains(chatter, "it ended failed timeout") {
		t.Errorf("result of a task without one: exit %d\n%s", code, chatter)
	}
	if code, _, chatter := muster(t, "", "--socket", socket, "result", job.ID, "--task", "6"); code != 4 || !strings.Contains(chatter, "from 0 (0) to 5 (5)") {
		t.Errorf("result of no task: exit %d\n%s", code, chatter)
	}
	yaml := "version: 1\nrun: {wasm: builtin:hello, resources: {cpu: 0.1}, array: {count: 3}}\n"
	if code, out, chatter := muster(t, yaml, "--socket", socket, "run", "-"); code != 0 || out != strings.Repeat("Hello, World\n", 3) || !strings.Contains(chatter, "3 tasks") {
		t.Errorf("run: exit %d\n%s%s", code, out, chatter)
	}
}

func TestALieAboutOneTaskIsOutvotedAndTheTaskNamed(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4, Lie: 1})
	liar := n.Nodes[3]
	for try := range lieTries {
		file := hello(fmt.Sprint("Ada ", try), 4)
		file.Run.Array = &jobs.RunArray{Args: []jobs.Words{{}, {"x"}, {"y"}}}
		job, cert := n.ended(1, n.submit(1, file, "").ID)
		if job.State != jobs.Succeeded {
			t.Fatal(states(job))
		}
		if out := n.wrote(n.array(2, cert), "1", "stdout"); out != fmt.Sprintf("Hello, Ada %d\n", try) {
			t.Fatalf("a lie is certified: %q", out)
		}
		seat := slices.IndexFunc(job.Members, func(m jobs.Member) bool { return m.Peer == liar.Peer })
		if job.Members[seat].Role != "executor" {
			continue
		}
		checkOutvoted(t, job, seat)
		for number := 1; number <= 4; number++ {
			job, err := n.client(number).Job(n.ctx, job.ID)
			n.must(err)
			differs := job.Members[seat].Differs
			if len(differs) != 1 || differs[0].Index != 1 || differs[0].Name != "1" {
				t.Errorf("n%d: the liar differs by %+v", number, differs)
			}
		}
		if code, out, _ := muster(t, "", "--socket", n.Nodes[1].Socket, "status", job.ID); code != 0 || !strings.Contains(out, "DISAGREES at 1 (1)") {
			t.Fatalf("status: exit %d\n%s", code, out)
		}
		return
	}
	t.Fatalf("in %d jobs the liar was never an executor", lieTries)
}

func TestAnArrayOutlivesAnExecutorThatDiesInTheMiddle(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4})
	job := n.submit(1, counted(spin(t, 1<<22), 200), "")
	var victim int
	n.until(1, job.ID, "an executor is in the middle", func(j api.Job) bool {
		members, _ := n.numbers(j)
		for seat, m := range j.Members {
			if m.Done > 0 && m.Report == "" && members[seat] != 1 {
				victim = members[seat]
			}
		}
		return victim != 0
	})
	n.must(n.node(victim).Kill())
	ended, cert := n.ended(1, job.ID)
	if ended.State != jobs.Succeeded || ended.Array.Tasks != 200 {
		t.Fatal(states(ended))
	}
	a := n.array(1, cert)
	for _, task := range []string{"000", "100", "199"} {
		if out := n.wrote(a, task, "stdout"); out != "spun\n" {
			t.Errorf("task %s wrote %q", task, out)
		}
	}
	n.must(n.node(victim).Start(n.ctx))
	if _, cert := n.ended(victim, job.ID); !cert.IsArray() {
		t.Error("the executor that came back knows another outcome")
	}
}

// An executor keeps results when they took seconds. How many tasks that are depends
// on the machine, so it is killed later and later, until it had kept some.
func TestAnExecutorThatIsKilledGoesOnWithTheTasksThatItKept(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4})
	job := n.submit(1, counted(spin(t, 1<<22), 10_000), "")
	seat := -1
	members, _ := n.numbers(n.until(1, job.ID, "an executor is in the middle", func(j api.Job) bool {
		members, _ := n.numbers(j)
		for at, m := range j.Members {
			if m.Done > 0 && members[at] != 1 {
				seat = at
			}
		}
		return seat >= 0
	}))
	victim := n.node(members[seat])
	runs := func(number int, tasks uint64) {
		n.until(number, job.ID, fmt.Sprint(tasks, " tasks are done"), func(j api.Job) bool { return j.Members[seat].Done >= tasks })
	}
	for tasks := uint64(64); !strings.Contains(n.log(victim), "array goes on"); tasks *= 2 {
		runs(1, tasks)
		n.must(victim.Kill())
		n.must(victim.Start(n.ctx))
		runs(victim.Number, 1)
	}
	if _, err := n.client(1).Cancel(n.ctx, job.ID); err != nil {
		t.Fatal(err)
	}
	if ended, _ := n.ended(victim.Number, job.ID); ended.State != jobs.Cancelled {
		t.Fatal(states(ended))
	}
}

func TestEachTaskSeesItsOwnInput(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 5})
	pages := t.TempDir()
	want := map[string]string{"a.txt": "first", "b.txt": strings.Repeat("large ", 20_000), "c": "in a folder", "d.txt": ""}
	for name, text := range want {
		path := filepath.Join(pages, name)
		if name == "c" {
			n.must(os.Mkdir(path, 0o700))
			path = filepath.Join(path, "page")
		}
		n.must(os.WriteFile(path, []byte(text), 0o600))
	}
	n.must(os.WriteFile(filepath.Join(pages, ".hidden"), nil, 0o600))
	shared := filepath.Join(pages, "a.txt")
	file := guest(t, "copy", "/in/page", "/out/page")
	file.Run.Inputs = map[string]jobs.Reference{"all": jobs.Reference("file:" + shared)}
	file.Run.Array = &jobs.RunArray{Inputs: map[string]jobs.Reference{"page": jobs.Reference("file:" + pages)}}
	job, cert := n.ended(1, n.submit(1, file, "").ID)
	_, others := n.numbers(job)
	a := n.array(others[0], cert)
	if job.Array.Failed != 1 || len(a.Tasks) != 4 { // a folder cannot be copied as a file
		t.Fatalf("%+v\n%s", job.Array, states(job))
	}
	for name, text := range want {
		if name == "c" {
			if out := n.wrote(a, name, "stderr"); !strings.Contains(out, "/in/page") {
				t.Errorf("a folder: %q", out)
			}
		} else if out := n.wrote(a, name, "out/page"); out != text {
			t.Errorf("%s came back with %d bytes of %d", name, len(out), len(text))
		}
	}
	dir := filepath.Join(t.TempDir(), "all")
	socket := n.node(others[0]).Socket
	if code, _, chatter := muster(t, "", "--socket", socket, "result", job.ID, "-o", dir); code != 0 {
		t.Fatalf("result: exit %d\n%s", code, chatter)
	}
	for _, name := range []string{"a.txt", "b.txt", "d.txt"} {
		if data, err := os.ReadFile(filepath.Join(dir, "tasks", name, "out", "page")); err != nil || string(data) != want[name] {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
	}
	genesis := filepath.Join(t.TempDir(), "genesis")
	n.must(os.WriteFile(genesis, n.genesis, 0o600))
	if code, out, chatter := muster(t, "", "verify", filepath.Join(dir, "job.cert"), "--network", genesis); code != 0 {
		t.Errorf("verify: exit %d\n%s%s", code, out, chatter)
	}
	// The same files under a pattern are the same task, to the last byte.
	file.Run.Array.Inputs["page"] = jobs.Reference("file:" + pages + "/*")
	if again := n.submit(2, file, ""); again.Task != job.Task {
		t.Errorf("task %s, and by a pattern %s", job.Task, again.Task)
	}
}
