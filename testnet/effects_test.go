package testnet_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/testnet"
)

func TestWhatActsOnTheWorldRunsOnOneMemberAtATime(t *testing.T) {
	n := up(t, testnet.Options{Nodes: 4})
	t.Run("and finds its token", n.findsItsToken)
	t.Run("once, and a run that is cut off is not run again", n.actsOnce)
	t.Run("at least once, and a run that is cut off runs elsewhere", n.actsAgain)
}

func (n *network) findsItsToken(t *testing.T) {
	n = n.in(t)
	file := guest(t, "environment")
	plain, _ := n.ended(2, n.submit(1, file, "").ID)
	file.Run.Effects, file.Run.Env = jobs.EffectsOnce, map[string]string{"Z": "1", "A": "1"}
	job, cert := n.ended(2, n.submit(1, file, "").ID)
	if c := cert.Verdict.Charter; job.State != jobs.Succeeded || c.Effects != consensus.Once || c.Assurance != consensus.Single || job.Effects != "once" {
		t.Fatalf("effects %q under %s: %s", c.Effects, c.Assurance, states(job))
	}
	if out := n.output(3, job, "stdout"); !strings.HasSuffix(out, "\nA=1\nMUSTER_FENCE="+job.ID+"/000/0000000001\nZ=1\n") {
		t.Errorf("it sees\n%s", out)
	}
	file.Run.Env = nil
	again, _ := n.ended(2, n.submit(1, file, "").ID)
	if again.Task != plain.Task || again.Outcome.Result == plain.Outcome.Result {
		t.Errorf("with a token task %s ends in %s; without one task %s in %s", again.Task, again.Outcome.Result, plain.Task, plain.Outcome.Result)
	}
	if out, _ := n.status(3, job.ID); !strings.Contains(out, "(single, effects once)") {
		t.Errorf("status:\n%s", out)
	}
	_, out, _ := muster(t, "", "--socket", n.node(3).Socket, "--home", n.node(3).Home, "verify", job.ID)
	if !strings.Contains(out, "VALID") || !strings.Contains(out, "acting once") || !strings.Contains(out, "that it acted exactly once, unless") {
		t.Errorf("verify:\n%s", out)
	}
}

func (n *network) status(number int, id string) (out, chatter string) {
	_, out, chatter = muster(n.t, "", "--socket", n.node(number).Socket, "status", id)
	return out, chatter
}

// cutOff submits a job that acts, kills the member that runs it, and returns the
// job, who that was, and a member to ask.
func (n *network) cutOff(effects jobs.EffectsWord) (job api.Job, victim, asked int) {
	n.t.Helper()
	file := spin(n.t, 1<<27)
	file.Run.Effects = effects
	job = n.submit(1, file, "")
	runs := func(m jobs.Member) bool { return m.Granted == 1 && m.Run == "running" }
	job = n.until(1, job.ID, "it runs", func(job api.Job) bool { return slices.ContainsFunc(job.Members, runs) })
	members, _ := n.numbers(job)
	victim = members[slices.IndexFunc(job.Members, runs)]
	asked = 1 + victim%4
	job = n.until(asked, job.ID, "it is seen to run", func(job api.Job) bool { return slices.ContainsFunc(job.Members, runs) })
	for _, m := range job.Members {
		if m.Peer != n.node(victim).Peer && (m.Run == "running" || m.Granted > 0) {
			n.t.Errorf("two run at a time: %s", states(job))
		}
	}
	n.must(n.node(victim).Kill())
	return job, victim, asked
}

func (n *network) actsOnce(t *testing.T) {
	n = n.in(t)
	job, victim, asked := n.cutOff(jobs.EffectsOnce)
	name := n.node(victim).Name
	stalled := func(job api.Job) bool {
		return job.Stalled != nil && slices.Equal(job.Stalled.Waiting, []string{name}) && strings.Contains(job.Stalled.Reason, "run 1 on "+name+" has no known end")
	}
	n.until(asked, job.ID, "it is stalled, and says why", stalled)
	if out, _ := n.status(asked, job.ID); !strings.Contains(out, "stalled: run 1 on "+name) {
		t.Errorf("status:\n%s", out)
	}
	// Back again, it does not know what it did, and does not do it again.
	n.must(n.node(victim).Start(n.ctx))
	n.must(n.Meet(n.ctx))
	n.until(victim, job.ID, "the executor says that it was cut off", func(job api.Job) bool {
		return job.Stalled != nil && strings.Contains(job.Stalled.Reason, "its executor was cut off in it")
	})
	if job := n.until(asked, job.ID, "it is stalled still", stalled); slices.ContainsFunc(job.Members, func(m jobs.Member) bool { return m.Report != "" }) {
		t.Errorf("somebody ran it: %s", states(job))
	}
	if _, err := n.client(1).Cancel(n.ctx, job.ID); err != nil {
		t.Fatal(err)
	}
	if ended, _ := n.ended(asked, job.ID); ended.State != jobs.Cancelled {
		t.Error(states(ended))
	}
}

func (n *network) actsAgain(t *testing.T) {
	n = n.in(t)
	job, victim, asked := n.cutOff(jobs.EffectsAtLeastOnce)
	n.until(asked, job.ID, "another runs it, under a higher number", func(job api.Job) bool {
		return slices.ContainsFunc(job.Members, func(m jobs.Member) bool { return m.Peer != n.node(victim).Peer && m.Granted > 1 })
	})
	ended, _ := n.ended(asked, job.ID)
	if ended.State != jobs.Succeeded || n.output(asked, ended, "stdout") != "spun\n" {
		t.Error(states(ended))
	}
}
