package member

import (
	"strings"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/jobs"
)

// bring has the end of a job, which is made for it, kept for who brings it.
func (m *Member) bring(t *testing.T, who admission.Key, number byte, change func(*consensus.Charter)) (consensus.Verdict, error) {
	t.Helper()
	v := consensus.Verdict{Job: consensus.JobID{number}, Value: consensustest.Result("out"), Charter: &consensus.Charter{
		Request: consensus.RequestID{number}, Owner: who, Issued: consensustest.Now, End: consensustest.Now + 1}}
	change(v.Charter)
	return v, m.KeepFor(t.Context(), who, v, Closed{Certificate: []byte{number}, Finished: consensustest.Now + consensustest.Day, Seats: []Seat{}})
}

// kept returns which of the jobs of some numbers are known in every index.
func (m *Member) kept(t *testing.T, owner admission.Key, numbers ...byte) string {
	t.Helper()
	archive, listed := Archive{m.cfg.Journal}, map[consensus.JobID]bool{}
	if err := archive.List(nil, func(_ []byte, id consensus.JobID, _ Line) bool { listed[id] = true; return true }); err != nil {
		t.Fatal(err)
	}
	out := ""
	for _, number := range numbers {
		id := consensus.JobID{number}
		closed, done, err := archive.Closed(id)
		named, byRequest, err2 := archive.Own(consensus.RequestID{number}, owner)
		if err != nil || err2 != nil || done != byRequest || done != listed[id] || done && (named != id || !closed.Copied || closed.Finished > consensustest.Now) {
			t.Errorf("job %d: closed %+v, by request %v, listed %v, %v, %v", number, closed, byRequest, listed[id], err, err2)
		}
		if done {
			out += string('0' + rune(number))
		}
	}
	return out
}

func same(*consensus.Charter) {}

func TestWhatAMemberBringsMakesRoomAmongWhatItBrought(t *testing.T) {
	n := consensustest.New(2)
	flood, other := n.Nodes[0].Key(), n.Nodes[1].Key()
	m := memberAt(t, n)
	m.copies = newCopies(3, 1<<20)
	if _, err := m.bring(t, other, 9, same); err != nil {
		t.Fatal(err)
	}
	for number := byte(1); number <= 5; number++ {
		if _, err := m.bring(t, flood, number, same); err != nil {
			t.Fatal(err)
		}
		if number == 4 {
			m.copies = newCopies(3, 1<<20) // what was brought before a restart counts
		}
	}
	if got := m.kept(t, flood, 1, 2, 3, 4, 5) + m.kept(t, other, 9); got != "3459" {
		t.Errorf("kept: %s", got)
	}
	if _, err := m.bring(t, flood, 5, same); err != nil || m.copies.of[flood].records != 3 {
		t.Errorf("what is kept counts twice: %d, %v", m.copies.of[flood].records, err)
	}
	each := m.copies.of[flood].bytes / 3
	m.copies = newCopies(100, 2*each+each/2)
	if _, err := m.bring(t, flood, 6, same); err != nil {
		t.Fatal(err)
	}
	if got := m.kept(t, flood, 1, 2, 3, 4, 5, 6) + m.kept(t, other, 9); got != "569" {
		t.Errorf("kept in %d bytes: %s", 2*each+each/2, got)
	}
	m.copies = newCopies(100, each/2)
	if _, err := m.bring(t, flood, 7, same); err == nil || m.kept(t, flood, 5, 6, 7) != "56" {
		t.Errorf("more than there is room for: %v", err)
	}
}

// A copy may come before this node's own member comes to the end, or knows the job.
func TestACopyThatGoesTakesNothingOfThisNodesOwnAlong(t *testing.T) {
	n := consensustest.New(1)
	who := n.Nodes[0].Key()
	m := memberAt(t, n)
	m.copies = newCopies(1, 1<<20)
	v, err := m.bring(t, who, 1, same)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := (&Closed{Seats: []Seat{}}).entries(v.Job, v.Charter, jobs.StateOf(v.Value))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cfg.Journal.Append(t.Context(), entries...); err != nil {
		t.Fatal(err)
	}
	if _, err := m.bring(t, who, 2, same); err != nil {
		t.Fatal(err)
	}
	if closed, ok, err := (Archive{m.cfg.Journal}).Closed(v.Job); err != nil || !ok || closed.Copied {
		t.Errorf("%+v, %v", closed, err)
	}
	if m.copies.of[who].records != 1 {
		t.Errorf("%d copies", m.copies.of[who].records)
	}
}

func TestNothingIsKeptFromTheFutureOrBeyondItsTime(t *testing.T) {
	n := consensustest.New(1)
	m := memberAt(t, n)
	m.copies = newCopies(10, 1<<20)
	who := n.Nodes[0].Key()
	for what, change := range map[string]func(*consensus.Charter){
		"the future":   func(c *consensus.Charter) { c.Issued += skew + 1 },
		"long ago":     func(c *consensus.Charter) { c.End = consensustest.Now - 1 },
		"within reach": func(c *consensus.Charter) { c.Issued += skew },
	} {
		if _, err := m.bring(t, who, 1, change); (err == nil) != (what == "within reach") {
			t.Errorf("from %s: %v", what, err)
		}
	}
}

func TestAMemberBringsNoMoreThanItsTurns(t *testing.T) {
	n := consensustest.New(2)
	m := memberAt(t, n)
	now := int64(consensustest.Now)
	m.cfg.Clock = func() int64 { return now }
	m.copies = newCopies(10, 1<<20)
	turns := func(who admission.Key) (count int) {
		for count < 10*copiesAtOnce && m.MayBring(who) {
			count++
		}
		return count
	}
	flood, other := n.Nodes[0].Key(), n.Nodes[1].Key()
	if got := turns(flood); got != copiesAtOnce {
		t.Errorf("%d at once", got)
	}
	if now += 1_000; turns(flood) != copiesASecond {
		t.Error("not as many a second")
	}
	if got := turns(other); got != copiesAtOnce {
		t.Errorf("another had %d", got)
	}
}

func TestWhatIsToldBesideACertificateIsBounded(t *testing.T) {
	long := strings.Repeat("a", 1000)
	many := map[string]uint64{}
	for i := range 17 {
		many[long[:i+1]] = 1
	}
	for what, closed := range map[string]Closed{
		"a name":     {Name: long},
		"a label":    {Labels: map[string]string{"a": long}},
		"seats":      {Seats: make([]Seat, consensus.MaxRoster+1)},
		"a role":     {Seats: []Seat{{Role: long}}},
		"a report":   {Seats: []Seat{{Report: long}}},
		"a reason":   {Seats: []Seat{{Activated: long}}},
		"quantities": {Seats: []Seat{{Use: many}}},
	} {
		if closed.Check() == nil {
			t.Errorf("%s without a bound", what)
		}
	}
	link := consensustest.Link("out")
	good := Closed{Name: "hello", Labels: map[string]string{"a": "b"}, Seats: []Seat{{Role: "executor", Activated: "the reports do not match",
		Report: link.String(), Use: map[string]uint64{"cpu_ns": 1}}}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}
