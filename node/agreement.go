package node

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/runner"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/jobs/submitter"
	"github.com/muster-network/muster/p2p/stream"
	"github.com/muster-network/muster/store/journal"
)

var (
	_ member.Agreement = (*agreement)(nil)
	_ member.Quorum    = (*agreement)(nil)
	_ submitter.Quorum = (*agreement)(nil)
	_ runner.Journal   = (*agreement)(nil)
	_ runner.Host      = host{}
)

// host is the member as the runner sees it.
type host struct{ *member.Member }

// Decided implements runner.Host.
func (h host) Decided(job consensus.JobID, ended consensus.Conclusion, v bft.View, records [][]byte) {
	h.Member.Decided(job, ended, standing(v), records)
}

// agreement joins member and submitter, who do not know each other, to the
// runner, which knows neither.
type agreement struct {
	runner  *runner.Runner
	journal *journal.Journal
	policy  admission.Policy
	network admission.Network
	genesis admission.Genesis
	secret  [32]byte // of this node, for the salts of its reports
}

// Open implements member.Agreement.
func (a *agreement) Open(ctx context.Context, o member.Opening) error {
	open := runner.Open{
		Config: bft.Config{Network: a.network, Genesis: a.genesis, Job: o.Job, Charter: o.Charter, Self: o.Self,
			Runners: o.Runners, Spares: o.Spares, Salt: a.salt(o.Job),
			Timing: bft.Timing{Beat: a.policy.Beat, Round: a.policy.Round, RoundMax: a.policy.RoundMax, Timeout: o.Charter.Timeout,
				Check: o.Check, Patience: a.policy.Stalled}},
		Offer: o.Offer,
	}
	for _, e := range o.Entries {
		open.Extra = append(open.Extra, runner.Record{Key: e.Key, Value: e.Value})
	}
	switch {
	case o.Resume:
		err := a.journal.Scan(runner.RecordPrefix(o.Job), nil, func(_, value []byte) (bool, error) {
			record, err := runner.DecodeRecord(append([]byte(nil), value...))
			open.Records = append(open.Records, record)
			return true, err
		})
		if err != nil {
			return err
		}
	case o.Witness:
		open.First = bft.Witnessed{Accepts: o.Accepts, Chain: o.Chain}
	default:
		open.First = bft.AcceptJob{}
	}
	err := a.runner.Open(ctx, open)
	if errors.Is(err, runner.ErrLate) {
		return member.ErrLate
	}
	return err
}

// salt is the secret that this member's reports of a job are salted from.
func (a *agreement) salt(job consensus.JobID) [16]byte {
	mac := hmac.New(sha256.New, a.secret[:])
	mac.Write([]byte("muster/salt/1"))
	mac.Write(job[:])
	return [16]byte(mac.Sum(nil))
}

// Ran implements member.Agreement.
func (a *agreement) Ran(ctx context.Context, job consensus.JobID, r member.Ran) error {
	return a.runner.Input(ctx, job, bft.Ran(r))
}

// State implements member.Agreement.
func (a *agreement) State(ctx context.Context, job consensus.JobID, s member.RunState) error {
	return a.runner.Input(ctx, job, bft.RunState(s))
}

// Checked implements member.Agreement.
func (a *agreement) Checked(ctx context.Context, job consensus.JobID, value consensus.Hash, endorses bool) error {
	return a.runner.Input(ctx, job, bft.Checked{Value: value, Endorses: endorses})
}

// Held implements member.Agreement.
func (a *agreement) Held(ctx context.Context, job consensus.JobID, value consensus.Hash, normals []consensus.Hash) error {
	return a.runner.Input(ctx, job, bft.Held{Value: value, Normals: normals})
}

// Refuse implements member.Quorum.
func (a *agreement) Refuse(ctx context.Context, to admission.Key, job consensus.JobID, reason string) error {
	reason = shortened(reason)
	return a.runner.Speak(ctx, runner.Speech{To: to, Job: job, Kind: consensus.KindRefuse,
		Value: sha256.Sum256([]byte(reason)), Payload: &consensus.Payload{Reason: reason}})
}

// Gone implements member.Quorum.
func (a *agreement) Gone(ctx context.Context, to admission.Key, job consensus.JobID, older consensus.Hash) error {
	return a.runner.Speak(ctx, runner.Speech{To: to, Job: job, Kind: consensus.KindGone, Value: older})
}

// Decided implements member.Quorum.
func (a *agreement) Decided(ctx context.Context, to admission.Key, job consensus.JobID, ended consensus.Conclusion) error {
	a.runner.Conclude(to, job, ended)
	return ctx.Err()
}

// maxReason bounds the words of a refusal, in bytes.
const maxReason = 400

