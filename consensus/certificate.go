package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// MaxCertificate bounds an encoded certificate, in bytes: what the DHT takes
// (protocol, section 12). With 31 members it has less than half of that.
const MaxCertificate = 64 << 10

// Vote is one member's signed statement inside a certificate: all of the
// statement but its seat is common to the certificate.
type Vote struct {
	_     struct{} `cbor:",toarray"`
	Seat  uint64   // index in the roster of the height
	Proof Proof
}

// VoteSet is votes of one kind for one value in one round of one height: a
// prepare certificate, or with commits what makes a decision.
type VoteSet struct {
	_     struct{} `cbor:",toarray"`
	Round uint32
	Value Hash
	Votes []Vote // by ascending seat
}

// Decision is a height's value with q commits of one round for it.
type Decision struct {
	_       struct{} `cbor:",toarray"`
	Height  uint64
	Value   Value
	Commits VoteSet
}

// Certificate proves an outcome to somebody who saw nothing.
type Certificate struct {
	V           uint64                       `cbor:"v"`
	Charter     SignedCharter                `cbor:"charter"`
	Credentials []admission.SignedCredential `cbor:"credentials"` // by ascending subject: submitter, owner, signers
	Chain       []Decision                   `cbor:"chain"`       // of the heights that changed the roster
	Outcome     Decision                     `cbor:"outcome"`
}

// Verdict is what a certificate that verified says. The draw is not among it:
// see the election package.
type Verdict struct {
	Network   admission.Network
	Genesis   admission.Genesis
	Job       JobID
	Charter   *Charter
	Value     Value
	ValueHash Hash
	Round     uint32
	Signers   []int // seats, ascending
}

// Check verifies that set holds q distinct members' votes of the kind for one
// value, under this charter at height 0.
func (set VoteSet) Check(network admission.Network, job JobID, c *Charter, kind Kind) error {
	return set.check(network, job, c, kind, Proof.Check)
}

// CheckWith is Check with a verifier of single proofs that may remember what it
// has verified.
func (set VoteSet) CheckWith(network admission.Network, job JobID, c *Charter, kind Kind, proof func(Proof, Statement) error) error {
	return set.check(network, job, c, kind, proof)
}

func (set VoteSet) check(network admission.Network, job JobID, c *Charter, kind Kind, proof func(Proof, Statement) error) error {
	t := c.Thresholds()
	if len(set.Votes) != t.Quorum {
		return fmt.Errorf("certificate: %d votes, it takes %d", len(set.Votes), t.Quorum)
	}
	for i, v := range set.Votes {
		if v.Seat >= uint64(t.N) || i > 0 && set.Votes[i-1].Seat >= v.Seat {
			return errors.New("certificate: its voters are not distinct members in order")
		}
		seat := c.Roster[v.Seat]
		s := Statement{Kind: kind, Network: network, Job: job, Height: 0, Previous: Hash(job), Round: set.Round,
			Sender: seat.Peer, Incarnation: seat.Incarnation, Value: set.Value}
		if err := proof(v.Proof, s); err != nil {
			return fmt.Errorf("certificate: seat %d: %w", v.Seat, err)
		}
	}
	return nil
}

// OpenCertificate decodes a certificate. It checks form only: see Verify.
func OpenCertificate(data []byte) (*Certificate, error) {
	if len(data) > MaxCertificate {
		return nil, fmt.Errorf("certificate: %d bytes, at most %d", len(data), MaxCertificate)
	}
	c := new(Certificate)
	if err := dagcbor.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return c, nil
}

// Encode returns the certificate's bytes.
func (c *Certificate) Encode() ([]byte, error) { return dagcbor.Marshal(c) }

// Verify checks everything that protocol section 11 lists, given only the bytes
// of a genesis: no network, no clock, no state.
func (c *Certificate) Verify(genesis []byte) (Verdict, error) {
	g, network, err := admission.OpenGenesis(genesis)
	if err != nil {
		return Verdict{}, err
	}
	v, err := c.read(g, network, SignedCharter.Open)
	if err != nil {
		return Verdict{}, err
	}
	if err := c.checkCredentials(g, network, v.Charter); err != nil {
		return Verdict{}, err
	}
	if err := c.Outcome.Commits.Check(network, v.Job, v.Charter, KindCommit); err != nil {
		return Verdict{}, err
	}
	return v, nil
}

// Read is Verify without the signatures: for a certificate that was verified, or
// made of verified votes, before it was kept.
func (c *Certificate) Read(g admission.Genesis, network admission.Network) (Verdict, error) {
	return c.read(g, network, SignedCharter.Read)
}

