package submitter

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

// acting is a request of a task that acts on the world.
func (st *stage) acting(key string) Request {
	st.t.Helper()
	r := st.request(key, "Ada")
	spec := *r.Spec
	spec.Effects = consensus.Once
	r.Spec = &spec
	return r
}

// A refusal is no promise: who refused may be shown q accepts, and start.
func TestWhatActsIsDrawnAgainOnlyAfterQGaveItUp(t *testing.T) {
	for _, test := range []struct {
		why    string
		voids  int // members that say Voided; the others refuse
		drawn  int
		refuse string
	}{
		{"q members gave it up", 3, attempts, jobs.CodePlaceRefused},
		{"one of them refused", 2, 1, jobs.CodePlaceUnknown},
	} {
		t.Run(test.why, func(t *testing.T) {
			play(t, func(t *testing.T, st *stage) {
				st.answers = func(word string, seat int) *Heard {
					switch {
					case seat >= test.voids:
						return &Heard{Kind: consensus.KindRefuse, Reason: "busy"}
					case word == "void":
						return says(consensus.KindVoided)
					}
					return says(consensus.KindAccept)
				}
				_, err := st.s.Submit(t.Context(), st.acting("key"))
				if code(err) != test.refuse || st.draws() != test.drawn {
					t.Errorf("%v after %d draws, want %d", err, st.draws(), test.drawn)
				}
			})
		})
	}
}

// A charter that may live is found out about before its request is drawn for
// again.
func TestWhatMayActIsNotDrawnForAgainUnderItsKey(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		if _, err := st.s.Submit(t.Context(), st.acting("key")); code(err) != jobs.CodePlaceUnknown || st.draws() != 1 {
			t.Fatalf("nobody answers: %v after %d draws", err, st.draws())
		}
		first := st.offers[0].job
		if _, err := st.s.Submit(t.Context(), st.acting("key")); code(err) != jobs.CodePlaceUnknown || st.draws() != 1 {
			t.Errorf("nobody answers still: %v after %d draws", err, st.draws())
		}
		st.answers = func(string, int) *Heard { return says(consensus.KindStarted) }
		if _, err := st.s.Submit(t.Context(), st.acting("key")); code(err) != jobs.CodePlaceUnknown || st.draws() != 1 || !strings.Contains(err.Error(), "has started") {
			t.Errorf("it lives, and may be cancelled: %v after %d draws", err, st.draws())
		}
		st.answers = func(string, int) *Heard { return &Heard{Ended: &consensus.Conclusion{}} }
		if a, err := st.s.Submit(t.Context(), st.acting("key")); err != nil || a.Job != first || st.draws() != 1 {
			t.Errorf("it has ended: %v, %v after %d draws", a.Job, err, st.draws())
		}
	})
}

// Its members may have acted by its deadline, and their words been lost.
func TestWhatMayHaveActedIsNotDrawnForAgainAfterItsDeadline(t *testing.T) {
	for why, crash := range map[string]bool{"nobody answers": false, "nobody answers, and the node was down": true} {
		play(t, func(t *testing.T, st *stage) {
			r := st.acting("key")
			if crash {
				go func() { _, _ = st.s.Submit(t.Context(), r) }()
				settle(time.Second) // it is offered
			} else if _, err := st.s.Submit(t.Context(), r); code(err) != jobs.CodePlaceUnknown {
				t.Fatal(err)
			}
			c, job := st.charter()
			if crash {
				st.end()
			}
			settle(time.Duration(c.Deadline+2*skew-st.now()) * time.Millisecond)
			if crash {
				st.restart()
				settle(time.Minute)
			}
			if _, err := st.s.Submit(t.Context(), r); code(err) != jobs.CodePlaceUnknown || st.drawnBeside(job) != 0 {
				t.Errorf("%s: %v after %d draws more", why, err, st.drawnBeside(job))
			}
			st.mutex.Lock() // they are being asked
			st.answers = func(word string, _ int) *Heard {
				if word == "offer" {
					return &Heard{Ended: &consensus.Conclusion{}}
				}
				return nil
			}
			st.mutex.Unlock()
			settle(inquireMost * time.Millisecond)
			if !slices.Contains(st.decided, job) {
				t.Errorf("%s: members were not asked how it ended", why)
			}
		})
	}
}

