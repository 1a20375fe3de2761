package runner

import (
	"errors"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/consensustest"
)

// ladder is a court of a job whose seat 1 went to the reserve, which is party 4.
type ladder struct {
	*court
	chain       []consensus.Decision
	first, next consensus.Height
}

func newLadder(t *testing.T) *ladder {
	t.Helper()
	c := newCourt(t)
	c.job = c.n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Replace = 1 })
	l := &ladder{court: c, first: c.n.First(c.job)}
	l.chain, l.next = c.n.Chain(c.job, consensustest.Handover([2]uint64{1, 0}))
	c.info = newCharterInfo(c.n.ID, c.job.ID, c.job.Charter).reach(l.next)
	return l
}

// said is a statement of a party, as the frame's own checks leave it.
func (l *ladder) said(party int, kind consensus.Kind, at consensus.Height, value consensus.Hash, payload *consensus.Payload) stashed {
	who := l.job.Party(party)
	it := item{Kind: kind, Job: l.job.ID, Height: at.Number, Value: value, Payload: payload}
	if at.Number > 0 {
		it.Previous = &at.Previous
	}
	return stashed{from: who.Peer, incarnation: who.Incarnation, item: it}
}

func (l *ladder) told(party int, kind consensus.Note, payload *consensus.Payload) stashed {
	who := l.job.Party(party)
	return stashed{from: who.Peer, incarnation: who.Incarnation, note: &note{Note: kind, Job: l.job.ID, Payload: payload}}
}

func (l *ladder) name(party int) consensus.Hash {
	l.t.Helper()
	name, err := l.job.Party(party).Hash()
	if err != nil {
		l.t.Fatal(err)
	}
	return name
}

// numbered gives a statement its round.
func numbered(s stashed, round uint32) stashed {
	s.item.Round = round
	return s
}

func TestGrantsAreMembersAndOfJobsThatAct(t *testing.T) {
	l := newLadder(t)
	grant, ended := consensus.KindGrant, consensus.KindEnded
	for _, tc := range []struct {
		what string
		said stashed
		want bool
	}{
		{"a member's grant", numbered(l.said(0, grant, l.next, l.name(2), nil), 1), true},
		{"a grant by who was removed", numbered(l.said(1, grant, l.next, l.name(2), nil), 1), false},
		{"a grant at the height before", numbered(l.said(1, grant, l.first, l.name(2), nil), 1), true},
		{"a grant of run 0", l.said(0, grant, l.next, l.name(2), nil), false},
		{"a grant bound to another decision", func() stashed {
			s := numbered(l.said(0, grant, l.next, l.name(2), nil), 1)
			s.item.Previous = &consensus.Hash{}
			return s
		}(), false},
		{"that runs are over", numbered(l.said(0, ended, l.first, consensus.Hash{}, nil), 1), true},
		{"the same of who was removed", numbered(l.said(1, ended, l.first, consensus.Hash{}, nil), 1), true},
		{"that run 0 is over", l.said(0, ended, l.first, consensus.Hash{}, nil), false},
		{"that runs are over, at a height", numbered(l.said(0, ended, l.next, consensus.Hash{}, nil), 1), false},
		{"that something is over", numbered(l.said(0, ended, l.first, l.name(2), nil), 1), false},
	} {
		for _, effects := range []consensus.Effects{"", consensus.Once, consensus.AtLeastOnce} {
			l.info.charter.Effects = effects
			if _, err := l.r.checker.check(l.info, tc.said); (err == nil) != (tc.want && effects != "") {
				t.Errorf("%s, effects %q: %v", tc.what, effects, err)
			}
		}
	}
}

