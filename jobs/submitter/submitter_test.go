package submitter

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

func TestNothingIsAcknowledgedBeforeFPlusOneStartsAreOnDisk(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		started := map[int]bool{0: true}
		st.answers = func(word string, seat int) *Heard {
			if word == "offer" && started[seat] {
				return says(consensus.KindStarted)
			}
			return says(consensus.KindAccept)
		}
		var got Acknowledged
		answer := make(chan error, 1)
		go func() {
			var err error
			got, err = st.s.Submit(t.Context(), st.request("key", "Ada"))
			answer <- err
		}()
		settle(time.Second)
		select {
		case err := <-answer:
			t.Fatalf("acknowledged on one start: %v", err)
		default:
		}
		if want := "put, sync, record charter, offer"; st.outline() != want {
			t.Errorf("did %s, want %s", st.outline(), want)
		}
		st.mutex.Lock()
		heard := st.watched[st.offers[0].job]
		st.mutex.Unlock()
		heard(Heard{Seat: 2, Kind: consensus.KindStarted})
		if err := <-answer; err != nil {
			t.Fatal(err)
		}
		all := st.stored()
		if len(all) != 1 || !all[0].Acknowledged || len(all[0].Started) != 2 || all[0].Started[0].Seat != 0 || all[0].Started[1].Seat != 2 {
			t.Errorf("on disk when the caller is told: %+v", all)
		}
		if got.Job != all[0].job() || got.Charter == nil || got.Charter.Request != got.Request {
			t.Errorf("told %+v", got)
		}
	})
}

func TestADecisionAcknowledges(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(_ string, seat int) *Heard {
			if seat == 1 {
				return &Heard{Ended: &consensus.Conclusion{}}
			}
			return nil
		}
		a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
		if err != nil || !slices.Equal(st.decided, []consensus.JobID{a.Job}) || st.listening() != 0 {
			t.Errorf("%v, told of %v, listens to %d", err, st.decided, st.listening())
		}
	})
}

// A liar says the same again and again while nobody listens; then the job ends, which
// is said once.
func TestAMemberThatSaysMuchPushesOutNoOthersWord(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(word string, seat int) *Heard {
			switch {
			case word == "offer" && (seat == 1 || seat == 2):
				return &Heard{Kind: consensus.KindRefuse, Reason: "busy"}
			case word == "void" && seat == 0: // the submitter is just speaking, and hears nothing
				st.mutex.Unlock()
				defer st.mutex.Lock()
				for _, heard := range maps.Clone(st.watched) {
					for range 100 {
						heard(Heard{Kind: consensus.KindAccept})
						heard(Heard{}) // accepts that it shows
					}
					heard(Heard{Ended: &consensus.Conclusion{}})
				}
			}
			return nil
		}
		a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
		if err != nil || !slices.Equal(st.decided, []consensus.JobID{a.Job}) || len(st.voids) != 1 {
			t.Errorf("%v, told of %v, withdrawn %d times", err, st.decided, len(st.voids))
		}
	})
}

func TestAnAppendThatFailsAcknowledgesNothingAndOffersNothing(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.fail = errors.New("disk full")
		if _, err := st.s.Submit(t.Context(), st.request("key", "Ada")); !errors.Is(err, st.fail) {
			t.Errorf("submit: %v", err)
		}
		if len(st.offers) != 0 {
			t.Error("offered what is not on disk")
		}
	})
}

func TestOneKeyIsOneJob(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(string, int) *Heard { return says(consensus.KindStarted) }
		answers := make(chan Acknowledged, 3)
		for range 3 {
			go func() {
				a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
				if err != nil {
					t.Error(err)
				}
				answers <- a
			}()
		}
		first := <-answers
		for range 2 {
			if a := <-answers; a.Job != first.Job {
				t.Errorf("job %s and %s under one key", a.Job, first.Job)
			}
		}
		offered := len(st.offers)
		if a, err := st.s.Submit(t.Context(), st.request("key", "Ada")); err != nil || a.Job != first.Job {
			t.Errorf("afterwards: %v, %v", a.Job, err)
		}
		if _, err := st.s.Submit(t.Context(), st.request("key", "Bob")); code(err) != jobs.CodeConflict {
			t.Errorf("another job under the same key: %v", err)
		}
		// The outcome is archived, and the record gone: the archive answers.
		if err := st.s.Forget(t.Context(), first.Request, first.Job); err != nil {
			t.Fatal(err)
		}
		st.known[first.Request] = first
		if a, err := st.s.Submit(t.Context(), st.request("key", "Ada")); err != nil || a.Job != first.Job {
			t.Errorf("from the archive: %v, %v", a.Job, err)
		}
		if len(st.offers) != offered {
			t.Error("it was offered again")
		}
		if a, err := st.s.Submit(t.Context(), st.request("another", "Ada")); err != nil || a.Job == first.Job {
			t.Errorf("under another key: %v", err)
		}
	})
}

