// Package consensustest makes whole small networks for tests: keys from seeds,
// a genesis, credentials, a roll, charters drawn from it, statements and
// decisions signed. The same calls make the same bytes. It panics where its
// caller erred. Shipped code does not import it.
package consensustest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/store/dagcbor"
)

// Now is the time in these networks, in Unix milliseconds: when rolls are made
// and charters issued.
const Now = 1_790_000_000_000

// Day is a day in milliseconds.
const Day = 24 * 3_600_000

// Key returns the signer whose seed is the hash of name.
func Key(name string) admission.KeySigner {
	seed := sha256.Sum256([]byte("test key " + name))
	return admission.NewKeySigner(ed25519.NewKeyFromSeed(seed[:]))
}

// Node is a member of a network.
type Node struct {
	admission.KeySigner
	Incarnation admission.Incarnation
	Credential  admission.SignedCredential
}

// Network is a network with one authority, one user and some nodes.
type Network struct {
	ID         admission.Network
	Genesis    admission.Genesis
	Sealed     []byte // the genesis
	Authority  admission.KeySigner
	User       admission.KeySigner
	UserBadge  admission.SignedCredential
	Nodes      []Node
	RollMade   *consensus.Roll // by node 0, of all nodes
	RollSealed []byte
	RollLink   dagcbor.Link
}

// New makes a network of the given number of nodes, whose genesis the changes
// have altered.
func New(nodes int, changes ...func(*admission.Genesis)) *Network {
	n := &Network{Authority: Key("authority"), User: Key("user")}
	n.Genesis = admission.Genesis{
		V: admission.Version, Name: "test", Created: Now - 100*Day, Nonce: make([]byte, 16),
		Authorities: []admission.Key{n.Authority.Key()}, Testnet: true, Policy: admission.DefaultPolicy(),
	}
	for _, change := range changes {
		change(&n.Genesis)
	}
	n.Sealed, n.ID = must2(n.Genesis.Seal())
	n.UserBadge = n.Badge(n.User.Key(), admission.KindUser)
	for i := range nodes {
		n.Nodes = append(n.Nodes, n.NewNode(fmt.Sprintf("node %d", i)))
	}
	if nodes > 0 {
		n.RollMade, n.RollSealed, n.RollLink = n.Roll(n.Nodes[0].Key())
	}
	return n
}

// NewNode makes a node that is not in the network's roll.
func (n *Network) NewNode(name string) Node {
	signer := Key(name)
	sum := sha256.Sum256([]byte("test incarnation " + name))
	return Node{
		KeySigner: signer, Incarnation: admission.Incarnation(sum[:16]),
		Credential: n.Badge(signer.Key(), admission.KindNode),
	}
}

// Badge signs a credential of weight 1 for a year about Now, as changed.
func (n *Network) Badge(subject admission.Key, kind admission.Kind, changes ...func(*admission.Credential)) admission.SignedCredential {
	c := admission.Credential{
		Kind: kind, Subject: subject, Role: admission.RoleMember, Owner: subject, Weight: 1,
		From: Now - 100*Day, Until: Now + 265*Day,
	}
	for _, change := range changes {
		change(&c)
	}
	return must(admission.SignCredential(n.ID, c, n.Authority))
}

// Credential looks up the credential of a node or the user.
func (n *Network) Credential(key admission.Key) (admission.SignedCredential, bool) {
	if key == n.User.Key() {
		return n.UserBadge, true
	}
	if i := n.Index(key); i >= 0 {
		return n.Nodes[i].Credential, true
	}
	return admission.SignedCredential{}, false
}

// Index returns the place of a key among Nodes, or -1.
func (n *Network) Index(key admission.Key) int {
	return slices.IndexFunc(n.Nodes, func(m Node) bool { return m.Key() == key })
}

