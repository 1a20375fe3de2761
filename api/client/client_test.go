package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/api/server/servertest"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/storetest"
	"github.com/muster-network/muster/store/tree"
)

// connect serves a network on a socket and returns a client of it.
func connect(t *testing.T, script func(*jobs.File) servertest.Run) (*client.Client, *servertest.Network) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	n := servertest.New(script)
	config := n.Config()
	config.Log = slog.New(slog.DiscardHandler)
	s, err := server.New(config)
	if err != nil {
		t.Fatal(err)
	}
	l, err := server.ListenUnix(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	c, err := client.New(client.Config{Address: "unix:" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, before)
	})
	return c, n
}

func hello(args ...string) *jobs.File { return jobs.FileFor("builtin:hello", args) }

func problem(err error) *jobs.Problem {
	p := new(jobs.Problem)
	if !errors.As(err, &p) {
		return &jobs.Problem{}
	}
	return p
}

func TestAJobIsFollowedToACertifiedResult(t *testing.T) {
	hold := make(chan struct{})
	c, _ := connect(t, func(f *jobs.File) servertest.Run {
		run := servertest.Hello(f)
		run.Hold = hold
		run.Logs = []api.LogChunk{{Member: "m", Stream: "stdout", Data: []byte("Hello")}}
		return run
	})
	job, err := c.Submit(t.Context(), hello("Ada"), client.SubmitOptions{Key: "one"})
	if err != nil || job.State != jobs.Running {
		t.Fatalf("%+v: %v", job, err)
	}
	if _, err := c.Certificate(t.Context(), job.ID); problem(err).Code != jobs.CodeNotDone {
		t.Errorf("certificate of a running job: %v", err)
	}
	var logs bytes.Buffer
	err = c.Logs(t.Context(), job.ID, client.LogOptions{Follow: true}, func(chunk api.LogChunk) error {
		if logs.Write(chunk.Data); chunk.Member != "" {
			close(hold)
		}
		return nil
	})
	if err != nil || logs.String() != "Hello, Ada\n" {
		t.Errorf("logs %q: %v", logs.String(), err)
	}
	if job, err = c.Wait(t.Context(), job.ID[:30]); err != nil || job.State != jobs.Succeeded {
		t.Fatalf("%+v: %v", job, err)
	}
	cert, err := c.Certificate(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	result, ok := cert.Result()
	if !ok || result != job.Outcome.Result || len(cert.Verdict.Signers) != 3 {
		t.Errorf("%+v", cert.Verdict)
	}
	var out bytes.Buffer
	if err := c.ReadFile(t.Context(), cert, "stdout", &out); err != nil || out.String() != "Hello, Ada\n" {
		t.Errorf("%q: %v", out.String(), err)
	}
	dir := filepath.Join(t.TempDir(), "result")
	if err := c.ReadTree(t.Context(), cert, dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"out/greeting.txt": "Hello, Ada\n", "stdout": "Hello, Ada\n", "stderr": "", "exit": "0\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q: %v", name, got, err)
		}
	}
	if err := c.ReadTree(t.Context(), cert, dir); !errors.Is(err, os.ErrExist) {
		t.Errorf("over files that are there: %v", err)
	}
}

// certified is a certificate, as if it had verified, of a result of a job with
// limits.
func certified(root cid.Cid, limits consensus.Limits) client.Certified {
	link := dagcbor.LinkTo(root)
	return client.Certified{Verdict: consensus.Verdict{Charter: &consensus.Charter{Limits: limits},
		Value: consensus.Value{Kind: consensus.Result, Tree: &link}}}
}

