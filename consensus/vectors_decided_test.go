package consensus_test

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	codec "github.com/muster-network/muster/store/dagcbor"
)

func (c *court) badDecisions() {
	n, result := c.n, consensustest.Result("out")
	hash := valueHash(c.t, n, result)
	job := n.Job(consensus.Byzantine, 1)
	commits := func(seats ...int) consensus.VoteSet { return n.Votes(job, consensus.KindCommit, 0, hash, seats...) }
	decided := func(step int, why string, d consensus.Decision) { c.forged(step, why, n.Certify(job, d)) }
	odd := func(why string, v consensus.Value) { decided(8, why, n.Decide(job, v)) }
	tree := consensustest.Link("out")

	odd("a result without a tree", consensus.Value{Kind: consensus.Result})
	odd("a result with a code", consensus.Value{Kind: consensus.Result, Code: 1, Tree: &tree})
	odd("exit with code 0", consensus.Value{Kind: consensus.Failed, Class: consensus.FailedExit, Tree: &tree})
	odd("a trap without a tree", consensus.Value{Kind: consensus.Failed, Class: consensus.FailedTrap})
	odd("a timeout with a tree", consensus.Value{Kind: consensus.Failed, Class: consensus.FailedTimeout, Tree: &tree})
	odd("a failure of no known class", consensus.Value{Kind: consensus.Failed, Class: 10})
	odd("failed tasks, and a directory", consensus.Value{Kind: consensus.Failed, Class: consensus.FailedTasks, Code: 1, Tree: c.directory()})
	odd("a value of no kind", consensus.Value{Kind: 7})
	weak := c.weak()
	odd("a tree named by no whole SHA-256", consensus.Value{Kind: consensus.Result, Tree: &weak})
	crash := n.Job(consensus.Crash, 1)
	c.forged(8, "disagreement where one report counts", n.Certify(crash, n.Decide(crash, consensus.Value{Kind: consensus.Failed, Class: consensus.FailedDisagreement})))

	decided(9, "commits for another value", decision(consensustest.Result("other"), commits(0, 1, 2)))
	decided(10, "q-1 commits", decision(result, commits(0, 1)))
	decided(10, "q+1 commits", decision(result, commits(0, 1, 2, 3)))
	decided(10, "a member twice", decision(result, commits(0, 1, 1)))
	decided(10, "seats out of order", decision(result, commits(0, 2, 1)))
	decided(11, "prepares for commits", decision(result, n.Votes(job, consensus.KindPrepare, 0, hash, 0, 1, 2)))
	for _, change := range []struct {
		step int
		why  string
		make func(*consensus.Decision)
	}{
		{10, "a seat that is none", func(d *consensus.Decision) { d.Commits.Votes[2].Seat = 4 }},
		{11, "a commit of another round", func(d *consensus.Decision) {
			d.Commits.Votes[2] = n.Votes(job, consensus.KindCommit, 1, hash, 2).Votes[0]
		}},
		{11, "another member's signature", func(d *consensus.Decision) { d.Commits.Votes[2].Proof = d.Commits.Votes[1].Proof }},
		{11, "an index beyond a count of 1", func(d *consensus.Decision) { d.Commits.Votes[0].Proof.Index = 1 }},
		{11, "a batch of none", func(d *consensus.Decision) { c.claim(job, d, 0, 0) }},
		{11, "a batch of 513", func(d *consensus.Decision) { c.claim(job, d, 0, 513, consensus.Hash{1}) }},
		{11, "a path too long", func(d *consensus.Decision) {
			p := &d.Commits.Votes[1].Proof
			p.Path = append(p.Path, consensus.Hash{})
		}},
		{11, "a path too short", func(d *consensus.Decision) { d.Commits.Votes[2].Proof.Path = d.Commits.Votes[2].Proof.Path[1:] }},
		{11, "another count", func(d *consensus.Decision) { d.Commits.Votes[2].Proof.Count++ }},
		{11, "a signature that is not reduced", func(d *consensus.Decision) { unreduced(&d.Commits.Votes[0].Proof.Signature) }},
	} {
		cert := n.Certify(job, n.Decide(job, result))
		change.make(&cert.Outcome)
		c.forged(change.step, change.why, cert)
	}
	stranger := n.First(job) // says the same in another incarnation
	moved := *job.Charter
	moved.Roster = append([]consensus.Seat(nil), job.Roster...)
	moved.Roster[1].Incarnation[0] ^= 1
	stranger.Charter = &moved
	d := n.Decide(job, result)
	d.Commits.Votes[1] = n.VotesAt(stranger, consensus.KindCommit, 0, hash, 1).Votes[0]
	decided(11, "a commit of another incarnation", d)
}

// directory is a link that names no array result.
func (c *court) directory() *codec.Link {
	link := consensustest.Link("out")
	return &codec.Link{Cid: cid.NewCidV1(cid.DagProtobuf, link.Hash())}
}

// unreduced adds the order of the group to a signature's scalar: the same point,
// another encoding, which ZIP-215 refuses.
func unreduced(s *admission.Signature) {
	order := [32]byte{0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 31: 0x10}
	carry := 0
	for i, b := range order {
		carry += int(s[32+i]) + int(b)
		s[32+i], carry = byte(carry), carry>>8
	}
}

