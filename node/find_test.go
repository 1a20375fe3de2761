package node

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
	word := jobs.Describe(n.First(job))
	word.ID, word.Owner, word.State = "another", n.Nodes[1].Key().String(), jobs.Running
	data, err := json.Marshal(word)
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
	word.State = "\x1b[2J"
	odd, err := json.Marshal(word)
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

func TestAPeersWordOnWhoIsInAnOpenJobIsHeldAgainstItsCharter(t *testing.T) {
	n := consensustest.New(6)
	node := listener(n)
	job := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Reserves = make([]consensus.Seat, 1) })
	first, reserve := job.Roster[0].Peer, job.Reserves[0].Peer
	tell := func(t *testing.T, change func(*jobs.Job)) (jobs.Job, error) {
		word := jobs.Describe(n.First(job))
		word.State, word.Name = jobs.Running, "train"
		word.Members[0].Peer, word.Members[0].Role = reserve.String(), "executor"
		word.Replaced = []jobs.Replaced{{Height: 1, Seat: 0, Peer: first.String(), By: reserve.String()}}
		word.Stalled = &jobs.Stalled{Reason: "why", Waiting: []string{reserve.Name()}}
		change(&word)
		data, err := json.Marshal(word)
		if err != nil {
			t.Fatal(err)
		}
		return node.toldOpen(told{Open: data, Charter: &job.Signed}, reference{request: job.Request})
	}
	j, err := tell(t, func(j *jobs.Job) {
		j.Members[0].Name, j.Members[0].Lied, j.Members[0].Signed = "\x1b[2J", true, true
		j.Replaced[0].Name, j.Replaced[0].ByName = "x", "x"
		j.Task, j.Faults, j.Outcome = "x", 9, &jobs.Outcome{}
	})
	if err != nil {
		t.Fatal(err)
	}
	if m := j.Members[0]; m.Name != reserve.Name() || m.Role != "executor" || m.Lied || m.Signed {
		t.Errorf("a member: %+v", m)
	}
	if r := j.Replaced[0]; r.Name != first.Name() || r.ByName != reserve.Name() {
		t.Errorf("a replacement: %+v", r)
	}
	if j.Task != job.Task.String() || j.Faults != 1 || j.Outcome != nil || j.Name != "train" || j.Stalled.Reason != "why" {
		t.Errorf("%+v", j)
	}
	for what, change := range map[string]func(*jobs.Job){
		"a member more":           func(j *jobs.Job) { j.Members = append(j.Members, j.Members[0]) },
		"a member less":           func(j *jobs.Job) { j.Members = j.Members[1:] },
		"a stranger":              func(j *jobs.Job) { j.Members[1].Peer = n.User.Key().String() },
		"no peer":                 func(j *jobs.Job) { j.Members[1].Peer = "x" },
		"a long report":           func(j *jobs.Job) { j.Members[1].Report = strings.Repeat("x", maxWords+1) },
		"a long quantity":         func(j *jobs.Job) { j.Members[1].Use = map[string]uint64{strings.Repeat("x", 33): 1} },
		"a replacement more":      func(j *jobs.Job) { j.Replaced = append(j.Replaced, j.Replaced[0]) },
		"a stranger's seat":       func(j *jobs.Job) { j.Replaced[0].By = n.User.Key().String() },
		"a seat that is none":     func(j *jobs.Job) { j.Replaced[0].Seat = 4 },
		"a long reason":           func(j *jobs.Job) { j.Stalled.Reason = strings.Repeat("x", maxWords+1) },
		"a name that is nobody's": func(j *jobs.Job) { j.Stalled.Waiting[0] = "x" },
		"a long name":             func(j *jobs.Job) { j.Name = strings.Repeat("x", 129) },
		"too many tasks":          func(j *jobs.Job) { j.Array = &jobs.ArrayState{Tasks: consensus.MaxTasks + 1} },
	} {
		if _, err := tell(t, change); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

// What is known of a job that is open is told soon: another peer may know better, but
// one that does not answer is not waited for.
func TestAPeerThatDoesNotAnswerDelaysNothingThatAnotherKnows(t *testing.T) {
	n := consensustest.New(2)
	node := &Node{home: home{identity: p2p.Identity{Signer: n.Nodes[0].KeySigner}}}
	own, others := jobs.Job{Owner: n.Nodes[0].Key().String()}, jobs.Job{Owner: n.Nodes[1].Key().String()}
	ended := &found{job: others, certificate: []byte{1}}
	for _, c := range []struct {
		what    string
		ref     reference
		answers []*found // at once
		later   *found   // after half of the patience; nil: nobody else answers
		want    *found
		takes   time.Duration
	}{
		{"an open job by its id", reference{isJob: true}, []*found{nil, {job: others}}, nil, &found{job: others}, othersPatience},
		{"an open job of this node's own", reference{}, []*found{{job: own}}, nil, &found{job: own}, othersPatience},
		{"one that another knows has ended", reference{isJob: true}, []*found{{job: others}}, ended, ended, othersPatience / 2},
		{"one that ended", reference{isJob: true}, []*found{ended}, nil, ended, 0},
		{"another's that is open, by a request", reference{}, []*found{{job: others}}, nil, &found{job: others}, findTimeout},
		{"one that nobody knows", reference{isJob: true}, []*found{nil}, nil, nil, findTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), findTimeout)
			defer cancel()
			answers := make(chan *found, 8)
			for _, f := range c.answers {
				answers <- f
			}
			if c.later != nil {
				time.AfterFunc(othersPatience/2, func() { answers <- c.later })
			}
			began := time.Now()
			best := node.bestOf(ctx, c.ref, answers, 8, nil)
			if !reflect.DeepEqual(best, c.want) || time.Since(began) != c.takes {
				t.Errorf("%s: %+v after %s, want %+v after %s", c.what, best, time.Since(began), c.want, c.takes)
			}
		})
	}
}
