package runner

import (
	"crypto/sha256"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/dagcbor"
)

// court is a runner that checks messages about one job, and what they are made of.
type court struct {
	t     *testing.T
	n     *consensustest.Network
	job   consensustest.Job
	r     *Runner
	info  *charterInfo
	value consensus.Value
	hash  consensus.Hash
}

func newCourt(t *testing.T) *court {
	t.Helper()
	n := consensustest.New(6)
	c := &court{t: t, n: n, job: n.Job(consensus.Byzantine, 1), value: consensustest.Result("hello")}
	c.r = New(Config{Network: n.ID, Genesis: n.Genesis, Signer: n.Nodes[0], Incarnation: n.Nodes[0].Incarnation, Policy: n.Genesis.Policy, Host: noHost{},
		Clock: func() int64 { return consensustest.Now }})
	c.info, c.hash = newCharterInfo(c.n.ID, c.job.ID, c.job.Charter), c.hashOf(c.value)
	return c
}

// noHost is a host that nothing is asked of.
type noHost struct{ Host }

func (noHost) Blocks(consensus.JobID, []consensus.Block) {}

func (c *court) hashOf(v consensus.Value) consensus.Hash {
	c.t.Helper()
	hash, err := v.Hash(c.n.ID)
	if err != nil {
		c.t.Fatal(err)
	}
	return hash
}

func (c *court) key(seat int) admission.Key { return c.job.Roster[seat].Peer }

// stranger is a node without a seat.
func (c *court) stranger() admission.Key {
	for _, n := range c.n.Nodes {
		if c.job.Place(n.Key()) < 0 {
			return n.Key()
		}
	}
	panic("all have a seat")
}

// said is a statement of seat 1, as the frame's own checks leave it.
func (c *court) said(kind consensus.Kind, value consensus.Hash, payload *consensus.Payload) stashed {
	return stashed{from: c.key(1), incarnation: c.job.Roster[1].Incarnation, item: item{Kind: kind, Job: c.job.ID, Value: value, Payload: payload}}
}

// told is a note of seat 1.
func (c *court) told(kind consensus.Note, payload *consensus.Payload) stashed {
	return stashed{from: c.key(1), incarnation: c.job.Roster[1].Incarnation, note: &note{Note: kind, Job: c.job.ID, Payload: payload}}
}

// report is a report of a seat with its proof.
func (c *court) report(seat int) consensus.SignedReport {
	c.t.Helper()
	report := consensus.Report{Run: 1, Value: c.value}
	hash, err := report.Hash(c.n.ID)
	if err != nil {
		c.t.Fatal(err)
	}
	statement := c.n.Statement(c.job, seat, consensus.KindReport, 0, hash)
	proof := consensustest.Prove(c.n.Nodes[c.n.Index(c.key(seat))], statement)[0]
	return consensus.SignedReport{Seat: uint64(seat), Report: report, Proof: proof}
}

func (c *court) reportHash() consensus.Hash {
	c.t.Helper()
	hash, err := c.report(1).Report.Hash(c.n.ID)
	if err != nil {
		c.t.Fatal(err)
	}
	return hash
}

func (c *court) accept(seat int) consensus.Vote {
	proof := consensustest.Prove(c.n.Nodes[c.n.Index(c.key(seat))], c.n.Statement(c.job, seat, consensus.KindAccept, 0, consensus.Hash{}))[0]
	return consensus.Vote{Seat: uint64(seat), Proof: proof}
}

func (c *court) prepares(seats ...int) *consensus.VoteSet {
	set := c.n.Votes(c.job, consensus.KindPrepare, 0, c.hash, seats...)
	return &set
}

func (c *court) highest() consensus.Hash {
	hash, err := consensus.HighestHash(0, c.hash)
	if err != nil {
		c.t.Fatal(err)
	}
	return hash
}

func (c *court) cancel(by admission.Signer) *consensus.Cancel {
	cancel, err := consensus.SignCancel(c.n.ID, c.job.ID, by)
	if err != nil {
		c.t.Fatal(err)
	}
	return &cancel
}

func (c *court) submitter() consensustest.Node { return c.n.Nodes[c.n.Index(c.job.Submitter)] }

