package node

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/jobs/backlog"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/store/dagcbor"
)

// The answers that peers give, as a node takes them in.
const (
	ofAdverts = iota
	ofEvidence
	ofMisdeeds
	ofRevocations
	ofLogs
	kindsOfAnswers
)

// asker is a listener that takes in answers, too. The evidence it holds is in memory.
func asker(f *testing.F, n *consensustest.Network) func() *Node {
	j, events := journalOfEvents(f)
	return func() *Node {
		node := listener(n)
		node.cfg.Log, node.events = slog.New(slog.DiscardHandler), events
		node.owed = backlog.New[func(context.Context) error]()
		node.revocations = &revocations{home: node.home, journal: j, held: map[admission.Key]admission.SignedRevocation{}}
		node.misconduct = &misconduct{genesis: n.Sealed, journal: slow{j}, clock: func() int64 { return consensustest.Now },
			held: map[misdeed]foundEvidence{}, jobs: map[consensus.JobID][]misdeed{}, barred: map[admission.Key]bool{}}
		return node
	}
}

// equivocation is evidence that a member of a job prepared two values.
func equivocation(t testing.TB, n *consensustest.Network, job consensustest.Job, me consensustest.Node) []byte {
	t.Helper()
	s := consensus.Statement{Kind: consensus.KindPrepare, Network: n.ID, Job: job.ID, Previous: consensus.Hash(job.ID), Sender: me.Key(), Incarnation: me.Incarnation}
	other := s
	other.Value[0] = 1
	e, err := consensus.NewEquivocation(me.Credential, consensus.Signed{Statement: s, Proof: consensustest.Prove(me, s)[0]},
		consensus.Signed{Statement: other, Proof: consensustest.Prove(me, other)[0]})
	if err != nil {
		t.Fatal(err)
	}
	data, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// disagreement is evidence that an executor reported something else than was certified.
func disagreement(t testing.TB, n *consensustest.Network, job consensustest.Job) []byte {
	t.Helper()
	report := consensus.Report{Run: 1, Value: consensustest.Result("a lie")}
	hash, err := report.Hash(n.ID)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := n.Certify(job, n.Decide(job, consensustest.Result("out"))).Encode()
	if err != nil {
		t.Fatal(err)
	}
	s := n.Statement(job, 1, consensus.KindReport, 0, hash)
	me := n.Nodes[n.Index(s.Sender)]
	data, err := consensus.NewDisagreement(me.Credential, certificate, s, report, consensustest.Prove(me, s)[0]).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What a peer answers is any bytes. What a node keeps of it stands there as it was
// signed, is within its bounds, and is of what was asked.
func FuzzAnswers(f *testing.F) {
	n := consensustest.New(5)
	newNode := asker(f, n)
	job := n.Job(consensus.Byzantine, 1)
	var adverts []consensus.SignedAdvert
	for _, m := range n.Nodes[:2] {
		ad := advertOf(m)
		adverts = append(adverts, consensus.SignedAdvert{Advert: ad, Credential: m.Credential, Signature: m.Sign(sealed(f, n, consensus.TagAdvert, ad))})
	}
	first, second := equivocation(f, n, job, n.Nodes[1]), equivocation(f, n, job, n.Nodes[2])
	elsewhere := equivocation(f, n, n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Nonce[0] ^= 1 }), n.Nodes[1])
	revoked := [][]byte{}
	for _, m := range n.Nodes[:2] {
		revoked = append(revoked, encoded(f, revocationOf(f, n, m.Key(), "lost")))
	}
	if bytes.Compare(n.Nodes[0].Credential.Body.Subject[:], n.Nodes[1].Credential.Body.Subject[:]) > 0 {
		revoked[0], revoked[1] = revoked[1], revoked[0]
	}
	said := logAnswer{Chunks: []member.LogChunk{{Stream: "stdout", Data: []byte("a")}, {Stream: "stderr", Data: []byte("b")}}, Ended: true}
	for _, seed := range []struct {
		kind uint8
		data []byte
	}{
		{ofAdverts, encoded(f, adverts)},
		{ofAdverts, encoded(f, append(adverts[:1:1], consensus.SignedAdvert{Advert: adverts[1].Advert, Credential: adverts[1].Credential}))},
		{ofEvidence, encoded(f, [][]byte{first, second, elsewhere})},
		{ofEvidence, encoded(f, [][]byte{first, []byte("none")})},
		{ofEvidence, encoded(f, [][]byte{disagreement(f, n, job), first})},
		{ofMisdeeds, encoded(f, [][]byte{disagreement(f, n, job), first, second})},
		{ofMisdeeds, encoded(f, [][]byte{first, elsewhere})},
		{ofRevocations, encoded(f, revoked)},
		{ofRevocations, encoded(f, [][]byte{revoked[1], revoked[0]})},
		{ofRevocations, encoded(f, [][]byte{})},
		{ofLogs, encoded(f, said)},
		{ofLogs, encoded(f, logAnswer{Chunks: []member.LogChunk{{Stream: "stdout"}}})},
		{ofLogs, encoded(f, logAnswer{Chunks: []member.LogChunk{{Stream: "x", Data: bytes.Repeat([]byte("a"), 101)}}})},
	} {
		f.Add(seed.kind, seed.data)
	}
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		node := newNode()
		switch kind % kindsOfAnswers {
		case ofAdverts:
			advertsAreTaken(t, node, data)
		case ofEvidence:
			err := node.holdEquivocations(data)
			evidenceIsHeld(t, node, data, func(d misdeed) bool { return d.kind == consensus.Equivocated })
			if digest := node.misconduct.digest(); err == nil && (node.holdEquivocations(data) != nil || node.misconduct.digest() != digest) {
				t.Error("a second time it has another effect")
			}
		case ofMisdeeds:
			if node.holdMisdeeds(job.ID, data) == nil && len(node.misconduct.held) > maxMisdeeds {
				t.Error("more than was to be told")
			}
			evidenceIsHeld(t, node, data, func(d misdeed) bool { return d.job == job.ID })
		case ofRevocations:
			revocationsAreKept(t, node, data)
		case ofLogs:
			logsAreTaken(t, data)
		}
	})
}