// Roll makes a roll of all nodes: four cores and 8 GiB each.
func (n *Network) Roll(maker admission.Key) (*consensus.Roll, []byte, dagcbor.Link) {
	r := &consensus.Roll{V: consensus.Version, Made: Now, Maker: maker}
	for _, m := range n.Nodes {
		r.Entries = append(r.Entries, Entry(m))
	}
	slices.SortFunc(r.Entries, func(a, b consensus.RollEntry) int { return slices.Compare(a.Peer[:], b.Peer[:]) })
	sealed, link, err := r.Seal(n.ID)
	if err != nil {
		panic(err)
	}
	return r, sealed, link
}

// Entry describes a node as rolls here do.
func Entry(m Node) consensus.RollEntry {
	key := m.Key()
	total := map[string]uint64{"cpu": 4_000, "memory": 8 << 30}
	return consensus.RollEntry{
		Peer: key, Incarnation: m.Incarnation, Credential: m.Credential, Advert: dagcbor.Sum(key[:]),
		Classes: []consensus.Class{"arch/amd64", consensus.Portable}, Total: total, Free: total,
	}
}

// Link returns the link to a stand-in block of the given words.
func Link(words string) dagcbor.Link {
	return dagcbor.LinkTo(dagcbor.CID(must(dagcbor.Marshal(words))))
}

// Job is a signed charter, opened.
type Job struct {
	*consensus.Charter
	ID     consensus.JobID
	Signed consensus.SignedCharter
}

// Charter returns an unsigned charter by node 0, not yet drawn.
func (n *Network) Charter(fault consensus.Fault, f uint64) *consensus.Charter {
	t := must(fault.For(f))
	p := n.Genesis.Policy
	c := &consensus.Charter{
		V: consensus.Version, Issued: Now, AcceptBy: Now + p.Accept, StartBy: Now + p.Start,
		Deadline: Now + p.Deadline, End: Now + p.Retain,
		Owner: n.Nodes[0].Key(), Project: "test", Submitter: n.Nodes[0].Key(),
		Spec: Link("spec"), Task: Link("task"), Class: consensus.Portable, Assurance: consensus.Replicated,
		Limits:  consensus.Limits{Input: 1 << 20, Output: 1 << 20, Stream: 1 << 16},
		Runners: uint64(t.N), Timeout: 60_000, Policy: must(p.Digest(n.ID)), Fault: fault, F: f,
		Roll: n.RollLink, Period: election.Period(Now), Nonce: consensus.Hash{1},
	}
	if t.N == 1 {
		c.Assurance = consensus.Single
	}
	c.Request = must(consensus.NewRequestID(n.ID, c.Owner, "request"))
	return c
}

// Draw gives c the roster and reserves of the network's roll.
func (n *Network) Draw(c *consensus.Charter) {
	drawn := must(election.Draw(n.RollMade, election.AskOf(c, n.ID, n.Genesis.Policy)))
	c.Roster, c.Reserves = drawn.Roster, drawn.Reserves
}

// Job draws and signs a charter by node 0 that the changes have altered before
// the draw. The user, as owner, signs too.
func (n *Network) Job(fault consensus.Fault, f uint64, changes ...func(*consensus.Charter)) Job {
	c := n.Charter(fault, f)
	for _, change := range changes {
		change(c)
	}
	n.Draw(c)
	return n.Sign(c)
}

// Sign signs a charter by node 0, and by the user if it is the owner.
func (n *Network) Sign(c *consensus.Charter) Job {
	signed, id, err := consensus.SignCharter(n.ID, c, n.Nodes[0])
	if err != nil {
		panic(err)
	}
	if c.Owner == n.User.Key() {
		s := n.User.Sign(must(consensus.OwnerStatement(n.ID, c)))
		signed.Owner = &s
	}
	return Job{Charter: c, ID: id, Signed: signed}
}

// First returns height 0 of a job.
func (n *Network) First(job Job) consensus.Height {
	return consensus.FirstHeight(n.ID, job.ID, job.Charter)
}

// Statement returns what the holder of a seat says at height 0.
func (n *Network) Statement(job Job, seat int, kind consensus.Kind, round uint32, value consensus.Hash) consensus.Statement {
	return n.First(job).Statement(kind, seat, round, value)
}

