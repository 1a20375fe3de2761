package sim

import (
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/runner"
)

// Lie is a kind of lie. Each has a file of its own.
type Lie int

// The lies.
const (
	LieSilence     Lie = iota // liar_silence.go
	LieEquivocate             // liar_equivocate.go
	LieDoubleVote             // liar_doublevote.go
	LieStale                  // liar_stale.go
	LieWithhold               // liar_withhold.go
	LiePartial                // liar_partial.go
	LieFalseReport            // liar_falsereport.go
	LieCopy                   // liar_copy.go
	LieAccepts                // liar_accepts.go
	LieReplay                 // liar_replay.go
	LieBabble                 // liar_babble.go
	LieHandover               // liar_handover.go

	LieFalseForm // liar_falseform.go
	LieGrants    // liar_grants.go
	LieFarRuns   // liar_farruns.go
	LieVerdicts  // liar_verdicts.go
	lies
)

// anywhere is how many lies, the first of them, are told in jobs of any kind.
const anywhere = LieFalseForm

var lieNames = [lies]string{"silence at the worst moment", "an equivocating leader", "votes for everything", "stale certificates",
	"a result withheld", "a report to one member only", "a false result", "a copied report", "accepts to some, and none that are real",
	"words from another job, height, network or incarnation", "anything to anybody", "forged handovers",
	"another result with the form of honest ones",
	"one run granted to many", "runs far ahead", "a value found good before some, and bad before others"}

// String names the lie.
func (l Lie) String() string { return lieNames[l] }

// liar is a member with a correct machine, which may bend what that says, may say
// anything else, and can sign only as itself. It hears all that is said by anybody.
type liar struct {
	w     *world
	n     *node
	kind  Lie
	src   source
	mask  uint32 // an audience, for lies that tell it otherwise
	quiet bool   // it has fallen silent
	turns int
}

func newLiar(w *world, n *node, kind Lie) *liar {
	l := &liar{w: w, n: n, kind: kind, src: newSource(w.plan.Seed, 80+n.id)}
	l.mask = uint32(1 + l.src.below(1<<w.plan.parties()-1))
	w.cover.Lies[kind]++
	return l
}

// turnsMost bounds how often a liar acts of its own accord.
const turnsMost = 60

// begin makes the liar act now and then.
func (l *liar) begin() {
	switch l.kind {
	case LieSilence, LieWithhold, LiePartial, LieFalseReport, LieCopy:
		return // these only bend
	}
	l.w.after(l.src.until(400), l.act)
}

func (l *liar) act() {
	if l.turns++; l.turns > turnsMost {
		return
	}
	if l.n.up && !l.n.gone {
		switch l.kind {
		case LieEquivocate:
			l.equivocate()
		case LieDoubleVote:
			l.voteForAll()
		case LieStale:
			l.showStale()
		case LieAccepts:
			l.inventAccepts()
		case LieReplay:
			l.replay()
		case LieBabble:
			l.babble()
		case LieHandover:
			l.forgeHandover()
		case LieFalseForm:
			l.claimForm()
		case LieGrants:
			l.grantToMany()
		case LieFarRuns:
			l.askFarAhead()
		case LieVerdicts:
			l.judgeBoth()
		}
	}
	l.w.after(20+l.src.until(250), l.act)
}

// bend is what the liar tells a seat in place of what a correct member says.
func (l *liar) bend(to int, m mail) mail {
	if l.quiet {
		return nil
	}
	switch l.kind {
	case LieSilence:
		return l.fallSilent(m)
	case LiePartial:
		return l.reportToOne(to, m)
	case LieCopy:
		return l.copyReport(m)
	case LieAccepts:
		return l.acceptToSome(to, m)
	case LieFalseForm:
		return l.bindToNothing(m)
	}
	return m
}

// form is what the liar says that an end of its runs comes to.
func (l *liar) form(s *stock) *consensus.Hash {
	if form := l.w.plan.formOf(s); form == nil || l.kind != LieFalseForm {
		return form
	}
	return l.honestForm()
}

// sign signs a statement as the liar, about this job, at the last height or, now
// and then, at another.
func (l *liar) sign(kind consensus.Kind, round uint32, value consensus.Hash, payload *consensus.Payload) *mailed {
	at := l.w.last()
	if at.Number > 0 && l.src.chance(20) {
		at = l.w.heights[l.src.below(len(l.w.heights))]
	}
	return l.signAt(at, kind, round, value, payload)
}

