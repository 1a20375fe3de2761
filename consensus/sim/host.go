package sim

import (
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/runner"
)

// do does what a durable batch asks of the member.
func (n *node) do(d runner.Do) {
	switch e := d.Effect.(type) {
	case bft.Execute:
		n.w.checks.executes(n, e.Run)
		if n.id >= n.w.t.Match {
			n.w.cover.hit(SawBackup)
		}
		if n.id >= n.w.t.N {
			n.w.cover.hit(SawReserveRuns)
		}
		wait := n.host.until(400)
		n.plan(wait, event{kind: evRuns, run: e.Run})
		takes := n.host.until(n.w.plan.Work) + n.slowRuns
		if n.w.plan.Array.On {
			n.planTasks(e.Run, wait, takes)
		}
		n.plan(wait+takes, event{kind: evRan, run: e.Run})
	case bft.Fetch:
		n.fetch(e)
	case bft.Check:
		n.check(e)
	case bft.Decided:
		n.decide(e.Conclusion)
	case bft.Abandon:
		n.w.cover.hit(SawAbandon)
	case bft.Expire:
		n.disk.charter, n.disk.journal = false, nil
		n.w.checks.forgotten(n)
		n.height = 0
	case bft.Equivocation:
		n.w.checks.accused(n, e)
	case bft.Reached:
		n.w.checks.reaches(n, e.Height)
		n.reach(e.Height)
	case bft.Disagreement:
		n.w.checks.contradicted(n, e)
	case bft.StartedJob:
	default: // the runner's own: it has forgotten the job
		n.opened = false
	}
}

// ran ends a run: its tree is durable before the machine hears of it.
func (n *node) ran(run uint64) {
	s := n.w.plan.endOf(n.id)
	if n.liar != nil {
		s = n.liar.runs(s)
	}
	if s.value.Tree != nil && !n.disk.holds(s.hash) {
		n.disk.blocks = append(n.disk.blocks, s.hash)
	}
	form := n.w.plan.formOf(s)
	if n.liar != nil {
		form = n.liar.form(s)
	}
	n.input(bft.Ran{Run: run, Value: s.value, Normal: form, Begun: n.breaks(s)})
}

// fetch brings blocks from a seat that claims them and has them, after a while. It
// tries once more or not, and gives up: agreement has to ask again.
func (n *node) fetch(e bft.Fetch) {
	if n.w.trace.words {
		n.w.logf("%d fetches %s from %v", n.id, nameOf(e.Hash), e.From)
	}
	wait := n.host.until(60)
	if n.host.chance(30) {
		wait = n.host.until(3_000)
	}
	n.later(max(wait, n.noBlocks-n.w.now), func() {
		if n.disk.holds(e.Hash) {
			n.hold(e) // an earlier process had fetched them, or they came to another form
			return
		}
		for _, from := range e.From {
			other := n.w.nodes[from]
			if other.up && other.disk.holds(e.Hash) && !n.w.isCut(from, n.id) && (other.liar == nil || other.liar.serves()) {
				n.disk.blocks = append(n.disk.blocks, e.Hash)
				n.hold(e)
				return
			}
		}
		n.w.cover.hit(SawFetchAgain)
		if n.host.chance(50) {
			n.fetch(e)
		}
	})
}

// decide takes the outcome, and archives it a moment later: the records go then.
func (n *node) decide(d consensus.Conclusion) {
	n.decided = &d
	n.w.checks.decided(n, d)
	if n.w.submitter.node == n.id {
		n.w.submitter.decided = true
	}
	n.later(n.host.until(60), func() {
		n.disk.archived = &d
	})
}
