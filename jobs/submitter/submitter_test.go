package submitter

import (
	"context"
	"errors"
	"maps"
	"slices"
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