func TestAHeightIsHeardFromItsMembersOnly(t *testing.T) {
	l := newLadder(t)
	prepare, suspect, accept := consensus.KindPrepare, consensus.KindSuspect, consensus.KindAccept
	wrong := l.next
	wrong.Previous = consensus.Hash(l.job.ID)
	soon := consensus.Height{Number: 1, Previous: l.first.Previous} // what a reserve accepts before height 0 is decided
	later := consensus.Height{Number: 2, Previous: l.next.Previous} // and before height 1 is
	report := l.report(0)
	highest := func(at consensus.Height, seats ...int) *consensus.Payload {
		set := l.n.VotesAt(at, prepare, 0, l.hash, seats...)
		return &consensus.Payload{Value: &l.value, Set: &set, Height: at.Number}
	}
	propose := func(at consensus.Height, v consensus.Value, p consensus.Payload) stashed {
		p.Value = &v
		return l.said(0, consensus.KindPropose, at, l.hashOf(v), &p)
	}
	outcome := l.n.DecideAt(l.next, l.value)
	back := func(s stashed) stashed { s.incarnation[0] ^= 1; return s }
	for _, tc := range []struct {
		what string
		said stashed
		want bool
	}{
		{"a vote of a member", l.said(0, prepare, l.next, l.hash, nil), true},
		{"a vote of the reserve that has a seat", l.said(4, prepare, l.next, l.hash, nil), true},
		{"a vote of who was removed", l.said(1, prepare, l.next, l.hash, nil), false},
		{"a vote of who was removed, at the height before", l.said(1, prepare, l.first, l.hash, nil), true},
		{"a vote of the reserve at the height before", l.said(4, prepare, l.first, l.hash, nil), false},
		{"a vote bound to another decision", l.said(0, prepare, wrong, l.hash, nil), false},
		{"a suspicion of a member", l.said(0, suspect, l.next, l.name(2), nil), true},
		{"a suspicion of who was removed", l.said(1, suspect, l.next, l.name(2), nil), false},
		{"a reserve's accept of this height", l.said(4, accept, soon, consensus.Hash{}, nil), true},
		{"a reserve's accept of the next", l.said(4, accept, later, consensus.Hash{}, nil), true},
		{"a member's accept of a height", l.said(0, accept, later, consensus.Hash{}, nil), false},
		{"a reserve's accept of the charter", l.said(4, accept, l.first, consensus.Hash{}, nil), false},
		{"a start at a height", l.said(0, consensus.KindStarted, l.next, consensus.Hash{}, nil), false},
		{"the word of who lost its journal", back(l.said(2, consensus.KindGone, l.first, l.name(2), nil)), true},
		{"the same of another", back(l.said(2, consensus.KindGone, l.first, l.name(3), nil)), false},
		{"the same in the charter's incarnation", l.said(2, consensus.KindGone, l.first, l.name(2), nil), false},
		{"a vote in another incarnation", back(l.said(2, prepare, l.next, l.hash, nil)), false},
		{"a certificate of this height", l.told(0, consensus.NoteHighest, highest(l.next, 0, 1, 2)), true},
		{"a certificate of the height before, for this one", l.told(0, consensus.NoteHighest, func() *consensus.Payload {
			p := highest(l.first, 0, 1, 2)
			p.Height = 1
			return p
		}()), false},
		{"a proposal with a certificate of this height", propose(l.next, l.value, consensus.Payload{Set: highest(l.next, 0, 1, 2).Set}), true},
		{"a proposal with one of the height before", propose(l.next, l.value, consensus.Payload{Set: highest(l.first, 0, 1, 2).Set}), false},
		{"a proposal of a handover that may be", propose(l.first, consensustest.Handover([2]uint64{2, 0}), consensus.Payload{}), true},
		{"a proposal of a handover beyond the bound", propose(l.next, consensustest.Handover([2]uint64{2, 0}), consensus.Payload{}), false},
		{"the handovers so far", l.told(3, consensus.NoteHandover, &consensus.Payload{Chain: l.chain}), true},
		{"a handover twice", l.told(3, consensus.NoteHandover, &consensus.Payload{Chain: append(l.chain[:1:1], l.chain[0])}), false},
		{"a handover without q", l.told(3, consensus.NoteHandover, &consensus.Payload{Chain: []consensus.Decision{{Value: l.chain[0].Value,
			Commits: l.n.VotesAt(l.first, consensus.KindCommit, 0, l.chain[0].Commits.Value, 0, 1)}}}), false},
		{"an outcome with its chain", l.told(3, consensus.NoteDecided, &consensus.Payload{Chain: l.chain, Decision: &outcome}), true},
		{"an outcome without its chain", l.told(3, consensus.NoteDecided, &consensus.Payload{Decision: &outcome}), false},
		{"an outcome that is a handover", l.told(3, consensus.NoteDecided, &consensus.Payload{Decision: &l.chain[0]}), false},
		{"a report shown, whatever the height", l.told(3, consensus.NoteEvidence, &consensus.Payload{Reports: []consensus.SignedReport{report}}), true},
		{"that somebody is there", l.told(4, consensus.NoteAlive, nil), true},
	} {
		if _, err := l.r.checker.check(l.info, tc.said); (err == nil) != tc.want {
			t.Errorf("%s: %v, want it believed: %v", tc.what, err, tc.want)
		}
	}
	alive, err := l.r.checker.check(l.info, back(l.told(2, consensus.NoteAlive, nil)))
	if err == nil {
		t.Errorf("in another incarnation a member is heard: %+v", alive)
	}
}

