package member

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store/tree"
)

// checkPart checks that this node has a part in the job: a seat, or a place among
// the reserves that were not seated yet, who stand by when they are shown that
// the job has started.
func (m *Member) checkPart(at consensus.Height, witness bool) error {
	c := at.Charter
	party := c.PartyOf(m.cfg.Self)
	if party >= 0 && c.Party(party).Incarnation != m.cfg.Incarnation {
		older, err := c.Party(party).Hash()
		if err != nil {
			return err
		}
		return refuse(RefuseGone, "%w", &gone{older})
	}
	reserve := party >= len(c.Roster) && witness && !at.Used(party-len(c.Roster))
	if party < 0 || at.SeatOf(party) < 0 && !reserve {
		return refuse(RefuseInvalid, "this node has no seat")
	}
	return nil
}

// checkCharter checks what needs a clock, credentials and this node's state.
func (m *Member) checkCharter(at consensus.Height, offer consensus.Offer, witness bool) error {
	now, c := m.cfg.Clock(), at.Charter
	switch {
	case c.Policy != m.policy:
		return refuse(RefuseUnsupported, "another policy than the one in force")
	case now > c.Deadline && !witness || now > c.End:
		return refuse(RefusePast, "the deadline has passed")
	case c.Issued > now+skew:
		return refuse(RefuseLate, "issued %d ms in the future", c.Issued-now)
	case now > c.AcceptBy && !witness:
		return refuse(RefuseLate, "accept_by has passed")
	}
	if err := m.checkCredentials(c, offer.Credentials); err != nil {
		return err
	}
	if witness && at.SeatOf(c.PartyOf(m.cfg.Self)) >= 0 {
		return nil // q members have accepted: there is no choice left
	}
	if !witness {
		if c.AcceptBy > c.Issued+m.cfg.Policy.Accept {
			return refuse(RefuseInvalid, "accept_by is %d ms after its issue, the policy gives %d", c.AcceptBy-c.Issued, m.cfg.Policy.Accept)
		}
		if err := m.checkRevoked(c); err != nil {
			return err
		}
	}
	return m.checkRoom(at.Job, c.Submitter)
}

// checkRoom checks that there is a place for one more job of a submitter, and
// keeps it while the job is looked at. What is looked at counts like what is open.
func (m *Member) checkRoom(id consensus.JobID, submitter admission.Key) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	all, mine := uint64(m.places()), uint64(0)
	for _, other := range m.open {
		if other.charter.Submitter == submitter {
			mine++
		}
	}
	for other, l := range m.intake {
		if other == id || m.open[other] != nil || l.submitter == (admission.Key{}) {
			continue
		}
		all++
		if l.submitter == submitter {
			mine++
		}
	}
	switch {
	case all >= m.cfg.Policy.MaxJobs:
		return refuse(RefuseBusy, "%d jobs are open here", all)
	case mine >= m.cfg.Policy.MaxOpen:
		return refuse(RefuseBusy, "%d jobs of this submitter are open here", mine)
	}
	m.intake[id].submitter = submitter
	return nil
}

func (m *Member) checkCredentials(c *consensus.Charter, credentials []admission.SignedCredential) error {
	wanted := map[admission.Key]bool{c.Submitter: true, c.Owner: true}
	if len(credentials) != len(wanted) {
		return refuse(RefuseDenied, "%d credentials, for %d keys", len(credentials), len(wanted))
	}
	for _, signed := range credentials {
		if !wanted[signed.Body.Subject] {
			return refuse(RefuseDenied, "a credential of somebody else")
		}
		delete(wanted, signed.Body.Subject)
		if err := m.rolls.credential(m.cfg.Genesis, m.cfg.Network, signed); err != nil {
			return refuse(RefuseDenied, "%w", err)
		}
		if !signed.Body.Covers(c.Issued, c.End) {
			return refuse(RefuseDenied, "a credential does not cover the job's time")
		}
	}
	return nil
}

