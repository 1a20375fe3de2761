package runner

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/dagcbor"
)

// resend is the first back-off of the cores here, in milliseconds.
const resend = 500

// fleet is the members of one job, each a core with a journal, on a network
// that delivers, loses and delays as the random source says.
type fleet struct {
	t       testing.TB
	network *consensustest.Network
	job     consensustest.Job
	rng     *rand.Rand
	now     int64
	loss    int // per cent
	members []*memberCore
	trace   bytes.Buffer
}

type memberCore struct {
	seat     int
	core     *Core
	journal  []bft.Record
	queue    []func() // what reached it and it has not taken yet
	decided  []consensus.Decision
	value    consensus.Value
	started  bool
	executed bool
	runs     []uint64 // that began
}

func newFleet(t testing.TB, seed uint64, changes ...func(*consensus.Charter)) *fleet {
	t.Helper()
	n := consensustest.New(6)
	f := &fleet{t: t, network: n, job: n.Job(consensus.Byzantine, 1, changes...), rng: rand.New(rand.NewPCG(seed, 1)), now: consensustest.Now}
	for seat := range f.job.Roster {
		m := &memberCore{seat: seat, value: consensustest.Result("hello")}
		m.core = NewCore(f.job.Roster[seat].Peer, resend)
		f.members = append(f.members, m)
	}
	return f
}

func (f *fleet) open(seat int) Open {
	return Open{First: bft.AcceptJob{}, Config: bft.Config{
		Network: f.network.ID, Genesis: f.network.Genesis, Job: f.job.ID, Charter: f.job.Charter, Self: seat, Runners: []int{0, 1, 2, 3},
		Timing: bft.Timing{Beat: 1_000, Round: 1_000, RoundMax: 60_000, Timeout: f.job.Timeout}, Salt: [16]byte{byte(seat)},
	}}
}

func (f *fleet) begin() {
	f.t.Helper()
	for _, m := range f.members {
		if err := m.core.Open(f.now, f.open(m.seat)); err != nil {
			f.t.Fatal(err)
		}
	}
}

// crash ends a member's core, with all that was not flushed, and opens another
// on its journal. All are asked to say again what they stand for.
func (f *fleet) crash(seat int) {
	f.t.Helper()
	m := f.members[seat]
	m.core, m.queue = NewCore(f.job.Roster[seat].Peer, resend), nil
	o := f.open(seat)
	if len(m.journal) > 0 {
		o.First, o.Records = nil, slices.Clone(m.journal)
	}
	if err := m.core.Open(f.now, o); err != nil {
		f.t.Fatal(err)
	}
	for _, other := range f.members {
		if other != m {
			other.core.Input(f.now, f.job.ID, bft.Message{From: seat, Note: consensus.NoteAsk})
		}
	}
}

// flush hands a batch over: to the journal, then to the network and the machine
// itself, then to the host.
func (f *fleet) flush(m *memberCore) {
	b := m.core.Flush()
	fmt.Fprintf(&f.trace, "%d flushes at %d:", m.seat, f.now)
	for _, e := range b.Entries {
		if e.Seq != uint64(len(m.journal)) {
			f.t.Fatalf("seat %d: record %d comes after %d records", m.seat, e.Seq, len(m.journal))
		}
		fmt.Fprintf(&f.trace, " record %d %x", e.Record.Kind, e.Record.Data)
		m.journal = append(m.journal, e.Record)
	}
	for _, s := range b.Says {
		f.checkSaid(m, s)
		f.deliver(m, s)
	}
	for _, d := range b.Dos {
		f.do(m, d)
	}
	f.trace.WriteByte('\n')
}

// needs says which record must be durable before a statement leaves.
var needs = map[consensus.Kind]bft.RecordKind{
	consensus.KindAccept: bft.RecordAccept, consensus.KindStarted: bft.RecordStarted, consensus.KindReport: bft.RecordReport,
	consensus.KindReportCommit: bft.RecordReport, consensus.KindPropose: bft.RecordSlot, consensus.KindPrepare: bft.RecordSlot,
	consensus.KindCommit: bft.RecordSlot, consensus.KindRoundChange: bft.RecordSlot,
	consensus.KindGrant: bft.RecordGrant, consensus.KindEnded: bft.RecordEnded,
}

func (m *memberCore) wrote(kind bft.RecordKind, holds []byte) bool {
	return slices.ContainsFunc(m.journal, func(r bft.Record) bool { return r.Kind == kind && bytes.Contains(r.Data, holds) })
}

// checkSaid is persist-before-send as seen from outside: what is said rests on
// a record that an earlier batch or this one handed over.
func (f *fleet) checkSaid(m *memberCore, s Say) {
	f.t.Helper()
	kind, holds := needs[s.Out.Kind], []byte(nil)
	switch {
	case kind == bft.RecordSlot:
		holds = s.Out.Value[:]
	case s.Out.Note == consensus.NoteDecided:
		kind = bft.RecordDecided
	}
	if kind != 0 && !m.wrote(kind, holds) {
		f.t.Errorf("seat %d says %v, note %d, without record %d", m.seat, s.Out.Kind, s.Out.Note, kind)
	}
}

