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
	Chain       []Decision                   `cbor:"chain"`       // of the heights that changed the roster: all but the last
	Outcome     Decision                     `cbor:"outcome"`
}

// Verdict is what a certificate that verified says. The draw is not among it:
// see the election package.
type Verdict struct {
	Network   admission.Network
	Genesis   admission.Genesis
	Job       JobID
	Charter   *Charter
	Height    Height // of the outcome: its members, and who was replaced before
	Value     Value
	ValueHash Hash
	Round     uint32
	Signers   []int // seats of that height, ascending
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
	v, err := c.read(g, network, SignedCharter.Open, Proof.Check)
	if err != nil {
		return Verdict{}, err
	}
	if err := c.checkCredentials(g, network, v.Charter); err != nil {
		return Verdict{}, err
	}
	return v, nil
}

// Read is Verify without the signatures: for a certificate that was verified, or
// made of verified votes, before it was kept.
func (c *Certificate) Read(g admission.Genesis, network admission.Network) (Verdict, error) {
	return c.read(g, network, SignedCharter.Read, func(Proof, Statement) error { return nil })
}

func (c *Certificate) read(g admission.Genesis, network admission.Network,
	open func(SignedCharter, admission.Network) (*Charter, JobID, error), proof func(Proof, Statement) error) (Verdict, error) {
	if c.V != Version {
		return Verdict{}, fmt.Errorf("certificate: version %d: %w", c.V, ErrUnsupported)
	}
	charter, job, err := open(c.Charter, network)
	if err != nil {
		return Verdict{}, err
	}
	last, err := Conclusion{c.Chain, c.Outcome}.Check(FirstHeight(network, job, charter), proof)
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{Network: network, Genesis: g, Job: job, Charter: charter, Height: last,
		Value: c.Outcome.Value, ValueHash: c.Outcome.Commits.Value, Round: c.Outcome.Commits.Round}
	for _, vote := range c.Outcome.Commits.Votes {
		v.Signers = append(v.Signers, int(vote.Seat))
	}
	return v, nil
}

// signatories returns whose credentials the decisions of all heights take, and
// whether each is a signer: submitter, owner and every voter.
func (c *Charter) signatories(decisions []Decision) (map[admission.Key]bool, error) {
	signers := map[admission.Key]bool{c.Submitter: false, c.Owner: false}
	at := FirstHeight(admission.Network{}, JobID{}, c) // who has a seat does not hang on names
	for _, d := range decisions {
		for _, v := range d.Commits.Votes {
			if v.Seat >= uint64(len(at.Members)) {
				return nil, errors.New("certificate: a voter without a seat")
			}
			signers[at.Holder(int(v.Seat)).Peer] = true
		}
		if d.Value.Kind != Handover {
			continue
		}
		next, err := at.Next(d.Value)
		if err != nil {
			return nil, err
		}
		at = next
	}
	return signers, nil
}

// Assemble makes the certificate of an outcome and of the handovers before it:
// the charter as signed and as opened, and exactly the credentials it takes, from
// a look-up of those known. It returns an error if one is missing, and does not
// verify: see Verify.
func Assemble(signed SignedCharter, charter *Charter, known func(admission.Key) (admission.SignedCredential, bool),
	chain []Decision, outcome Decision) (*Certificate, error) {
	c := &Certificate{V: Version, Charter: signed, Chain: chain, Outcome: outcome}
	signers, err := charter.signatories(c.decisions())
	if err != nil {
		return nil, err
	}
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

// decisions are those of all heights, in order.
func (c *Certificate) decisions() []Decision { return append(slices.Clone(c.Chain), c.Outcome) }

// checkCredentials wants exactly one credential for submitter, owner and every
// signer, and none beside: no byte is in a certificate that no check covers.
// Who votes is a node of the network from issue to end; who asked belonged to
// it when it asked.
func (c *Certificate) checkCredentials(g admission.Genesis, network admission.Network, charter *Charter) error {
	nodes, err := charter.signatories(c.decisions())
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