func TestLargeFilesAndDeepFoldersComeBackWhole(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 200_000) // over 3 MiB: four leaves
	c, n := connect(t, servertest.Hello)
	made, err := tree.WriteResult(t.Context(), &n.Blocks, tree.Result{Out: []tree.File{{Path: "a/b/big", Data: big}, {Path: "empty"}}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert := certified(made.Root, consensus.Limits{Output: uint64(len(big))})
	if err := c.ReadTree(t.Context(), cert, dir); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "out", "a", "b", "big")); err != nil || !bytes.Equal(got, big) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	if err := c.ReadFile(t.Context(), cert, "out/none", io.Discard); problem(err).Code != jobs.CodeNotFound {
		t.Errorf("a file that is not there: %v", err)
	}
}

// inner makes a block of a folder, or inside a file, that names another one under
// each of the names.
func inner(t *testing.T, folder bool, to cid.Cid, names ...string) blocks.Block {
	t.Helper()
	var block []byte
	for _, name := range names {
		link := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), to.Bytes())
		link = protowire.AppendBytes(protowire.AppendTag(link, 2, protowire.BytesType), []byte(name))
		block = protowire.AppendBytes(protowire.AppendTag(block, 2, protowire.BytesType), link)
	}
	kind := uint64(2)
	if folder {
		kind = 1
	}
	data := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), kind)
	block = protowire.AppendBytes(protowire.AppendTag(block, 1, protowire.BytesType), data)
	return storetest.Block(t, cid.DagProtobuf, block)
}

// count counts what is written to it.
type count int

func (c *count) Write(p []byte) (int, error) {
	*c += count(len(p))
	return len(p), nil
}

