package runner

import (
	"encoding/binary"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/consensustest"
)

// docket is a court with a clock, whose cases are two open jobs.
type docket struct {
	*court
	now   int64
	other consensus.JobID
}

func newDocket(t *testing.T) *docket {
	d := &docket{court: newCourt(t), now: consensustest.Now, other: consensus.JobID{9}}
	d.r.cfg.Clock = func() int64 { return d.now }
	d.r.known.Store(d.job.ID, d.info)
	d.r.known.Store(d.other, newCharterInfo(d.n.ID, d.other, d.job.Charter))
	return d
}

// heard reports whether a message reaches the machine, or will have to be said
// again.
func (d *docket) heard(s stashed) (reached, again bool) {
	var ev frameEvent
	d.r.receiveOne(&ev, s, 7)
	return len(ev.messages) == 1, len(ev.unheard) == 1 && ev.unheard[0] == 7
}

func (d *docket) vote(seat int, job consensus.JobID) stashed {
	return stashed{from: d.key(seat), incarnation: d.job.Roster[seat].Incarnation, item: item{Kind: consensus.KindPrepare, Job: job, Value: d.hash}}
}

func TestWhoShowsAForgeryIsMutedForThatJobForAMinute(t *testing.T) {
	d := newDocket(t)
	if reached, _ := d.heard(d.vote(1, d.job.ID)); !reached {
		t.Fatal("a vote is not heard")
	}
	if reached, again := d.heard(d.told(consensus.NoteHighest, &consensus.Payload{Value: &d.value, Set: d.prepares(0, 2)})); reached || again {
		t.Errorf("a certificate of q-1: reached %t, said again %t", reached, again)
	}
	d.now += mute - 1
	for _, rule := range []struct {
		name           string
		message        stashed
		reached, again bool
	}{
		{"a good vote of the forger", d.vote(1, d.job.ID), false, true},
		{"good evidence of the forger", d.told(consensus.NoteEvidence, &consensus.Payload{Reports: []consensus.SignedReport{d.report(0)}}), false, true},
		{"a vote of another", d.vote(2, d.job.ID), true, false},
		{"a vote of the forger about another job", d.vote(1, d.other), true, false},
	} {
		if reached, again := d.heard(rule.message); reached != rule.reached || again != rule.again {
			t.Errorf("%s: reached %t, said again %t", rule.name, reached, again)
		}
	}
	d.now++
	if reached, again := d.heard(d.vote(1, d.job.ID)); !reached || again {
		t.Error("muted after a minute")
	}
}

func TestOnlyForgeriesMute(t *testing.T) {
	d := newDocket(t)
	bad := func(p consensus.Proof) consensus.Proof {
		p.Signature[5] ^= 1
		return p
	}
	report := *change(ptr(d.report(0)), func(r *consensus.SignedReport) { r.Proof = bad(r.Proof) })
	accept := *change(ptr(d.accept(2)), func(v *consensus.Vote) { v.Proof = bad(v.Proof) })
	cancelled := consensus.Value{Kind: consensus.Cancelled}
	for name, s := range map[string]stashed{
		"a forged accept":      d.told(consensus.NoteAccepts, &consensus.Payload{Accepts: []consensus.Vote{d.accept(0), accept}}),
		"a forged report":      d.told(consensus.NoteEvidence, &consensus.Payload{Reports: []consensus.SignedReport{report}}),
		"a forged cancel":      d.told(consensus.NoteEvidence, &consensus.Payload{Cancel: d.cancel(consensustest.Key("stranger"))}),
		"a forged void":        d.said(consensus.KindPropose, d.hashOf(cancelled), &consensus.Payload{Value: &cancelled, Void: d.void(d.n.Nodes[d.n.Index(d.key(1))])}),
		"a bad decision":       d.told(consensus.NoteDecided, &consensus.Payload{Decision: d.decision(0, 1)}),
		"a bad certificate":    d.told(consensus.NoteHighest, &consensus.Payload{Value: &d.value, Set: d.prepares(1, 2)}),
		"a bad proposal":       d.said(consensus.KindPropose, d.hash, &consensus.Payload{Value: &d.value, Set: d.prepares(1, 2)}),
		"a bad round change":   d.said(consensus.KindRoundChange, d.highest(), &consensus.Payload{Value: &d.value, Set: d.prepares(3)}),
		"ok: another's life":   as(d.vote(1, d.job.ID), func(s *stashed) { s.incarnation[0] ^= 1 }),
		"ok: no seat":          as(d.vote(1, d.job.ID), func(s *stashed) { s.from = d.stranger() }),
		"ok: an unknown note":  d.told(99, &consensus.Payload{}),
		"ok: a missing value":  d.told(consensus.NoteHighest, &consensus.Payload{}),
		"ok: another height":   d.told(consensus.NoteDecided, &consensus.Payload{Decision: change(d.decision(0, 1, 2), func(d *consensus.Decision) { d.Height = 1 })}),
		"ok: the word decided": d.told(consensus.NoteDecided, nil),
	} {
		d.r.muted = newRecent()
		d.heard(s)
		if muted, want := !d.r.hears(s), name[:3] != "ok:"; muted != want {
			t.Errorf("%s: muted %t", name, muted)
		}
	}
}

