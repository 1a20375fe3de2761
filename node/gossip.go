package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/p2p/gossip"
	"github.com/muster-network/muster/store/dagcbor"
)

// The topics, and the tag of announcements.
const (
	topicAdverts    = "adverts"
	topicJobs       = "jobs"
	tagAnnouncement = "muster/announcement/1"
)

// announcement is a node's word on jobs that have begun or ended: many in one
// signed message. It is a hint of whom to ask, and nothing depends on it.
type announcement struct {
	_        struct{} `cbor:",toarray"`
	By       admission.Key
	Sequence uint64 // milliseconds of its time: a node's later word is larger
	Jobs     []announcedJob
}

type announcedJob struct {
	_       struct{} `cbor:",toarray"`
	Job     consensus.JobID
	Request consensus.RequestID
	Roster  []admission.Key
	Ended   bool
}

type signedAnnouncement struct {
	_         struct{} `cbor:",toarray"`
	Body      announcement
	Signature admission.Signature
}

// Bounds of one announcement: jobs, bytes of it signed, and bytes of it without them.
const (
	maxAnnouncedJobs   = 128
	maxAnnouncement    = 64 << 10
	announcementFrame  = 256
	announcedJobFrame  = 128 // of one job, without its roster
	announcedMemberLen = 34
	announceEvery      = 200 * time.Millisecond
)

// announcer gathers what is to be announced.
type announcer struct {
	mutex   sync.Mutex
	waiting []announcedJob
	last    uint64 // sequence
}

func (a *announcer) add(j announcedJob) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if len(a.waiting) < 16*maxAnnouncedJobs {
		a.waiting = append(a.waiting, j)
	}
}

// take returns as much of what waits as fits one announcement.
func (a *announcer) take() []announcedJob {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	n, size := 0, announcementFrame
	for ; n < min(len(a.waiting), maxAnnouncedJobs); n++ {
		size += announcedJobFrame + announcedMemberLen*len(a.waiting[n].Roster)
		if size > maxAnnouncement {
			break
		}
	}
	out := a.waiting[:n:n]
	a.waiting = a.waiting[n:]
	return out
}

// next returns the sequence of the next announcement: the time, but later than the
// last one's, which may be of the same millisecond, or of before the clock was set back.
func (a *announcer) next(now int64) uint64 {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.last = max(a.last+1, uint64(now))
	return a.last
}

// openGossip says what is done with the messages of the topics.
func (n *Node) openGossip() {
	n.gossip = gossip.New(n.p2p.Host, n.home.network, gossip.Config{Log: n.cfg.Log,
		Candidates: func(context.Context) []peer.ID { return peersOf(n.alive()) }})
	n.gossip.Join(topicAdverts, gossip.Topic{MaxSize: 2 * maxAdvert, Validate: n.judgeAdvert, Deliver: func(peer.ID, []byte) {}})
	n.gossip.Join(topicJobs, gossip.Topic{MaxSize: maxAnnouncement, Validate: n.judgeAnnouncement, Deliver: func(peer.ID, []byte) {}})
	n.gossip.Join(topicRevocations, gossip.Topic{MaxSize: admission.MaxRevocation, Validate: n.judgeRevocation, Deliver: func(peer.ID, []byte) {}})
	n.gossip.Join(topicEvidence, gossip.Topic{MaxSize: consensus.MaxEquivocation, Validate: n.judgeEvidence, Deliver: func(peer.ID, []byte) {}})
}

// judgeAdvert takes an advert in when it is good: what is passed on was heard.
func (n *Node) judgeAdvert(_ peer.ID, data []byte) gossip.Verdict {
	var signed consensus.SignedAdvert
	if err := dagcbor.Unmarshal(data, &signed); err != nil {
		return gossip.Reject
	}
	switch err := n.adverts.hear(signed); {
	case err == nil:
		return gossip.Accept
	case errors.Is(err, errStale):
		return gossip.Ignore
	}
	return gossip.Reject
}

func (n *Node) judgeAnnouncement(_ peer.ID, data []byte) gossip.Verdict {
	var signed signedAnnouncement
	if err := dagcbor.Unmarshal(data, &signed); err != nil || !signed.Body.isBounded() {
		return gossip.Reject
	}
	by := signed.Body.By
	if _, known := n.adverts.get(by); !known {
		return gossip.Ignore // no credential of theirs was seen: they cannot be judged
	}
	sealed, err := dagcbor.Seal(tagAnnouncement, n.home.network[:], signed.Body)
	if err != nil || !by.Verify(sealed, signed.Signature) {
		return gossip.Reject
	}
	if !n.announced.newer(by, signed.Body.Sequence) {
		return gossip.Ignore
	}
	for _, j := range signed.Body.Jobs {
		n.announced.add(j.Job, j.Roster)
	}
	return gossip.Accept
}

// isBounded reports whether an announcement may be remembered: all of it, or
// nothing.
func (a announcement) isBounded() bool {
	return len(a.Jobs) <= maxAnnouncedJobs &&
		!slices.ContainsFunc(a.Jobs, func(j announcedJob) bool { return len(j.Roster) > consensus.MaxRoster })
}

// announceLoop spreads what was gathered, a few times a second.
func (n *Node) announceLoop(ctx context.Context) error {
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if list := n.announcer.take(); len(list) > 0 {
			if err := n.announce(ctx, list); err != nil {
				n.cfg.Log.Debug("not announced", "error", err)
			}
		}
	}
}

func (n *Node) announce(ctx context.Context, list []announcedJob) error {
	data, err := n.announcement(list)
	if err != nil {
		return err
	}
	return n.publish(ctx, topicJobs, data)
}

func (n *Node) announcement(list []announcedJob) ([]byte, error) {
	body := announcement{By: n.home.identity.Signer.Key(), Sequence: n.announcer.next(n.clock()), Jobs: list}
	sealed, err := dagcbor.Seal(tagAnnouncement, n.home.network[:], body)
	if err != nil {
		return nil, err
	}
	return dagcbor.Marshal(signedAnnouncement{Body: body, Signature: n.home.identity.Signer.Sign(sealed)})
}

// publish hands a message to gossip. Before gossip runs there is nobody to hear.
func (n *Node) publish(ctx context.Context, topic string, data []byte) error {
	err := n.gossip.Publish(ctx, topic, data)
	if errors.Is(err, gossip.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("publish on %s: %w", topic, err)
	}
	return nil
}

func announcedOf(at consensus.Height, ended bool) announcedJob {
	return announcedJob{Job: at.Job, Request: at.Charter.Request, Roster: rosterOf(at.Roster()), Ended: ended}
}