func TestAFewCertifiedBlocksDoNotStandForFilesWithoutEnd(t *testing.T) {
	c, n := connect(t, servertest.Hello)
	leaf, err := tree.WriteFile(t.Context(), &n.Blocks, bytes.NewReader(make([]byte, 1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	put := func(b blocks.Block) cid.Cid {
		t.Helper()
		if err := n.Blocks.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		return b.Cid()
	}
	file := leaf.Root
	for range 7 {
		file = put(inner(t, false, file, make([]string, 174)...))
	}
	root := put(inner(t, true, file, "stdout"))
	limits := consensus.Limits{Output: 4 << 20, Stream: 1 << 20}
	var written count
	err = c.ReadFile(t.Context(), certified(root, limits), "stdout", &written)
	if problem(err).Code != jobs.CodeCertificate || written > 24<<20 {
		t.Errorf("%d bytes of stdout: %v", written, err)
	}
	dir := filepath.Join(t.TempDir(), "result")
	if err = c.ReadTree(t.Context(), certified(root, limits), dir); problem(err).Code != jobs.CodeCertificate {
		t.Errorf("a folder with such a file: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "stdout")); err != nil || info.Size() > 24<<20 {
		t.Errorf("%+v: %v", info, err)
	}
}

// altered serves other bytes than a CID names.
type altered struct{ *servertest.Network }

func (a altered) Block(ctx context.Context, c string) ([]byte, error) {
	data, err := a.Network.Block(ctx, c)
	if err == nil && len(data) > 0 {
		data[len(data)-1] ^= 1
	}
	return data, err
}

func TestBytesThatAreNotTheCertifiedOnesAreRefused(t *testing.T) {
	n := servertest.New(servertest.Hello)
	config := n.Config()
	config.Blobs, config.Log = altered{n}, slog.New(slog.DiscardHandler)
	s, err := server.New(config)
	if err != nil {
		t.Fatal(err)
	}
	l, err := server.ListenUnix(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	defer func() { cancel(); <-ended }()
	c, err := client.New(client.Config{Address: "unix:" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	job, err := c.Submit(t.Context(), hello(), client.SubmitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := c.Certificate(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ReadFile(t.Context(), cert, "stdout", io.Discard); problem(err).Code != jobs.CodeCertificate {
		t.Errorf("altered bytes: %v", err)
	}
}

func TestCertificatesAreVerifiedHereWhateverTheNodeSays(t *testing.T) {
	tamper := false
	c, n := connect(t, func(f *jobs.File) servertest.Run {
		run := servertest.Hello(f)
		run.Tamper = tamper
		return run
	})
	good, err := c.Submit(t.Context(), hello(), client.SubmitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tamper = true
	bad, err := c.Submit(t.Context(), hello(), client.SubmitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Certificate(t.Context(), bad.ID); problem(err).Code != jobs.CodeCertificate {
		t.Errorf("an altered certificate: %v", err)
	}
	cert, err := c.Certificate(t.Context(), good.Request)
	if err != nil {
		t.Fatalf("by request id: %v", err)
	}
	if _, err := client.Verify(cert.Bytes, n.GenesisBytes); err != nil {
		t.Error(err)
	}
	g := bytes.Clone(n.GenesisBytes)
	g[bytes.Index(g, []byte("lab"))] ^= 1
	if _, err := client.Verify(cert.Bytes, g); problem(err).Code != jobs.CodeCertificate {
		t.Errorf("against another network's genesis: %v", err)
	}
}

func TestACertificateOfAnotherJobIsRefused(t *testing.T) {
	c, n := connect(t, servertest.Hello)
	first, err := c.Submit(t.Context(), hello(), client.SubmitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := n.Config()
	config.Results, config.Log = swapped{n, first.ID}, slog.New(slog.DiscardHandler)
	s, err := server.New(config)
	if err != nil {
		t.Fatal(err)
	}
	l, err := server.ListenTCP("127.0.0.1:0", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Guarded = false
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	defer func() { cancel(); <-ended }()
	other, err := client.New(client.Config{Address: "http://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	second, err := other.Submit(t.Context(), hello(), client.SubmitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Certificate(t.Context(), second.ID); problem(err).Code != jobs.CodeCertificate {
		t.Errorf("another job's certificate: %v", err)
	}
}

// swapped answers every question for a certificate with one job's.
type swapped struct {
	*servertest.Network
	id string
}

func (s swapped) Certificate(ctx context.Context, _ string) ([]byte, error) {
	return s.Network.Certificate(ctx, s.id)
}

func TestFilesAndFoldersAreStoredBeforeTheyAreNamed(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("prog.wasm", "module")
	write("books/a/one.txt", "one")
	write("books/two.txt", "two")
	var got *jobs.File
	c, n := connect(t, func(f *jobs.File) servertest.Run {
		got = f
		return servertest.Hello(f)
	})
	file, err := jobs.Parse("job.yaml", []byte("version: 1\nrun:\n  wasm: file:./prog.wasm\n  inputs: {books: file:./books}\n"))
	if err != nil {
		t.Fatal(err)
	}
	uploads := 0
	_, err = c.Submit(t.Context(), file, client.SubmitOptions{Dir: dir, Put: func(jobs.Ref, api.Blob) { uploads++ }})
	if err != nil {
		t.Fatal(err)
	}
	module, inputs, err := got.Sources()
	if err != nil || uploads != 2 || len(inputs) != 1 || got.Program() != "prog.wasm" {
		t.Fatalf("%d uploads, %+v: %v", uploads, got.Run, err)
	}
	if data, err := n.Blocks.Get(t.Context(), module); err != nil || string(data) != "module" {
		t.Errorf("module %q: %v", data, err)
	}
	files, err := tree.Read(t.Context(), &n.Blocks, inputs[0].CID, tree.Limits{Bytes: 1 << 20, Blocks: 100})
	if err != nil || len(files) != 2 || files[0].Path != "a/one.txt" || string(files[1].Data) != "two" {
		t.Errorf("%+v: %v", files, err)
	}
	if string(file.Run.WASM) != "file:./prog.wasm" {
		t.Error("the caller's file was changed")
	}

	if err := os.Symlink("/etc", filepath.Join(dir, "books", "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Submit(t.Context(), file, client.SubmitOptions{Dir: dir}); problem(err).Code != jobs.CodeSpecFile {
		t.Errorf("a folder with a link: %v", err)
	}
	if _, err := c.Submit(t.Context(), file, client.SubmitOptions{Dir: t.TempDir()}); problem(err).Code != jobs.CodeSpecFile ||
		!strings.HasPrefix(err.Error(), "job.yaml:3:") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestANodeThatIsNotThereIsToldApart(t *testing.T) {
	dir := t.TempDir()
	ask := func(address string) *jobs.Problem {
		t.Helper()
		c, err := client.New(client.Config{Address: address})
		if err != nil {
			return problem(err)
		}
		defer c.Close()
		_, err = c.Node(t.Context())
		return problem(err)
	}
	if p := ask("unix:" + filepath.Join(dir, "none")); p.Code != jobs.CodeNodeDown || !strings.Contains(p.Why, "no socket") {
		t.Errorf("%+v", p)
	}
	left, err := net.Listen("unix", filepath.Join(dir, "left"))
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = left.Close()
	if p := ask("unix:" + filepath.Join(dir, "left")); p.Code != jobs.CodeNodeDown || !strings.Contains(p.Why, "left over") {
		t.Errorf("%+v", p)
	}
	if p := ask("ftp://x"); p.Code != jobs.CodeUsage {
		t.Errorf("%+v", p)
	}
}

func TestAWaitThatIsCutShortIsTheCallersError(t *testing.T) {
	c, _ := connect(t, func(f *jobs.File) servertest.Run {
		run := servertest.Hello(f)
		run.Hold = make(chan struct{})
		run.Value = consensus.Value{Kind: consensus.Cancelled}
		return run
	})
	job, err := c.Submit(t.Context(), hello(), client.SubmitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Wait(ctx, job.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := c.Cancel(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	if job, err = c.Wait(t.Context(), job.ID); err != nil || job.State != jobs.Cancelled {
		t.Errorf("%+v: %v", job, err)
	}
}

func TestEvidenceIsVerifiedByTheClient(t *testing.T) {
	c, n := connect(t, servertest.Hello)
	list, err := c.Evidence(t.Context(), "")
	if err != nil || list.Schema != api.SchemaEvidenceList || len(list.Evidence) != 1 || list.Evidence[0].Schema != api.SchemaEvidence {
		t.Fatalf("%+v, %v", list, err)
	}
	e := list.Evidence[0]
	proven, err := c.EvidenceFile(t.Context(), e.ID)
	if err != nil || proven.Finding.Peer.String() != e.Peer || proven.Finding.Job.String() != e.Job {
		t.Fatalf("%+v, %v", proven.Finding, err)
	}
	if !client.IsEvidence(proven.Bytes) || client.IsEvidence(n.GenesisBytes) {
		t.Error("evidence is not told from other things")
	}
	for at := 0; at < len(proven.Bytes); at += 11 {
		altered := bytes.Clone(proven.Bytes)
		altered[at] ^= 1
		p := new(jobs.Problem)
		if _, err := client.VerifyEvidence(altered, n.GenesisBytes); !errors.As(err, &p) || p.Code != jobs.CodeCertificate {
			t.Fatalf("byte %d altered: %v", at, err)
		}
	}
	for of, want := range map[string]int{e.Peer: 1, e.Name: 1, e.Job: 1, "pine-nobody": 0} {
		if list, err := c.Evidence(t.Context(), of); err != nil || len(list.Evidence) != want {
			t.Errorf("of %s: %+v, %v", of, list.Evidence, err)
		}
	}
	for _, err := range []error{second(c.Evidence(t.Context(), "bnone")), second(c.EvidenceFile(t.Context(), "bnone"))} {
		if p := new(jobs.Problem); !errors.As(err, &p) || p.Code != jobs.CodeNotFound {
			t.Errorf("what is not there: %v", err)
		}
	}
}

func second[A any](_ A, err error) error { return err }
