package consensus_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/dagcbor"
)

// replaceable lets as many members be replaced as the protocol allows.
func replaceable(c *consensus.Charter) { c.Replace = c.F }

func TestACertificateWithAChainVerifiesFromItsBytesAndTheGenesisAlone(t *testing.T) {
	n := consensustest.New(41)
	handover := consensustest.Handover
	for _, tc := range []struct {
		name  string
		fault consensus.Fault
		f     uint64
		chain []consensus.Value
	}{
		{"n=4, a signer replaced", consensus.Byzantine, 1, []consensus.Value{handover([2]uint64{1, 0})}},
		{"n=4, one that does not sign replaced", consensus.Byzantine, 1, []consensus.Value{handover([2]uint64{3, 0})}},
		{"n=7, two at once", consensus.Byzantine, 2, []consensus.Value{handover([2]uint64{0, 0}, [2]uint64{5, 1})}},
		{"n=7, one after the other", consensus.Byzantine, 2, []consensus.Value{handover([2]uint64{0, 1}), handover([2]uint64{3, 0})}},
		{"n=7, a reserve replaced itself", consensus.Byzantine, 2, []consensus.Value{handover([2]uint64{0, 0}), handover([2]uint64{0, 1})}},
		{"n=31, two heights", consensus.Byzantine, 10, []consensus.Value{
			handover([2]uint64{0, 0}, [2]uint64{1, 1}, [2]uint64{2, 2}, [2]uint64{3, 3}, [2]uint64{4, 4}),
			handover([2]uint64{5, 5}, [2]uint64{6, 6}, [2]uint64{7, 7}, [2]uint64{8, 8}, [2]uint64{9, 9})}},
		{"crash n=5", consensus.Crash, 2, []consensus.Value{handover([2]uint64{4, 1})}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			job := n.Job(tc.fault, tc.f, replaceable)
			chain, last := n.Chain(job, tc.chain...)
			data := encode(t, n.Certify(job, n.DecideAt(last, consensustest.Result("out")), chain...))
			c, err := consensus.OpenCertificate(data)
			check(t, err)
			v, err := c.Verify(n.Sealed)
			check(t, err)
			if len(data) > consensus.MaxCertificate/2 {
				t.Errorf("%d bytes", len(data))
			}
			if v.Height.Number != uint64(len(tc.chain)) || !slices.Equal(v.Height.Members, last.Members) || !slices.Equal(v.Height.Replaced, last.Replaced) {
				t.Errorf("verdict %+v, want %+v", v.Height, last)
			}
			read, err := c.Read(n.Genesis, n.ID)
			check(t, err)
			if !slices.Equal(read.Height.Members, v.Height.Members) || read.ValueHash != v.ValueHash || !slices.Equal(read.Signers, v.Signers) {
				t.Errorf("reads as %+v, verifies as %+v", read, v)
			}
		})
	}
}