func TestAJobThatIsRefusedIsWithdrawnOnDiskBeforeTheNextDraw(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(word string, seat int) *Heard {
			switch {
			case word == "void":
				return says(consensus.KindVoided)
			case seat < 2:
				return &Heard{Kind: consensus.KindRefuse, Reason: "busy: no room"}
			}
			return says(consensus.KindAccept)
		}
		_, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
		if code(err) != jobs.CodePlaceRefused || !strings.Contains(err.Error()+err.(*jobs.Problem).Why, "busy: no room") {
			t.Errorf("refused with %v", err)
		}
		want := "put, sync" + strings.Repeat(", record charter, offer, record void, void", attempts)
		if st.outline() != want {
			t.Errorf("did %s, want %s", st.outline(), want)
		}
		for job, n := range st.voids {
			if n != 2 {
				t.Errorf("%d members of %s were told, want those that did not refuse", n, job)
			}
		}
		if len(st.voids) != attempts {
			t.Errorf("%d draws", len(st.voids))
		}
	})
}

// A liar that refuses and voids gives up one seat, not two: with one more the
// charter may still be accepted by the other two, who have not answered.
func TestAMemberThatRefusesAndVoidsGivesUpOneSeat(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		refused := map[consensus.JobID]bool{}
		st.answers = func(word string, seat int) *Heard {
			switch {
			case word == "void" && seat == 3: // the liar
				return says(consensus.KindVoided)
			case word == "void":
				for job := range st.charters {
					if heard := st.watched[job]; heard != nil && !refused[job] {
						refused[job] = true
						time.AfterFunc(2*time.Millisecond, func() { heard(Heard{Kind: consensus.KindRefuse, Seat: 3, Reason: "busy"}) })
					}
				}
				return nil
			case seat == 0: // honest
				return &Heard{Kind: consensus.KindRefuse, Reason: "busy"}
			}
			return nil
		}
		if _, err := st.s.Submit(t.Context(), st.request("key", "Ada")); code(err) != jobs.CodePlaceUnknown {
			t.Errorf("answered %v: two of four have not said that it does not live", err)
		}
	})
}

// A charter that was withdrawn may live, where members had started. It may also end
// as cancelled, for whoever was told of the Void can propose that: it is told to the
// caller when it has ended, and not before.
func TestAWithdrawnCharterIsAcknowledgedByItsEndAlone(t *testing.T) {
	for _, ends := range []bool{false, true} {
		play(t, func(t *testing.T, st *stage) {
			st.answers = func(word string, seat int) *Heard {
				switch {
				case word == "void" && seat == 3 && ends:
					return &Heard{Ended: &consensus.Conclusion{}}
				case word == "void" && seat > 0:
					return says(consensus.KindStarted)
				case seat < 2:
					return &Heard{Kind: consensus.KindRefuse, Reason: "busy"}
				}
				return nil
			}
			a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
			all := st.stored()
			switch {
			case ends && (err != nil || len(all) != 1 || !all[0].Acknowledged || all[0].job() != a.Job || len(st.voids) != 1):
				t.Errorf("it ended: %v, on disk %+v", err, all)
			case !ends && (code(err) != jobs.CodePlaceUnknown || len(st.voids) != attempts):
				t.Errorf("q members had started: %v, %d charters withdrawn", err, len(st.voids))
			}
		})
	}
}

// An accept may come through where the Started does not, and that is said to who
// asks alone.
func TestAMemberThatHasAcceptedIsOfferedTheJobUntilItHasStarted(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		offers := [4]int{}
		st.answers = func(word string, seat int) *Heard {
			if offers[seat]++; word == "offer" && offers[seat] == 1 {
				return says(consensus.KindAccept)
			}
			return says(consensus.KindStarted)
		}
		if _, err := st.s.Submit(t.Context(), st.request("key", "Ada")); err != nil || len(st.voids) != 0 {
			t.Errorf("%v, %d charters withdrawn", err, len(st.voids))
		}
	})
}

func TestOfAJobThatNobodySpeaksOfTheFateIsUnknown(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		begun := st.now()
		_, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
		if code(err) != jobs.CodePlaceUnknown {
			t.Errorf("answered %v", err)
		}
		if took := st.now() - begun; took < attempts*st.n.Genesis.Policy.Accept {
			t.Errorf("given up after %d ms, before accept_by", took)
		}
		for job, n := range st.voids {
			if n != 4*voidTries {
				t.Errorf("%d voids of %s", n, job)
			}
		}
	})
}

