package runner

import (
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

func TestWhatAPeerBeyondItsShareSaysMakesNoRoom(t *testing.T) {
	st := newStash()
	say := func(peer byte, job int) {
		st.add(stashed{from: admission.Key{peer}, item: item{Job: consensus.JobID{peer, byte(job), byte(job >> 8)}}})
	}
	say(1, 0) // the oldest, of an honest peer
	for job := range maxStashPeer {
		for peer := byte(2); peer < 5; peer++ {
			say(peer, job)
		}
	}
	for job := range maxStash - st.total {
		say(5, job)
	}
	if st.total != maxStash {
		t.Fatalf("%d of %d are kept", st.total, maxStash)
	}
	say(2, maxStashPeer)
	if st.total != maxStash || len(st.take(consensus.JobID{1})) != 1 {
		t.Errorf("a message that was not kept cost another peer's: %d are kept", st.total)
	}
}