// Forged handovers: protocol, sections 7 and 11.
func TestForgedChainsAreRefused(t *testing.T) {
	n := consensustest.New(9)
	value := consensustest.Result("out")
	hash := valueHash(t, n, value)
	first := consensustest.Handover([2]uint64{1, 0})
	job := n.Job(consensus.Byzantine, 2, replaceable)
	chain, next := n.Chain(job, first)
	zero := n.First(job)
	seats := []int{0, 1, 2, 3, 4}
	commits := func(at consensus.Height, seats ...int) consensus.VoteSet {
		return n.VotesAt(at, consensus.KindCommit, 0, hash, seats...)
	}
	mustVerify(t, n, n.Certify(job, n.DecideAt(next, value), chain...))
	for _, forged := range []struct {
		name string
		make func(c *consensus.Certificate)
	}{
		{"a handover that was not decided", func(c *consensus.Certificate) {
			c.Chain[0].Commits = n.VotesAt(zero, consensus.KindPrepare, 0, c.Chain[0].Commits.Value, seats...)
		}},
		{"a handover decided by one member short of q", func(c *consensus.Certificate) { c.Chain[0].Commits.Votes = c.Chain[0].Commits.Votes[:4] }},
		{"another handover than was decided", func(c *consensus.Certificate) { c.Chain[0].Value = consensustest.Handover([2]uint64{2, 0}) }},
		{"the handover left out", func(c *consensus.Certificate) { c.Chain = nil }},
		{"the handover left out, and the height", func(c *consensus.Certificate) { c.Chain, c.Outcome.Height = nil, 0 }},
		{"the handover twice", func(c *consensus.Certificate) { c.Chain = append(c.Chain, c.Chain[0]) }},
		{"a height skipped", func(c *consensus.Certificate) { c.Outcome.Height = 2 }},
		{"an outcome in the chain", func(c *consensus.Certificate) { c.Chain[0] = n.DecideAt(zero, value) }},
		{"a handover for an outcome", func(c *consensus.Certificate) {
			c.Outcome = n.DecideAt(next, consensustest.Handover([2]uint64{2, 1}))
		}},
		{"the votes of the height before", func(c *consensus.Certificate) { c.Outcome.Commits = commits(zero, seats...) }},
		{"votes of two heights added", func(c *consensus.Certificate) {
			c.Outcome.Commits = commits(next, seats...)
			c.Outcome.Commits.Votes[4] = commits(zero, 4).Votes[0]
		}},
		{"a removed member counted", func(c *consensus.Certificate) {
			removed := next // with the roster that was before
			removed.Members = zero.Members
			c.Outcome.Commits.Votes[1] = commits(removed, 1).Votes[0]
		}},
		{"the reserve counted before its time", func(c *consensus.Certificate) {
			early := zero
			early.Members = next.Members
			c.Chain[0].Commits.Votes[1] = n.VotesAt(early, consensus.KindCommit, 0, c.Chain[0].Commits.Value, 1).Votes[0]
		}},
		{"a chain of another previous decision", func(c *consensus.Certificate) {
			other := next
			other.Previous = consensus.Hash(job.ID)
			c.Outcome.Commits = commits(other, seats...)
		}},
		{"the reserve's credential missing", func(c *consensus.Certificate) {
			reserve := job.Reserves[0].Peer
			c.Credentials = slices.DeleteFunc(slices.Clone(c.Credentials), func(s admission.SignedCredential) bool { return s.Body.Subject == reserve })
		}},
		{"a removed signer's credential missing", func(c *consensus.Certificate) {
			removed := job.Roster[1].Peer
			c.Credentials = slices.DeleteFunc(slices.Clone(c.Credentials), func(s admission.SignedCredential) bool { return s.Body.Subject == removed })
		}},
	} {
		t.Run(forged.name, func(t *testing.T) {
			chain, _ := n.Chain(job, first)
			c := n.Certify(job, n.DecideAt(next, value), chain...)
			forged.make(c)
			refuse(t, n, c, forged.name)
		})
	}
}

// A chain in which positions moved has the votes of other holders.
func TestAHandoverKeepsEveryOtherPosition(t *testing.T) {
	n := consensustest.New(9)
	job := n.Job(consensus.Byzantine, 1, replaceable)
	chain, next := n.Chain(job, consensustest.Handover([2]uint64{1, 0}))
	moved := next
	moved.Members = []int{0, 2, 3, 4} // the removed seat closed up, the reserve at the end
	refuse(t, n, n.Certify(job, n.DecideAt(moved, consensustest.Result("out")), chain...), "positions moved")
	if want := []int{0, 4, 2, 3}; !slices.Equal(next.Members, want) {
		t.Errorf("members %v, want %v", next.Members, want)
	}
}

