package consensus_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
)

// quorums are the sizes that tests go through.
var quorums = []struct {
	name  string
	fault consensus.Fault
	f     uint64
}{
	{"n=1", consensus.Byzantine, 0},
	{"n=4", consensus.Byzantine, 1},
	{"n=7", consensus.Byzantine, 2},
	{"n=31", consensus.Byzantine, 10},
	{"crash n=3", consensus.Crash, 1},
	{"crash n=5", consensus.Crash, 2},
}

func TestACertificateVerifiesFromItsBytesAndTheGenesisAlone(t *testing.T) {
	n := consensustest.New(35)
	for _, q := range quorums {
		t.Run(q.name, func(t *testing.T) {
			job := n.Job(q.fault, q.f)
			data := encode(t, n.Certify(job, n.Decide(job, consensustest.Result("out"))))
			c, err := consensus.OpenCertificate(data)
			if err != nil {
				t.Fatal(err)
			}
			verdict, err := c.Verify(n.Sealed)
			if err != nil {
				t.Fatal(err)
			}
			if verdict.Job != job.ID || verdict.Network != n.ID || len(verdict.Signers) != job.Thresholds().Quorum {
				t.Errorf("verdict %+v", verdict)
			}
			if got, want := verdict.Value.String(), consensustest.Result("out").String(); got != want {
				t.Errorf("value %s, want %s", got, want)
			}
			if len(data) > consensus.MaxCertificate/2 {
				t.Errorf("%d bytes", len(data))
			}
		})
	}
}

func TestAnOwnerWhoIsAnotherKeySignsToo(t *testing.T) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Owner = n.User.Key() })
	c := n.Certify(job, n.Decide(job, consensustest.Result("out")))
	mustVerify(t, n, c)

	c.Charter.Owner = nil
	refuse(t, n, c, "the owner has not signed")
	other := n.Nodes[1].Sign([]byte("anything"))
	c.Charter.Owner = &other
	refuse(t, n, c, "another's signature for the owner")
}

// I8: none can be made without q members.
func TestForgedCertificatesAreRefused(t *testing.T) {
	n := consensustest.New(9)
	value := consensustest.Result("out")
	hash := valueHash(t, n, value)
	for _, forged := range []struct {
		name string
		make func(job consensustest.Job) *consensus.Certificate
	}{
		{"one signature short", func(job consensustest.Job) *consensus.Certificate {
			return n.Certify(job, decision(value, n.Votes(job, consensus.KindCommit, 0, hash, 0, 1)))
		}},
		{"one signature more than a quorum", func(job consensustest.Job) *consensus.Certificate {
			return n.Certify(job, decision(value, n.Votes(job, consensus.KindCommit, 0, hash, 0, 1, 2, 3)))
		}},
		{"a signer twice", func(job consensustest.Job) *consensus.Certificate {
			return n.Certify(job, decision(value, n.Votes(job, consensus.KindCommit, 0, hash, 0, 1, 1)))
		}},
		{"signers out of order", func(job consensustest.Job) *consensus.Certificate {
			return n.Certify(job, decision(value, n.Votes(job, consensus.KindCommit, 0, hash, 0, 2, 1)))
		}},
		{"prepares for commits", func(job consensustest.Job) *consensus.Certificate {
			return n.Certify(job, decision(value, n.Votes(job, consensus.KindPrepare, 0, hash, 0, 1, 2)))
		}},
		{"votes of two rounds", func(job consensustest.Job) *consensus.Certificate {
			set := n.Votes(job, consensus.KindCommit, 0, hash, 0, 1, 2)
			set.Votes[2] = n.Votes(job, consensus.KindCommit, 1, hash, 2).Votes[0]
			return n.Certify(job, decision(value, set))
		}},
		{"votes for two values", func(job consensustest.Job) *consensus.Certificate {
			set := n.Votes(job, consensus.KindCommit, 0, hash, 0, 1, 2)
			set.Votes[1] = n.Votes(job, consensus.KindCommit, 0, consensus.Hash{9}, 1).Votes[0]
			return n.Certify(job, decision(value, set))
		}},
		{"a seat that is no seat", func(job consensustest.Job) *consensus.Certificate {
			c := n.Certify(job, n.Decide(job, value))
			c.Outcome.Commits.Votes[2].Seat = 4
			return c
		}},
		{"another value than was voted for", func(job consensustest.Job) *consensus.Certificate {
			c := n.Certify(job, n.Decide(job, value))
			c.Outcome.Value = consensustest.Result("other")
			return c
		}},
		{"votes of another job", func(job consensustest.Job) *consensus.Certificate {
			other := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Nonce = consensus.Hash{2} })
			other.Charter = job.Charter // the same members
			return n.Certify(job, n.Decide(other, value))
		}},
		{"votes of another incarnation", func(job consensustest.Job) *consensus.Certificate {
			changed := *job.Charter
			changed.Roster = slices.Clone(changed.Roster)
			changed.Roster[1].Incarnation[0] ^= 1
			other := job
			other.Charter = &changed
			return n.Certify(job, n.Decide(other, value))
		}},
		{"disagreement where one report counts", func(consensustest.Job) *consensus.Certificate {
			job := n.Job(consensus.Crash, 1)
			return n.Certify(job, n.Decide(job, consensus.Value{Kind: consensus.Failed, Class: consensus.FailedDisagreement}))
		}},
		{"another version", func(job consensustest.Job) *consensus.Certificate {
			c := n.Certify(job, n.Decide(job, value))
			c.V++
			return c
		}},
	} {
		t.Run(forged.name, func(t *testing.T) {
			refuse(t, n, forged.make(n.Job(consensus.Byzantine, 1)), forged.name)
		})
	}
}