func TestAForgeryShownToASubmitterMutes(t *testing.T) {
	d := newDocket(t)
	d.r.known.Delete(d.job.ID) // it is no member
	heard := 0
	d.r.Watch(d.job.ID, d.job.Charter, func(Heard) { heard++ })
	d.r.cfg.Host = closedTo{}
	d.heard(d.told(consensus.NoteDecided, &consensus.Payload{Decision: d.decision(0, 1)}))
	d.heard(d.told(consensus.NoteDecided, &consensus.Payload{Decision: d.decision(0, 1, 2)}))
	if heard != 0 {
		t.Error("a muted member is heard")
	}
	d.now += mute
	d.heard(d.told(consensus.NoteDecided, &consensus.Payload{Decision: d.decision(0, 1, 2)}))
	if heard != 1 {
		t.Errorf("heard %d times after a minute", heard)
	}
}

// closedTo is a host that knows no job that ended.
type closedTo struct{ noHost }

func (closedTo) Decided(consensus.JobID, consensus.Conclusion, bft.View, [][]byte) {}

func (closedTo) Closed(consensus.JobID) (consensus.Conclusion, bool) {
	return consensus.Conclusion{}, false
}

func TestAForgeryInWhatWasKeptForAJobMutesWhenTheJobOpens(t *testing.T) {
	d := newDocket(t)
	s := d.told(consensus.NoteDecided, &consensus.Payload{Decision: d.decision(0, 1)})
	l := &loop{r: d.r, core: NewCore(d.n.Nodes[0].Key(), resend), stash: newStash(), peers: map[admission.Key]*peer{}}
	l.stash.add(s)
	done := make(chan error, 1)
	l.open(d.now, event{job: d.job.ID, done: done, open: &Open{First: bft.AcceptJob{}, Config: bft.Config{Network: d.n.ID, Genesis: d.n.Genesis,
		Job: d.job.ID, Charter: d.job.Charter, Self: 0, Runners: []int{0, 1, 2, 3}, Timing: bft.Timing{Beat: 1_000, Round: 1_000, RoundMax: 60_000}}}})
	if d.r.hears(s) {
		t.Error("not muted")
	}
}

func TestTheMemoryOfForgersIsBounded(t *testing.T) {
	r := newRecent()
	for i := range uint64(3 * maxRecent) {
		var peer admission.Key
		binary.BigEndian.PutUint64(peer[:], i)
		r.note(peer, consensus.JobID{1}, 1)
		if len(r.last) > maxRecent {
			t.Fatalf("%d are remembered", len(r.last))
		}
		if !r.within(peer, consensus.JobID{1}, 1, mute) {
			t.Fatal("the last one is not remembered")
		}
	}
}

func TestAClockThatGoesBackMutesNobodyForLonger(t *testing.T) {
	r, peer, job := newRecent(), admission.Key{1}, consensus.JobID{1}
	r.note(peer, job, 100_000)
	for now, want := range map[int64]bool{99_999: false, 100_000: true, 100_000 + mute - 1: true, 100_000 + mute: false, 0: false} {
		if got := r.within(peer, job, now, mute); got != want {
			t.Errorf("noted at 100,000 and asked at %d: %v, want %v", now, got, want)
		}
	}
}