func (c *Certificate) read(g admission.Genesis, network admission.Network, open func(SignedCharter, admission.Network) (*Charter, JobID, error)) (Verdict, error) {
	if c.V != Version {
		return Verdict{}, fmt.Errorf("certificate: version %d: %w", c.V, ErrUnsupported)
	}
	charter, job, err := open(c.Charter, network)
	if err != nil {
		return Verdict{}, err
	}
	if len(c.Chain) > 0 || c.Outcome.Height != 0 {
		return Verdict{}, fmt.Errorf("certificate: heights above 0: %w", ErrUnsupported)
	}
	if err := c.Outcome.Value.Validate(); err != nil {
		return Verdict{}, err
	}
	hash, err := c.Outcome.Value.Hash(network)
	if err != nil {
		return Verdict{}, err
	}
	if hash != c.Outcome.Commits.Value {
		return Verdict{}, errors.New("certificate: the commits are for another value")
	}
	if !c.Outcome.Value.fits(charter.Thresholds()) {
		return Verdict{}, fmt.Errorf("certificate: %s, in a quorum where one report counts", c.Outcome.Value)
	}
	v := Verdict{Network: network, Genesis: g, Job: job, Charter: charter, Value: c.Outcome.Value, ValueHash: hash, Round: c.Outcome.Commits.Round}
	for _, vote := range c.Outcome.Commits.Votes {
		if vote.Seat >= uint64(len(charter.Roster)) {
			return Verdict{}, errors.New("certificate: a voter without a seat")
		}
		v.Signers = append(v.Signers, int(vote.Seat))
	}
	return v, nil
}

// parties returns whose credentials a decision under the charter takes, and
// whether each is a signer: submitter, owner and every voter.
func (c *Charter) parties(votes []Vote) (map[admission.Key]bool, error) {
	signers := map[admission.Key]bool{c.Submitter: false, c.Owner: false}
	for _, v := range votes {
		if v.Seat >= uint64(len(c.Roster)) {
			return nil, errors.New("certificate: a voter without a seat")
		}
		signers[c.Roster[v.Seat].Peer] = true
	}
	return signers, nil
}

// Assemble makes the certificate of a decision at height 0: the charter as
// signed and as opened, and exactly the credentials it takes, from a
// look-up of those known. It returns an error if one is missing, and does not
// verify: see Verify.
func Assemble(signed SignedCharter, charter *Charter, known func(admission.Key) (admission.SignedCredential, bool), decision Decision) (*Certificate, error) {
	signers, err := charter.parties(decision.Commits.Votes)
	if err != nil {
		return nil, err
	}
	c := &Certificate{V: Version, Charter: signed, Outcome: decision}
	for key := range signers {
		credential, ok := known(key)
		if !ok || credential.Body.Subject != key {
			return nil, fmt.Errorf("certificate: no credential of %s at hand", key)
		}
		c.Credentials = append(c.Credentials, credential)
	}
	slices.SortFunc(c.Credentials, func(a, b admission.SignedCredential) int {
		return bytes.Compare(a.Body.Subject[:], b.Body.Subject[:])
	})
	return c, nil
}

// checkCredentials wants exactly one credential for submitter, owner and every
// signer, and none beside: no byte is in a certificate that no check covers.
// Who votes is a node of the network from issue to end; who asked belonged to
// it when it asked.
func (c *Certificate) checkCredentials(g admission.Genesis, network admission.Network, charter *Charter) error {
	nodes, err := charter.parties(c.Outcome.Commits.Votes)
	if err != nil {
		return err
	}
	if len(c.Credentials) != len(nodes) {
		return fmt.Errorf("certificate: %d credentials, it takes %d", len(c.Credentials), len(nodes))
	}
	for i, signed := range c.Credentials {
		body := signed.Body
		if i > 0 && string(c.Credentials[i-1].Body.Subject[:]) >= string(body.Subject[:]) {
			return errors.New("certificate: its credentials are not distinct and in order")
		}
		node, wanted := nodes[body.Subject]
		if !wanted {
			return errors.New("certificate: a credential of somebody who has no part in it")
		}
		if err := signed.Check(g, network); err != nil {
			return err
		}
		if !body.ValidAt(charter.Issued) {
			return errors.New("certificate: a credential was not valid when the job was issued")
		}
		if !node {
			continue
		}
		if body.Kind != admission.KindNode || body.Role == admission.RoleObserver {
			return errors.New("certificate: a signer's credential is not that of a node that votes")
		}
		if !body.Covers(charter.Issued, charter.End) {
			return errors.New("certificate: a signer's credential does not last as long as the job")
		}
	}
	return nil
}
