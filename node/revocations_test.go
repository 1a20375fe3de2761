package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/jobs/backlog"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/gossip"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
)

// register is a journal on disk with revocations in it.
type register struct {
	*revocations
	n   *consensustest.Network
	dir string
}

func openRegister(t *testing.T) *register {
	t.Helper()
	r := &register{n: consensustest.New(3), dir: filepath.Join(t.TempDir(), "journal")}
	r.open(t)
	t.Cleanup(func() {
		if err := r.journal.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *register) open(t *testing.T) {
	t.Helper()
	j, err := journal.Open(r.dir, journal.Options{Host: journal.Host{MachineID: "m"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.revocations, err = openRevocations(home{founded: r.n.Genesis, network: r.n.ID}, j); err != nil {
		t.Fatal(err)
	}
}

func revocationOf(t testing.TB, n *consensustest.Network, subject admission.Key, reason string) admission.SignedRevocation {
	t.Helper()
	s, err := admission.SignRevocation(n.ID, admission.Revocation{Subject: subject, Issued: consensustest.Now, Reason: reason}, n.Authority)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheFirstRevocationOfAKeyStandsAndOutlivesARestart(t *testing.T) {
	r := openRegister(t)
	who := r.n.Nodes[1].Key()
	for _, reason := range []string{"lost", "stolen"} {
		fresh, err := r.add(context.Background(), revocationOf(t, r.n, who, reason))
		if err != nil || fresh != (reason == "lost") {
			t.Fatalf("%s: news %v, %v", reason, fresh, err)
		}
	}
	digest := r.digest()
	if err := r.journal.Close(); err != nil {
		t.Fatal(err)
	}
	r.open(t)
	if list := r.list(); len(list) != 1 || list[0].Body.Reason != "lost" || !r.has(who) || r.has(r.n.Nodes[0].Key()) || r.digest() != digest {
		t.Errorf("after a restart: %+v", list)
	}
}

func TestAFailedJournalBarsNobody(t *testing.T) {
	r := openRegister(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.journal.Close(); err != nil {
		t.Fatal(err)
	}
	who := r.n.Nodes[1].Key()
	if _, err := r.add(ctx, revocationOf(t, r.n, who, "")); err == nil || r.has(who) {
		t.Errorf("in effect before it is durable: %v", err)
	}
}

func TestRevocationsAreToldInPagesAndNotToWhoHasThem(t *testing.T) {
	n := consensustest.New(1)
	r := &revocations{held: map[admission.Key]admission.SignedRevocation{}}
	for i := range 2*pageOfRevoked + 10 {
		var key admission.Key
		binary.BigEndian.PutUint32(key[:], uint32(i+1))
		r.held[key] = admission.SignedRevocation{Body: admission.Revocation{Subject: key}}
	}
	node := &Node{home: home{founded: n.Genesis, network: n.ID}, revocations: r}
	told, after := 0, []byte{}
	for {
		data, err := node.answerRevoked(question{ID: after})
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > maxAnswer {
			t.Fatalf("an answer of %d bytes", len(data))
		}
		var page [][]byte
		if err := dagcbor.Unmarshal(data, &page); err != nil {
			t.Fatal(err)
		}
		for _, data := range page {
			var s admission.SignedRevocation
			if err := dagcbor.Unmarshal(data, &s); err != nil || bytes.Compare(s.Body.Subject[:], after) <= 0 {
				t.Fatalf("out of order, or %v", err)
			}
			after = s.Body.Subject[:]
		}
		if told += len(page); len(page) < pageOfRevoked {
			break
		}
	}
	if told != len(r.held) {
		t.Errorf("%d of %d are told", told, len(r.held))
	}
	digest := r.digest()
	if data, err := node.answerRevoked(question{Data: digest[:]}); err != nil || !bytes.Equal(data, encoded(t, [][]byte{})) {
		t.Errorf("who has the same is told %d bytes, %v", len(data), err)
	}
}

func TestANodeHearsAtAClosedDoorThatItWasRevokedAndOfNobodyElse(t *testing.T) {
	r := openRegister(t)
	self, other := r.n.Nodes[1], r.n.Nodes[2].Key()
	node := &Node{home: home{identity: p2p.Identity{Signer: self.KeySigner}, founded: r.n.Genesis, network: r.n.ID}, revocations: r.revocations,
		owed: backlog.New[func(context.Context) error]()}
	forged, err := admission.SignRevocation(r.n.ID, admission.Revocation{Subject: self.Key(), Issued: consensustest.Now}, r.n.Nodes[0].KeySigner)
	if err != nil {
		t.Fatal(err)
	}
	own := encoded(t, revocationOf(t, r.n, self.Key(), "lost"))
	for _, c := range []struct {
		what  string
		shown []byte
		owed  int
	}{
		{"nothing", nil, 0},
		{"bytes", []byte("bytes"), 0},
		{"that of another", encoded(t, revocationOf(t, r.n, other, "lost")), 0},
		{"a forged one", encoded(t, forged), 0},
		{"its own", own, 1},
	} {
		node.doorShut(&p2p.RefusedError{Reason: p2p.ReasonRevoked, ByPeer: true, Revocation: c.shown})
		if node.owed.Len() != c.owed {
			t.Errorf("%s is shown: %d things to do", c.what, node.owed.Len())
		}
	}
	if _, err := r.add(t.Context(), revocationOf(t, r.n, self.Key(), "lost")); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.encoded(self.Key()), own) || r.encoded(other) != nil {
		t.Error("it is not shown as it was signed, or another is")
	}
	node.doorShut(&p2p.RefusedError{Reason: p2p.ReasonRevoked, ByPeer: true, Revocation: own})
	if node.owed.Len() != 1 {
		t.Error("what is known is news")
	}
}

// journalOfEvents is an empty journal, and the events that are kept in it.
func journalOfEvents(t testing.TB) (*journal.Journal, *events) {
	t.Helper()
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Options{Host: journal.Host{MachineID: "m"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	e, err := openEvents(j, "muster:lab", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return j, e
}

// What is passed on bars whom an authority named, is no news a second time, and is
// kept as it came. The body is signed for whatever it is; data is taken as it comes.
func FuzzJudgeRevocation(f *testing.F) {
	n := consensustest.New(2)
	good := revocationOf(f, n, n.Nodes[0].Key(), "lost")
	f.Add(encoded(f, good.Body), true)
	f.Add(encoded(f, good), false)
	j, events := journalOfEvents(f)
	f.Fuzz(func(t *testing.T, data []byte, sign bool) {
		if sign {
			var s admission.SignedRevocation
			if dagcbor.Unmarshal(data, &s.Body) != nil {
				return
			}
			s.Signature = n.Authority.Sign(sealed(t, n, admission.TagRevocation, s.Body))
			data = encoded(t, s)
		}
		node := listener(n)
		node.cfg.Log, node.events = slog.New(slog.DiscardHandler), events
		node.owed = backlog.New[func(context.Context) error]()
		node.revocations = &revocations{home: node.home, journal: j, held: map[admission.Key]admission.SignedRevocation{}}
		if node.judgeRevocation("", data) != gossip.Accept {
			if len(node.revocations.held) > 0 {
				t.Error("not accepted, and kept")
			}
			return
		}
		if node.judgeRevocation("", data) != gossip.Ignore {
			t.Error("news twice")
		}
		page, err := node.revocations.page(nil)
		if err != nil || len(page) != 1 || !bytes.Equal(page[0], data) {
			t.Errorf("accepted, and not kept as it came: %v", err)
		}
	})
}
