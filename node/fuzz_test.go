package node

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/p2p/discovery"
	"github.com/muster-network/muster/p2p/gossip"
	"github.com/muster-network/muster/store/dagcbor"
)

// listener is as much of a node as judges what gossip and the DHT bring.
func listener(n *consensustest.Network) *Node {
	h := home{genesis: n.Sealed, founded: n.Genesis, network: n.ID}
	return &Node{home: h, announced: newAnnounced(), misconduct: &misconduct{},
		adverts: newAdverts(h, func() int64 { return consensustest.Now }, func(admission.Key) bool { return false }, func(consensus.Advert) {})}
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	data, err := dagcbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sealed(t testing.TB, n *consensustest.Network, tag string, v any) []byte {
	t.Helper()
	data, err := dagcbor.Seal(tag, n.ID[:], v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func advertOf(m consensustest.Node) consensus.Advert {
	return consensus.Advert{Peer: m.Key(), Incarnation: m.Incarnation, Sequence: 1, Issued: consensustest.Now, Total: map[string]uint64{"cpu": 4_000},
		Free: map[string]uint64{"cpu": 1}, Features: []string{"gpu"}, Classes: []consensus.Class{consensus.Portable}, Addresses: []string{"/ip4/127.0.0.1/tcp/1"}}
}

// An advert that is passed on was heard, is no news a second time, and can stand
// in a roll: otherwise who advertises it would spoil the rolls of others. The
// body is signed for whatever it is; data is taken as it comes.
func FuzzJudgeAdvert(f *testing.F) {
	n := consensustest.New(2)
	m := n.Nodes[0]
	ad := advertOf(m)
	f.Add(encoded(f, ad), true)
	f.Add(encoded(f, consensus.SignedAdvert{Advert: ad, Credential: m.Credential, Signature: m.Sign(sealed(f, n, consensus.TagAdvert, ad))}), false)
	f.Fuzz(func(t *testing.T, data []byte, sign bool) {
		if sign {
			var body consensus.Advert
			if dagcbor.Unmarshal(data, &body) != nil {
				return
			}
			data = encoded(t, consensus.SignedAdvert{Advert: body, Credential: m.Credential, Signature: m.Sign(sealed(t, n, consensus.TagAdvert, body))})
		}
		node := listener(n)
		if node.judgeAdvert("", data) != gossip.Accept {
			return
		}
		if node.judgeAdvert("", data) != gossip.Ignore {
			t.Error("news twice")
		}
		heard, ok := node.adverts.get(m.Key())
		if !ok || !bytes.Equal(encoded(t, heard.signed), data) {
			t.Fatal("accepted, and not kept as it came")
		}
		a := heard.signed.Advert
		roll := &consensus.Roll{V: consensus.Version, Made: consensustest.Now, Maker: m.Key(), Entries: []consensus.RollEntry{{
			Peer: a.Peer, Incarnation: a.Incarnation, Credential: heard.signed.Credential, Classes: a.Classes, Features: a.Features,
			Total: a.Total, Free: a.Free, Group: heard.group,
		}}}
		made, _, err := roll.Seal(n.ID)
		if err != nil {
			t.Fatalf("no roll can hold it: %v", err)
		}
		if _, err := consensus.OpenRoll(n.Genesis, n.ID, made); err != nil {
			t.Errorf("a roll that holds it is refused: %v", err)
		}
	})
}

// An announcement is accepted once, from a node that is known, and only within
// its bounds is any of it remembered.
func FuzzJudgeAnnouncement(f *testing.F) {
	n := consensustest.New(2)
	m := n.Nodes[0]
	ad := advertOf(m)
	signed := consensus.SignedAdvert{Advert: ad, Credential: m.Credential, Signature: m.Sign(sealed(f, n, consensus.TagAdvert, ad))}
	body := announcement{By: m.Key(), Sequence: 7, Jobs: []announcedJob{{Job: consensus.JobID{1}, Roster: []admission.Key{m.Key()}, Ended: true}}}
	f.Add(encoded(f, body), true)
	f.Add(encoded(f, signedAnnouncement{Body: body, Signature: m.Sign(sealed(f, n, tagAnnouncement, body))}), false)
	long := body
	long.Jobs = append(slices.Clone(body.Jobs), announcedJob{Job: consensus.JobID{2}, Roster: make([]admission.Key, consensus.MaxRoster+1)})
	f.Add(encoded(f, long), true)
	f.Fuzz(func(t *testing.T, data []byte, sign bool) {
		if sign {
			var body announcement
			if dagcbor.Unmarshal(data, &body) != nil {
				return
			}
			data = encoded(t, signedAnnouncement{Body: body, Signature: m.Sign(sealed(t, n, tagAnnouncement, body))})
		}
		node := listener(n)
		if node.judgeAnnouncement("", data) == gossip.Accept {
			t.Fatal("accepted from a node nobody knows")
		}
		if err := node.adverts.hear(signed); err != nil {
			t.Fatal(err)
		}
		if node.judgeAnnouncement("", data) != gossip.Accept {
			if len(node.announced.rosters) > 0 {
				t.Error("not accepted, and remembered")
			}
			return
		}
		if node.judgeAnnouncement("", data) != gossip.Ignore {
			t.Error("news twice")
		}
		for _, roster := range node.announced.rosters {
			if len(roster) > consensus.MaxRoster {
				t.Errorf("a roster of %d", len(roster))
			}
		}
	})
}

// What the DHT's validator takes, a reader takes too, and shows without falling
// over it; and the other way round. It is shown what comes as it comes, and then with
// its certificate.
func FuzzValidateRecord(f *testing.F) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1)
	certificate, err := n.Certify(job, n.Decide(job, consensustest.Result("out"))).Encode()
	if err != nil {
		f.Fatal(err)
	}
	// Its certificate would cost the fuzzer too many lucky bytes: an empty one
	// stands for it.
	f.Add(encoded(f, member.Closed{Finished: consensustest.Now, Name: "hello", Labels: map[string]string{"a": "b"}, Seats: []member.Seat{
		{Role: "executor", Report: "result", Accepted: true, Use: map[string]uint64{"cpu_ns": 1}}, {Role: "voter"}, {}, {},
	}}))
	good := encoded(f, member.Closed{Certificate: certificate})
	f.Add(good)
	f.Add(certificate)
	f.Add([]byte{})
	f.Add(append(bytes.Clone(good), 0))
	f.Add(append(bytes.Clone(good), make([]byte, discovery.MaxRecord)...))
	f.Add(encoded(f, member.Closed{Certificate: certificate, Name: strings.Repeat("n", discovery.MaxRecord)}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var closed member.Closed
		decodes := dagcbor.Unmarshal(data, &closed) == nil
		recordIsJudged(t, listener(n), job.ID.String(), data, good, decodes)
		if !decodes {
			return
		}
		if len(closed.Certificate) == 0 {
			closed.Certificate = certificate
		}
		data = encoded(t, closed)
		node := listener(n)
		_, err := node.foundClosed(&closed, "the DHT")
		validator := certificates{n.Sealed, &verified{sums: map[[32]byte]struct{}{}}}
		if valid := validator.Validate(job.ID.String(), data); (valid == nil) != (err == nil) {
			t.Errorf("the validator: %v, a reader: %v", valid, err)
		}
		if validator.Validate(consensus.JobID{}.String(), data) == nil {
			t.Error("valid under another job's key")
		}
	})
}

// recordIsJudged shows the validator a value beside a good one. What it says of a
// value it says again, a bad one spoils no good one, and of good ones the first is as
// good as any.
func recordIsJudged(t *testing.T, node *Node, key string, data, good []byte, decodes bool) {
	t.Helper()
	validator := certificates{node.home.genesis, &verified{sums: map[[32]byte]struct{}{}}}
	err := validator.Validate(key, data)
	if err == nil && !decodes {
		t.Errorf("valid, and nobody can read it: %d bytes", len(data))
	}
	if again := validator.Validate(key, data); (again == nil) != (err == nil) {
		t.Errorf("first %v, and then %v", err, again)
	}
	if err := validator.Validate(key, good); err != nil {
		t.Errorf("a good record after it is refused: %v", err)
	}
	// The DHT lets it select among values that it has validated, and no others.
	values := [][]byte{data, good}
	if err != nil {
		values = values[1:]
	}
	if best, err := validator.Select(key, values); err != nil || best != 0 || validator.Validate(key, values[best]) != nil {
		t.Errorf("selects %d of %d, %v", best, len(values), err)
	}
}

// Questions come from any member; what decodes is what they encoded.
func FuzzQuestion(f *testing.F) {
	f.Add(encoded(f, question{Op: opJob, ID: make([]byte, 32)}))
	f.Add(encoded(f, question{Op: opKeep, Data: []byte{1}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var q question
		if dagcbor.Unmarshal(data, &q) == nil && !bytes.Equal(encoded(t, q), data) {
			t.Error("encodes to other bytes")
		}
		var a told
		if dagcbor.Unmarshal(data, &a) == nil && !bytes.Equal(encoded(t, a), data) {
			t.Error("an answer encodes to other bytes")
		}
	})
}
