package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/p2p/gossip"
	"github.com/muster-network/muster/store/dagcbor"
)

var _ server.Evidence = (*Node)(nil)

// topicEvidence spreads equivocations: whoever holds one draws their authors no
// more. Disagreements bar nobody, and stay where they were seen.
const topicEvidence = "evidence"

// accuse keeps evidence that a member of this node came by, and spreads it.
func (n *Node) accuse(e *consensus.Evidence) {
	fresh, err := n.hold(e)
	if err != nil {
		n.cfg.Log.Error("evidence that convicts nobody", "error", err)
		return
	}
	if !fresh || e.Equivocation == nil {
		return
	}
	n.owe(func(ctx context.Context) error {
		data, err := e.Encode()
		if err != nil {
			return err
		}
		return n.publish(ctx, topicEvidence, data)
	})
}

// hold verifies and keeps evidence, and says what is new.
func (n *Node) hold(e *consensus.Evidence) (fresh bool, err error) {
	f, fresh, err := n.misconduct.add(e)
	if err != nil || !fresh {
		return false, err
	}
	n.cfg.Log.Warn("misconduct proven", "misconduct", f.Misconduct, "peer", f.Peer.Name(), "job", f.Job)
	n.events.tell("peer."+f.Misconduct.String(), f.Peer.Peer().String(), map[string]any{"job": f.Job.String(), "name": f.Peer.Name()})
	return true, nil
}

// judgeEvidence takes in what gossip brings: of each peer one equivocation.
func (n *Node) judgeEvidence(_ peer.ID, data []byte) gossip.Verdict {
	e, err := consensus.OpenEvidence(data)
	if err != nil || e.Equivocation == nil {
		return gossip.Reject
	}
	if n.misconduct.knows(misdeed{consensus.Equivocated, e.Credential.Body.Subject, e.Equivocation.Job}) {
		return gossip.Ignore
	}
	if _, err := n.hold(e); err != nil {
		return gossip.Reject
	}
	return gossip.Accept
}

// maxEvidenceAnswer bounds the pieces of evidence in one answer.
const maxEvidenceAnswer = 256

// askEvidence asks a peer whom it has evidence against, unless it bars the same
// peers as this node: gossip loses messages, and a node that comes has heard none.
func (n *Node) askEvidence(ctx context.Context, from peer.ID) error {
	digest := n.misconduct.digest()
	data, err := n.ask(ctx, from, question{Op: opEvidence, Data: digest[:]})
	if err != nil {
		return err
	}
	return n.holdEquivocations(data)
}

// holdEquivocations takes in an answer of evidence, of which other kinds than
// equivocation have no effect.
func (n *Node) holdEquivocations(data []byte) error {
	var list [][]byte
	if err := dagcbor.Unmarshal(data, &list); err != nil {
		return err
	}
	if len(list) > maxEvidenceAnswer {
		return fmt.Errorf("%d pieces of evidence, at most %d", len(list), maxEvidenceAnswer)
	}
	for _, data := range list {
		e, err := consensus.OpenEvidence(data)
		if err != nil {
			return err
		}
		if e.Equivocation == nil || n.misconduct.knows(misdeed{consensus.Equivocated, e.Credential.Body.Subject, e.Equivocation.Job}) {
			continue
		}
		if _, err := n.hold(e); err != nil {
			return err
		}
	}
	return nil
}

// answerEvidence answers with one equivocation of each peer that is barred.
func (n *Node) answerEvidence(digest []byte) ([]byte, error) {
	list := [][]byte{}
	if own := n.misconduct.digest(); bytes.Equal(digest, own[:]) {
		return dagcbor.Marshal(list)
	}
	seen := map[admission.Key]bool{}
	for _, held := range n.misconduct.list(func(d misdeed) bool { return d.kind == consensus.Equivocated }) {
		if seen[held.peer] || len(list) == maxEvidenceAnswer {
			continue
		}
		seen[held.peer] = true
		data, err := n.misconduct.read(held.misdeed)
		if err != nil {
			return nil, err
		}
		list = append(list, data)
	}
	return dagcbor.Marshal(list)
}

// seen is the view that members hold a submitter's roll against. A roll may
// leave out whoever equivocated.
func (n *Node) seen() []election.Seen {
	all := n.adverts.seen() // shared
	if n.misconduct.state() == 0 {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(s election.Seen) bool { return n.misconduct.bars(s.Peer) })
}

