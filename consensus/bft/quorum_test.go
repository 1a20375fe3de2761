package bft

import (
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
)

// quorum is machines whose words reach everybody, at once and in order, but for
// what a test cuts off. Records are durable at once, runs end in value, and
// blocks come as soon as they are asked for.
type quorum struct {
	now      int64
	machines []*Machine
	journals [][]Record
	value    func(seat int) consensus.Value
	lost     func(from, to int, out Outgoing) bool
	queue    []delivery
	effects  [][]Effect      // by seat
	blocked  bool            // no blocks arrive
	withheld consensus.Hash  // the blocks of this value arrive nowhere
	normal   *consensus.Hash // what every run comes to
	began    bool            // of runs that come to nothing the program had begun
	finds    func(seat int, value consensus.Hash) (good, says bool)
	checks   []int      // by seat: how many it was asked for
	heard    []Outgoing // by the submitter
	said     []Outgoing
	speaker  []int // of said
	charter  *consensus.Charter
	patience int64
}

type delivery struct {
	to int
	in Input
}

func newQuorum(fault consensus.Fault, f uint64) *quorum {
	q := &quorum{now: 1_000, lost: func(int, int, Outgoing) bool { return false },
		value: func(int) consensus.Value { return result("truth") },
		finds: func(_ int, value consensus.Hash) (bool, bool) { return value != mustHash(result("lie")), true }}
	q.begin(testCharter(fault, f, q.now))
	return q
}

// begin makes the machines of a charter's roster. A reserve gets one when it is
// shown q accepts.
func (q *quorum) begin(charter *consensus.Charter) {
	q.charter = charter
	q.machines = make([]*Machine, charter.Parties())
	q.journals = make([][]Record, charter.Parties())
	q.effects = make([][]Effect, charter.Parties())
	q.checks = make([]int, charter.Parties())
	for seat := range charter.Roster {
		q.machines[seat] = New(q.config(seat))
	}
}

func (q *quorum) inputAll(in Input) {
	for seat := range q.machines {
		q.input(seat, in)
	}
}

// input steps one machine, and queues what follows.
func (q *quorum) input(seat int, in Input) {
	q.take(seat, q.machines[seat].Step(q.now, in))
}

func (q *quorum) take(seat int, r Ready) {
	q.journals[seat] = append(q.journals[seat], r.Records...)
	for _, out := range r.Say {
		q.say(seat, out)
	}
	q.effects[seat] = append(q.effects[seat], r.Do...)
	for _, e := range r.Do {
		switch e := e.(type) {
		case Execute:
			if v := q.value(seat); v.Kind != 0 {
				q.queue = append(q.queue, delivery{seat, Ran{Run: e.Run, Value: v, Normal: q.normal, Begun: q.began}})
			}
		case Fetch:
			if q.blocked || e.Hash == q.withheld {
				continue
			}
			q.queue = append(q.queue, delivery{seat, Held{Value: e.Hash, Normals: e.Normals}})
		case Check:
			q.checks[seat]++
			if good, says := q.finds(seat, e.Hash); says {
				q.queue = append(q.queue, delivery{seat, Checked{Value: e.Hash, Endorses: good}})
			}
		}
	}
}

func (q *quorum) say(from int, out Outgoing) {
	q.said, q.speaker = append(q.said, out), append(q.speaker, from)
	if out.Submitter {
		q.heard = append(q.heard, out)
	}
	for to := range q.machines {
		if (out.To == nil && to < len(q.charter.Roster) || slices.Contains(out.To, to)) && !q.lost(from, to, out) {
			q.queue = append(q.queue, delivery{to, message(from, out)})
		}
	}
}

func message(from int, out Outgoing) Message {
	return Message{From: from, Kind: out.Kind, Note: out.Note, Height: out.Height, Round: out.Round, Value: out.Value, Payload: out.Payload,
		Proof: consensus.Proof{Count: 1, Index: uint64(from)}}
}

// settle delivers until nothing is on its way.
func (q *quorum) settle() {
	for len(q.queue) > 0 {
		d := q.queue[0]
		q.queue = q.queue[1:]
		if q.machines[d.to] == nil {
			q.standBy(d)
		} else {
			q.input(d.to, d.in)
		}
	}
}

// standBy gives a reserve that is shown q accepts its machine, as a member does.
func (q *quorum) standBy(d delivery) {
	msg, ok := d.in.(Message)
	if ok && d.to >= len(q.charter.Roster) && msg.Note == consensus.NoteAccepts && len(q.journals[d.to]) == 0 {
		q.machines[d.to] = New(q.config(d.to))
		q.input(d.to, Witnessed{Accepts: msg.Payload.Accepts, Chain: msg.Payload.Chain})
	}
}

// pass lets time pass, with a tick to every machine and all that follows from it.
func (q *quorum) pass(ms int64) {
	q.now += ms
	for seat, m := range q.machines {
		if m != nil {
			q.input(seat, Tick{})
		}
	}
	q.settle()
}

// live lets time pass in small steps.
func (q *quorum) live(ms int64) {
	for end := q.now + ms; q.now < end; {
		q.pass(250)
	}
}

// resend queues what every machine would say now to every other.
func (q *quorum) resend() {
	for from, m := range q.machines {
		for to := range q.machines {
			if m != nil && from != to {
				for _, out := range m.Current(to) {
					out.To = []int{to}
					q.say(from, out)
				}
			}
		}
	}
}

// restart rebuilds a machine from its records.
func (q *quorum) restart(t *testing.T, seat int) {
	t.Helper()
	m, ready, err := Restore(q.config(seat), q.journals[seat], q.now)
	if err != nil {
		t.Fatalf("seat %d does not restart: %v", seat, err)
	}
	q.machines[seat] = m
	q.take(seat, ready)
}

func (q *quorum) config(party int) Config {
	cfg := testConfig(q.charter, party)
	cfg.Timing.Patience = q.patience
	for i := range q.charter.Reserves {
		cfg.Spares = append(cfg.Spares, len(q.charter.Roster)+i)
	}
	return cfg
}
