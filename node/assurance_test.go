package node_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
	"github.com/muster-network/muster/node"
)

// certified submits a file and returns the job's end with its certificate.
func (l *lab) certified(file *jobs.File) (jobs.Job, consensus.Verdict) {
	l.t.Helper()
	submitted, err := l.nodes[0].Submit(l.ctx, file, server.SubmitOptions{})
	l.must(err)
	job := l.ended(l.nodes[0], submitted.ID)
	data, err := l.nodes[0].Certificate(l.ctx, job.ID)
	l.must(err)
	network, err := l.nodes[0].Network(l.ctx)
	l.must(err)
	certificate, err := consensus.OpenCertificate(data)
	l.must(err)
	verdict, err := certificate.Verify(network.Genesis)
	l.must(err)
	return job, verdict
}

// Every node's run leaves other bytes; by the comparison they are equal, but for
// those of one.
func TestResultsThatAreEqualByTheComparisonAreCertified(t *testing.T) {
	l := newLab(t, 4, testPolicy(), func(i int) node.Faults {
		return node.Faults{Run: func(r *exec.Result) {
			r.Stdout = fmt.Appendf(nil, `{"auc": 0.91000%d, "host": "n%d"}`, i, i)
			if i == 3 {
				r.Stdout = []byte(`{"auc": 0.5, "host": "n3"}`)
			}
			r.Stderr = fmt.Appendf(nil, "%d ms", 100+i)
		}}
	})
	file := hello("Ada", 4)
	file.Run.Quorum.Compare = &jobs.Compare{Float: "1e-3", Ignore: []string{"/host"}}
	odd := false
	for try := range 20 {
		file.Run.Args = []string{fmt.Sprint("Ada ", try)}
		job, verdict := l.certified(file)
		if job.State != jobs.Succeeded || verdict.Charter.Assurance != consensus.MajorityEqual || job.Assurance != "majority-equal" {
			t.Fatalf("%s under %s: %+v", job.State, verdict.Charter.Assurance, job)
		}
		if evidence, err := l.nodes[0].Evidence(l.ctx, job.ID); err != nil || len(evidence) != 0 {
			t.Errorf("accuses %+v, %v", evidence, err)
		}
		for _, m := range job.Members {
			lies := m.Peer == l.nodes[3].Key().String()
			if m.Report != "" && m.Disagrees != lies {
				t.Errorf("%+v disagrees: %v", m, m.Disagrees)
			}
			odd = odd || lies && m.Disagrees
		}
		if odd && try >= 2 {
			return
		}
	}
	t.Error("the odd one never ran")
}

// Where numbers are not equal even so, the task is not deterministic.
func TestResultsThatAreNotEqualByTheComparisonAreADisagreement(t *testing.T) {
	l := newLab(t, 4, testPolicy(), func(i int) node.Faults {
		return node.Faults{Run: func(r *exec.Result) { r.Stdout = fmt.Appendf(nil, `[%d]`, i) }}
	})
	file := hello("Ada", 4)
	file.Run.Quorum.Compare = &jobs.Compare{Float: "1e-3"}
	if job, verdict := l.certified(file); job.State != jobs.Failed || verdict.Value.Class != consensus.FailedDisagreement {
		t.Fatalf("%s: %+v", verdict.Value, job)
	}
}

// Every node would leave something else: what the one that ran left is agreed on,
// and the certificate says that nobody checked it.
func TestUnderAssuranceSingleMembersAgreeOnWhatOneReported(t *testing.T) {
	l := newLab(t, 4, testPolicy(), func(i int) node.Faults {
		return node.Faults{Run: func(r *exec.Result) { r.Stdout = fmt.Appendf(nil, "node %d", i) }}
	})
	file := hello("Ada", 4)
	file.Run.Quorum.Assurance = jobs.AssuranceSingle
	job, verdict := l.certified(file)
	if job.State != jobs.Succeeded || verdict.Charter.Assurance != consensus.Single || len(verdict.Signers) != 3 {
		t.Fatalf("%s under %s, signed by %v", job.State, verdict.Charter.Assurance, verdict.Signers)
	}
	reports := 0
	for _, m := range job.Members {
		if m.Report != "" {
			reports++
			if m.Role != "executor" || m.Report != job.Outcome.Result {
				t.Errorf("%+v", m)
			}
		}
	}
	if reports != 1 {
		t.Errorf("%d members ran it", reports)
	}
}

// checkThird is a check that finds a result good when the third byte that it printed
// is c.
func checkThird(c byte) []byte {
	const path, fd, iovec, read, text = 0, 32, 40, 48, 64
	name := "in/result/stdout"
	open := asm.WASI("path_open", 9)
	open.Params[5], open.Params[6] = asm.I64, asm.I64 // rights
	exit := asm.WASI("proc_exit", 1)
	exit.Results = nil
	return asm.Program{
		Imports: []asm.Import{open, asm.WASI("fd_read", 4), exit}, Pages: 1, Data: map[uint32]string{path: name},
		Code: asm.Join(
			asm.Const(3), asm.Const(0), asm.Const(path), asm.Const(int32(len(name))), asm.Const(0), // 3 is the root
			0x42, asm.S(2), 0x42, asm.S(0), asm.Const(0), asm.Const(fd), asm.Call(0), asm.Drop,
			asm.Const(iovec), asm.Const(text), asm.Store(0), asm.Const(iovec), asm.Const(3), asm.Store(4),
			asm.Const(fd), asm.Load(0), asm.Const(iovec), asm.Const(1), asm.Const(read), asm.Call(1), asm.Drop,
			asm.Const(text+2), asm.Load8(), asm.Const(int32(c)), 0x47, asm.Call(2), // exit by whether it differs
		),
	}.Module()
}

// Every node's run leaves something else. What one left is certified when others
// find by the check that it will do; what one of them leaves will not.
func TestUnderAssuranceEndorsedOthersCheckWhatOneLeft(t *testing.T) {
	l := newLab(t, 4, testPolicy(), func(i int) node.Faults {
		return node.Faults{Run: func(r *exec.Result) {
			r.Stdout = fmt.Appendf(nil, "node %d", i)
			if i == 3 {
				r.Stdout = []byte("nothing")
			}
		}}
	})
	blob, err := l.nodes[0].PutFile(l.ctx, bytes.NewReader(checkThird('d')))
	l.must(err)
	file := hello("Ada", 4)
	file.Run.Quorum.Check = &jobs.RunCheck{WASM: jobs.Reference("cid:" + blob.CID)}
	alone, rejected := false, false
	for try := range 60 {
		file.Run.Args = []string{fmt.Sprint("Ada ", try)}
		job, verdict := l.certified(file)
		if job.State != jobs.Succeeded || verdict.Charter.Assurance != consensus.Endorsed || job.Assurance != "endorsed" {
			t.Fatalf("%s under %s: %+v", job.State, verdict.Charter.Assurance, job)
		}
		reports := 0
		for _, m := range job.Members {
			bad := m.Peer == l.nodes[3].Key().String()
			switch {
			case m.Report == "":
				continue
			case bad != (m.Rejected == 2) || m.Disagrees != bad || !bad && m.Endorsed != 2:
				t.Errorf("%+v", m)
			}
			reports++
			rejected = rejected || bad
		}
		if alone = alone || reports == 1; alone && rejected {
			return
		}
	}
	t.Errorf("one ran it alone: %v; one was rejected: %v", alone, rejected)
}