func (l *liar) signAt(at consensus.Height, kind consensus.Kind, round uint32, value consensus.Hash, payload *consensus.Payload) *mailed {
	out := bft.Outgoing{Kind: kind, Round: round, Value: value, Payload: payload}
	if kind.Slot() || kind == consensus.KindSuspect || kind == consensus.KindGrant {
		out.Height, out.Previous = at.Number, at.Previous
	}
	return l.signed(l.n.claim(out))
}

func (l *liar) signed(c runner.Claim) *mailed {
	c.Proof = l.w.ledger.sign(l.n.key, statementOf(&c))
	l.w.checks.count(l.n.id, &c)
	return l.w.address(c)
}

func (l *liar) note(note consensus.Note, value consensus.Hash, payload *consensus.Payload) *mailed {
	return l.w.address(l.n.claim(bft.Outgoing{Note: note, Value: value, Payload: payload}))
}

// tell tells one node something, in one frame, and counts whether it can be
// believed.
func (l *liar) tell(to int, words ...*mailed) {
	if to == l.n.id {
		return
	}
	for _, m := range words {
		if m.in == nil {
			l.w.cover.Refused[l.kind]++
		} else {
			l.w.cover.Believed[l.kind]++
		}
		if l.w.trace.words {
			l.w.logf("%d lies to %d: %s, believed %v", l.n.id, to, describe(m), m.in != nil)
		}
	}
	l.w.post(l.n.id, to, l.n.life, words)
}

// tellSome tells each other node, in so many of a hundred cases.
func (l *liar) tellSome(percent int, words ...*mailed) {
	for to := range l.w.nodes {
		if l.src.chance(percent) {
			l.tell(to, words...)
		}
	}
}

// top is the highest round that an honest member has reached at the last height.
func (l *liar) top() uint32 {
	top := uint32(0)
	for party, r := range l.w.checks.reachedAt(l.w.last().Number) {
		if l.w.nodes[party].liar == nil {
			top = max(top, r)
		}
	}
	return top
}

// anything is one of the values of a run.
func (l *liar) anything() *stock {
	if l.w.plan.Contested {
		return []*stock{l.w.plan.endOf(l.n.id), &cancelled, &deadline}[l.src.below(3)]
	}
	all := plain()
	if l.src.chance(40) {
		return l.w.plan.endOf(l.src.below(l.w.t.N))
	}
	return all[l.src.below(len(all))]
}

// evidence is all that was reported, and the owner's wish if there is one.
func (l *liar) evidence() *consensus.Payload {
	p := &consensus.Payload{Reports: l.w.checks.reports()}
	if l.w.ledger.wished {
		c := l.w.cancel()
		p.Cancel = &c
	}
	return p
}

// buildSet builds a set of votes of a kind from what was really signed, with the
// liar's own vote if that is missing.
func (l *liar) buildSet(kind consensus.Kind) (consensus.VoteSet, *stock, bool) {
	tallies := l.w.checks.tallies
	for range 4 {
		if len(tallies) == 0 {
			break
		}
		t := tallies[l.src.below(len(tallies))]
		s, known := stockOf(t.value)
		if !t.kind.Slot() || !known {
			continue
		}
		at := l.w.heights[t.height]
		if l.w.checks.voters(t.with(kind))>>l.n.id&1 == 0 {
			l.signAt(at, kind, t.round, t.value, nil)
		}
		if set, ok := l.w.ledger.set(at, kind, t.round, t.value); ok {
			return set, s, true
		}
	}
	return consensus.VoteSet{}, nil, false
}

// set collects q votes of a height that were signed.
func (l *ledger) set(at consensus.Height, kind consensus.Kind, round uint32, value consensus.Hash) (consensus.VoteSet, bool) {
	quorum := at.Charter.Thresholds().Quorum
	set := consensus.VoteSet{Round: round, Value: value}
	for seat := range at.Members {
		want := at.Statement(kind, seat, round, value)
		if i, ok := l.at(&want); ok && len(set.Votes) < quorum {
			set.Votes = append(set.Votes, consensus.Vote{Seat: uint64(seat), Proof: proofOf(i)})
		}
	}
	return set, len(set.Votes) == quorum
}
