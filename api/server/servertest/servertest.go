// Package servertest is a network in memory, as the API server sees one: what
// is submitted ends at once, as a script says, with a result tree and a
// certificate that verify. It serves the tests of server, client and commands.
package servertest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/storetest"
	"github.com/muster-network/muster/store/tree"
)

// Now is the time of everything that happens here: 2026-01-01T00:00:00Z, in
// Unix milliseconds.
const Now = 1_767_225_600_000

// members is the size of the network and of every quorum in it, of which one
// may lie.
const members = 4

// Run is how a job ends, and how it gets there.
type Run struct {
	Value  consensus.Value // without its tree, which Result makes
	Result tree.Result
	Logs   []api.LogChunk
	Hold   <-chan struct{} // the job runs until it is closed; nil: it ends at once
	Liar   bool            // one executor reports something else
	Refuse error           // the submission is refused
	Tamper bool            // the certificate is altered on its way out
	Swap   bool            // its bundle is that of the network's first job
	Tell   func(*jobs.Job) // what the node says otherwise of the job once it has ended

	Stalled *jobs.Stalled // while it is held
	Tasks   int           // likewise: it is an array of so many
	Done    uint64        // of them, one member says

	Ends   []tree.Result // of the tasks of an array job, in the place of Value and Result
	Forged bool          // its pages say something else than its root stands for
}

// Network is the network, seen from its first node. Script says what a job
// does; it is called for each submission and must be set before.
type Network struct {
	Script func(*jobs.File) Run

	Blocks       storetest.Memory
	GenesisBytes []byte
	Stopped      chan struct{} // closed when the node was told to stop

	id      admission.Network
	founded admission.Genesis
	policy  consensus.Hash // its digest
	roll    []byte
	signers []admission.KeySigner
	stop    sync.Once

	mu   sync.Mutex
	jobs []*job // oldest first
}

type job struct {
	told jobs.Job
	cert []byte
	run  Run
	done chan struct{}
	key  string
	file *jobs.File
}

// New makes a network of four nodes whose keys are always the same.
func New(script func(*jobs.File) Run) *Network {
	n := &Network{Script: script, Stopped: make(chan struct{})}
	g := admission.Genesis{V: admission.Version, Name: "lab", Created: Now, Nonce: make([]byte, 16), Testnet: true, Policy: admission.DefaultPolicy()}
	for i := range members {
		seed := sha256.Sum256([]byte{'n', byte(i)})
		n.signers = append(n.signers, admission.NewKeySigner(ed25519.NewKeyFromSeed(seed[:])))
	}
	g.Authorities = []admission.Key{n.signers[0].Key()}
	n.GenesisBytes, n.id = must2(g.Seal())
	n.founded, n.policy = g, must(g.Policy.Digest(n.id))
	n.roll = must(n.enroll())
	return n
}

// Config returns a server's config with this network behind every interface.
func (n *Network) Config() server.Config {
	return server.Config{Jobs: n, Control: n, Results: n, Evidence: n, Blobs: n, Network: n, Events: n, Node: n, Version: "test"}
}

