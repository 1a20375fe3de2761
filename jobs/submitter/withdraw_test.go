package submitter

import (
	"strings"
	"testing"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

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