func TestHandoversThatAJobMayNotHaveAreRefused(t *testing.T) {
	n := consensustest.New(41)
	handover := consensustest.Handover
	for _, tc := range []struct {
		name    string
		fault   consensus.Fault
		f       uint64
		replace uint64
		before  []consensus.Value
		bad     consensus.Value
	}{
		{"an outcome", consensus.Byzantine, 2, 2, nil, consensustest.Result("out")},
		{"no pairs", consensus.Byzantine, 2, 2, nil, handover()},
		{"more than f at once", consensus.Byzantine, 1, 1, nil, handover([2]uint64{0, 0}, [2]uint64{1, 1})},
		{"more than the charter's bound", consensus.Byzantine, 2, 1, nil, handover([2]uint64{0, 0}, [2]uint64{1, 1})},
		{"more than the charter's bound in two heights", consensus.Byzantine, 2, 1, []consensus.Value{handover([2]uint64{0, 0})}, handover([2]uint64{1, 1})},
		{"a bound of none", consensus.Byzantine, 2, 0, nil, handover([2]uint64{0, 0})},
		{"a reserve that was seated", consensus.Byzantine, 2, 2, []consensus.Value{handover([2]uint64{0, 0})}, handover([2]uint64{1, 0})},
		{"a reserve that was seated and removed", consensus.Byzantine, 3, 3,
			[]consensus.Value{handover([2]uint64{0, 0}), handover([2]uint64{0, 1})}, handover([2]uint64{1, 0})},
		{"a seat that is none", consensus.Byzantine, 2, 2, nil, handover([2]uint64{7, 0})},
		{"a reserve that is none", consensus.Byzantine, 2, 2, nil, handover([2]uint64{0, 2})},
		{"a seat twice", consensus.Byzantine, 2, 2, nil, handover([2]uint64{1, 0}, [2]uint64{1, 1})},
		{"a reserve twice", consensus.Byzantine, 2, 2, nil, handover([2]uint64{0, 1}, [2]uint64{1, 1})},
		{"seats out of order", consensus.Byzantine, 2, 2, nil, handover([2]uint64{1, 0}, [2]uint64{0, 1})},
		{"reserves out of order", consensus.Byzantine, 2, 2, nil, handover([2]uint64{0, 1}, [2]uint64{1, 0})},
		{"f = 0", consensus.Byzantine, 0, 0, nil, handover([2]uint64{0, 0})},
		{"a third height in a large roster", consensus.Byzantine, 5, 5,
			[]consensus.Value{handover([2]uint64{0, 0}), handover([2]uint64{1, 1})}, handover([2]uint64{2, 2})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			job := n.Job(tc.fault, tc.f, func(c *consensus.Charter) { c.Replace = tc.replace })
			_, at := n.Chain(job, tc.before...)
			if next, err := at.Next(tc.bad); err == nil {
				t.Errorf("leads to %v", next.Members)
			}
		})
	}
	small := n.Job(consensus.Byzantine, 4, replaceable) // n = 13
	_, at := n.Chain(small, handover([2]uint64{0, 0}), handover([2]uint64{1, 1}), handover([2]uint64{2, 2}), handover([2]uint64{3, 3}))
	if at.Number != 4 {
		t.Errorf("a roster of 13 has %d handovers, want 4", at.Number)
	}
}