func TestACallerThatGoesDoesNotEndTheSubmission(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		var may bool
		st.answers = func(string, int) *Heard {
			if may {
				return says(consensus.KindStarted)
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := st.s.Submit(ctx, st.request("key", "Ada")); code(err) != jobs.CodePlaceUnknown {
			t.Errorf("answered %v", err)
		}
		st.mutex.Lock()
		may = true
		st.mutex.Unlock()
		a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
		if err != nil || a.Job != st.offers[0].job {
			t.Errorf("asked again: %v, %v", a.Job, err)
		}
	})
}

func TestACallerThatGoesBeforeTheDrawIsNoErrorOfAnother(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(string, int) *Heard { return says(consensus.KindStarted) }
		st.slow = time.Second
		ctx, cancel := context.WithCancel(t.Context())
		answers := make(chan error, 2)
		for _, ctx := range []context.Context{ctx, t.Context()} {
			go func() {
				_, err := st.s.Submit(ctx, st.request("key", "Ada"))
				answers <- err
			}()
			settle(10 * time.Millisecond)
		}
		cancel()
		if err := <-answers; code(err) != jobs.CodePlaceUnknown {
			t.Errorf("who went is answered %v", err)
		}
		if err := <-answers; err != nil {
			t.Errorf("who stayed is answered %v", err)
		}
	})
}

func TestAfterACrashTheSameBytesAreOffered(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		go func() { _, _ = st.s.Submit(t.Context(), st.request("key", "Ada")) }()
		settle(time.Second)
		if _, err := st.s.Submit(t.Context(), st.request("key", "Bob")); code(err) != jobs.CodeConflict {
			t.Errorf("another job under the key of one on its way: %v", err)
		}
		before := st.offers[0]
		st.answers = func(string, int) *Heard { return says(consensus.KindStarted) }
		st.restart()
		settle(time.Second)
		if len(st.offers) != 4 || st.offers[0].job != before.job || !bytes.Equal(st.offers[0].bytes, before.bytes) {
			t.Fatalf("%d offers, the first of %s, before it was %s", len(st.offers), st.offers[0].job, before.job)
		}
		if a, err := st.s.Submit(t.Context(), st.request("key", "Ada")); err != nil || a.Job != before.job {
			t.Errorf("the caller asks again: %v, %v", a.Job, err)
		}
		// And once more: what was acknowledged is listened for, and not offered to all.
		st.restart()
		settle(time.Second)
		if len(st.offers) != 0 || st.listening() != 1 {
			t.Errorf("%d offers, listens to %d", len(st.offers), st.listening())
		}
	})
}

// A submitter without a seat is told once how its job ended. Whatever became of that
// word, it asks one member after the other until it is archived.
func TestTheEndOfAnAcknowledgedJobIsAskedForUntilItIsKnown(t *testing.T) {
	for _, crashes := range []bool{false, true} {
		play(t, func(t *testing.T, st *stage) {
			st.answers = func(string, int) *Heard { return says(consensus.KindStarted) }
			a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
			if err != nil {
				t.Fatal(err)
			}
			first := time.Duration(inquireAfter) * time.Millisecond
			if crashes {
				st.restart()
				first = inquireResumed * time.Millisecond
			}
			settle(first / 2)
			asked := map[string]bool{}
			st.mutex.Lock()
			st.offers = nil
			st.answers = func(_ string, seat int) *Heard {
				if asked[a.Charter.Roster[seat].Peer.String()] = true; seat == 3 {
					return &Heard{Ended: &consensus.Conclusion{}} // the others do not say
				}
				return nil
			}
			st.mutex.Unlock()
			settle(20 * first)
			if len(asked) != 4 || len(st.offers) < 4 || len(st.offers) > 5 || !slices.Equal(st.decided, []consensus.JobID{a.Job}) || st.listening() != 0 {
				t.Errorf("crashes %t: asked %d of them, %d times, told of %v", crashes, len(asked), len(st.offers), st.decided)
			}
			if err := st.s.Forget(t.Context(), a.Request, a.Job); err != nil { // it is archived
				t.Fatal(err)
			}
			st.offers = nil
			if settle(time.Hour); len(st.offers) != 0 {
				t.Errorf("crashes %t: asked %d times more", crashes, len(st.offers))
			}
		})
	}
}

func TestARecordWhoseJobIsArchivedGoesAtARestart(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(string, int) *Heard { return says(consensus.KindStarted) }
		a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
		if err != nil {
			t.Fatal(err)
		}
		st.known[a.Request] = a // and then the node went down
		st.restart()
		if settle(time.Hour); len(st.stored()) != 0 || len(st.offers) != 0 || st.listening() != 0 {
			t.Errorf("%d records, asked %d times, listens to %d", len(st.stored()), len(st.offers), st.listening())
		}
	})
}

