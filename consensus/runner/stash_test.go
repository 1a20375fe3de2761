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
	for job := range maxStash - st.total.messages {
		say(5, job)
	}
	if st.total.messages != maxStash {
		t.Fatalf("%d of %d are kept", st.total.messages, maxStash)
	}
	say(2, maxStashPeer)
	if st.total.messages != maxStash || len(st.take(consensus.JobID{1})) != 1 {
		t.Errorf("a message that was not kept cost another peer's: %d are kept", st.total.messages)
	}
}

func TestWhatIsKeptOfAPeerIsBoundedInBytes(t *testing.T) {
	st := newStash()
	large := func(peer, job byte) stashed {
		return stashed{from: admission.Key{peer}, note: &note{Note: consensus.NoteAccepts, Job: consensus.JobID{peer, job},
			Payload: &consensus.Payload{
				Reason: string(make([]byte, 1<<20)),
				Offer:  &consensus.Offer{Charter: consensus.SignedCharter{Bytes: make([]byte, 1<<20)}},
				Blocks: []consensus.Block{{Data: make([]byte, 1<<20)}},
			}}}
	}
	one := large(1, 0)
	kept := one.kept()
	if p := kept.note.Payload; p.Offer != nil || p.Blocks != nil || p.Reason != one.note.Payload.Reason || kept.size < 1<<20 || kept.size > 1<<20+2*perStashed {
		t.Fatalf("%d bytes: %+v", kept.size, p)
	}
	if one.note.Payload.Offer == nil || one.note.Payload.Blocks == nil {
		t.Error("what is handed over is changed")
	}
	for peer := range byte(20) {
		for job := range byte(5) {
			st.add(large(peer, job).kept())
		}
		if peer := st.peers[admission.Key{peer}]; peer.messages != 3 || peer.bytes > maxStashBytesPeer {
			t.Fatalf("of one peer %d messages are kept, %d bytes", peer.messages, peer.bytes)
		}
	}
	sum := share{}
	for _, job := range st.jobs {
		for _, s := range job {
			sum = sum.with(1, s.size)
		}
	}
	if sum != st.total || sum.messages != 31 || len(st.order) != 31 {
		t.Errorf("%+v are kept, %+v counted, of %d jobs", sum, st.total, len(st.order))
	}
	for len(st.order) > 0 {
		st.take(st.order[0])
	}
	if st.total != (share{}) || len(st.peers) != 0 {
		t.Errorf("of nothing is kept %+v, of %d peers", st.total, len(st.peers))
	}
}
