package submitter

import (
	"strings"
	"testing"

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