// shortened cuts a reason where it is too long, and leaves out what is no text, as a
// character that was cut in two: that could not be said.
func shortened(reason string) string {
	return strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
}

// Standing shows where an open job stands, as this member sees it.
func (a *agreement) Standing(ctx context.Context, job consensus.JobID) (member.Standing, bool, error) {
	v, ok, err := a.runner.View(ctx, job)
	if !ok || err != nil {
		return member.Standing{}, false, err
	}
	return standing(v), true, nil
}

func standing(v bft.View) member.Standing {
	s := member.Standing{State: jobs.Accepted, Round: int(v.Round), Waiting: v.Waiting}
	if v.Stuck != nil {
		s.Stuck = &member.Stuck{Seat: v.Stuck.Seat, Run: v.Stuck.Run, Since: v.Stuck.Since, Why: v.Stuck.Why}
	}
	if v.Closed != nil {
		s.Closed = &member.Closing{Seats: v.Closed.Seats, Since: v.Closed.Since}
	}
	running, queued := false, false
	for _, seat := range v.Seats {
		m := jobs.Member{Role: string(seat.Role), Activated: seat.Why, Accepted: seat.Accepted, Started: seat.Started,
			Disagrees: seat.Disagrees, Prepared: seat.Prepared != nil, Use: seat.Use, Granted: seat.Granted,
			Endorsed: seat.Endorsed, Rejected: seat.Rejected}
		if seat.Report != nil {
			m.Report = seat.Report.String()
			if seat.Report.Tree != nil {
				m.Report = seat.Report.Tree.String()
			}
		} else if seat.Activated && seat.LastBeat > 0 {
			m.Run = "queued"
			if seat.Running {
				m.Run = "running"
			}
			m.Done = seat.Done
			running, queued = running || seat.Running, queued || !seat.Running
		}
		s.Seats = append(s.Seats, m)
	}
	switch v.Phase {
	case bft.PhaseRunning:
		if running {
			s.State = jobs.Running
		} else if queued {
			s.State = jobs.Queued
		}
	case bft.PhaseChecking:
		s.State = jobs.Running
	case bft.PhaseFetching, bft.PhaseAgreeing, bft.PhaseDecided:
		s.State = jobs.Agreeing
	}
	return s
}

// Watch implements submitter.Quorum.
func (a *agreement) Watch(job consensus.JobID, charter *consensus.Charter, heard func(submitter.Heard)) {
	a.runner.Watch(job, charter, func(h runner.Heard) {
		heard(submitter.Heard{Seat: h.Seat, Kind: h.Kind, Proof: h.Proof, Reason: h.Reason, Ended: h.Ended})
	})
}

// Forget implements submitter.Quorum.
func (a *agreement) Forget(job consensus.JobID) { a.runner.Forget(job) }

// Offer implements submitter.Quorum.
func (a *agreement) Offer(ctx context.Context, to admission.Key, job consensus.JobID, offer consensus.Offer) error {
	return a.runner.Speak(ctx, runner.Speech{To: to, Job: job, Note: consensus.NoteOffer, Payload: &consensus.Payload{Offer: &offer}})
}

// Void implements submitter.Quorum.
func (a *agreement) Void(ctx context.Context, to admission.Key, job consensus.JobID) error {
	return a.runner.Speak(ctx, runner.Speech{To: to, Job: job, Kind: consensus.KindVoid})
}

// Cancel hands a signed wish to the job's machine here, which relays it.
func (a *agreement) Cancel(ctx context.Context, job consensus.JobID, c consensus.Cancel) error {
	return a.runner.Input(ctx, job, bft.CancelWish{Cancel: c})
}

// AppendAsync implements runner.Journal.
func (a *agreement) AppendAsync(records []runner.Record, done func(error)) {
	entries := make([]journal.Entry, len(records))
	for i, r := range records {
		entries[i] = journal.Entry{Key: r.Key, Value: r.Value}
	}
	a.journal.AppendAsync(entries, done)
}

// wire is the runner's transport: frames over the streams between members.
type wire struct{ streams *stream.Streams }

// Send implements runner.Transport.
func (w wire) Send(to admission.Key, frame []byte) {
	// A frame that cannot be queued is lost like one on the way: what it says
	// is said again until it is acknowledged.
	_ = w.streams.Send(to.Peer(), frame)
}

// receive hands a frame to the runner.
func (n *Node) receive(from peer.ID, frame []byte) {
	key, err := admission.KeyOf(from)
	if err != nil {
		return
	}
	if err := n.runner.Receive(key, frame); err != nil {
		n.cfg.Log.Warn("frame refused", "peer", key.Name(), "error", err)
	}
}
