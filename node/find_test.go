package node

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/p2p"
)

func TestByRequestAJobOfThisNodesOwnComesBeforeAnothersThatEnded(t *testing.T) {
	n := consensustest.New(2)
	node := &Node{home: home{identity: p2p.Identity{Signer: n.Nodes[0].KeySigner}}}
	own, others := jobs.Job{Owner: n.Nodes[0].Key().String()}, jobs.Job{Owner: n.Nodes[1].Key().String()}
	order := []*found{nil, {job: others}, {job: others, certificate: []byte{1}}, {job: own}, {job: own, certificate: []byte{1}}}
	var claims []claim
	for _, f := range order {
		claims = append(claims, node.claim(reference{}, f))
	}
	if want := []claim{nothing, othersOpen, othersEnd, ownOpen, ownEnd}; !slices.Equal(claims, want) {
		t.Errorf("claims %d, want %d", claims, want)
	}
	if c := node.claim(reference{isJob: true}, order[2]); c != ownEnd {
		t.Errorf("by its id another's job is claim %d", c)
	}
}

// A peer's word on an open job is shown for what it is, but which job it is and whose
// is not its word.
func TestAnOpenJobIsTheOneThatItsCharterSays(t *testing.T) {
	n := consensustest.New(5)
	node := listener(n)
	job := n.Job(consensus.Byzantine, 1)
	ref := reference{request: job.Request}
	data, err := json.Marshal(jobs.Job{ID: "another", Owner: n.Nodes[1].Key().String(), State: jobs.Running})
	if err != nil {
		t.Fatal(err)
	}
	j, err := node.toldOpen(told{Open: data, Charter: &job.Signed}, ref)
	if err != nil || j.ID != job.ID.String() || j.Owner != job.Owner.String() || j.State != jobs.Running {
		t.Errorf("%+v, %v", j, err)
	}
	altered := job.Signed
	altered.Submitter[0]++
	for what, told := range map[string]told{"none": {Open: data}, "an altered": {Open: data, Charter: &altered}} {
		if _, err := node.toldOpen(told, ref); err == nil {
			t.Errorf("taken with %s charter", what)
		}
	}
	odd, err := json.Marshal(jobs.Job{State: "\x1b[2J"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.toldOpen(told{Open: odd, Charter: &job.Signed}, ref); err == nil {
		t.Error("taken with a state that there is not")
	}
	for what, ref := range map[string]reference{"request": {request: consensus.RequestID{1}}, "job": {isJob: true, job: consensus.JobID{1}}} {
		if _, err := node.toldOpen(told{Open: data, Charter: &job.Signed}, ref); err == nil {
			t.Errorf("taken for another %s", what)
		}
	}
}
