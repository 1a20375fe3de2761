package member

import (
	"context"
	"errors"
	"fmt"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
)

// Refusal codes: a refusal is signed and has a reason, never silence.
const (
	RefuseBusy        = "busy"          // queue or submitter's share is full
	RefuseUnsupported = "unsupported"   // asks for what this version does not know
	RefuseDraw        = "draw"          // the roster does not follow from the roll
	RefuseLate        = "late"          // accept_by has passed, or the charter is from the future
	RefusePast        = jobs.RefusePast // the deadline has passed
	RefuseGone        = "gone"          // the roster names another incarnation of this node
	RefuseDenied      = "denied"        // no valid credential
	RefuseInvalid     = "invalid"       // spec, task or inputs are not what they should be
	RefuseMissing     = "missing"       // blocks could not be had in time
	RefuseLive        = "live"          // the job that it would supersede has not ended
)

// refusal is an error that is told to the submitter.
type refusal struct {
	code string
	err  error
}

func (r *refusal) Error() string { return r.code + ": " + r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(code, format string, args ...any) error {
	return &refusal{code, fmt.Errorf(format, args...)}
}

// ErrLate is returned by Agreement.Open for a job that began after accept_by, which
// the syncs before it may have lasted to, and for one of which no record is left to
// resume. It is a refusal.
var ErrLate = refuse(RefuseLate, "accept_by has passed")

// skew is the clock difference between nodes that is allowed for, milliseconds.
const skew = 60_000

// offered is a charter on the way in.
type offered struct {
	from    admission.Key
	offer   consensus.Offer
	accepts []consensus.Vote     // shown by a witness, unchecked
	chain   []consensus.Decision // likewise: the handovers so far
	waited  bool                 // for the job that it supersedes
	size    int                  // bytes, encoded
}

// Offered takes a charter from its submitter or from a witness. It does not
// block; what becomes of it is told by an accept or a refusal.
func (m *Member) Offered(from admission.Key, offer consensus.Offer, accepts []consensus.Vote, chain []consensus.Decision) {
	data, err := dagcbor.Marshal(&consensus.Payload{Offer: &offer, Accepts: accepts, Chain: chain})
	if err != nil {
		m.cfg.Log.Error("offer not taken", "from", from.Name(), "error", err)
		return
	}
	m.offers.add(offered{from: from, offer: offer, accepts: accepts, chain: chain, size: len(data)})
}

// consider looks at an offer, at each job once at a time for each peer that brings
// it: one that takes its time keeps nobody else from bringing it. A job that is
// open or closed here already is not looked at again: its machine answers.
func (m *Member) consider(ctx context.Context, o offered) {
	id := consensus.JobID(dagcbor.Sum(o.offer.Charter.Bytes))
	if !m.begin(id, o.from) {
		return
	}
	waits := false
	defer func() {
		if !waits {
			m.end(id, o.from)
		}
	}()
	if ended, closed := m.archived(id); closed {
		if err := m.cfg.Quorum.Decided(ctx, o.from, id, ended); err != nil {
			m.cfg.Log.Debug("outcome not sent", "job", id, "reason", err)
		}
		return
	}
	err := m.take(ctx, o)
	if err == nil || m.came(id) {
		return
	}
	if waits = !o.waited && m.waitFor(id, o, err); waits {
		return
	}
	m.refuse(ctx, id, o.from, err)
}

func (m *Member) refuse(ctx context.Context, id consensus.JobID, to admission.Key, err error) {
	m.cfg.Log.Debug("offer refused", "job", id, "from", to.Name(), "reason", err)
	reason := RefuseInvalid + ": " + err.Error()
	var r *refusal
	if errors.As(err, &r) {
		reason = r.Error()
	}
	m.cfg.Events.Tell(Event{Type: "refused", Job: id, Data: map[string]any{"reason": reason}})
	if err := m.cfg.Quorum.Refuse(ctx, to, id, reason); err != nil {
		m.cfg.Log.Debug("refusal not sent", "job", id, "reason", err)
	}
	if g := new(gone); errors.As(err, &g) {
		if err := m.cfg.Quorum.Gone(ctx, to, id, g.older); err != nil {
			m.cfg.Log.Debug("word not sent", "job", id, "reason", err)
		}
	}
}

// gone says that a charter names this node in an incarnation that is no more:
// the members may replace it at once (protocol, section 7).
type gone struct{ older consensus.Hash }

func (*gone) Error() string { return "the charter names an incarnation of this node that is no more" }

// take checks an offer and, if nothing speaks against it, makes it durable and
// opens the job.
func (m *Member) take(ctx context.Context, o offered) error {
	charter, id, err := o.offer.Charter.Open(m.cfg.Network)
	if errors.Is(err, consensus.ErrUnsupported) {
		return refuse(RefuseUnsupported, "%w", err)
	}
	if err != nil {
		return err
	}
	witness := len(o.accepts) > 0
	if witness {
		if err := m.checkAccepts(id, charter, o.accepts); err != nil {
			return err
		}
	}
	at, err := consensus.FirstHeight(m.cfg.Network, id, charter).Climb(o.chain, consensus.Proof.Check)
	if err != nil {
		return err
	}
	if err := m.checkPart(at, witness); err != nil {
		return err
	}
	if err := m.checkCharter(at, o.offer, witness); err != nil {
		return err
	}
	if !witness {
		if err := m.checkSuperseded(charter); err != nil {
			return err
		}
	}
	patient, cancel := context.WithTimeout(ctx, m.patience(charter, witness))
	defer cancel()
	drawn, err := m.checkDraw(patient, charter, o)
	if err != nil {
		return err
	}
	if err := m.keepBlocks(patient, o.offer.Blocks); err != nil {
		return err
	}
	j := m.newJob(at, consensus.Offer{Charter: o.offer.Charter, Credentials: o.offer.Credentials, Blocks: []consensus.Block{}})
	if err := m.loadJob(patient, j, o.from); err != nil {
		return err
	}
	if err := m.holds(j.spec.Resources); err != nil && !witness { // what has started is voted on all the same
		return refuse(RefuseDraw, "the roll gives this node more than it has: %w", err)
	}
	if err := m.cfg.Store.Sync(ctx); err != nil {
		return err
	}
	return m.openJob(ctx, j, drawn, o)
}

func (m *Member) newJob(at consensus.Height, offer consensus.Offer) *job {
	c := at.Charter
	self := c.PartyOf(m.cfg.Self)
	return &job{id: at.Job, charter: c, offer: offer, self: self, at: at, idle: at.SeatOf(self) < 0, logs: newLogs(int(c.Limits.Stream)),
		inline: map[cid.Cid][]byte{}, fetching: map[consensus.Hash]fetching{}, cancel: map[uint64]context.CancelFunc{},
		judging: map[consensus.Hash]context.CancelFunc{}, checks: map[consensus.Hash]context.CancelFunc{}}
}

func (m *Member) openJob(ctx context.Context, j *job, drawn election.Drawn, o offered) error {
	witness := len(o.accepts) > 0
	record, err := dagcbor.Marshal(openRecord{Offer: j.offer, Witness: witness})
	if err != nil {
		return err
	}
	if !m.claim(j) {
		return nil // another's has opened it
	}
	kept, settled := m.cfg.Events.Keep(Event{Type: "accepted", Job: j.id, Data: map[string]any{"name": j.spec.Name}})
	err = m.cfg.Agreement.Open(ctx, Opening{
		Job: j.id, Charter: j.charter, Offer: j.offer, Self: j.self, Runners: drawn.Runners, Spares: drawn.Spares,
		Witness: witness, Accepts: o.accepts, Chain: o.chain, Check: j.checkTimeout(),
		Entries: append(kept,
			journal.Entry{Key: keyOf(prefixOpen, j.id), Value: record},
			journal.Entry{Key: requestKey(j.charter, j.id), Value: []byte{}}),
	})
	if settled(err); err != nil {
		m.unclaim(j.id)
	}
	return err
}

// checkTimeout is the longest that the job's check may take, in milliseconds; 0
// without one.
func (j *job) checkTimeout() int64 {
	if j.spec.Check == nil {
		return 0
	}
	return j.spec.Check.Timeout
}

// patience bounds how long a job's blocks are waited for: what a submitter offers
// until accept_by, by whatever clock. What a witness brings is waited for longer,
// whatever the time: it has still to be voted on. The blocks that came by then
// stay, and whoever offers does so again.
func (m *Member) patience(c *consensus.Charter, witness bool) time.Duration {
	wait := min(c.AcceptBy-m.cfg.Clock(), m.cfg.Policy.Accept)
	if witness {
		wait = max(m.cfg.Policy.Accept, witnessPatience)
	}
	return time.Duration(max(wait, 1)) * time.Millisecond
}

// witnessPatience is how long the blocks of a job that a witness brings are waited
// for at least, milliseconds.
const witnessPatience = 60_000

// checkDraw fetches and keeps the roll, and checks that the roster follows from
// it and that it hides nobody this member knows well (protocol, section 9).
func (m *Member) checkDraw(ctx context.Context, c *consensus.Charter, o offered) (election.Drawn, error) {
	roll, err := m.roll(ctx, c.Roll, o)
	if err != nil {
		return election.Drawn{}, err
	}
	drawn, err := election.Check(roll, c.Roll, c, m.cfg.Network, m.cfg.Policy)
	if err != nil {
		return election.Drawn{}, refuse(RefuseDraw, "%w", err)
	}
	if len(o.accepts) > 0 {
		return drawn, nil
	}
	missed := election.MissedBy(roll, c, drawn, m.cfg.Network, m.cfg.Policy, m.cfg.Seen())
	if missed > election.Tolerated(len(c.Roster)) {
		return election.Drawn{}, refuse(RefuseDraw, "the roll leaves out or misdescribes %d nodes that this one knows", missed)
	}
	return drawn, nil
}

func (m *Member) roll(ctx context.Context, link dagcbor.Link, o offered) (*consensus.Roll, error) {
	if roll, ok := m.rolls.get(link.Cid); ok {
		return roll, nil
	}
	if err := m.keepBlocks(ctx, o.offer.Blocks); err != nil {
		return nil, err
	}
	data, err := m.block(ctx, link.Cid, o.from, consensus.MaxRollBytes)
	if err != nil {
		return nil, refuse(RefuseMissing, "roll: %w", err)
	}
	roll, err := consensus.OpenRoll(m.cfg.Genesis, m.cfg.Network, data)
	if err != nil {
		return nil, refuse(RefuseDraw, "%w", err)
	}
	m.rolls.add(link.Cid, roll)
	return roll, nil
}

// loadJob makes spec, task, module and inputs of a job present, and checks that
// they fit together and that this node can run them.
func (m *Member) loadJob(ctx context.Context, j *job, from admission.Key) error {
	c := j.charter
	data, err := m.block(ctx, c.Spec.Cid, from, jobs.MaxSpec)
	if err != nil {
		return refuse(RefuseMissing, "spec: %w", err)
	}
	if j.spec, err = jobs.OpenSpec(m.cfg.Network, data); err != nil {
		return refuse(RefuseInvalid, "%w", err)
	}
	if data, err = m.block(ctx, c.Task.Cid, from, jobs.MaxTask); err != nil {
		return refuse(RefuseMissing, "task: %w", err)
	}
	if j.task, err = jobs.OpenTask(m.cfg.Network, data); err != nil {
		return refuse(RefuseInvalid, "%w", err)
	}
	if err := jobs.CheckCharter(c, j.spec, j.task, m.cfg.Policy); err != nil {
		return refuse(RefuseInvalid, "%w", err)
	}
	module, err := m.module(ctx, j.task.Module.Cid, from, int64(c.Limits.Input))
	if err != nil {
		return err
	}
	class, left := consensus.Class(module.class), int64(c.Limits.Input)-int64(len(module.data)) // the module itself may go
	checked, err := m.loadCheck(ctx, j, from)
	if err != nil {
		return err
	}
	if class = jobs.Stricter(class, checked); class != c.Class {
		return refuse(RefuseInvalid, "what it runs is of class %s, the charter says %s", class, c.Class)
	}
	return m.loadInputs(ctx, j, from, left)
}

// loadInputs makes the inputs present: at most left bytes for all tasks of an
// array together, and as many for what they share.
func (m *Member) loadInputs(ctx context.Context, j *job, from admission.Key, left int64) error {
	if j.task.Inputs != nil {
		if err := m.cfg.Fetcher.Fetch(ctx, j.task.Inputs.Cid, []admission.Key{from}, left); err != nil {
			return refuse(RefuseMissing, "inputs: %w", err)
		}
		if err := CheckInputs(ctx, m.cfg.Store, j.task.Inputs.Cid, j.charter.Limits.Input); err != nil {
			return refuse(RefuseInvalid, "%w", err)
		}
	}
	if j.task.Array == nil || j.task.Array.Items == nil {
		return nil
	}
	if err := m.cfg.Fetcher.Fetch(ctx, j.task.Array.Items.Cid, []admission.Key{from}, left); err != nil {
		return refuse(RefuseMissing, "items: %w", err)
	}
	if _, err := m.items(ctx, j.task); err != nil {
		return refuse(RefuseInvalid, "%w", err)
	}
	return nil
}

func (m *Member) keepBlocks(ctx context.Context, inline []consensus.Block) error {
	for _, b := range inline {
		block, err := blocks.NewBlockWithCid(b.Data, b.Link.Cid)
		if err != nil {
			return refuse(RefuseInvalid, "%w", err)
		}
		if err := m.cfg.Store.Put(ctx, block); err != nil {
			return err
		}
	}
	return nil
}