// Submit implements server.Jobs.
func (n *Network) Submit(ctx context.Context, file *jobs.File, o server.SubmitOptions) (jobs.Job, error) {
	run := n.Script(file)
	if run.Refuse != nil {
		return jobs.Job{}, run.Refuse
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, j := range n.jobs {
		if o.Key != "" && j.key == o.Key {
			return j.tell(), nil
		}
	}
	j := &job{run: run, key: o.Key, file: file, done: make(chan struct{})}
	if err := n.certify(ctx, j, file); err != nil {
		return jobs.Job{}, err
	}
	j.told.Stalled = run.Stalled
	if run.Tasks > 0 {
		j.told.Array, j.told.Members[0].Done = &jobs.ArrayState{Tasks: run.Tasks}, run.Done
	}
	n.jobs = append(n.jobs, j)
	if run.Hold == nil {
		n.finish(j)
	}
	return j.tell(), nil
}

// tell is what the node says of j; the caller holds the lock.
func (j *job) tell() jobs.Job {
	told := j.told
	told.Members = slices.Clone(told.Members)
	if j.run.Tell != nil && told.State.Terminal() {
		outcome := *told.Outcome
		told.Outcome = &outcome
		j.run.Tell(&told)
	}
	return told
}

// finish makes j terminal; the caller holds the lock.
func (n *Network) finish(j *job) {
	if j.told.State.Terminal() {
		return
	}
	v := j.run.Value
	j.told.Stalled, j.told.Array = nil, nil
	j.told.State = map[consensus.Ending]jobs.State{consensus.Result: jobs.Succeeded, consensus.Failed: jobs.Failed, consensus.Cancelled: jobs.Cancelled}[v.Kind]
	j.told.Finished = j.told.Issued + 40
	j.told.Outcome = &jobs.Outcome{Kind: strings.ToLower(string(j.told.State)), Code: int(v.Code), Signed: members - 1}
	if v.Kind == consensus.Result {
		j.told.Outcome.Kind = "result"
	}
	if v.Kind == consensus.Failed {
		j.told.Outcome.Class = v.Class.String()
	}
	report := v.String()
	if v.Tree != nil {
		j.told.Outcome.Result = v.Tree.String()
		report = v.Tree.String()
	}
	for i := range j.told.Members {
		m := &j.told.Members[i]
		m.Signed = i < members-1
		if m.Role == "voter" || v.Kind == consensus.Cancelled {
			continue
		}
		m.Report, m.Use = report, map[string]uint64{"wall_ns": 20_000_000 + uint64(i)*1_000_000}
		if j.run.Liar && i == members-1 {
			m.Report, m.Disagrees = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", true
		}
	}
	close(j.done)
}

// wait ends a held job when its script lets go; ctx bounds the wait.
func (n *Network) wait(ctx context.Context, j *job) {
	select {
	case <-j.done:
	case <-j.run.Hold:
		n.mu.Lock()
		n.finish(j)
		n.mu.Unlock()
	case <-ctx.Done():
	}
}

// Job implements server.Jobs.
func (n *Network) Job(_ context.Context, id string) (jobs.Job, error) {
	j, err := n.find(id)
	if err != nil {
		return jobs.Job{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return j.tell(), nil
}

func (n *Network) find(id string) (*job, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	byID := map[string]*job{}
	for _, j := range n.jobs {
		byID[j.told.ID], byID[j.told.Request] = j, j
	}
	match, err := jobs.MatchPrefix(id, slices.Sorted(maps.Keys(byID)))
	return byID[match], err
}

// List implements server.Jobs.
func (n *Network) List(_ context.Context, q server.ListQuery) (page []jobs.Job, next string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	skip := q.Cursor != ""
	for _, j := range slices.Backward(n.jobs) {
		skip = skip && j.told.ID != q.Cursor
		if skip {
			continue
		}
		if q.State != "" && j.told.State != q.State || q.Stalled && j.told.Stalled == nil {
			continue
		}
		if key, value, exact := strings.Cut(q.Label, "="); q.Label != "" {
			if have, ok := j.told.Labels[key]; !ok || exact && have != value {
				continue
			}
		}
		if len(page) == q.Limit {
			return page, j.told.ID, nil
		}
		page = append(page, j.tell())
	}
	return page, "", nil
}

// Wait implements server.Jobs.
func (n *Network) Wait(ctx context.Context, id string) (jobs.Job, error) {
	j, err := n.find(id)
	if err != nil {
		return jobs.Job{}, err
	}
	n.wait(ctx, j)
	return n.Job(ctx, j.told.ID)
}

// Cancel implements server.Control: a held job ends as its script said, only
// sooner.
func (n *Network) Cancel(ctx context.Context, id string) (jobs.Job, error) {
	j, err := n.find(id)
	if err != nil {
		return jobs.Job{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if j.told.State.Terminal() {
		return jobs.Job{}, &jobs.Problem{Code: jobs.CodeConflict, What: "the job has ended already", Why: "it " + string(j.told.State)}
	}
	n.finish(j)
	return j.tell(), nil
}

// Retry implements server.Control: a job that did not succeed runs once more, as
// it did before.
func (n *Network) Retry(ctx context.Context, id string) (jobs.Job, error) {
	old, err := n.find(id)
	if err != nil {
		return jobs.Job{}, err
	}
	n.mu.Lock()
	told := old.told
	n.mu.Unlock()
	if !told.State.Terminal() || told.State == jobs.Succeeded {
		return jobs.Job{}, &jobs.Problem{Code: jobs.CodeConflict, What: "the job has succeeded, or has not ended", Try: "muster wait"}
	}
	next, err := n.Submit(ctx, old.file, server.SubmitOptions{})
	next.Supersedes = told.ID
	return next, err
}

// Certificate implements server.Results.
func (n *Network) Certificate(_ context.Context, id string) ([]byte, error) {
	j, err := n.find(id)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !j.told.State.Terminal() {
		return nil, &jobs.Problem{Code: jobs.CodeNotDone, What: "the job has no outcome yet", Why: "it is " + string(j.told.State), Try: "muster wait"}
	}
	data := slices.Clone(j.cert)
	if j.run.Tamper {
		data[len(data)/2] ^= 1
	}
	return data, nil
}

// Bundle implements server.Results.
func (n *Network) Bundle(ctx context.Context, id string) ([]byte, error) {
	j, err := n.find(id)
	if err != nil {
		return nil, err
	}
	if j.run.Swap {
		id = n.first()
	}
	data, err := n.Certificate(ctx, id)
	if err != nil {
		return nil, err
	}
	cert, err := consensus.OpenCertificate(data)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := consensus.WriteBundle(&out, n.id, cert, n.roll); err != nil {
		return nil, err
	}
	if t := cert.Outcome.Value.Tree; t != nil {
		err = tree.WriteCAR(ctx, &out, &n.Blocks, t.Cid, tree.Limits{Bytes: api.MaxBundleOutput, Blocks: api.MaxBundleBlocks})
	}
	return out.Bytes(), err
}

func (n *Network) first() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.jobs[0].told.ID
}