// void is a withdrawal of the job, signed by a node.
func (c *court) void(by consensustest.Node) *consensus.Void {
	v := consensus.Void{Incarnation: by.Incarnation}
	s := v.Statement(c.n.ID, c.job.ID, c.job.Charter)
	s.Sender = by.Key()
	v.Proof = consensustest.Prove(by, s)[0]
	return &v
}

func (c *court) decision(seats ...int) *consensus.Decision {
	return &consensus.Decision{Value: c.value, Commits: c.n.Votes(c.job, consensus.KindCommit, 0, c.hash, seats...)}
}

// as changes who says a message.
func as(s stashed, change func(*stashed)) stashed {
	change(&s)
	return s
}

// change returns a copy of what p points to, changed.
func change[T any](p *T, by func(*T)) *T {
	v := *p
	by(&v)
	return &v
}

func TestOnlyWhatAMachineMayBelieveReachesIt(t *testing.T) {
	c := newCourt(t)
	other, cancelled := consensustest.Result("another"), consensus.Value{Kind: consensus.Cancelled}
	forged := consensustest.Key("stranger")
	report, hash := c.report(1), c.reportHash()
	rejected := consensus.Value{Kind: consensus.Failed, Class: consensus.FailedRejected}
	propose := func(p consensus.Payload) stashed { return c.said(consensus.KindPropose, c.hash, &p) }
	change0 := func(p *consensus.Payload) stashed { return c.said(consensus.KindRoundChange, c.highest(), p) }
	decided := func(d *consensus.Decision) stashed {
		return c.told(consensus.NoteDecided, &consensus.Payload{Decision: d})
	}
	evidence := func(reports ...consensus.SignedReport) stashed {
		return c.told(consensus.NoteEvidence, &consensus.Payload{Reports: reports})
	}
	accepts := func(votes ...consensus.Vote) stashed {
		return c.told(consensus.NoteAccepts, &consensus.Payload{Accepts: votes})
	}
	many := func(n int) []consensus.SignedReport {
		reports := make([]consensus.SignedReport, n)
		for i := range reports {
			reports[i] = report
		}
		return reports
	}
	for _, rule := range []struct {
		name    string
		message stashed
		ok      bool
	}{
		{"a vote", c.said(consensus.KindPrepare, c.hash, nil), true},
		{"a vote from somebody without a seat", as(c.said(consensus.KindPrepare, c.hash, nil), func(s *stashed) { s.from = c.stranger() }), false},
		{"a vote under another seat's incarnation", as(c.said(consensus.KindPrepare, c.hash, nil), func(s *stashed) { s.incarnation = c.job.Roster[2].Incarnation }), false},
		{"a void from the submitter", as(c.said(consensus.KindVoid, consensus.Hash{}, nil), func(s *stashed) { s.from = c.job.Submitter }), true},
		{"a void from somebody else", as(c.said(consensus.KindVoid, consensus.Hash{}, nil), func(s *stashed) { s.from = c.stranger() }), false},

		{"a void of a round", as(c.said(consensus.KindVoid, consensus.Hash{}, nil), func(s *stashed) { s.from, s.item.Round = c.job.Submitter, 1 }), false},
		{"an accept", c.said(consensus.KindAccept, consensus.Hash{}, nil), true},
		{"an accept of a round", as(c.said(consensus.KindAccept, consensus.Hash{}, nil), func(s *stashed) { s.item.Round = 1 }), false},
		{"an accept of a value", c.said(consensus.KindAccept, c.hash, nil), false},

		{"a cancelled job's proposal with the submitter's void", c.said(consensus.KindPropose, c.hashOf(cancelled), &consensus.Payload{Value: &cancelled, Void: c.void(c.submitter())}), true},
		{"a void signed by somebody else", c.said(consensus.KindPropose, c.hashOf(cancelled), &consensus.Payload{Value: &cancelled, Void: c.void(c.n.Nodes[c.n.Index(c.key(1))])}), false},
		{"a void of another incarnation than signed it", c.said(consensus.KindPropose, c.hashOf(cancelled), &consensus.Payload{Value: &cancelled,
			Void: change(c.void(c.submitter()), func(v *consensus.Void) { v.Incarnation[0] ^= 1 })}), false},

		{"a report", c.said(consensus.KindReport, hash, &consensus.Payload{Report: &report.Report}), true},
		{"a report of a round", as(c.said(consensus.KindReport, hash, &consensus.Payload{Report: &report.Report}), func(s *stashed) { s.item.Round = 1 }), false},
		{"a report without its payload", c.said(consensus.KindReport, hash, nil), false},
		{"a report whose payload is something else", c.said(consensus.KindReport, hash, &consensus.Payload{Value: &c.value}), false},
		{"a report that is not the one signed", c.said(consensus.KindReport, hash,
			&consensus.Payload{Report: change(&report.Report, func(r *consensus.Report) { r.Value = other })}), false},
		{"a report out of form", c.said(consensus.KindReport, hash,
			&consensus.Payload{Report: change(&report.Report, func(r *consensus.Report) { r.Run = 0 })}), false},

		{"a proposal with its evidence", propose(consensus.Payload{Value: &c.value, Reports: []consensus.SignedReport{c.report(0), c.report(3)}}), true},
		{"a proposal with a certificate", propose(consensus.Payload{Value: &c.value, Set: c.prepares(0, 1, 2)}), true},
		{"a proposal without a payload", c.said(consensus.KindPropose, c.hash, nil), false},
		{"a proposal without its value", propose(consensus.Payload{Reports: many(1)}), false},
		{"a proposal of another value than it names", propose(consensus.Payload{Value: &other}), false},
		{"a proposal with a certificate of q-1", propose(consensus.Payload{Value: &c.value, Set: c.prepares(0, 1)}), false},
		{"a proposal with another value's certificate", propose(consensus.Payload{Value: &c.value,
			Set: change(c.prepares(0, 1, 2), func(s *consensus.VoteSet) { s.Value = c.hashOf(other) })}), false},
		{"a proposal with commits for a certificate", propose(consensus.Payload{Value: &c.value, Set: &c.decision(0, 1, 2).Commits}), false},

		{"a round change", c.said(consensus.KindRoundChange, consensus.Hash{}, nil), true},
		{"a round change with its certificate", change0(&consensus.Payload{Value: &c.value, Set: c.prepares(1, 2, 3)}), true},
		{"a round change with a certificate and no value", change0(&consensus.Payload{Set: c.prepares(1, 2, 3)}), false},
		{"a round change with another certificate than it signs", c.said(consensus.KindRoundChange, c.hash,
			&consensus.Payload{Value: &c.value, Set: c.prepares(1, 2, 3)}), false},
		{"a round change with a certificate of q-1", change0(&consensus.Payload{Value: &c.value, Set: c.prepares(1, 3)}), false},

		{"accepts", accepts(c.accept(0), c.accept(2)), true},
		{"accepts relayed by somebody without a seat", as(accepts(c.accept(0)), func(s *stashed) { s.from = c.stranger() }), true},
		{"an accept shown for another seat", accepts(*change(ptr(c.accept(0)), func(v *consensus.Vote) { v.Seat = 2 })), false},
		{"an accept for no seat", accepts(*change(ptr(c.accept(0)), func(v *consensus.Vote) { v.Seat = 99 })), false},
		{"an accept with a forged signature", accepts(*change(ptr(c.accept(0)), func(v *consensus.Vote) { v.Proof.Signature[3] ^= 1 })), false},

		{"evidence", evidence(c.report(0), c.report(1)), true},
		{"evidence in full", evidence(many(10)...), true},
		{"more evidence than members can give", evidence(many(11)...), false},
		{"evidence of no seat", evidence(*change(&report, func(r *consensus.SignedReport) { r.Seat = 5 })), false},
		{"evidence of another seat", evidence(*change(&report, func(r *consensus.SignedReport) { r.Seat = 2 })), false},
		{"evidence that was changed", evidence(*change(&report, func(r *consensus.SignedReport) { r.Report.Value = other })), false},
		{"evidence out of form", evidence(*change(&report, func(r *consensus.SignedReport) { r.Report.Run = 0 })), false},
		{"no evidence", c.told(consensus.NoteEvidence, nil), false},

		{"a cancel by an authority", c.told(consensus.NoteEvidence, &consensus.Payload{Cancel: c.cancel(c.n.Authority)}), true},
		{"a cancel by a stranger", c.told(consensus.NoteEvidence, &consensus.Payload{Cancel: c.cancel(forged)}), false},

		{"a rejection where nothing is checked", c.said(consensus.KindPropose, c.hashOf(rejected), &consensus.Payload{Value: &rejected}), false},
		{"a certificate learnt", c.told(consensus.NoteHighest, &consensus.Payload{Value: &c.value, Set: c.prepares(0, 2, 3)}), true},
		{"a certificate of q-1", c.told(consensus.NoteHighest, &consensus.Payload{Value: &c.value, Set: c.prepares(0, 2)}), false},
		{"a value without a certificate", c.told(consensus.NoteHighest, &consensus.Payload{Value: &c.value}), false},

		{"a decision", decided(c.decision(0, 1, 2)), true},
		{"a decision relayed by somebody without a seat", as(decided(c.decision(1, 2, 3)), func(s *stashed) { s.from = c.stranger() }), true},
		{"a decision of q-1", decided(c.decision(0, 1)), false},
		{"a decision of one seat, thrice", decided(change(c.decision(0, 1, 2), func(d *consensus.Decision) {
			d.Commits.Votes = []consensus.Vote{d.Commits.Votes[0], d.Commits.Votes[0], d.Commits.Votes[0]}
		})), false},
		{"a decision by prepares", decided(&consensus.Decision{Value: c.value, Commits: *c.prepares(0, 1, 2)}), false},
		{"a decision for another value", decided(change(c.decision(0, 1, 2), func(d *consensus.Decision) { d.Value = other })), false},
		{"a decision at another height", decided(change(c.decision(0, 1, 2), func(d *consensus.Decision) { d.Height = 1 })), false},
		{"a decision without one", c.told(consensus.NoteDecided, &consensus.Payload{}), false},
		{"the word of a member that it has decided", c.told(consensus.NoteDecided, nil), true},
		{"that word from somebody without a seat", as(c.told(consensus.NoteDecided, nil), func(s *stashed) { s.from = c.stranger() }), false},

		{"a member that asks", c.told(consensus.NoteAsk, nil), true},
		{"a stranger that asks", as(c.told(consensus.NoteAsk, nil), func(s *stashed) { s.from = c.stranger() }), false},
		{"a beat", c.told(consensus.NoteRunning, &consensus.Payload{Beat: &consensus.Beat{Run: 1, Running: true}}), true},
		{"a stranger's beat", as(c.told(consensus.NoteRunning, &consensus.Payload{Beat: &consensus.Beat{Run: 1}}), func(s *stashed) { s.from = c.stranger() }), false},
		{"a beat of nothing", c.told(consensus.NoteRunning, &consensus.Payload{}), false},
		{"a note nobody knows", c.told(99, &consensus.Payload{}), false},
	} {
		t.Run(rule.name, func(t *testing.T) {
			if _, err := c.r.checker.check(c.info, rule.message); (err == nil) != rule.ok {
				t.Errorf("%v", err)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

// verdict is what a seat found of the value, with its proof.
func (c *court) verdict(seat int, endorses bool) consensus.SignedVerdict {
	v := consensus.SignedVerdict{Seat: uint64(seat), Value: c.hash, Endorses: endorses}
	v.Proof = consensustest.Prove(c.n.Nodes[c.n.Index(c.key(seat))], v.Statement(c.n.ID, c.job.ID, c.job.Roster[seat]))[0]
	return v
}

// Verdicts count in a job that has a check, and nowhere else.
func TestVerdictsReachAMachineThatWantsThem(t *testing.T) {
	plain, c := newCourt(t), newCourt(t)
	c.job = c.n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Assurance = consensus.Endorsed })
	c.info = newCharterInfo(c.n.ID, c.job.ID, c.job.Charter)
	shown := func(verdicts ...consensus.SignedVerdict) stashed {
		return c.told(consensus.NoteEvidence, &consensus.Payload{Reports: []consensus.SignedReport{c.report(0)}, Verdicts: verdicts})
	}
	good := c.verdict(2, true)
	many := func(n int) (list []consensus.SignedVerdict) {
		for range n {
			list = append(list, good)
		}
		return list
	}
	for _, rule := range []struct {
		name    string
		message stashed
		ok      bool
	}{
		{"an endorsement", c.said(consensus.KindEndorse, c.hash, nil), true},
		{"a rejection", c.said(consensus.KindReject, c.hash, nil), true},
		{"an endorsement of a round", as(c.said(consensus.KindEndorse, c.hash, nil), func(s *stashed) { s.item.Round = 1 }), false},
		{"an endorsement of a height", as(c.said(consensus.KindEndorse, c.hash, nil), func(s *stashed) { s.item.Height, s.item.Previous = 1, &c.hash }), false},
		{"an endorsement from somebody without a seat", as(c.said(consensus.KindEndorse, c.hash, nil), func(s *stashed) { s.from = c.stranger() }), false},
		{"shown with the report", shown(good, c.verdict(3, false)), true},
		{"shown as the opposite", shown(*change(&good, func(v *consensus.SignedVerdict) { v.Endorses = false })), false},
		{"shown of another value", shown(*change(&good, func(v *consensus.SignedVerdict) { v.Value[0] ^= 1 })), false},
		{"shown of another seat", shown(*change(&good, func(v *consensus.SignedVerdict) { v.Seat = 1 })), false},
		{"shown of no seat", shown(*change(&good, func(v *consensus.SignedVerdict) { v.Seat = 9 })), false},
		{"as many as prove a value", shown(many(8)...), true},
		{"more than prove a value", shown(many(9)...), false},
		{"with a proposal", c.said(consensus.KindPropose, c.hash, &consensus.Payload{Value: &c.value, Verdicts: many(2)}), true},
		{"forged, with a proposal", c.said(consensus.KindPropose, c.hash, &consensus.Payload{Value: &c.value,
			Verdicts: []consensus.SignedVerdict{*change(&good, func(v *consensus.SignedVerdict) { v.Proof.Signature[0] ^= 1 })}}), false},
	} {
		if _, err := c.r.checker.check(c.info, rule.message); (err == nil) != rule.ok {
			t.Errorf("%s: %v", rule.name, err)
		}
	}
	for name, message := range map[string]stashed{
		"an endorsement": plain.said(consensus.KindEndorse, plain.hash, nil), "a rejection": plain.said(consensus.KindReject, plain.hash, nil),
		"shown": plain.told(consensus.NoteEvidence, &consensus.Payload{Reports: []consensus.SignedReport{plain.report(0)}, Verdicts: []consensus.SignedVerdict{plain.verdict(2, true)}}),
	} {
		if _, err := plain.r.checker.check(plain.info, message); err == nil {
			t.Errorf("%s, where nothing is checked, is taken", name)
		}
	}
}

func TestACheckedMessageSaysWhoseSeatItIs(t *testing.T) {
	c := newCourt(t)
	in, err := c.r.checker.check(c.info, c.said(consensus.KindPrepare, c.hash, nil))
	if m, ok := in.(bft.Message); err != nil || !ok || m.From != 1 || m.Kind != consensus.KindPrepare || m.Value != c.hash {
		t.Errorf("%+v, %v", in, err)
	}
	in, err = c.r.checker.check(c.info, as(c.told(consensus.NoteDecided, &consensus.Payload{Decision: c.decision(0, 1, 2)}), func(s *stashed) { s.from = c.stranger() }))
	if m, ok := in.(bft.Message); err != nil || !ok || m.From != -1 {
		t.Errorf("%+v, %v", in, err)
	}
}

// A judge is the simulator's way in: a statement's own proof stands where a
// frame has the signature over all of its statements.
func TestAJudgeWantsTheProofAndThenTheRules(t *testing.T) {
	c := newCourt(t)
	judge := NewJudge(c.n.ID, c.job.ID, c.job.Charter, c.r.checker.Verifier)
	said := c.n.Statement(c.job, 1, consensus.KindPrepare, 2, c.hash)
	claim := Claim{From: c.key(1), Incarnation: said.Incarnation, Kind: said.Kind, Job: c.job.ID, Round: 2, Value: c.hash,
		Proof: consensustest.Prove(c.n.Nodes[c.n.Index(c.key(1))], said)[0]}
	if in, err := judge.Check(claim); err != nil || in.(bft.Message).From != 1 || in.(bft.Message).Round != 2 {
		t.Fatalf("%+v, %v", in, err)
	}
	decided := Claim{From: c.stranger(), Note: consensus.NoteDecided, Job: c.job.ID, Payload: &consensus.Payload{Decision: c.decision(0, 1, 2)}}
	if in, err := judge.Check(decided); err != nil || in.(bft.Message).From != -1 {
		t.Fatalf("%+v, %v", in, err)
	}
	for name, spoil := range map[string]func(*Claim){
		"another round":       func(c *Claim) { c.Round++ },
		"another job":         func(c *Claim) { c.Job[0]++ },
		"another height":      func(c *Claim) { c.Height++ },
		"another kind":        func(c *Claim) { c.Kind = consensus.KindCommit },
		"another incarnation": func(c *Claim) { c.Incarnation[0]++ },
		"another member":      func(d *Claim) { d.From = c.key(2) },
		"a stranger":          func(d *Claim) { d.From = c.stranger() },
		"a false signature":   func(c *Claim) { c.Proof.Signature[0]++ },
	} {
		bad := claim
		spoil(&bad)
		if _, err := judge.Check(bad); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestAWatcherHearsOnlyWhatIsProved(t *testing.T) {
	c := newCourt(t)
	var heard []Heard
	c.r.Watch(c.job.ID, c.job.Charter, func(h Heard) { heard = append(heard, h) })
	w, ok := c.r.watcher(c.job.ID)
	if !ok {
		t.Fatal("not watched")
	}
	reason := "busy: no room"
	for _, s := range []stashed{
		c.said(consensus.KindAccept, consensus.Hash{}, nil),
		c.said(consensus.KindRefuse, sha256.Sum256([]byte(reason)), &consensus.Payload{Reason: reason}),
		c.told(consensus.NoteAccepts, &consensus.Payload{Accepts: []consensus.Vote{c.accept(2)}}),
		c.told(consensus.NoteDecided, &consensus.Payload{Decision: c.decision(0, 1, 2)}),
		// And what is not:
		as(c.said(consensus.KindAccept, consensus.Hash{}, nil), func(s *stashed) { s.from = c.stranger() }),
		as(c.said(consensus.KindAccept, consensus.Hash{}, nil), func(s *stashed) { s.incarnation[0] ^= 1 }),
		as(c.said(consensus.KindStarted, consensus.Hash{}, nil), func(s *stashed) { s.item.Round = 1 }),
		c.told(consensus.NoteAccepts, &consensus.Payload{Accepts: []consensus.Vote{*change(ptr(c.accept(2)), func(v *consensus.Vote) { v.Seat = 3 })}}),
		c.told(consensus.NoteDecided, &consensus.Payload{Decision: c.decision(0, 1)}),
		c.told(consensus.NoteDecided, nil),
	} {
		c.r.tellWatcher(w, s)
	}
	if len(heard) != 4 || heard[0].Kind != consensus.KindAccept || heard[0].Seat != 1 || heard[1].Reason != reason ||
		heard[2].Seat != 2 || heard[2].From != c.key(2) || heard[3].Ended == nil {
		t.Errorf("heard %+v", heard)
	}
	c.r.Forget(c.job.ID)
	if _, ok := c.r.watcher(c.job.ID); ok {
		t.Error("still watched")
	}
}

func TestAFrameOfAForgerIsABreach(t *testing.T) {
	c := newCourt(t)
	out, signed := sealed(t, c.n, []consensus.Kind{consensus.KindAccept}, make([]*consensus.Payload, 1))
	b := body{Incarnation: c.n.Nodes[0].Incarnation, Count: 1, Siblings: []consensus.Hash{}, Signature: signed.signature, Notes: []note{},
		Items: []item{{Kind: consensus.KindAccept, Job: out[0].job, Value: out[0].key.value}}}
	b.Signature[0] ^= 1
	data, err := dagcbor.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.r.Receive(c.n.Nodes[0].Key(), framed(t, data)); err == nil {
		t.Error("a forged signature is taken")
	}
	if err := c.r.Receive(c.n.Nodes[0].Key(), []byte("no frame")); err == nil {
		t.Error("bytes that are no frame are taken")
	}
}