// Past the deadline nobody has a charter open that never started, to void it. Who
// has none of it says so to an offer.
func TestWhatActsIsDrawnAgainWhenQMembersHaveNoneOfItPastItsDeadline(t *testing.T) {
	for _, test := range []struct {
		why     string
		refuses [4]string
		started bool // the last one says so before it refuses
		early   bool // before all clocks are past the deadline
		drawn   bool
	}{
		{"q have none of it", [4]string{"past: the deadline has passed", "past: the deadline has passed", "past: the deadline has passed"}, false, false, true},
		{"one of them has lost its journal", [4]string{"past: the deadline has passed", "past: the deadline has passed", "gone: another incarnation"}, false, false, false},
		{"one of them has started", [4]string{"", "past: the deadline has passed", "past: the deadline has passed", "past: the deadline has passed"}, true, false, false},
		{"they say so of accept_by", [4]string{"late: accept_by has passed", "late: accept_by has passed", "late: accept_by has passed"}, false, false, false},
		{"their clocks are behind", [4]string{"late: issued 9 ms in the future", "late: issued 9 ms in the future", "late: issued 9 ms in the future"}, false, false, false},
		{"some may be before it still", [4]string{"past: the deadline has passed", "past: the deadline has passed", "past: the deadline has passed"}, false, true, false},
	} {
		play(t, func(t *testing.T, st *stage) {
			r := st.acting("key")
			if _, err := st.s.Submit(t.Context(), r); code(err) != jobs.CodePlaceUnknown {
				t.Fatal(err)
			}
			c, job := st.charter()
			until := c.Deadline + skew
			if !test.early {
				until += 10
			}
			settle(time.Duration(until-st.now()-5) * time.Millisecond)
			asked := 0
			st.mutex.Lock()
			st.answers = func(word string, seat int) *Heard {
				if seat == 3 && test.started {
					if asked++; asked <= 2 {
						return says(consensus.KindStarted)
					}
				}
				if test.refuses[seat] != "" && (word == "offer" || test.early) {
					return &Heard{Kind: consensus.KindRefuse, Reason: test.refuses[seat]}
				}
				return nil
			}
			st.mutex.Unlock()
			if _, _ = st.s.Submit(t.Context(), r); st.drawnBeside(job) > 0 != test.drawn {
				t.Errorf("%s: %d draws more", test.why, st.drawnBeside(job))
			}
		})
	}
}

func TestUnderTheKeyOfWhatMayActNothingElseIsSubmitted(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		r := st.acting("key")
		if _, err := st.s.Submit(t.Context(), r); code(err) != jobs.CodePlaceUnknown {
			t.Fatal(err)
		}
		other := *r.Spec
		other.Deadline++
		for what, another := range map[string]Request{"a job that acts": {Key: r.Key, Spec: &other, Task: r.Task, Class: r.Class},
			"one that does not": st.request("key", "Ada")} {
			if _, err := st.s.Submit(t.Context(), another); code(err) != jobs.CodeConflict || st.draws() != 1 {
				t.Errorf("%s: %v after %d draws", what, err, st.draws())
			}
		}
	})
}

// charter is the one on disk.
func (st *stage) charter() (*consensus.Charter, consensus.JobID) {
	st.t.Helper()
	all := st.stored()
	if len(all) != 1 {
		st.t.Fatalf("%d records", len(all))
	}
	c, job, err := all[0].Offer.Charter.Open(st.n.ID)
	if err != nil {
		st.t.Fatal(err)
	}
	return c, job
}

// drawnBeside is how many charters were offered that are not a job's.
func (st *stage) drawnBeside(job consensus.JobID) int {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	seen := map[consensus.JobID]bool{}
	for _, o := range st.offers {
		if o.job != job {
			seen[o.job] = true
		}
	}
	return len(seen)
}

// draws is how many charters were offered.
func (st *stage) draws() int {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	seen := map[consensus.JobID]bool{}
	for _, o := range st.offers {
		seen[o.job] = true
	}
	return len(seen)
}