// A frame whose batch holds a statement of a height that is ahead verifies all
// the same; that statement alone waits.
func TestAStatementOfAHeightAheadIsSaidAgain(t *testing.T) {
	l := newLadder(t)
	l.r.known.Store(l.job.ID, newCharterInfo(l.n.ID, l.job.ID, l.job.Charter)) // at height 0
	me := l.n.Nodes[l.n.Index(l.key(0))]
	statements := []consensus.Statement{l.first.Statement(consensus.KindPrepare, 0, 0, l.hash), l.next.Statement(consensus.KindPrepare, 0, 0, l.hash)}
	proofs := consensustest.Prove(me, statements...)
	b := body{Incarnation: me.Incarnation, Count: 2, Signature: proofs[0].Signature, Items: []item{
		{Index: 0, Kind: consensus.KindPrepare, Job: l.job.ID, Value: l.hash},
		{Index: 1, Kind: consensus.KindPrepare, Job: l.job.ID, Height: 1, Previous: &l.next.Previous, Value: l.hash},
	}}
	verified, err := b.proofs(l.n.ID, me.Key(), l.r.roots)
	if err != nil {
		t.Fatal(err)
	}
	var ev frameEvent
	for i, it := range b.Items {
		l.r.receiveOne(&ev, stashed{from: me.Key(), incarnation: me.Incarnation, item: it, proof: verified[i]}, uint64(i))
	}
	if len(ev.messages) != 1 || len(ev.unknown) != 1 || len(ev.missed) != 1 || ev.missed[0] != 1 {
		t.Fatalf("taken %v, kept %v, missed %v", ev.messages, ev.unknown, ev.missed)
	}
	info := newCharterInfo(l.n.ID, l.job.ID, l.job.Charter).reach(l.next)
	if in, err := l.r.checker.check(info, ev.unknown[0]); err != nil || in.(bft.Message).Height != 1 {
		t.Errorf("once its height is reached: %+v, %v", in, err)
	}
	for _, it := range []item{{Height: 1}, {Previous: &consensus.Hash{}}} {
		it.Kind, it.Job = consensus.KindPrepare, l.job.ID
		if _, err := (body{Count: 1, Items: []item{it}}).proofs(l.n.ID, me.Key(), l.r.roots); !errors.Is(err, errFrame) {
			t.Errorf("height %d with previous %v: %v", it.Height, it.Previous, err)
		}
	}
}

// So does a certificate of such a height, which nobody signs as a whole.
func TestACertificateOfAHeightAheadIsSaidAgain(t *testing.T) {
	l := newLadder(t)
	l.r.known.Store(l.job.ID, newCharterInfo(l.n.ID, l.job.ID, l.job.Charter)) // at height 0
	set := consensus.VoteSet{Value: l.hash}
	for _, seat := range []int{0, 2, 3} {
		vote := l.next.Statement(consensus.KindPrepare, seat, 0, l.hash)
		set.Votes = append(set.Votes, consensus.Vote{Seat: uint64(seat), Proof: consensustest.Prove(l.n.Nodes[l.n.Index(vote.Sender)], vote)[0]})
	}
	highest := l.told(2, consensus.NoteHighest, &consensus.Payload{Height: 1, Value: &l.value, Set: &set})
	var ev frameEvent
	l.r.receiveOne(&ev, highest, 5)
	if len(ev.messages) != 0 || len(ev.unknown) != 1 || len(ev.missed) != 1 || ev.missed[0] != 5 {
		t.Fatalf("taken %v, kept %v, missed %v", ev.messages, ev.unknown, ev.missed)
	}
	info := newCharterInfo(l.n.ID, l.job.ID, l.job.Charter).reach(l.next)
	if _, err := l.r.checker.check(info, ev.unknown[0]); err != nil || info.isAhead(highest) {
		t.Errorf("once its height is reached: %v", err)
	}
}

func TestAJudgeLearnsOfHeights(t *testing.T) {
	l := newLadder(t)
	judge := NewJudge(l.n.ID, l.job.ID, l.job.Charter, l.r.checker.Verifier)
	vote := l.next.Statement(consensus.KindPrepare, 1, 0, l.hash) // of the reserve
	proof := consensustest.Prove(l.n.Nodes[l.n.Index(vote.Sender)], vote)[0]
	claim := Claim{From: vote.Sender, Incarnation: vote.Incarnation, Kind: vote.Kind, Job: vote.Job, Height: 1, Previous: vote.Previous, Value: vote.Value, Proof: proof}
	if _, err := judge.Check(claim); !errors.Is(err, errAhead) {
		t.Errorf("before the height is reached: %v", err)
	}
	judge.Reach(l.next)
	if in, err := judge.Check(claim); err != nil || in.(bft.Message).From != 4 {
		t.Errorf("after it: %+v, %v", in, err)
	}
	claim.Previous = consensus.Hash{1}
	if _, err := judge.Check(claim); err == nil {
		t.Error("a vote bound to another decision than was signed")
	}
}