func (f *fleet) deliver(m *memberCore, s Say) {
	payload, err := dagcbor.Marshal(s.Out.Payload)
	if err != nil {
		f.t.Fatal(err)
	}
	fmt.Fprintf(&f.trace, " say %v %d %d %x %v %x", s.Out.Kind, s.Out.Note, s.Out.Round, s.Out.Value, s.To, payload)
	message := bft.Message{From: m.seat, Kind: s.Out.Kind, Note: s.Out.Note, Round: s.Out.Round, Value: s.Out.Value, Payload: s.Out.Payload}
	if s.Own && s.Out.Kind != 0 {
		m.queue = append(m.queue, func() { m.core.Input(f.now, f.job.ID, message) })
	}
	seats := s.To
	if seats == nil {
		seats = []int{0, 1, 2, 3}
	}
	for _, seat := range seats {
		if seat == m.seat || f.rng.IntN(100) < f.loss {
			continue
		}
		to, from := f.members[seat], m.core
		to.queue = append(to.queue, func() {
			to.core.Input(f.now, f.job.ID, message)
			hint := s.Out.Note == consensus.NoteDecided && s.Out.Payload == nil
			if from == m.core && !hint && f.rng.IntN(100) >= f.loss {
				m.core.Acknowledged(f.job.ID, seat, KeyOf(s.Out))
			}
		})
	}
}

func (f *fleet) do(m *memberCore, d Do) {
	f.t.Helper()
	fmt.Fprintf(&f.trace, " do %T", d.Effect)
	record := bft.RecordKind(0)
	switch e := d.Effect.(type) {
	case bft.Execute:
		record, m.executed, m.runs = bft.RecordRun, true, append(m.runs, e.Run)
		if f.job.Effects != "" {
			record = bft.RecordBegun
		}
		m.queue = append(m.queue, func() { m.core.Input(f.now, f.job.ID, bft.Ran{Run: e.Run, Value: m.value}) })
	case bft.Fetch:
		m.queue = append(m.queue, func() { m.core.Input(f.now, f.job.ID, bft.Held{Value: e.Hash, Normals: e.Normals}) })
	case bft.StartedJob:
		record, m.started = bft.RecordStarted, true
	case bft.Decided:
		record = bft.RecordDecided
		m.decided = append(m.decided, e.Outcome)
		if d.View.Phase != bft.PhaseDecided || d.Records != uint64(len(m.journal)) {
			f.t.Errorf("seat %d: the decision comes with phase %s and %d of %d records", m.seat, d.View.Phase, d.Records, len(m.journal))
		}
	}
	if record != 0 && !m.wrote(record, nil) {
		f.t.Errorf("seat %d: %T without record %d", m.seat, d.Effect, record)
	}
}

// run lets things happen, one at a time, until no job is open anywhere.
func (f *fleet) run() {
	f.t.Helper()
	for range 100_000 {
		if !f.step() {
			return
		}
	}
	f.t.Fatal("it does not end")
}

// step lets one thing happen, and reports whether there was any.
func (f *fleet) step() bool {
	busy := f.members[:0:0]
	for _, m := range f.members {
		if m.core.Pending() || len(m.queue) > 0 {
			busy = append(busy, m)
		}
	}
	if len(busy) == 0 {
		return f.wait()
	}
	m := busy[f.rng.IntN(len(busy))]
	if len(m.queue) > 0 && (!m.core.Pending() || f.rng.IntN(3) > 0) {
		first := m.queue[0]
		m.queue = m.queue[1:]
		first()
	} else {
		f.flush(m)
	}
	f.now += int64(f.rng.IntN(2))
	return true
}

// wait goes to the time at which something is next to be done, if there is one.
func (f *fleet) wait() bool {
	next := int64(0)
	for _, m := range f.members {
		if wake := m.core.Wake(); wake != 0 && (next == 0 || wake < next) {
			next = wake
		}
	}
	f.now = max(f.now, next)
	for _, m := range f.members {
		m.core.Tick(f.now)
	}
	return next != 0
}

func (f *fleet) checkAllDecided() {
	f.t.Helper()
	want, err := consensustest.Result("hello").Hash(f.network.ID)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range f.members {
		if len(m.decided) == 0 {
			f.t.Errorf("seat %d has not decided", m.seat)
			continue
		}
		for _, d := range m.decided {
			if d.Commits.Value != want {
				f.t.Errorf("seat %d decided %x, want %x", m.seat, d.Commits.Value, want)
			}
		}
		if m.core.Len() != 0 || len(m.core.Jobs()) != 0 || m.core.Wake() != 0 {
			f.t.Errorf("seat %d keeps %d jobs (%d without outcome)", m.seat, len(m.core.Jobs()), m.core.Len())
		}
	}
}