func TestFourSelfMadeKeysWithTheRightNetworkIdAreNoQuorum(t *testing.T) {
	n := consensustest.New(5)
	liar := consensustest.New(0)
	liar.ID, liar.Genesis, liar.Sealed, liar.Authority = n.ID, n.Genesis, n.Sealed, consensustest.Key("self-made authority")
	for _, name := range []string{"liar 0", "liar 1", "liar 2", "liar 3"} {
		liar.Nodes = append(liar.Nodes, liar.NewNode(name))
	}
	liar.RollMade, liar.RollSealed, liar.RollLink = liar.Roll(liar.Nodes[0].Key())
	job := liar.Job(consensus.Byzantine, 1)
	c := liar.Certify(job, liar.Decide(job, consensustest.Result("lie")))
	refuse(t, n, c, "self-made keys")

	// With true credentials of other nodes in the place of the self-made ones.
	for i := range c.Credentials {
		c.Credentials[i] = n.Nodes[i].Credential
	}
	refuse(t, n, c, "credentials of others")
}

func TestACertificateOfAnotherNetworkIsRefused(t *testing.T) {
	n := consensustest.New(5)
	other := consensustest.New(5, func(g *admission.Genesis) { g.Nonce[0] = 1 })
	job := n.Job(consensus.Byzantine, 1)
	refuse(t, other, n.Certify(job, n.Decide(job, consensustest.Result("out"))), "another network's")
}

func TestTheQuorumComesFromTheFaultBudgetAndNothingElse(t *testing.T) {
	n := consensustest.New(9)
	value := consensustest.Result("out")
	hash := valueHash(t, n, value)
	// A roster of four under f = 0, where one vote would do, cannot be a charter.
	c := n.Charter(consensus.Byzantine, 1)
	n.Draw(c)
	c.F = 0
	if err := c.Validate(); err == nil {
		t.Error("a charter with four members and f = 0 is valid")
	}
	// f+1 votes would do in a crash-only quorum, not in a Byzantine one.
	job := n.Job(consensus.Byzantine, 1)
	refuse(t, n, n.Certify(job, decision(value, n.Votes(job, consensus.KindCommit, 0, hash, 0, 1))), "f+1 of 3f+1")
	crash := n.Job(consensus.Crash, 1)
	mustVerify(t, n, n.Certify(crash, decision(value, n.Votes(crash, consensus.KindCommit, 0, hash, 1, 2))))
}

