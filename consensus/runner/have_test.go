package runner

import (
	"context"
	"slices"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
)

// desk is the loop of seat 0, stepped by hand: what it appends is durable at
// once, and what it sends lies in sent.
type desk struct {
	*loop
	t    *testing.T
	f    *fleet
	now  int64
	sent map[admission.Key][]frame
}

const deskSession = 77

func newDesk(t *testing.T) *desk {
	t.Helper()
	f := newFleet(t, 1)
	d := &desk{t: t, f: f, now: f.now, sent: map[admission.Key][]frame{}}
	me := f.network.Nodes[f.network.Index(f.job.Roster[0].Peer)]
	r := New(Config{Network: f.network.ID, Genesis: f.network.Genesis, Signer: me, Incarnation: me.Incarnation, Policy: f.network.Genesis.Policy,
		Journal: d, Transport: d, Host: closedTo{}, Clock: func() int64 { return d.now }, Session: deskSession})
	d.loop = &loop{r: r, ctx: context.Background(), core: NewCore(me.Key(), resend), durable: make(chan error, 1),
		peers: map[admission.Key]*peer{}, stash: newStash()}
	return d
}

// AppendAsync implements Journal.
func (d *desk) AppendAsync(_ []Record, done func(error)) { done(nil) }

// Send implements Transport.
func (d *desk) Send(to admission.Key, data []byte) {
	f, _, err := decodeFrame(data)
	if err != nil {
		d.t.Errorf("a frame that nobody can read: %v", err)
	}
	d.sent[to] = append(d.sent[to], f)
}

// flushAll makes everything durable, and sends what it says.
func (d *desk) flushAll() {
	for d.waiting() {
		d.flush()
		if d.flight != nil {
			<-d.durable
			d.release()
		}
	}
}

// accept opens the job: the accept leaves in one frame for each other seat.
func (d *desk) accept() {
	d.t.Helper()
	d.input(event{open: ptr(d.f.open(0)), done: make(chan error, 1)})
	d.flushAll()
	for seat := 1; seat < 4; seat++ {
		if len(d.sent[d.seat(seat)]) != 1 {
			d.t.Fatalf("%d frames for seat %d", len(d.sent[d.seat(seat)]), seat)
		}
	}
}

// bare sends a frame that says nothing.
func (d *desk) bare(seat int) {
	data, _, err := d.encodeBody(nil, nil, 0, batchSigned{})
	if err != nil {
		d.t.Fatal(err)
	}
	d.sendFrame(d.seat(seat), data, nil)
}

func (d *desk) seat(seat int) admission.Key { return d.f.job.Roster[seat].Peer }

// again lets the back-off pass and returns the seats that were sent something.
func (d *desk) again() []int {
	clear(d.sent)
	d.now = d.core.Wake()
	d.core.Tick(d.now)
	d.flushAll()
	var seats []int
	for seat := 1; seat < 4; seat++ {
		if len(d.sent[d.seat(seat)]) > 0 {
			seats = append(seats, seat)
		}
	}
	return seats
}

// answers is a frame that holds acknowledgements only.
func (d *desk) answers(seat int, h have) {
	d.frame(frameEvent{from: d.seat(seat), have: []have{h}})
}

func TestAnAcknowledgedFrameIsNotSaidAgain(t *testing.T) {
	d := newDesk(t)
	d.accept()
	seq := d.sent[d.seat(2)][0].Seq
	d.answers(2, have{Session: deskSession, Seq: seq})
	if seats := d.again(); !slices.Equal(seats, []int{1, 3}) {
		t.Errorf("said again to %v", seats)
	}
}

func TestAnAcknowledgementThatDoesNotFitSilencesNothing(t *testing.T) {
	for name, answer := range map[string]func(d *desk, seq uint64){
		"of another session":      func(d *desk, seq uint64) { d.answers(2, have{Session: deskSession + 1, Seq: seq}) },
		"of a frame never sent":   func(d *desk, seq uint64) { d.answers(2, have{Session: deskSession, Seq: seq + 9}) },
		"but for what was missed": func(d *desk, seq uint64) { d.answers(2, have{Session: deskSession, Seq: seq, Missed: []uint64{0}}) },
		"of a frame to a stranger": func(d *desk, seq uint64) {
			d.frame(frameEvent{from: admission.Key{9}, have: []have{{Session: deskSession, Seq: seq}}})
		},
		"of a frame forgotten": func(d *desk, seq uint64) {
			for range maxFlight {
				d.bare(2)
			}
			d.answers(2, have{Session: deskSession, Seq: seq})
		},
	} {
		d := newDesk(t)
		d.accept()
		answer(d, d.sent[d.seat(2)][0].Seq)
		if seats := d.again(); !slices.Contains(seats, 2) {
			t.Errorf("%s: said again to %v only", name, seats)
		}
	}
}

func TestFramesWhoseAcknowledgementIsAwaitedAreBounded(t *testing.T) {
	d := newDesk(t)
	for range 2*maxFlight + 3 {
		d.bare(1)
	}
	p := d.peer(d.seat(1))
	if len(p.flight) > maxFlight {
		t.Errorf("%d frames are remembered", len(p.flight))
	}
	if _, ok := p.flight[p.seq]; !ok {
		t.Error("the last one is not")
	}
	for range maxFlight {
		p.seq++
		p.fly(p.seq, make([]sentKey, maxMessages))
	}
	held := 0
	for _, keys := range p.flight {
		held += len(keys)
	}
	if held > maxFlightKeys || held != p.keys || len(p.flight[p.seq]) != maxMessages {
		t.Errorf("%d messages are remembered, counted as %d", held, p.keys)
	}
	for seq := range p.seq + 1 {
		p.land(seq)
		p.land(seq)
	}
	if p.keys != 0 {
		t.Errorf("%d messages are counted when all have landed", p.keys)
	}
}