func TestAWithdrawalIsTakenUpAfterACrashAndNotTakenBack(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(_ string, seat int) *Heard {
			if seat < 2 {
				return &Heard{Kind: consensus.KindRefuse, Reason: "busy"}
			}
			return nil
		}
		go func() { _, _ = st.s.Submit(t.Context(), st.request("key", "Ada")) }()
		settle(20 * time.Millisecond) // it has begun to withdraw
		if all := st.stored(); len(all) != 1 || !all[0].Void {
			t.Fatalf("on disk: %+v", all)
		}
		st.answers = func(string, int) *Heard { return says(consensus.KindVoided) }
		st.restart()
		settle(time.Second)
		if len(st.offers) != 0 || len(st.voids) != 1 {
			t.Errorf("%d offers, voids of %d jobs", len(st.offers), len(st.voids))
		}
	})
}

func TestAJobWhoseRetryIsRefusedStandsUnderItsKey(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(string, int) *Heard { return says(consensus.KindStarted) }
		r := st.request("key", "Ada")
		first, err := st.s.Submit(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.s.Forget(t.Context(), first.Request, first.Job); err != nil { // it failed
			t.Fatal(err)
		}
		st.known[first.Request] = first
		st.answers = func(word string, _ int) *Heard {
			if word == "void" {
				return says(consensus.KindVoided)
			}
			return &Heard{Kind: consensus.KindRefuse, Reason: "busy"}
		}
		if _, err := st.s.Retry(t.Context(), r, first.Request, first.Job); code(err) != jobs.CodePlaceRefused {
			t.Fatalf("retried: %v", err)
		}
		offered := len(st.offers)
		if a, err := st.s.Submit(t.Context(), r); err != nil || a.Job != first.Job || len(st.offers) != offered {
			t.Errorf("submitted again: %s, %v, %d offers more", a.Job, err, len(st.offers)-offered)
		}
		st.answers = func(string, int) *Heard { return says(consensus.KindStarted) }
		next, err := st.s.Retry(t.Context(), r, first.Request, first.Job)
		if err != nil || next.Job == first.Job || next.Charter.Supersedes == nil || *next.Charter.Supersedes != first.Job {
			t.Errorf("retried again: %+v, %v", next.Charter, err)
		}
	})
}

func TestTheRecordOfARefusedSubmissionGoesWhenItsCharterHasLapsed(t *testing.T) {
	for name, rule := range map[string]struct {
		answers func(string, int) *Heard
		until   func(*consensus.Charter) int64
	}{
		"given up by q members, at accept_by": {func(word string, seat int) *Heard {
			if word == "void" {
				return says(consensus.KindVoided)
			}
			return &Heard{Kind: consensus.KindRefuse, Reason: "busy"}
		}, func(c *consensus.Charter) int64 { return c.AcceptBy }},
		"of unknown fate, at the deadline": {func(string, int) *Heard { return nil }, func(c *consensus.Charter) int64 { return c.Deadline }},
	} {
		for _, crashes := range []bool{false, true} {
			play(t, func(t *testing.T, st *stage) {
				st.answers = rule.answers
				if _, err := st.s.Submit(t.Context(), st.request("key", "Ada")); err == nil {
					t.Fatal("acknowledged")
				}
				all := st.stored()
				if len(all) != 1 {
					t.Fatalf("%s: %d records", name, len(all))
				}
				c, _, err := all[0].Offer.Charter.Open(st.n.ID)
				if err != nil {
					t.Fatal(err)
				}
				if crashes {
					st.restart()
				}
				settle(time.Duration(rule.until(c)-st.now()) * time.Millisecond)
				if len(st.stored()) != 1 {
					t.Errorf("%s, crashes %t: gone too soon", name, crashes)
				}
				settle(time.Minute)
				if all := st.stored(); len(all) != 0 || st.listening() != 0 {
					t.Errorf("%s, crashes %t: %d records are left, listens to %d", name, crashes, len(all), st.listening())
				}
			})
		}
	}
}

func TestALapsedCharterTakesNoOtherWithIt(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		var may bool
		st.answers = func(word string, seat int) *Heard {
			switch {
			case may:
				return says(consensus.KindStarted)
			case word == "void":
				return says(consensus.KindVoided)
			}
			return &Heard{Kind: consensus.KindRefuse, Reason: "busy"}
		}
		if _, err := st.s.Submit(t.Context(), st.request("key", "Ada")); err == nil {
			t.Fatal("acknowledged")
		}
		may = true
		a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
		if err != nil {
			t.Fatal(err)
		}
		settle(2 * time.Hour)
		if all := st.stored(); len(all) != 1 || all[0].job() != a.Job || !all[0].Acknowledged || st.listening() != 1 {
			t.Errorf("on disk %+v, listens to %d", all, st.listening())
		}
	})
}
