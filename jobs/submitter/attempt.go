package submitter

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

// tally is what members have said of one charter.
type tally struct {
	accepted []bool
	started  []*consensus.Proof
	refused  []string
	voided   []bool
	ended    bool
	rule     rule // what gives the charter up, but for Voided
}

// rule is which refusals are as good as Voided, of all that a tally hears.
type rule int

const (
	noRefusal   rule = iota // who refused may be shown q accepts, and start
	anyRefusal              // two copies would waste work only
	pastRefusal             // what acts is past its deadline
)

// skew is the clock difference between nodes that is allowed for, milliseconds.
const skew = 60_000

// ruleOf returns the rule for what is heard of a charter from now on. Past the deadline
// no correct member grants a run, and none that has started forgets it: one that
// refuses for that, by its own clock, has granted none and will not (decision 017).
func (s *Submitter) ruleOf(c *consensus.Charter) rule {
	switch {
	case c.Effects == "":
		return anyRefusal
	case s.cfg.Clock() > c.Deadline+skew:
		return pastRefusal
	}
	return noRefusal
}

func newTally(n int, r rule) *tally {
	return &tally{accepted: make([]bool, n), started: make([]*consensus.Proof, n), refused: make([]string, n), voided: make([]bool, n), rule: r}
}

func (t *tally) hear(h Heard) {
	switch h.Kind {
	case consensus.KindAccept:
		t.accepted[h.Seat] = true
	case consensus.KindStarted:
		t.accepted[h.Seat] = true
		t.started[h.Seat] = &h.Proof
	case consensus.KindRefuse:
		t.refused[h.Seat] = h.Reason
	case consensus.KindVoided:
		t.voided[h.Seat] = true
	case 0:
		t.ended = true
	}
}

func (t *tally) starts() []consensus.Vote {
	votes := []consensus.Vote{}
	for seat, proof := range t.started {
		if proof != nil {
			votes = append(votes, consensus.Vote{Seat: uint64(seat), Proof: *proof})
		}
	}
	return votes
}

// answered reports whether a seat needs the offer no more. One that has accepted does
// until it has started: who offers what is open is told again what came of it.
func (t *tally) answered(seat int) bool {
	return t.started[seat] != nil || t.refused[seat] != "" || t.ended
}

func (t *tally) refusals() int {
	n := 0
	for seat := range t.refused {
		if t.refuses(seat) {
			n++
		}
	}
	return n
}

func (t *tally) refuses(seat int) bool { return t.refused[seat] != "" && !t.accepted[seat] }

// gone counts the members that gave the charter up: that voided it, or refused it
// where a refusal is as good. One that says both is one.
func (t *tally) gone() int {
	n := 0
	for seat, voided := range t.voided {
		if voided || t.givesUp(seat) {
			n++
		}
	}
	return n
}

// givesUp reports whether a seat's refusal is as good as Voided. One that had accepted,
// and never started, has put the job away by the deadline.
func (t *tally) givesUp(seat int) bool {
	switch t.rule {
	case anyRefusal:
		return t.refuses(seat)
	case pastRefusal:
		return t.started[seat] == nil && strings.HasPrefix(t.refused[seat], jobs.RefusePast+": ")
	}
	return false
}

// reasons says who refused, and why, by the members' names.
func (t *tally) reasons(c *consensus.Charter) []string {
	var out []string
	for seat, reason := range t.refused {
		if reason != "" {
			out = append(out, c.Roster[seat].Peer.Name()+": "+reason)
		}
	}
	return out
}

// fate is what became of one charter.
type fate struct {
	acknowledged bool
	unknown      bool     // too few members have said that it does not live
	reasons      []string // why it was not acknowledged
}

// attempt takes one charter to its answer: acknowledged, or not with the
// reasons. The charter is durable before anybody sees it.
func (s *Submitter) attempt(ctx context.Context, sub *submission, a drawn) (fate, error) {
	entry, err := a.record.entry(sub.request)
	if err != nil {
		return fate{}, err
	}
	if err := s.cfg.Journal.Append(ctx, entry); err != nil {
		return fate{}, err
	}
	return s.offer(ctx, sub, a)
}

// offer sends a durable charter to its members until enough have answered.
func (s *Submitter) offer(ctx context.Context, sub *submission, a drawn) (fate, error) {
	t, thresholds := newTally(len(a.charter.Roster), s.ruleOf(a.charter)), a.charter.Thresholds()
	heard := s.watch(a)
	if a.record.Void { // the node went down while it withdrew
		return s.withdraw(ctx, sub, a, t, heard)
	}
	backoff := time.Duration(s.cfg.Policy.Resend) * time.Millisecond
	resend := time.NewTimer(0)
	defer resend.Stop()
	until := time.NewTimer(time.Duration(max(a.charter.AcceptBy-s.cfg.Clock(), 0)) * time.Millisecond)
	defer until.Stop()
	for {
		select {
		case h := <-heard:
			t.hear(h)
		case <-resend.C:
			for seat, member := range a.charter.Roster {
				if !t.answered(seat) {
					offer := s.offerFor(ctx, member.Peer, a.charter, sub.more, a.record.Offer)
					if err := s.cfg.Quorum.Offer(ctx, member.Peer, a.job, offer); err != nil {
						return fate{}, err
					}
				}
			}
			resend.Reset(backoff)
			backoff += backoff / 2
			continue
		case <-until.C:
			return s.withdraw(ctx, sub, a, t, heard)
		case <-ctx.Done():
			return fate{}, ctx.Err()
		}
		if starts := t.starts(); len(starts) >= thresholds.Suspicion || t.ended {
			return fate{acknowledged: true}, s.acknowledge(ctx, sub, a, starts)
		}
		if t.refusals() > thresholds.N-thresholds.Quorum {
			return s.withdraw(ctx, sub, a, t, heard)
		}
	}
}