// claim has a seat's holder sign its commit as the last of a batch of count, with
// the path that the walk of section 14 wants of that leaf: of hashes to its left.
func (c *court) claim(job consensustest.Job, d *consensus.Decision, seat int, count uint64, left ...consensus.Hash) {
	p := &d.Commits.Votes[seat].Proof
	s := c.n.Statement(job, seat, consensus.KindCommit, d.Commits.Round, d.Commits.Value)
	leaf, err := s.Leaf()
	check(c.t, err)
	root := sha256.Sum256(append([]byte{0}, leaf...))
	p.Count, p.Index, p.Path = count, max(count, 1)-1, left
	for _, l := range left {
		root = sha256.Sum256(slices.Concat([]byte{1}, l[:], root[:]))
	}
	header, err := consensus.BatchHeader(c.n.ID, s.Incarnation, count, root)
	check(c.t, err)
	p.Signature = c.n.Nodes[c.n.Index(s.Sender)].Sign(header)
}

// next is the height after v, whatever v is: as the rules of section 7 reckon it,
// without those that forbid it.
func (c *court) next(at consensus.Height, v consensus.Value) consensus.Height {
	data, err := codec.Seal(consensus.TagChain, c.n.ID[:], struct {
		_        struct{} `cbor:",toarray"`
		Job      consensus.JobID
		Height   uint64
		Previous consensus.Hash
		Value    consensus.Hash
	}{Job: at.Job, Height: at.Number, Previous: at.Previous, Value: valueHash(c.t, c.n, v)})
	check(c.t, err)
	after := at
	after.Number, after.Previous, after.Members = at.Number+1, codec.Sum(data), slices.Clone(at.Members)
	for _, p := range v.Pairs {
		if in := len(at.Charter.Roster) + int(p.Reserve); int(p.Seat) < len(after.Members) && in < at.Charter.Parties() {
			after.Members[p.Seat] = in
		}
	}
	return after
}

// climb is a certificate in which all is right but that the job may not have
// these handovers.
func (c *court) climb(step int, why string, job consensustest.Job, handovers ...consensus.Value) {
	n, at := c.n, c.n.First(job)
	keys := []admission.Key{job.Submitter}
	cert := &consensus.Certificate{V: consensus.Version, Charter: job.Signed}
	decide := func(v consensus.Value) consensus.Decision {
		for seat := range job.Thresholds().Quorum {
			keys = append(keys, at.Holder(seat).Peer)
		}
		return n.DecideAt(at, v)
	}
	for _, v := range handovers {
		cert.Chain = append(cert.Chain, decide(v))
		at = c.next(at, v)
	}
	cert.Outcome = decide(consensustest.Result("out"))
	slices.SortFunc(keys, func(a, b admission.Key) int { return bytes.Compare(a[:], b[:]) })
	for _, key := range slices.Compact(keys) {
		credential, _ := n.Credential(key)
		cert.Credentials = append(cert.Credentials, credential)
	}
	if step == 0 {
		c.holds(why, cert)
		return
	}
	c.forged(step, why, cert)
}

func (c *court) badHandovers() {
	n := c.n
	handover := func(pairs ...[2]uint64) consensus.Value { return consensustest.Handover(pairs...) }
	job := n.Job(consensus.Byzantine, 2, replaceable)
	c.climb(0, "two handovers", job, handover([2]uint64{1, 0}), handover([2]uint64{2, 1}))
	c.climb(8, "seats of a handover out of order", job, handover([2]uint64{2, 0}, [2]uint64{1, 1}))
	c.climb(8, "reserves of a handover out of order", job, handover([2]uint64{1, 1}, [2]uint64{2, 0}))
	c.climb(8, "a reserve twice in a handover", job, handover([2]uint64{1, 0}, [2]uint64{2, 0}))
	c.climb(8, "a handover of nobody", job, handover())
	c.climb(12, "a reserve that does not exist", job, handover([2]uint64{1, 2}))
	c.climb(12, "a seat that does not exist", job, handover([2]uint64{7, 0}))
	c.climb(12, "a reserve seated twice", job, handover([2]uint64{1, 0}), handover([2]uint64{2, 0}))
	bounded := n.Job(consensus.Byzantine, 2, func(c *consensus.Charter) { c.Replace = 1 })
	c.climb(12, "more replacements than the charter allows", bounded, handover([2]uint64{1, 0}), handover([2]uint64{2, 1}))
	c.climb(12, "more at once than the charter allows", bounded, handover([2]uint64{1, 0}, [2]uint64{2, 1}))
	large := n.Job(consensus.Byzantine, 5, replaceable)
	c.climb(0, "two handovers of a large roster", large, handover([2]uint64{1, 0}), handover([2]uint64{2, 1}))
	c.climb(12, "a third handover of a large roster", large, handover([2]uint64{1, 0}), handover([2]uint64{2, 1}), handover([2]uint64{3, 2}))
	none := n.Job(consensus.Byzantine, 1)
	c.climb(12, "a replacement where the charter allows none", none, handover([2]uint64{1, 0}))
}