// Whatever is handed over, every seat has one holder, no party has two, and who
// left does not come back.
func TestARosterFollowsFromTheCharterAndThePairs(t *testing.T) {
	n := consensustest.New(41)
	rapid.Check(t, func(t *rapid.T) {
		q := rapid.SampledFrom(quorums).Draw(t, "quorum")
		job := n.Job(q.fault, q.f, replaceable)
		at := n.First(job)
		naive := slices.Clone(job.Roster)
		gone := map[admission.Key]bool{}
		for range rapid.IntRange(0, 4).Draw(t, "heights") {
			var pairs [][2]uint64
			for range rapid.IntRange(1, 3).Draw(t, "pairs") {
				pairs = append(pairs, [2]uint64{rapid.Uint64Range(0, 12).Draw(t, "seat"), rapid.Uint64Range(0, 5).Draw(t, "reserve")})
			}
			v := consensustest.Handover(pairs...)
			next, err := at.Next(v)
			if err != nil {
				continue
			}
			if next.Previous == at.Previous || next.Number != at.Number+1 {
				t.Fatal("the next height is bound to nothing new")
			}
			for _, p := range pairs {
				gone[naive[p[0]].Peer] = true
				naive[p[0]] = job.Reserves[p[1]]
			}
			at = next
		}
		if !slices.Equal(at.Roster(), naive) {
			t.Fatalf("roster %v, want %v", at.Roster(), naive)
		}
		seen := map[admission.Key]bool{}
		for seat, s := range at.Roster() {
			if seen[s.Peer] || gone[s.Peer] || at.SeatOf(job.PartyOf(s.Peer)) != seat {
				t.Fatalf("seat %d is held by %s", seat, s.Peer.Name())
			}
			seen[s.Peer] = true
		}
		if len(at.Replaced) > int(job.Replace) {
			t.Fatalf("%d replaced, at most %d", len(at.Replaced), job.Replace)
		}
	})
}

func TestAnyChangedByteOfACertificateWithAChainMakesVerifyFail(t *testing.T) {
	n := consensustest.New(9)
	job := n.Job(consensus.Byzantine, 1, replaceable)
	chain, last := n.Chain(job, consensustest.Handover([2]uint64{2, 0}))
	data := encode(t, n.Certify(job, n.DecideAt(last, consensustest.Result("out")), chain...))
	check(t, verify(data, n.Sealed))
	rapid.Check(t, func(t *rapid.T) {
		changed := slices.Clone(data)
		changed[rapid.IntRange(0, len(data)-1).Draw(t, "at")] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
		if verify(changed, n.Sealed) == nil {
			t.Error("verifies")
		}
	})
}

// A handover's list is one longer than an outcome's, and neither passes for the
// other.
func TestValuesHaveOneEncoding(t *testing.T) {
	for name, data := range map[string][]byte{
		"pairs on an outcome":         {0x85, 3, 0, 0, 0xf6, 0x81, 0x82, 0, 0},
		"a handover without pairs":    {0x84, 4, 0, 0, 0xf6},
		"a handover of no pairs":      {0x85, 4, 0, 0, 0xf6, 0x80},
		"a handover of three":         {0x83, 4, 0, 0xf6},
		"null":                        {0xf6},
		"pairs that are not lists":    {0x85, 4, 0, 0, 0xf6, 0x82, 0, 0},
		"a sixth field of a handover": {0x86, 4, 0, 0, 0xf6, 0x81, 0x82, 0, 0, 0},
	} {
		var got consensus.Value
		if err := dagcbor.Unmarshal(data, &got); err == nil && got.Validate() == nil {
			t.Errorf("%s is the value %s", name, got)
		}
	}
}

func TestHandoversAreTakenLastAndSaidInWords(t *testing.T) {
	all := append(values(), consensustest.Handover([2]uint64{2, 0}, [2]uint64{5, 1}))
	last := all[len(all)-1]
	for _, v := range all[:len(all)-1] {
		if !v.Less(last, consensus.Hash{9}, consensus.Hash{1}) || last.Less(v, consensus.Hash{1}, consensus.Hash{9}) {
			t.Errorf("%s comes after a handover", v)
		}
	}
	if got, want := last.String(), "handover of seat 2 to reserve 0, seat 5 to reserve 1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestADecisionOfAnotherHeightIsNotOfThisChain(t *testing.T) {
	n := consensustest.New(9)
	job := n.Job(consensus.Byzantine, 1, replaceable)
	_, next := n.Chain(job, consensustest.Handover([2]uint64{2, 0}))
	d := n.DecideAt(next, consensustest.Result("out"))
	check(t, d.Check(next, consensus.Proof.Check))
	if err := d.Check(n.First(job), consensus.Proof.Check); !errors.Is(err, consensus.ErrChain) {
		t.Errorf("height 1 at height 0: %v", err)
	}
}