func TestCredentialsOfSignersAreThoseOfNodesThatOutlastTheJob(t *testing.T) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1)
	signer := job.Roster[1].Peer
	whole := n.Certify(job, n.Decide(job, consensustest.Result("out")))
	for _, tc := range []struct {
		name   string
		kind   admission.Kind
		change func(*admission.Credential)
	}{
		{"a user's", admission.KindUser, func(*admission.Credential) {}},
		{"an observer's", admission.KindNode, func(c *admission.Credential) { c.Role = admission.RoleObserver }},
		{"ends a millisecond early", admission.KindNode, func(c *admission.Credential) { c.Until = job.End - 1 }},
		{"begins a millisecond late", admission.KindNode, func(c *admission.Credential) { c.From = job.Issued + 1 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			refuse(t, n, swap(whole, n.Badge(signer, tc.kind, tc.change)), tc.name)
		})
	}
	mustVerify(t, n, swap(whole, n.Badge(signer, admission.KindNode, func(c *admission.Credential) {
		c.From, c.Until = job.Issued, job.End
	})))

	missing := *whole
	missing.Credentials = missing.Credentials[1:]
	refuse(t, n, &missing, "a credential missing")
	extra := *whole
	extra.Credentials = append(slices.Clone(extra.Credentials), n.UserBadge)
	sortCredentials(extra.Credentials)
	refuse(t, n, &extra, "a credential too many")
	unordered := *whole
	unordered.Credentials = slices.Clone(unordered.Credentials)
	slices.Reverse(unordered.Credentials)
	refuse(t, n, &unordered, "credentials out of order")
}

func TestAnAskersCredentialMayEndBeforeTheJob(t *testing.T) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Owner = n.User.Key() })
	whole := n.Certify(job, n.Decide(job, consensustest.Result("out")))
	brief := func(until int64) admission.SignedCredential {
		return n.Badge(n.User.Key(), admission.KindUser, func(c *admission.Credential) { c.Until = until })
	}
	mustVerify(t, n, swap(whole, brief(job.Issued+1)))
	refuse(t, n, swap(whole, brief(job.Issued)), "expired when the job was issued")
}

func TestAssembleNeedsEveryCredential(t *testing.T) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1)
	d := n.Decide(job, consensustest.Result("out"))
	without := func(k admission.Key) (admission.SignedCredential, bool) {
		c, ok := n.Credential(k)
		return c, ok && k != job.Roster[2].Peer
	}
	if _, err := consensus.Assemble(job.Signed, job.Charter, without, nil, d); err == nil {
		t.Error("assembled without a signer's credential")
	}
}

func TestAnyFlippedBitOfACertificateMakesVerifyFail(t *testing.T) {
	n := consensustest.New(1) // the smallest, but with an owner and a path
	job := n.Job(consensus.Byzantine, 0, func(c *consensus.Charter) { c.Owner = n.User.Key() })
	value := consensustest.Result("out")
	vote := n.Statement(job, 0, consensus.KindCommit, 0, valueHash(t, n, value))
	before, after := vote, vote
	before.Round, after.Round = 1, 2
	proofs := consensustest.Prove(n.Nodes[0], before, vote, after)
	data := encode(t, n.Certify(job, decision(value, consensus.VoteSet{
		Value: vote.Value, Votes: []consensus.Vote{{Proof: proofs[1]}},
	})))
	if err := verify(data, n.Sealed); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 8*len(data); i += stride {
		flipped := slices.Clone(data)
		flipped[i/8] ^= 1 << (i % 8)
		if err := verify(flipped, n.Sealed); err == nil {
			t.Errorf("verifies with bit %d of byte %d flipped", i%8, i/8)
		}
	}
}

