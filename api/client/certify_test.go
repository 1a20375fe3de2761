package client_test

import (
	"reflect"
	"testing"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/api/server/servertest"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/tree"
)

// failing ends with exit code 3.
func failing(*jobs.File) servertest.Run {
	return servertest.Run{Value: consensus.Value{Kind: consensus.Failed, Class: consensus.FailedExit, Code: 3}, Result: tree.Result{Code: 3}}
}

func TestANodeThatContradictsACertificateIsRefused(t *testing.T) {
	array := func(*jobs.File) servertest.Run { return servertest.Run{Ends: []tree.Result{{Code: 1}, {}}} }
	for name, test := range map[string]struct {
		script func(*jobs.File) servertest.Run
		tell   func(*jobs.Job)
	}{
		"another state":     {failing, func(j *jobs.Job) { j.State = jobs.Succeeded }},
		"no outcome":        {failing, func(j *jobs.Job) { j.Outcome = nil }},
		"another kind":      {failing, func(j *jobs.Job) { j.Outcome.Kind = "result" }},
		"another class":     {failing, func(j *jobs.Job) { j.Outcome.Class = "timeout" }},
		"another exit code": {failing, func(j *jobs.Job) { j.Outcome.Code = 4 }},
		"another result":    {servertest.Hello, func(j *jobs.Job) { j.Outcome.Result = j.Task }},
		"no result":         {servertest.Hello, func(j *jobs.Job) { j.Outcome.Result = "" }},
		"a part of the id":  {servertest.Hello, func(j *jobs.Job) { j.ID = j.ID[:20] }},
		"fewer failures":    {array, func(j *jobs.Job) { j.Array = &jobs.ArrayState{Tasks: 2} }},
		"more failures":     {array, func(j *jobs.Job) { j.Array = &jobs.ArrayState{Tasks: 2, Failed: 1, Failures: make([]jobs.TaskEnd, 2)} }},
		"failures of none":  {servertest.Hello, func(j *jobs.Job) { j.Array = &jobs.ArrayState{Tasks: 2, Failed: 1} }},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := connect(t, test.script)
			job, err := c.Submit(t.Context(), hello(), client.SubmitOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := c.Certify(t.Context(), job.ID, job); err != nil {
				t.Fatalf("before: %v", err)
			}
			test.tell(&job.Job)
			if _, _, err := c.Certify(t.Context(), job.ID, job); problem(err).Code != jobs.CodeCertificate {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAnAnswerAboutAnotherJobIsRefused(t *testing.T) {
	c, _ := connect(t, servertest.Hello)
	var all [2]api.Job
	for i := range all {
		var err error
		if all[i], err = c.Submit(t.Context(), hello(), client.SubmitOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	asked, other := all[0], all[1]
	for _, id := range []string{asked.ID, asked.Request, asked.ID[:40], jobs.Short(asked.ID)} {
		if _, cert, err := c.Certify(t.Context(), id, asked); err != nil || cert.Verdict.Job.String() != asked.ID {
			t.Errorf("%s: %v", id, err)
		}
		if _, _, err := c.Certify(t.Context(), id, other); problem(err).Code != jobs.CodeCertificate {
			t.Errorf("%s, another job: %v", id, err)
		}
	}
}

func TestWhatACertificateHoldsIsTakenFromIt(t *testing.T) {
	c, _ := connect(t, servertest.Hello)
	told, err := c.Submit(t.Context(), hello(), client.SubmitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	told.Name, told.Finished = "the node's word", 5
	want, cert, err := c.Certify(t.Context(), told.ID, told)
	if err != nil {
		t.Fatal(err)
	}
	if want.Name != told.Name || want.Finished != 5 || want.Members[0].Role != "executor" || want.Schema != api.SchemaJob {
		t.Errorf("what only the node knows: %+v", want)
	}
	if want.Outcome.Signed != len(cert.Verdict.Signers) || want.Members[3].Signed || !want.Members[2].Signed {
		t.Errorf("who signed: %+v", want)
	}
	lie := told
	lie.Request, lie.Owner, lie.Submitter, lie.Task, lie.Class, lie.Fault = "x", "x", "x", "x", "x", "x"
	lie.Assurance, lie.Effects, lie.Supersedes = "x", "x", "x"
	lie.Faults, lie.Size, lie.Quorum, lie.Round, lie.Issued, lie.Deadline = 9, 9, 9, 9, 9, 9
	lie.Replaced, lie.Stalled = []jobs.Replaced{{}}, &jobs.Stalled{}
	lie.Outcome = &jobs.Outcome{Kind: told.Outcome.Kind, Result: told.Outcome.Result, Signed: 9}
	lie.Members = append([]jobs.Member(nil), told.Members...)
	lie.Members[3].Signed, lie.Members[3].Name = true, "x"
	got, _, err := c.Certify(t.Context(), told.ID, lie)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
	lie.Members = told.Members[1:]
	got, _, err = c.Certify(t.Context(), told.ID, lie)
	if err != nil || len(got.Members) != 4 || got.Members[0].Role != "" || got.Members[0].Peer != want.Members[0].Peer {
		t.Errorf("other members: %v: %+v", err, got.Members)
	}
}