// checkRevoked refuses a charter in which somebody has a part whose credential was
// revoked (protocol, section 10). Once q members have accepted, it goes on.
func (m *Member) checkRevoked(c *consensus.Charter) error {
	keys := []admission.Key{c.Submitter, c.Owner}
	for party := range c.Parties() {
		keys = append(keys, c.Party(party).Peer)
	}
	for _, key := range keys {
		if m.cfg.Revoked(key) {
			return refuse(RefuseDenied, "the credential of %s was revoked", key.Name())
		}
	}
	return nil
}

// CheckInputs returns an error for inputs that a run could not read within most
// bytes, or of more or longer names than an executor is given. They have the bounds
// of what one leaves, so that what a job left another can read.
func CheckInputs(ctx context.Context, src tree.Sized, inputs cid.Cid, most uint64) error {
	n, err := tree.Survey(ctx, src, inputs, readable(most))
	switch {
	case errors.Is(err, tree.ErrLimit):
		return fmt.Errorf("inputs: more than %d bytes or %d blocks, each counted as often as it is named: %w", most, maxBlocks, err)
	case err == nil:
		err = withinNames(n)
	}
	if err != nil {
		return fmt.Errorf("inputs: %w", err)
	}
	return nil
}

// maxBlocks bounds the blocks of one tree of inputs or of a result.
const maxBlocks = 1 << 16

// readable bounds a tree of inputs or of a result that takes so many bytes at most
// when it is read: blocks count as often as the tree names them.
func readable(most uint64) tree.Limits { return tree.Limits{Bytes: int64(most), Blocks: maxBlocks} }

// isReadable reports whether a result is within the bounds by which checkResult judges.
func isReadable(t tree.Tree, most uint64) bool {
	limit := readable(most)
	return t.Read.Bytes <= limit.Bytes && t.Read.Blocks <= limit.Blocks
}

// checkResult refuses a tree that is not what a run leaves, or that no reader could
// read within the surveyor's limit.
func checkResult(ctx context.Context, s *tree.Surveyor, root cid.Cid, code uint64) error {
	names, exit, err := s.Result(ctx, root)
	if err != nil {
		return err
	}
	if uint64(uint32(exit)) != code {
		return fmt.Errorf("a tree of exit code %d in the place of one of %d", exit, code)
	}
	return withinNames(names)
}

// withinNames refuses more or longer names than an executor leaves or is given.
func withinNames(n tree.Names) error {
	switch {
	case n.Files > exec.MaxNames, n.Bytes > exec.MaxPaths:
		return fmt.Errorf("%d files in paths of %d bytes, at most %d in %d", n.Files, n.Bytes, exec.MaxNames, exec.MaxPaths)
	case n.Depth > exec.MaxDepth, n.Longest > exec.MaxPath:
		return fmt.Errorf("a path of %d bytes or %d names, at most %d and %d", n.Longest, n.Depth, exec.MaxPath, exec.MaxDepth)
	}
	return nil
}

// checkAccepts verifies what a witness shows: q accepts of distinct seats.
func (m *Member) checkAccepts(id consensus.JobID, c *consensus.Charter, accepts []consensus.Vote) error {
	if len(accepts) < c.Thresholds().Quorum || len(accepts) > len(c.Roster) {
		return fmt.Errorf("a witness shows %d accepts, it takes %d", len(accepts), c.Thresholds().Quorum)
	}
	first := consensus.FirstHeight(m.cfg.Network, id, c)
	for i, v := range accepts {
		if v.Seat >= uint64(len(c.Roster)) || i > 0 && accepts[i-1].Seat >= v.Seat {
			return errors.New("a witness shows accepts that are not of distinct seats")
		}
		if err := v.Proof.Check(first.Statement(consensus.KindAccept, int(v.Seat), 0, consensus.Hash{})); err != nil {
			return err
		}
	}
	return nil
}
