package client_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/api/server/servertest"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/tree"
)

// bundleOf submits one job and returns its bundle.
func bundleOf(t testing.TB, n *servertest.Network) []byte {
	t.Helper()
	job, err := n.Submit(t.Context(), hello("Ada"), server.SubmitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := n.Bundle(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestABundleVerifiesToItsLastByte(t *testing.T) {
	n := servertest.New(func(f *jobs.File) servertest.Run {
		run := servertest.Hello(f)
		run.Result.Out = append(run.Result.Out, tree.File{Path: "sub/big", Data: bytes.Repeat([]byte("x"), 3<<20)},
			tree.File{Path: "sub/again", Data: run.Result.Stdout})
		return run
	})
	good := bundleOf(t, n)
	if !client.IsBundle(good) {
		t.Error("not taken for a bundle")
	}
	opened, err := client.VerifyBundle(bytes.NewReader(good), n.GenesisBytes)
	if err != nil || len(opened.Verdict.Signers) != 3 || len(opened.Roll.Entries) != 4 {
		t.Fatalf("%+v: %v", opened, err)
	}
	for name, bad := range map[string][]byte{
		"cut":      good[:len(good)-1],
		"extended": append(bytes.Clone(good), 0),
		"empty":    nil,
		"headless": good[1:],
	} {
		if _, err := client.VerifyBundle(bytes.NewReader(bad), n.GenesisBytes); problem(err).Code != jobs.CodeCertificate {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestABundleWithoutResultHoldsNoOutput(t *testing.T) {
	n := servertest.New(func(f *jobs.File) servertest.Run {
		return servertest.Run{Value: consensus.Value{Kind: consensus.Cancelled}}
	})
	if _, err := client.VerifyBundle(bytes.NewReader(bundleOf(t, n)), n.GenesisBytes); err != nil {
		t.Error(err)
	}
}

func TestABundleOfAnArrayJobSaysHowEachTaskEnded(t *testing.T) {
	run := servertest.Run{Ends: []tree.Result{{Stdout: []byte("one")}, {Code: 3}, {Out: []tree.File{{Path: "much", Data: make([]byte, 100<<10)}}}}}
	n := servertest.New(func(*jobs.File) servertest.Run { return run })
	good := bundleOf(t, n)
	b, err := client.VerifyBundle(bytes.NewReader(good), n.GenesisBytes)
	if err != nil || len(b.Tasks) != 3 || b.Tasks[0].Failed() || !b.Tasks[1].Failed() || b.Tasks[1].Outcome.Code != 3 || b.Tasks[2].Name != "2" {
		t.Fatalf("%+v, %v", b.Tasks, err)
	}
	for at := 0; at < len(good); at += 101 {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		if _, err := client.VerifyBundle(bytes.NewReader(bad), n.GenesisBytes); problem(err).Code != jobs.CodeCertificate {
			t.Fatalf("byte %d of %d changed: %v", at, len(good), err)
		}
	}
	run.Forged = true
	if _, err := client.VerifyBundle(bytes.NewReader(bundleOf(t, n)), n.GenesisBytes); problem(err).Code != jobs.CodeCertificate {
		t.Errorf("pages that are not under the root: %v", err)
	}
}

func TestNoBitOfABundleCanFlip(t *testing.T) {
	n := servertest.New(servertest.Hello)
	good := bundleOf(t, n)
	rapid.Check(t, func(t *rapid.T) {
		bad := bytes.Clone(good)
		bad[rapid.IntRange(0, len(bad)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := client.VerifyBundle(bytes.NewReader(bad), n.GenesisBytes); problem(err).Code != jobs.CodeCertificate {
			t.Fatalf("verifies: %v", err)
		}
	})
}

func FuzzVerifyBundle(f *testing.F) {
	n := servertest.New(servertest.Hello)
	good := bundleOf(f, n)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := client.VerifyBundle(bytes.NewReader(data), n.GenesisBytes); err == nil && !bytes.Equal(data, good) {
			t.Error("another file verifies")
		}
	})
}
