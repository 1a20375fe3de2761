package node

import (
	"fmt"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/gossip"
)

// Many jobs of large quorums take more bytes than one message has.
func TestAllJobsAreAnnouncedHoweverLargeTheirRosters(t *testing.T) {
	network := consensustest.New(1)
	m := network.Nodes[0]
	for _, size := range []int{1, 13, consensus.MaxRoster} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			by, listener := listener(network), listener(network)
			by.home.identity = p2p.Identity{Signer: m.KeySigner}
			if err := listener.adverts.hear(signedAdvert(t, network, m, 1, 0, consensustest.Now)); err != nil {
				t.Fatal(err)
			}
			roster := make([]admission.Key, size)
			for i := range roster {
				roster[i] = m.Key()
			}
			const jobs = 2 * maxAnnouncedJobs
			for i := range jobs {
				by.announcer.add(announcedJob{Job: consensus.JobID{byte(i), byte(i >> 8), 1}, Request: consensus.RequestID(m.Key()), Roster: roster, Ended: true})
			}
			messages := 0
			for list := by.announcer.take(); len(list) > 0; list = by.announcer.take() {
				data, err := by.announcement(list)
				if err != nil {
					t.Fatal(err)
				}
				if len(data) > maxAnnouncement {
					t.Errorf("%d jobs in %d bytes", len(list), len(data))
				}
				if verdict := listener.judgeAnnouncement("", data); verdict != gossip.Accept {
					t.Errorf("message %d: %v", messages, verdict)
				}
				messages++
			}
			if len(listener.announced.rosters) != jobs {
				t.Errorf("%d of %d are heard", len(listener.announced.rosters), jobs)
			}
			if most := 2*(1+size*maxAnnouncedJobs*announcedMemberLen/maxAnnouncement) + 2; messages > most {
				t.Errorf("%d messages, at most %d would do", messages, most)
			}
		})
	}
}

func TestAnAnnouncementIsLaterThanTheLastWhateverTheClockSays(t *testing.T) {
	var a announcer
	var last uint64
	for _, now := range []int64{5, 5, 6, 20, 3} {
		if next := a.next(now); next <= last || next < uint64(now) {
			t.Errorf("at %d it is %d, after %d", now, next, last)
		} else {
			last = next
		}
	}
}