// withBarred says, where a quorum could not be drawn, that some are not drawn any
// more.
func (n *Node) withBarred(err error) error {
	p := new(jobs.Problem)
	barred := n.misconduct.state()
	if barred == 0 || !errors.As(err, &p) || p.Code != jobs.CodePlaceCapacity {
		return err
	}
	said := *p
	said.Why = strings.TrimPrefix(fmt.Sprintf("%s; not drawn for equivocation: %d (muster evidence)", p.Why, barred), "; ")
	return &said
}

// noteLies marks the members of a job that are proven to have equivocated in it.
func (n *Node) noteLies(id consensus.JobID, j *jobs.Job) {
	for _, d := range n.misconduct.in(id) {
		for i := range j.Members {
			if m := &j.Members[i]; d.kind == consensus.Equivocated && m.Peer == d.peer.String() {
				m.Lied = true
			}
		}
	}
}

// maxListed bounds the evidence in one list for people.
const maxListed = 500

// Evidence implements server.Evidence.
func (n *Node) Evidence(ctx context.Context, of string) ([]api.Evidence, error) {
	if job, ok := n.otherJob(of); ok {
		n.recallEvidence(ctx, job)
	}
	wanted, err := n.wantedEvidence(of)
	if err != nil {
		return nil, err
	}
	list := []api.Evidence{}
	for _, held := range n.misconduct.list(wanted) {
		if len(list) == maxListed {
			break
		}
		data, err := n.misconduct.read(held.misdeed)
		if err != nil {
			return nil, err
		}
		e, err := consensus.OpenEvidence(data)
		if err != nil {
			return nil, err
		}
		f, err := e.Verify(n.home.genesis)
		if err != nil {
			return nil, err
		}
		list = append(list, evidenceOf(held, f))
	}
	return list, nil
}

func evidenceOf(held heldEvidence, f consensus.Finding) api.Evidence {
	e := api.Evidence{Schema: api.SchemaEvidence, ID: held.id.String(), Misconduct: f.Misconduct.String(), Peer: f.Peer.String(), Name: f.Peer.Name(),
		Incarnation: fmt.Sprintf("%x", f.Incarnation[:]), Job: f.Job.String(), Height: f.Height, Found: held.at, Barred: f.Misconduct == consensus.Equivocated}
	if f.Misconduct == consensus.Disagreed {
		e.Reported, e.Certified = f.Reported.String(), f.Certified.String()
		return e
	}
	e.Statement, e.Round, e.First, e.Second = f.Kind.String(), f.Round, f.First.String(), f.Second.String()
	return e
}

// wantedEvidence reads what somebody typed: nothing, a peer's id or name, the id
// of evidence or of a job, or a short form of one.
func (n *Node) wantedEvidence(text string) (func(misdeed) bool, error) {
	if text == "" {
		return func(misdeed) bool { return true }, nil
	}
	if key, err := admission.ParseKey(text); err == nil {
		return func(d misdeed) bool { return d.peer == key }, nil
	}
	if strings.Contains(text, "-") {
		return func(d misdeed) bool { return d.peer.Name() == text }, nil
	}
	named := map[string]func(misdeed) bool{}
	for _, held := range n.misconduct.list(func(misdeed) bool { return true }) {
		named[held.id.String()] = func(d misdeed) bool { return d == held.misdeed }
		named[held.job.String()] = func(d misdeed) bool { return d.job == held.job }
	}
	id, err := jobs.MatchPrefix(text, slices.Sorted(maps.Keys(named)))
	if err == nil {
		return named[id], nil
	}
	if p := new(jobs.Problem); errors.As(err, &p) && p.Code != jobs.CodeNotFound {
		return nil, err
	}
	// A job that nobody did wrong in has no evidence; one that nobody knows is a
	// mistake.
	if _, err := n.resolve(text); err != nil {
		return nil, err
	}
	return func(misdeed) bool { return false }, nil
}

// otherJob returns the job that a text names, unless it names evidence, a peer, or
// nothing.
func (n *Node) otherJob(text string) (consensus.JobID, bool) {
	isEvidence := func(held heldEvidence) bool { return held.id.String() == text }
	if text == "" || strings.Contains(text, "-") || slices.ContainsFunc(n.misconduct.list(func(misdeed) bool { return true }), isEvidence) {
		return consensus.JobID{}, false
	}
	ref, err := n.resolve(text)
	return ref.job, err == nil && ref.isJob
}

// EvidenceFile implements server.Evidence.
func (n *Node) EvidenceFile(_ context.Context, id string) ([]byte, error) {
	for _, held := range n.misconduct.list(func(misdeed) bool { return true }) {
		if held.id.String() == id {
			return n.misconduct.read(held.misdeed)
		}
	}
	return nil, &jobs.Problem{Code: jobs.CodeNotFound, What: fmt.Sprintf("no evidence %q", id), Try: "muster evidence"}
}