// watch hears of a charter until its outcome is known: then the submission's record
// can go, and whoever keeps certificates is told. The channel that it returns has
// room for all that can be said, so that nobody's words push out another's.
func (s *Submitter) watch(a drawn) <-chan Heard {
	var w words
	heard := make(chan Heard, len(saidBySeats)*len(a.charter.Roster)+1)
	s.cfg.Quorum.Watch(a.job, a.charter, func(h Heard) {
		if !w.first(h) {
			return
		}
		heard <- h
		if h.Ended != nil {
			s.cfg.Quorum.Forget(a.job)
			s.cfg.Decided(a.record.Offer, a.charter, a.job, *h.Ended)
		}
	})
	return heard
}

// saidBySeats are the words of a member that count, each once.
var saidBySeats = [...]consensus.Kind{consensus.KindAccept, consensus.KindStarted, consensus.KindRefuse, consensus.KindVoided}

// words are those that were heard of one charter.
type words struct {
	mutex sync.Mutex
	said  [len(saidBySeats)]uint64 // by which seats
	ended bool
}

// first reports whether h is a word that counts, said for the first time.
func (w *words) first(h Heard) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if h.Kind == 0 {
		before := w.ended
		w.ended = before || h.Ended != nil
		return w.ended && !before
	}
	i, seat := slices.Index(saidBySeats[:], h.Kind), uint64(1)<<h.Seat
	if i < 0 || w.said[i]&seat != 0 {
		return false
	}
	w.said[i] |= seat
	return true
}

// acknowledge makes f+1 starts durable, before the caller is told.
func (s *Submitter) acknowledge(ctx context.Context, sub *submission, a drawn, starts []consensus.Vote) error {
	r := a.record
	r.Acknowledged = true
	r.Started = starts[:min(len(starts), a.charter.Thresholds().Suspicion)]
	entry, err := r.entry(sub.request)
	if err != nil {
		return err
	}
	if err := s.cfg.Journal.Append(ctx, entry); err != nil {
		return err
	}
	s.inquire(ctx, a.job, sub.request, inquireAfter)
	return nil
}

// withdraw voids a charter that was not acknowledged. The next draw need not wait
// for q answers where two copies would waste work only; where a task acts on the
// world it does, and a refusal is none: who refused may be shown q accepts, and
// start. A member that had started answers that the job lives, but no number of
// those acknowledges it any more: whoever knows of the Void can have Cancelled
// decided with it (decision 020). Its end does.
func (s *Submitter) withdraw(ctx context.Context, sub *submission, a drawn, t *tally, heard <-chan Heard) (fate, error) {
	r := a.record
	r.Void = true
	entry, err := r.entry(sub.request)
	if err != nil {
		return fate{}, err
	}
	if err := s.cfg.Journal.Append(ctx, entry); err != nil {
		return fate{}, err
	}
	thresholds := a.charter.Thresholds()
	backoff := time.Duration(s.cfg.Policy.Resend) * time.Millisecond
	for range voidTries {
		for seat, member := range a.charter.Roster {
			if t.voided[seat] || t.refused[seat] != "" {
				continue
			}
			if err := s.cfg.Quorum.Void(ctx, member.Peer, a.job); err != nil {
				return fate{}, err
			}
			if t.rule == pastRefusal { // who put it away answers an offer alone
				if err := s.cfg.Quorum.Offer(ctx, member.Peer, a.job, a.record.Offer); err != nil {
					return fate{}, err
				}
			}
		}
		wait := time.NewTimer(backoff)
		for waiting := true; waiting; {
			select {
			case h := <-heard:
				t.hear(h)
			case <-wait.C:
				waiting = false
			case <-ctx.Done():
				wait.Stop()
				return fate{}, ctx.Err()
			}
			if t.ended {
				wait.Stop()
				return fate{acknowledged: true}, s.acknowledge(ctx, sub, a, t.starts())
			}
			if t.gone() >= thresholds.Quorum {
				wait.Stop()
				s.cfg.Quorum.Forget(a.job)
				return fate{reasons: t.reasons(a.charter)}, nil
			}
		}
		backoff *= 2
	}
	reasons := t.reasons(a.charter)
	for seat, member := range a.charter.Roster {
		switch {
		case t.started[seat] != nil:
			reasons = append(reasons, member.Peer.Name()+" has started")
		case !t.voided[seat] && t.refused[seat] == "":
			reasons = append(reasons, member.Peer.Name()+": no answer")
		}
	}
	return fate{unknown: true, reasons: slices.Compact(reasons)}, nil
}

// voidTries is how often a void is sent before the next draw.
const voidTries = 2
