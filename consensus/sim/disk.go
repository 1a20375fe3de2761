package sim

import (
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/runner"
)

// disk is what outlives a process.
type disk struct {
	charter  bool // it is in the journal
	journal  []bft.Record
	blocks   []consensus.Hash      // values whose trees are here
	tasks    tasks                 // of an array
	archived *consensus.Conclusion // the job ended, and its records are gone
}

func (d *disk) holds(hash consensus.Hash) bool {
	for _, h := range d.blocks {
		if h == hash {
			return true
		}
	}
	return false
}

// sync begins to make the batch in flight durable: all of it, or, if the process
// ends before, perhaps none.
func (n *node) sync() {
	if f := n.armed; f != nil && (f.Kind == FailSync || f.Point == BeforeSync || f.Point == TornSync) {
		n.w.cover.hit(SawSyncCut)
		if f.Kind != FailSync {
			n.w.cover.ends(f.Point, n.flight)
		}
		n.end(*f)
		return
	}
	n.plan(n.flaws.until(8), event{kind: evSynced})
}

// synced makes the batch in flight durable, and lets it out.
func (n *node) synced() {
	n.persist()
	if n.endsAt(BeforeSend) {
		n.w.cover.ends(BeforeSend, n.flight)
		n.end(*n.armed)
		return
	}
	n.release()
	n.settle()
}

func (n *node) persist() {
	n.disk.charter = n.disk.charter || len(n.flight.Extra) > 0
	for _, e := range n.flight.Entries {
		n.w.checks.recorded(n, e)
		n.disk.journal = append(n.disk.journal, e.Record)
	}
}

// strike ends the process at a point that is still to come, or at once.
func (n *node) strike(f Fault) {
	if f.Point == AtOnce || !n.up || n.armed != nil {
		if n.up {
			n.w.cover.ends(AtOnce, nil)
		}
		n.end(f)
		return
	}
	n.armed = &f
	n.w.after(3_000, func() { // the point never came
		if n.armed == &f {
			n.w.cover.ends(AtOnce, nil)
			n.end(f)
		}
	})
}

func (n *node) endsAt(p Point) bool {
	return n.armed != nil && n.armed.Kind != FailSync && n.armed.Point == p
}

// end ends the process: what was not durable is lost. An append under way was
// torn, and is there or is not.
func (n *node) end(f Fault) {
	n.armed = nil
	if n.ended || !n.up && f.Kind == Crash {
		return
	}
	if n.up {
		if n.flight != nil && f.Point != BeforeSync && f.Point < BeforeSend && n.flaws.chance(50) {
			n.persist()
		}
		n.w.logf("node %d: %s %s; %d records are on its disk", n.id, f.Kind, f.Point, len(n.disk.journal))
		n.up, n.core, n.flight, n.stash, n.intake, n.opened, n.tickAt, n.decided, n.height = false, nil, nil, nil, false, false, 0, nil, 0
		n.life++
		n.w.submitter.ended(n)
	}
	switch f.Kind {
	case Die:
		n.ended = true
		n.w.submitter.lost(n)
		return
	case LoseDisk:
		n.disk, n.gone = disk{}, true
		n.w.cover.hit(SawDiskLost)
		n.w.submitter.lost(n)
	}
	n.later(f.For, n.restart)
}

// restart begins a new process on the disk of the last, which asks all others
// for what it has forgotten.
func (n *node) restart() {
	if n.up || n.ended {
		return
	}
	n.w.logf("node %d is back", n.id)
	n.up, n.core, n.told = true, runner.NewCore(n.key, resend), make([]int64, len(n.w.nodes))
	n.lives = make([]int, len(n.w.nodes))
	n.w.submitter.back(n)
	if n.disk.archived != nil {
		n.decided = n.disk.archived
		return
	}
	if !n.disk.charter {
		return
	}
	n.w.cover.hit(SawRestart)
	n.open(runner.Open{Records: n.disk.journal})
	ask := n.w.address(n.claim(bft.Outgoing{Note: consensus.NoteAsk}))
	for _, to := range n.w.heights[n.height].Members {
		if to != n.id {
			n.w.post(n.id, to, n.life, mail{ask})
		}
	}
}