// Prove signs statements of one sender and incarnation as one batch.
func Prove(signer admission.Signer, statements ...consensus.Statement) []consensus.Proof {
	leaves := make([][]byte, len(statements))
	for i, s := range statements {
		leaves[i] = must(s.Leaf())
	}
	batch := must(consensus.NewBatch(leaves))
	first := statements[0]
	header := must(consensus.BatchHeader(first.Network, first.Incarnation, uint64(len(leaves)), batch.Root()))
	signature := signer.Sign(header)
	proofs := make([]consensus.Proof, len(leaves))
	for i := range leaves {
		proofs[i] = consensus.Proof{Count: uint64(len(leaves)), Index: uint64(i), Path: batch.Path(i), Signature: signature}
	}
	return proofs
}

// Votes returns the votes of seats at height 0: see VotesAt.
func (n *Network) Votes(job Job, kind consensus.Kind, round uint32, value consensus.Hash, seats ...int) consensus.VoteSet {
	return n.VotesAt(n.First(job), kind, round, value, seats...)
}

// VotesAt returns the votes of seats, ascending, at a height, each in a batch of
// one to three statements.
func (n *Network) VotesAt(at consensus.Height, kind consensus.Kind, round uint32, value consensus.Hash, seats ...int) consensus.VoteSet {
	set := consensus.VoteSet{Round: round, Value: value}
	for _, seat := range seats {
		vote := at.Statement(kind, seat, round, value)
		batch := []consensus.Statement{vote}
		for i := range seat % 3 {
			other := vote
			other.Job[0] ^= byte(i + 1)
			batch = append(batch, other)
		}
		proofs := Prove(n.Nodes[n.Index(vote.Sender)], batch...)
		set.Votes = append(set.Votes, consensus.Vote{Seat: uint64(seat), Proof: proofs[0]})
	}
	return set
}

// Decide returns a decision of value at height 0 by the first quorum of seats.
func (n *Network) Decide(job Job, value consensus.Value) consensus.Decision {
	return n.DecideAt(n.First(job), value)
}

// DecideAt returns a decision of value at a height by the first quorum of seats.
func (n *Network) DecideAt(at consensus.Height, value consensus.Value) consensus.Decision {
	seats := make([]int, at.Charter.Thresholds().Quorum)
	for i := range seats {
		seats[i] = i
	}
	return consensus.Decision{Height: at.Number, Value: value, Commits: n.VotesAt(at, consensus.KindCommit, 0, must(value.Hash(n.ID)), seats...)}
}

// Chain decides handovers one after the other, and returns their decisions and
// the height that follows. It panics where a job may not have them.
func (n *Network) Chain(job Job, handovers ...consensus.Value) ([]consensus.Decision, consensus.Height) {
	at := n.First(job)
	var chain []consensus.Decision
	for _, v := range handovers {
		chain = append(chain, n.DecideAt(at, v))
		at = must(at.Next(v))
	}
	return chain, at
}

// Certify returns the certificate of an outcome, and of the handovers before it.
func (n *Network) Certify(job Job, outcome consensus.Decision, chain ...consensus.Decision) *consensus.Certificate {
	return must(consensus.Assemble(job.Signed, job.Charter, n.Credential, chain, outcome))
}

// Handover returns the value of a handover of (seat, reserve) pairs.
func Handover(pairs ...[2]uint64) consensus.Value {
	v := consensus.Value{Kind: consensus.Handover}
	for _, p := range pairs {
		v.Pairs = append(v.Pairs, consensus.Pair{Seat: p[0], Reserve: p[1]})
	}
	return v
}

// Result returns a result value whose tree is a stand-in.
func Result(words string) consensus.Value {
	link := Link(words)
	return consensus.Value{Kind: consensus.Result, Tree: &link}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func must2[T, U any](v T, w U, err error) (T, U) {
	if err != nil {
		panic(err)
	}
	return v, w
}