func advertsAreTaken(t *testing.T, node *Node, data []byte) {
	_ = node.hearAdverts(data)
	for _, h := range node.adverts.fresh() {
		ad := h.signed.Advert
		said, err := dagcbor.Seal(consensus.TagAdvert, node.home.network[:], ad)
		if err != nil || !bytes.Contains(data, encoded(t, h.signed)) || !ad.Peer.Verify(said, h.signed.Signature) {
			t.Errorf("heard, and not said: %+v, %v", ad, err)
		}
	}
}

func evidenceIsHeld(t *testing.T, node *Node, data []byte, wanted func(misdeed) bool) {
	for _, h := range node.misconduct.list(all) {
		kept, err := node.misconduct.read(h.misdeed)
		if err != nil || !bytes.Contains(data, kept) || !wanted(h.misdeed) {
			t.Errorf("held, and not told or not asked for: %+v, %v", h.misdeed, err)
		}
	}
}

func revocationsAreKept(t *testing.T, node *Node, data []byte) {
	after, more, err := node.takeRevoked(t.Context(), nil, data)
	page, failed := node.revocations.page(nil)
	if failed != nil || more != (err == nil && len(page) == pageOfRevoked) {
		t.Fatalf("%d are kept, more to come %v, %v", len(page), more, failed)
	}
	for _, kept := range page {
		s, err := admission.OpenRevocation(kept, node.home.founded, node.home.network)
		if err != nil || !bytes.Contains(data, kept) || bytes.Compare(s.Body.Subject[:], after) > 0 {
			t.Errorf("kept of %s, and the page ends with %x: %v", s.Body.Subject.Name(), after, err)
		}
	}
	if err == nil && !bytes.Equal(encoded(t, page), data) {
		t.Error("good, and not kept as it came")
	}
}

func logsAreTaken(t *testing.T, data []byte) {
	told := toldLogs{most: 100}
	answer, err := told.take(data)
	if err != nil {
		return
	}
	if !bytes.Equal(encoded(t, answer), data) {
		t.Error("encodes to other bytes")
	}
	written := map[bool]int{}
	for _, c := range answer.Chunks {
		if len(c.Data) == 0 {
			t.Error("a chunk of nothing")
		}
		written[c.Stream == "stderr"] += len(c.Data)
	}
	if max(written[false], written[true]) > 100 {
		t.Errorf("%d and %d bytes of a run that writes no more than 100 to a stream", written[false], written[true])
	}
}
