package node_test

import (
	"fmt"
	"testing"

	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/node"
)

// Two of six are barred: more than a member tolerates to be missing from a roll.
// What one node was shown is known to all, and nobody misses them.
func TestMembersDoNotMissThoseWhoAreBarred(t *testing.T) {
	p := testPolicy()
	p.Settle = 1
	l := newLab(t, 6, p, func(int) node.Faults { return node.Faults{} })
	for _, liar := range l.nodes[4:] {
		e, err := liar.DoubleVote()
		l.must(err)
		l.nodes[0].Accuse(e)
	}
	for i, n := range l.nodes[:4] {
		l.await(fmt.Sprintf("node %d bars both", i), func() bool { return n.Bars(l.nodes[4].Key()) && n.Bars(l.nodes[5].Key()) })
	}
	for try := range 12 { // whoever stands first in the rank, is not drawn
		job, _ := l.certified(hello(fmt.Sprint("Ada ", try), 4))
		if job.State != jobs.Succeeded {
			t.Fatalf("%+v", job)
		}
		for _, m := range job.Members {
			if m.Peer == l.nodes[4].Key().String() || m.Peer == l.nodes[5].Key().String() {
				t.Errorf("%s is drawn", m.Name)
			}
		}
	}
}