func (c *court) badChains() {
	n, result := c.n, consensustest.Result("out")
	hash := valueHash(c.t, n, result)
	seats := []int{0, 1, 2, 3, 4}
	handover := func(pairs ...[2]uint64) consensus.Value { return consensustest.Handover(pairs...) }
	job := n.Job(consensus.Byzantine, 2, replaceable)
	zero := n.First(job)
	chain, next := n.Chain(job, handover([2]uint64{1, 0}))
	for _, change := range []struct {
		step int
		why  string
		make func(*consensus.Certificate)
	}{
		{7, "the handover left out", func(c *consensus.Certificate) { c.Chain = nil }},
		{7, "a height skipped", func(c *consensus.Certificate) { c.Outcome.Height = 2 }},
		{7, "an outcome in the chain", func(c *consensus.Certificate) { c.Chain[0] = n.DecideAt(zero, result) }},
		{7, "a handover for an outcome", func(c *consensus.Certificate) { c.Outcome = n.DecideAt(next, handover([2]uint64{2, 1})) }},
		{10, "a handover by q-1", func(c *consensus.Certificate) { c.Chain[0].Commits.Votes = c.Chain[0].Commits.Votes[:4] }},
		{9, "another handover than was decided", func(c *consensus.Certificate) { c.Chain[0].Value = handover([2]uint64{2, 0}) }},
		{11, "votes of the height before", func(c *consensus.Certificate) {
			c.Outcome.Commits = n.VotesAt(zero, consensus.KindCommit, 0, hash, seats...)
		}},
		{11, "votes of two heights added", func(c *consensus.Certificate) {
			c.Outcome.Commits.Votes[4] = n.VotesAt(zero, consensus.KindCommit, 0, hash, 4).Votes[0]
		}},
		{11, "a removed member's vote", func(c *consensus.Certificate) {
			removed := next
			removed.Members = zero.Members
			c.Outcome.Commits.Votes[1] = n.VotesAt(removed, consensus.KindCommit, 0, hash, 1).Votes[0]
		}},
		{11, "another previous decision", func(c *consensus.Certificate) {
			other := next
			other.Previous = consensus.Hash(job.ID)
			c.Outcome.Commits = n.VotesAt(other, consensus.KindCommit, 0, hash, seats...)
		}},
	} {
		cert := n.Certify(job, n.DecideAt(next, result), chain...)
		cert.Chain = append([]consensus.Decision(nil), cert.Chain...)
		change.make(cert)
		c.forged(change.step, change.why, cert)
	}
}

func (c *court) badCredentials() {
	n := c.n
	job := n.Job(consensus.Byzantine, 1)
	made := func() *consensus.Certificate { return n.Certify(job, n.Decide(job, consensustest.Result("out"))) }
	voter := job.Roster[1].Peer
	swapped := func(step int, why string, change func(*admission.Credential)) {
		c.forged(step, why, swap(made(), n.Badge(voter, admission.KindNode, change)))
	}
	short := made()
	short.Credentials = short.Credentials[1:]
	c.forged(13, "a credential missing", short)
	more := made()
	more.Credentials = append(more.Credentials, n.UserBadge)
	sortCredentials(more.Credentials)
	c.forged(13, "a credential of nobody in it", more)
	turned := made()
	turned.Credentials[0], turned.Credentials[1] = turned.Credentials[1], turned.Credentials[0]
	c.forged(13, "credentials out of order", turned)
	swapped(14, "a credential that ends before it begins", func(c *admission.Credential) { c.Until = c.From })
	swapped(14, "a weight beyond the bound", func(c *admission.Credential) { c.Weight = admission.MaxWeight + 1 })
	swapped(14, "a role that is none", func(c *admission.Credential) { c.Role = 4 })
	self, err := admission.SignCredential(n.ID, admission.Credential{Kind: admission.KindNode, Subject: voter, Role: admission.RoleMember,
		Weight: 1, From: consensustest.Now - consensustest.Day, Until: consensustest.Now + 100*consensustest.Day}, n.Nodes[n.Index(voter)])
	check(c.t, err)
	c.forged(14, "a credential that its subject signed", swap(made(), self))
	tampered := made()
	tampered.Credentials[0].Signature[7] ^= 1
	c.forged(14, "a credential whose signature does not verify", tampered)
	swapped(15, "a voter's credential that began after the job", func(c *admission.Credential) { c.From = consensustest.Now + 1 })
	owned := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Owner = n.User.Key() })
	c.forged(15, "an owner's credential that had ended when the job was issued",
		swap(n.Certify(owned, n.Decide(owned, consensustest.Result("out"))),
			n.Badge(n.User.Key(), admission.KindUser, func(c *admission.Credential) { c.Until = consensustest.Now })))
	swapped(16, "a voter that is an observer", func(c *admission.Credential) { c.Role = admission.RoleObserver })
	c.forged(16, "a voter that is a user", swap(made(), n.Badge(voter, admission.KindUser)))
	swapped(16, "a voter's credential that ends before the job", func(c *admission.Credential) { c.Until = job.End - 1 })
}
