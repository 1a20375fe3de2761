package submitter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
)

// drawn is a charter with what is needed to offer it.
type drawn struct {
	job     consensus.JobID
	charter *consensus.Charter
	record  record
}

// draw makes and signs the charter of one attempt.
func (s *Submitter) draw(ctx context.Context, sub *submission, attempt uint64) (drawn, error) {
	roll, link, err := s.cfg.Roll(ctx)
	if err != nil {
		return drawn{}, err
	}
	c, err := s.charter(sub, attempt, link)
	if err != nil {
		return drawn{}, err
	}
	result, err := election.Draw(roll, election.AskOf(c, s.cfg.Network, s.cfg.Policy))
	if err != nil {
		return drawn{}, placement(sub.spec, len(roll.Entries), err)
	}
	c.Roster, c.Reserves = result.Roster, result.Reserves
	if c.Reserves == nil {
		c.Reserves = []consensus.Seat{}
	}
	signed, job, err := consensus.SignCharter(s.cfg.Network, c, s.cfg.Signer)
	if err != nil {
		return drawn{}, err
	}
	offer := consensus.Offer{Charter: signed, Credentials: []admission.SignedCredential{s.cfg.Credential()}, Blocks: []consensus.Block{}}
	return drawn{job: job, charter: c, record: record{Offer: offer, Attempt: attempt, Started: []consensus.Vote{}}}, nil
}

func (s *Submitter) charter(sub *submission, attempt uint64, roll dagcbor.Link) (*consensus.Charter, error) {
	fault, f, err := sub.spec.Quorum.Faults()
	if err != nil {
		return nil, err
	}
	now, p, self := s.cfg.Clock(), s.cfg.Policy, s.cfg.Signer.Key()
	c := &consensus.Charter{
		V: consensus.Version, Issued: now, AcceptBy: now + p.Accept, StartBy: now + max(p.Start, p.Accept),
		Deadline: now + sub.spec.Deadline, Request: sub.request, Attempt: attempt,
		Owner: self, Submitter: self, Spec: sub.specRef, Task: sub.taskRef, Class: sub.class, Assurance: sub.spec.Rests(), Effects: sub.spec.Effects,
		Limits: sub.limits, Needs: sub.spec.Needs(), RunNeeds: sub.spec.RunNeeds(), Timeout: sub.timeout,
		Policy: s.policy, Fault: fault, F: f, Replace: f, Roll: roll, Period: election.Period(now),
		Beacon: []byte{}, Crit: []string{}, Ext: nil,
	}
	c.Supersedes = sub.ended
	c.AcceptBy = min(c.AcceptBy, c.Deadline)
	c.StartBy = min(c.StartBy, c.Deadline)
	c.End = c.Deadline + p.Retain
	t, err := fault.For(f)
	if err != nil {
		return nil, err
	}
	c.Runners = uint64(t.N)
	if _, err := io.ReadFull(s.cfg.Random, c.Nonce[:]); err != nil {
		return nil, fmt.Errorf("nonce: %w", err)
	}
	return c, nil
}

// placement says in words why no quorum could be drawn.
func placement(spec *jobs.Spec, peers int, err error) error {
	var short *election.ShortError
	if !errors.As(err, &short) {
		return err
	}
	var why []string
	for _, l := range short.Lacks {
		why = append(why, lackWords(l, spec.Resources))
	}
	if peers < short.Needed {
		why = append([]string{"nodes that can be drawn: " + strconv.Itoa(peers)}, why...)
	}
	p := &jobs.Problem{
		Code: jobs.CodePlaceCapacity,
		What: fmt.Sprintf("no quorum possible for %q: it needs %d members, and %d can be drawn", spec.Name, short.Needed, short.Eligible),
		Why:  strings.Join(why, "; "), Retryable: true,
	}
	p.Try = "wait for more nodes, or ask for less"
	if short.Eligible >= 1 && short.Needed > 1 {
		p.Try += "; or --quorum 1 (nobody checks the result)"
	}
	return p
}

// lackWords say what some nodes lack of what a job needs.
func lackWords(l election.Lack, r jobs.Resources) string {
	var words string
	switch l.Reason {
	case election.LacksRunNeeds:
		words = fmt.Sprintf("with less than cpu %v, memory %v, disk %v in all", jobs.CPU(r.CPU), jobs.Size(r.Memory), jobs.Size(r.Disk))
	case election.LacksCredential:
		words = "whose credential ends before the job may"
	case election.LacksRole:
		words = "that only observe"
	case election.LacksPlace:
		words = "that submitted it, which the network's policy forbids"
	case election.LacksWeight:
		words = "of weight zero"
	case election.LacksClass:
		words = "that are not " + l.Name
	case election.LacksLabel, election.LacksQuantity:
		words = "without " + l.Name
	case election.LacksSpread:
		words = "of an owner or address group that is drawn already"
	default:
		words = "that lack " + l.Reason.String()
	}
	return fmt.Sprintf("%d %s", l.Nodes, words)
}

// toldKey says that a peer was sent a block.
type toldKey struct {
	peer admission.Key
	id   cid.Cid
}

// maxTold bounds what is remembered of blocks sent. A member that has lost one
// fetches it.
const maxTold = 8192

// offerFor adds to an offer the small blocks that this member was not sent
// before: spec, task, roll, and what else belongs to the job.
func (s *Submitter) offerFor(ctx context.Context, to admission.Key, c *consensus.Charter, more []dagcbor.Link, offer consensus.Offer) consensus.Offer {
	left := consensus.MaxInline
	for _, link := range append([]dagcbor.Link{c.Spec, c.Task, c.Roll}, more...) {
		if !link.Defined() || !s.tell(to, link.Cid) {
			continue
		}
		size, err := s.cfg.Store.Size(ctx, link.Cid)
		if err != nil || size > left {
			continue
		}
		data, err := s.cfg.Store.Get(ctx, link.Cid)
		if err != nil {
			continue
		}
		left -= len(data)
		offer.Blocks = append(offer.Blocks[:len(offer.Blocks):len(offer.Blocks)], consensus.Block{Link: link, Data: data})
	}
	return offer
}

func (s *Submitter) tell(to admission.Key, id cid.Cid) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	key := toldKey{to, id}
	if _, ok := s.told[key]; ok {
		return false
	}
	if len(s.told) >= maxTold {
		clear(s.told)
	}
	s.told[key] = struct{}{}
	return true
}
