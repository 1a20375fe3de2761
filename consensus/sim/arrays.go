package sim

import (
	"fmt"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
)

// array is a job of many tasks (protocol, section 14, and decision 012). To
// agreement its end is one value like another, but for this: what a task fails of
// may be time, so that correct members of slow machines end it otherwise than the
// rest, and no such end contradicts another.
type array struct {
	On    bool
	Tasks uint64
	Late  []int // by party: which tasks more time out on its machine; 0: none
}

// What arrays end in: by which tasks were late on one machine, from 0 for none.
// Where some task fails everywhere, likewise.
var (
	arrayEnds  = newArrayEnds("array", 0)
	failsTasks = newArrayEnds("array with failed tasks", 2)
	arrayLie   = newStock("a lie of an array", arrayValue("a lie of an array", 0))
)

func newArrayEnds(name string, failed uint64) []stock {
	list := []stock{newStock(name, arrayValue(name, failed))}
	for i := range consensus.MaxRoster {
		name := fmt.Sprintf("%s, late %d", name, i+1)
		list = append(list, newStock(name, arrayValue(name, failed+1)))
	}
	return list
}

func arrayValue(name string, failed uint64) consensus.Value {
	v := result(name)
	if failed > 0 {
		v.Kind, v.Class, v.Code = consensus.Failed, consensus.FailedTasks, failed
	}
	return v
}

// settleArray makes the job an array, by draws from a source of its own: other
// schedules are what they would be without it.
func (s *Schedule) settleArray() {
	rng := newSource(s.Seed, 5)
	if s.assurance() != consensus.Replicated || s.Truth != endsWell && s.Truth != endsExit || !rng.chance(15) {
		return
	}
	a := array{On: true, Tasks: 1 + uint64(rng.below(10_000)), Late: make([]int, s.parties())}
	if rng.chance(50) {
		for i := range a.Late {
			switch {
			case rng.chance(20):
				a.Late[i] = 1 // one that is slow on all slow machines
			case rng.chance(20):
				a.Late[i] = 2 + i // one of its own
			}
		}
	}
	s.Array = a
}

// endOf is what the tasks of an array come to on a party's machine.
func (a *array) endOf(party int, some ending) *stock {
	if some == endsExit {
		return &failsTasks[a.Late[party]]
	}
	return &arrayEnds[a.Late[party]]
}

// tasks are those of a run that have ended, durably.
type tasks struct {
	run, done uint64
}

// planTasks plans the ends of some tasks of a run that takes so long.
func (n *node) planTasks(run uint64, wait, takes int64) {
	const parts = 3
	if n.disk.tasks.run != run {
		n.disk.tasks = tasks{run: run}
	}
	for part := range int64(parts) {
		at := wait + takes*(part+1)/(parts+1)
		n.plan(at, event{kind: evTasks, run: run, done: n.w.plan.Array.Tasks * uint64(part+1) / (parts + 1)})
	}
}

// endTasks makes the results of tasks durable, and then tells the machine.
func (n *node) endTasks(run, done uint64) {
	d := &n.disk.tasks
	if d.run == run {
		d.done = max(d.done, done)
	}
	n.input(bft.RunState{Run: run, Running: true, Done: d.done})
}

// progress: no member says that more tasks have ended than are on its disk.
func (c *checks) progress(n *node, m *mailed) {
	switch b, d := m.claim.Payload.Beat, n.disk.tasks; {
	case b.Done == 0:
	case b.Run != d.run || b.Done > d.done:
		c.w.fail("progress", "node %d says that %d tasks of run %d have ended, and %d of run %d are on its disk", n.id, b.Done, b.Run, d.done, d.run)
	default:
		c.w.cover.hit(SawProgress)
	}
}

// arrayDecided counts an array's outcome, and one that an honest member came to
// otherwise, whom nobody may accuse.
func (c *checks) arrayDecided(s *stock, at consensus.Height) {
	switch {
	case !c.w.plan.Array.On || !s.value.Matched():
		return
	case s.value.Kind == consensus.Result:
		c.w.cover.hit(SawArray)
	default:
		c.w.cover.hit(SawFailedTasks)
	}
	for _, party := range at.Members {
		if r := c.members[party].report; r != nil && c.w.nodes[party].honest() && !same(r.Value, s.value) {
			c.w.cover.hit(SawLateTask)
			return
		}
	}
}