// got takes a frame of seat 1 with a vote about each of some jobs.
func (d *desk) got(seq uint64, jobs ...consensus.JobID) {
	d.t.Helper()
	ev := frameEvent{from: d.seat(1), session: 5, seq: seq}
	for i, job := range jobs {
		s := stashed{from: d.seat(1), incarnation: d.f.job.Roster[1].Incarnation, item: item{Kind: consensus.KindPrepare, Job: job, Value: consensus.Hash{1}}}
		d.r.receiveOne(&ev, s, uint64(i))
	}
	d.frame(ev)
}

// acknowledged are the acknowledgements that have left to seat 1.
func (d *desk) acknowledged() []have {
	var all []have
	for _, f := range d.sent[d.seat(1)] {
		all = append(all, f.Have...)
	}
	return all
}

func TestAFrameIsAcknowledgedOnceByTheNextFrameOrByItself(t *testing.T) {
	d := newDesk(t)
	d.accept()
	clear(d.sent)
	d.got(3, d.f.job.ID)
	d.got(4, d.f.job.ID)
	d.bare(1) // one that leaves anyway
	d.acknowledge()
	d.got(5, d.f.job.ID)
	d.acknowledge()
	d.acknowledge()
	frames := d.sent[d.seat(1)]
	if len(frames) != 2 || len(frames[0].Have) != 2 || frames[0].Seq == 0 || len(frames[1].Have) != 1 || frames[1].Seq != 0 {
		t.Fatalf("sent %+v", frames)
	}
	for i, h := range d.acknowledged() {
		if h.Session != 5 || h.Seq != uint64(i+3) || len(h.Missed) != 0 {
			t.Errorf("acknowledgement %d is %+v", i, h)
		}
	}
	// A frame without a body wants no answer, or two nodes would never be silent.
	d.frame(frameEvent{from: d.seat(1), session: 5})
	d.acknowledge()
	if len(d.sent[d.seat(1)]) != 2 {
		t.Error("an acknowledgement was acknowledged")
	}
}

func TestWhatCouldNotBeTakenIsNotAcknowledged(t *testing.T) {
	d := newDesk(t)
	d.accept()
	clear(d.sent)
	muted := consensus.JobID{9}
	d.r.muted.note(d.seat(1), muted, d.now)
	for i := range maxStashPeer { // as much as is kept of one peer
		d.stash.add(stashed{from: d.seat(1), item: item{Job: consensus.JobID{8, byte(i), byte(i >> 8)}}})
	}
	d.got(1, d.f.job.ID, muted, d.f.job.ID, consensus.JobID{7})
	d.acknowledge()
	all := d.acknowledged()
	if len(all) != 1 || !slices.Equal(all[0].Missed, []uint64{1, 3}) {
		t.Errorf("acknowledged %+v, want all but 1 (muted) and 3 (no room)", all)
	}
}

func TestNoMoreFramesAreAcknowledgedThanFitOne(t *testing.T) {
	d := newDesk(t)
	d.accept()
	clear(d.sent)
	for seq := range uint64(maxHave + 50) {
		d.got(seq+1, d.f.job.ID)
	}
	d.acknowledge()
	if all := d.acknowledged(); len(all) != maxHave {
		t.Errorf("%d frames acknowledged, want %d: the others are said again", len(all), maxHave)
	}
}

func TestTheWordThatAJobIsDecidedNeedsNoAcknowledgement(t *testing.T) {
	d := newDesk(t)
	d.accept()
	clear(d.sent)
	decision := d.f.network.Decide(d.f.job, consensustest.Result("hello"))
	d.frame(frameEvent{from: d.seat(1), session: 5, seq: 1, messages: []jobMessage{{d.f.job.ID, decidedNote(decision)}}})
	d.flushAll()
	hinted := d.sent[d.seat(2)]
	if len(hinted) == 0 {
		t.Fatal("the others are not told")
	}
	for _, f := range hinted {
		d.answers(2, have{Session: deskSession, Seq: f.Seq})
	}
	// Seat 2 has the word, not the decision: it is sent the whole until it says
	// that it has it.
	if seats := d.again(); !slices.Contains(seats, 2) {
		t.Errorf("sent to %v only", seats)
	}
}

func TestAPeerThatSaysAnotherSessionInEachFrameIsTakenForOneProcess(t *testing.T) {
	d := newDesk(t)
	d.accept()
	const frames = 50
	for i := range uint64(frames) { // within half of renewal
		d.frame(frameEvent{from: d.seat(1), session: 5 + i%2, seq: 1 + i})
		d.acknowledge()
		d.now++
	}
	took := len(d.acknowledged())
	if took != frames/2 {
		t.Errorf("%d frames of two sessions were taken, want the %d of one", took, frames/2)
	}
	for i, back := range []int64{renewal, -10_000} { // a clock that is set back is no reason either
		d.now += back
		d.frame(frameEvent{from: d.seat(1), session: 7 + uint64(i), seq: 1})
		d.acknowledge()
	}
	if all := d.acknowledged(); len(all) != took+2 {
		t.Errorf("%d frames were taken of %d", len(all), took+2)
	}
}
