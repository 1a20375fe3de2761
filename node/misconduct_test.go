package node

import (
	"encoding/binary"
	"path/filepath"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/journal"
)

// book is a journal on disk with the evidence in it.
type book struct {
	*misconduct
	t   *testing.T
	n   *consensustest.Network
	dir string
	j   *journal.Journal
	now int64
}

func openBook(t *testing.T) *book {
	t.Helper()
	b := &book{t: t, n: consensustest.New(5), dir: filepath.Join(t.TempDir(), "journal")}
	b.open()
	t.Cleanup(func() {
		if err := b.j.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *book) open() {
	b.t.Helper()
	var err error
	if b.j, err = journal.Open(b.dir, journal.Options{Host: journal.Host{MachineID: "m"}}); err != nil {
		b.t.Fatal(err)
	}
	if b.misconduct, err = openMisconduct(b.n.Sealed, b.j, func() int64 { b.now++; return b.now }); err != nil {
		b.t.Fatal(err)
	}
}

// restart closes the journal and reads it again.
func (b *book) restart() {
	b.t.Helper()
	if err := b.j.Close(); err != nil { // and with it every append is durable
		b.t.Fatal(err)
	}
	b.open()
}

func (b *book) take(e *consensus.Evidence) bool {
	b.t.Helper()
	_, fresh, err := b.add(e)
	if err != nil {
		b.t.Fatal(err)
	}
	return fresh
}

func (b *book) job(nonce uint16) consensustest.Job {
	return b.n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { binary.BigEndian.PutUint16(c.Nonce[5:], nonce) })
}

// twice is evidence that a node prepared two values.
func (b *book) twice(job consensustest.Job, node int) *consensus.Evidence {
	b.t.Helper()
	me := b.n.Nodes[node]
	s := consensus.Statement{Kind: consensus.KindPrepare, Network: b.n.ID, Job: job.ID, Previous: consensus.Hash(job.ID),
		Sender: me.Key(), Incarnation: me.Incarnation}
	other := s
	other.Value[0] = 1
	e, err := consensus.NewEquivocation(me.Credential, consensus.Signed{Statement: s, Proof: consensustest.Prove(me, s)[0]},
		consensus.Signed{Statement: other, Proof: consensustest.Prove(me, other)[0]})
	if err != nil {
		b.t.Fatal(err)
	}
	return e
}

// disputes is evidence that the holder of seat 3 reported something else.
func (b *book) disputes(job consensustest.Job) *consensus.Evidence {
	b.t.Helper()
	report := consensus.Report{Run: 1, Value: consensustest.Result("a lie")}
	hash, err := report.Hash(b.n.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	s := b.n.Statement(job, 3, consensus.KindReport, 0, hash)
	me := b.n.Nodes[b.n.Index(s.Sender)]
	certificate, err := b.n.Certify(job, b.n.Decide(job, consensustest.Result("out"))).Encode()
	if err != nil {
		b.t.Fatal(err)
	}
	return consensus.NewDisagreement(me.Credential, certificate, s, report, consensustest.Prove(me, s)[0])
}

func all(misdeed) bool { return true }

// slow is a journal that has not come to it yet.
type slow struct{ *journal.Journal }

func (slow) AppendAsync([]journal.Entry, func(error)) {}

func TestEvidenceIsReadAsSoonAsItIsKnown(t *testing.T) {
	b := openBook(t)
	b.journal = slow{b.j}
	if !b.take(b.twice(b.job(1), 2)) {
		t.Fatal("no news")
	}
	if data, err := b.read(b.list(all)[0].misdeed); err != nil || len(data) == 0 {
		t.Errorf("reads %d bytes, %v", len(data), err)
	}
}

func TestEvidenceIsKeptOnceAndOutlivesARestart(t *testing.T) {
	b := openBook(t)
	job := b.job(1)
	liar := b.n.Nodes[2].Key()
	if b.bars(liar) || b.state() != 0 {
		t.Fatal("somebody is barred before anything happened")
	}
	before := b.digest()
	if !b.take(b.twice(job, 2)) || b.take(b.twice(job, 2)) {
		t.Error("the first is no news, or the second is")
	}
	if !b.take(b.disputes(job)) || b.take(b.disputes(job)) {
		t.Error("the first is no news, or the second is")
	}
	held := b.list(all)
	for range 2 {
		if !b.bars(liar) || b.state() != 1 || b.digest() == before {
			t.Error("who equivocated is not barred")
		}
		if accused := job.Roster[3].Peer; accused != liar && b.bars(accused) {
			t.Error("who disagreed is barred")
		}
		list := b.list(all)
		if len(list) != 2 || list[0].kind != consensus.Disagreed || len(b.in(job.ID)) != 2 {
			t.Fatalf("held: %+v", list)
		}
		for i, d := range list {
			data, err := b.read(d.misdeed)
			if err != nil {
				t.Fatal(err)
			}
			e, err := consensus.OpenEvidence(data)
			if err != nil {
				t.Fatal(err)
			}
			f, err := e.Verify(b.n.Sealed)
			if err != nil || f.Peer != d.peer || f.Job != d.job || f.Misconduct != d.kind || d != held[i] {
				t.Errorf("reads %+v, %v", f, err)
			}
		}
		b.restart()
	}
}

func TestEvidenceThatConvictsNobodyIsNotKept(t *testing.T) {
	b := openBook(t)
	e := b.twice(b.job(1), 2)
	e.Equivocation.Round++
	if _, fresh, err := b.add(e); err == nil || fresh {
		t.Error("kept")
	}
	if b.bars(b.n.Nodes[2].Key()) || len(b.list(all)) != 0 {
		t.Error("held against somebody")
	}
}

func TestOfEachPeerABoundedNumberOfMisdeedsIsKept(t *testing.T) {
	b := openBook(t)
	first := b.twice(b.job(0), 2)
	b.take(first)
	for i := range uint16(keptEquivocations + 3) {
		b.take(b.twice(b.job(i+1), 2))
	}
	b.take(b.twice(b.job(1), 1))
	for range 2 {
		if n := len(b.list(func(d misdeed) bool { return d.peer == b.n.Nodes[2].Key() })); n != keptEquivocations {
			t.Errorf("%d equivocations of one peer", n)
		}
		if len(b.in(first.Equivocation.Job)) != 1 || len(b.in(b.job(keptEquivocations+2).ID)) != 0 {
			t.Error("another than the first equivocations are kept")
		}
		if b.state() != 2 {
			t.Errorf("%d are barred", b.state())
		}
		b.restart()
	}
}

func TestOfDisagreementsTheNewestAreKept(t *testing.T) {
	b := openBook(t)
	var found []consensus.JobID // in which one node disagreed
	for nonce := uint16(0); len(found) < keptDisagreements+2; nonce++ {
		if job := b.job(nonce); job.Roster[3].Peer == b.n.Nodes[1].Key() {
			b.take(b.disputes(job))
			found = append(found, job.ID)
		}
	}
	for range 2 {
		if n := len(b.list(all)); n != keptDisagreements {
			t.Errorf("%d disagreements of one peer", n)
		}
		for i, id := range found {
			if held := len(b.in(id)) == 1; held != (i >= 2) {
				t.Errorf("that of job %d is held: %v", i, held)
			}
		}
		b.restart()
	}
}