func TestAnyChangedByteOfAnyCertificateMakesVerifyFail(t *testing.T) {
	n := consensustest.New(35)
	rapid.Check(t, func(t *rapid.T) {
		q := rapid.SampledFrom(quorums).Draw(t, "quorum")
		job := n.Job(q.fault, q.f, func(c *consensus.Charter) {
			c.Nonce[1] = rapid.Byte().Draw(t, "nonce")
			if rapid.Bool().Draw(t, "owned") {
				c.Owner = n.User.Key()
			}
		})
		data, err := n.Certify(job, n.Decide(job, consensustest.Result("out"))).Encode()
		if err != nil {
			t.Fatal(err)
		}
		at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
		changed := slices.Clone(data)
		switch rapid.IntRange(0, 2).Draw(t, "change") {
		case 0:
			changed[at] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
		case 1:
			changed = slices.Insert(changed, at, rapid.Byte().Draw(t, "inserted"))
		case 2:
			changed = slices.Delete(changed, at, at+1)
		}
		if slices.Equal(changed, data) {
			t.Skip("inserted beside its like")
		}
		if err := verify(changed, n.Sealed); err == nil {
			t.Errorf("verifies with byte %d changed", at)
		}
	})
}

func TestAVoteSetIsCheckedWithTheProofVerifierGiven(t *testing.T) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1)
	set := n.Votes(job, consensus.KindPrepare, 3, consensus.Hash{7}, 0, 2, 3)
	if err := set.Check(n.First(job), consensus.KindPrepare, consensus.Proof.Check); err != nil {
		t.Error(err)
	}
	var rounds []uint32
	remember := func(p consensus.Proof, s consensus.Statement) error {
		rounds = append(rounds, s.Round)
		return p.Check(s)
	}
	if err := set.Check(n.First(job), consensus.KindPrepare, remember); err != nil || len(rounds) != 3 || rounds[0] != 3 {
		t.Errorf("rounds %v, %v", rounds, err)
	}
	if err := set.Check(n.First(job), consensus.KindCommit, consensus.Proof.Check); err == nil {
		t.Error("prepares pass for commits")
	}
}

func BenchmarkVerify(b *testing.B) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1)
	c := n.Certify(job, n.Decide(job, consensustest.Result("out")))
	for b.Loop() {
		if _, err := c.Verify(n.Sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func decision(v consensus.Value, set consensus.VoteSet) consensus.Decision {
	return consensus.Decision{Value: v, Commits: set}
}

// swap returns c with one credential in the place of the same subject's.
func swap(c *consensus.Certificate, with admission.SignedCredential) *consensus.Certificate {
	out := *c
	out.Credentials = slices.Clone(c.Credentials)
	for i, old := range out.Credentials {
		if old.Body.Subject == with.Body.Subject {
			out.Credentials[i] = with
		}
	}
	return &out
}

func sortCredentials(all []admission.SignedCredential) {
	slices.SortFunc(all, func(a, b admission.SignedCredential) int {
		return slices.Compare(a.Body.Subject[:], b.Body.Subject[:])
	})
}

func valueHash(t testing.TB, n *consensustest.Network, v consensus.Value) consensus.Hash {
	t.Helper()
	h, err := v.Hash(n.ID)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func encode(t testing.TB, c *consensus.Certificate) []byte {
	t.Helper()
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func verify(data, genesis []byte) error {
	c, err := consensus.OpenCertificate(data)
	if err != nil {
		return err
	}
	_, err = c.Verify(genesis)
	return err
}

func mustVerify(t *testing.T, n *consensustest.Network, c *consensus.Certificate) {
	t.Helper()
	if err := verify(encode(t, c), n.Sealed); err != nil {
		t.Error(err)
	}
}

func refuse(t *testing.T, n *consensustest.Network, c *consensus.Certificate, what string) {
	t.Helper()
	if err := verify(encode(t, c), n.Sealed); err == nil {
		t.Errorf("accepted: %s", what)
	} else {
		t.Log(err)
	}
}
