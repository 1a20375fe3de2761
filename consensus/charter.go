package consensus

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// MaxCharter bounds a sealed charter, in bytes.
const MaxCharter = 8 << 10

// Class says on which machines a task's runs can match: "portable", or
// "arch/<GOARCH>" (protocol, section 5).
type Class string

// Portable is the class of modules without floating-point instructions.
const Portable Class = "portable"

// Assurance names what a result's agreement rests on.
type Assurance string

// Replicated: f+1 members ran a deterministic task and their results match.
//
// The others are for tasks whose runs may differ, and claim less (protocol,
// section 5). Single: the members agree on what one of them reported, and nobody
// checked the run; with n = 1 there is no other. MajorityEqual: f+1 members ran
// the task, and by the comparison that the spec names their ends are equal.
// Endorsed: one member ran the task, and f+1 others ran the check that the spec
// names on what it left, which found it good.
const (
	Replicated    Assurance = "replicated"
	Single        Assurance = "single"
	MajorityEqual Assurance = "majority-equal"
	Endorsed      Assurance = "endorsed"
)

// Effects says that a task acts on the world, and what becomes of a run that was
// cut off (protocol, section 8). One member at a time runs such a task, in a run
// that q members granted, and the assurance is single: nobody can check by
// running it again.
type Effects string

// Once: a run is followed by another only when its executor has signed that it
// is over; else the job is stalled. AtLeastOnce: it is also followed by another
// when its executor is lost.
const (
	Once        Effects = "once"
	AtLeastOnce Effects = "at-least-once"
)

// Needs are what a node must have: labels (sorted) and quantities (milli-CPU,
// bytes, count).
type Needs struct {
	_          struct{} `cbor:",toarray"`
	Labels     []string
	Quantities map[string]uint64
}

// Limits bound a job, in bytes.
type Limits struct {
	_      struct{} `cbor:",toarray"`
	Input  uint64   // module and inputs together
	Output uint64   // result tree: its blocks as often as it names them
	Stream uint64   // stdout, and stderr
}

// Seat is a place in a roster: who, and in which life of its memory.
type Seat struct {
	_           struct{} `cbor:",toarray"`
	Peer        admission.Key
	Incarnation admission.Incarnation
}

// Charter is everything a quorum must know to begin. The network stands in the
// seal around it. Times are Unix milliseconds.
type Charter struct {
	V          uint64                 `cbor:"v"`
	Issued     int64                  `cbor:"issued"`
	AcceptBy   int64                  `cbor:"accept_by"`
	StartBy    int64                  `cbor:"start_by"`
	Deadline   int64                  `cbor:"deadline"`
	End        int64                  `cbor:"end"`
	Request    RequestID              `cbor:"request"`
	Attempt    uint64                 `cbor:"attempt"`
	Owner      admission.Key          `cbor:"owner"`
	Project    string                 `cbor:"project"`
	Submitter  admission.Key          `cbor:"submitter"`
	Spec       dagcbor.Link           `cbor:"spec"`
	Task       dagcbor.Link           `cbor:"task"`
	Class      Class                  `cbor:"class"`
	Assurance  Assurance              `cbor:"assurance"`
	Effects    Effects                `cbor:"effects,omitempty"` // none: a run does nothing but compute
	Limits     Limits                 `cbor:"limits"`
	Needs      Needs                  `cbor:"needs"`
	RunNeeds   Needs                  `cbor:"run_needs"`
	Runners    uint64                 `cbor:"runners"`
	Timeout    int64                  `cbor:"timeout"` // of one run, milliseconds
	Policy     Hash                   `cbor:"policy"`
	Fault      Fault                  `cbor:"fault"`
	F          uint64                 `cbor:"f"`
	Replace    uint64                 `cbor:"replace"`
	Roll       dagcbor.Link           `cbor:"roll"`
	Period     uint64                 `cbor:"period"`
	Nonce      Hash                   `cbor:"nonce"`
	Beacon     []byte                 `cbor:"beacon"`
	Roster     []Seat                 `cbor:"roster"`
	Reserves   []Seat                 `cbor:"reserves"`
	Cause      *dagcbor.Link          `cbor:"cause,omitempty"`
	Supersedes *JobID                 `cbor:"supersedes,omitempty"`
	Sealed     []byte                 `cbor:"sealed,omitempty"`
	Crit       []string               `cbor:"crit"`
	Ext        map[string]dagcbor.Raw `cbor:"ext"`
}

// ErrUnsupported is returned for a charter that asks for what this version does
// not know.
var ErrUnsupported = errors.New("unsupported")

// Validate checks the form of a charter, and nothing that needs a clock, a
// roll or a signature.
func (c *Charter) Validate() error {
	if c.V != Version {
		return fmt.Errorf("charter: version %d: %w", c.V, ErrUnsupported)
	}
	if len(c.Crit) > 0 {
		return fmt.Errorf("charter: critical extension %q: %w", c.Crit[0], ErrUnsupported)
	}
	t, err := c.thresholds()
	if err != nil {
		return fmt.Errorf("charter: %w", err)
	}
	switch {
	case c.Issued <= 0 || c.AcceptBy < c.Issued || c.StartBy < c.AcceptBy || c.Deadline < c.StartBy || c.End < c.Deadline:
		return errors.New("charter: issued, accept_by, start_by, deadline and end are out of order")
	case c.End-c.Issued > 10*365*24*3_600_000:
		return errors.New("charter: it lasts for more than ten years")
	case c.Timeout <= 0 || c.Timeout > c.Deadline-c.Issued:
		return errors.New("charter: a timeout between 1 ms and the deadline")
	case c.Attempt > 3:
		return fmt.Errorf("charter: attempt %d of at most 3", c.Attempt)
	case !namedBySHA256(c.Spec) || !namedBySHA256(c.Task) || !namedBySHA256(c.Roll):
		return errors.New("charter: spec, task and roll are named by SHA-256")
	case len(c.Project) > 128 || len(c.Class) > 64:
		return errors.New("charter: project or class too long")
	case c.Assurance != Replicated && c.Assurance != Single && c.Assurance != MajorityEqual && c.Assurance != Endorsed:
		return fmt.Errorf("charter: assurance %q: %w", c.Assurance, ErrUnsupported)
	case c.Effects != "" && c.Effects != Once && c.Effects != AtLeastOnce:
		return fmt.Errorf("charter: effects %q: %w", c.Effects, ErrUnsupported)
	case c.Effects != "" && c.Assurance != Single:
		return errors.New("charter: what acts on the world runs on one member at a time: the assurance is single")
	case t.N == 1 && c.Assurance != Single:
		return errors.New("charter: with n = 1 the assurance is single")
	case c.Assurance == MajorityEqual && t.Match == 1:
		return errors.New("charter: where one report counts there is nothing to be equal to")
	case c.Assurance == Endorsed && c.Fault != Byzantine:
		return errors.New("charter: members that cannot lie have no need of others' check")
	case len(c.Beacon) != 0:
		return fmt.Errorf("charter: beacon: %w", ErrUnsupported)
	case len(c.Roster) != t.N:
		return fmt.Errorf("charter: roster of %d, f = %d asks for %d", len(c.Roster), c.F, t.N)
	case len(c.Reserves) > int(c.F):
		return errors.New("charter: more than f reserves")
	case c.Replace > c.F:
		return errors.New("charter: more than f replacements")
	case c.Runners < uint64(t.Match) || c.Runners > uint64(t.N):
		return fmt.Errorf("charter: runners between %d, which must match, and n", t.Match)
	case c.Limits.Input > 1<<40 || c.Limits.Output > 1<<40 || c.Limits.Stream > 1<<30:
		return errors.New("charter: limits too large")
	}
	if err := c.Needs.validate(); err != nil {
		return fmt.Errorf("charter: needs: %w", err)
	}
	if err := c.RunNeeds.validate(); err != nil {
		return fmt.Errorf("charter: run_needs: %w", err)
	}
	return c.validateKeys()
}

// validateKeys wants roster and reserves distinct, and no key of small order.
func (c *Charter) validateKeys() error {
	if err := c.Submitter.Check(); err != nil {
		return fmt.Errorf("charter: submitter: %w", err)
	}
	if err := c.Owner.Check(); err != nil {
		return fmt.Errorf("charter: owner: %w", err)
	}
	seen := map[admission.Key]bool{}
	for _, seat := range slices.Concat(c.Roster, c.Reserves) {
		if err := seat.Peer.Check(); err != nil {
			return fmt.Errorf("charter: roster: %w", err)
		}
		if seen[seat.Peer] {
			return errors.New("charter: a peer has two seats")
		}
		seen[seat.Peer] = true
	}
	return nil
}

func (n Needs) validate() error {
	if len(n.Labels) > 32 || len(n.Quantities) > 32 {
		return errors.New("at most 32 labels and 32 quantities")
	}
	for i, l := range n.Labels {
		if l == "" || len(l) > 128 || i > 0 && n.Labels[i-1] >= l {
			return errors.New("labels have 1 to 128 bytes, sorted, none twice")
		}
	}
	for name := range n.Quantities {
		if name == "" || len(name) > 64 {
			return errors.New("quantities have names of 1 to 64 bytes")
		}
	}
	return nil
}

// Thresholds returns the numbers of a valid charter.
func (c *Charter) Thresholds() Thresholds {
	t, err := c.thresholds()
	if err != nil {
		panic(err) // a charter is validated before use
	}
	return t
}

// thresholds are those of the fault model; under assurance single, and with a
// check, under endorsed, one report makes a value valid.
func (c *Charter) thresholds() (Thresholds, error) {
	t, err := c.Fault.For(c.F)
	if c.Assurance == Single || c.Assurance == Endorsed {
		t.Match = 1
	}
	return t, err
}

// Place returns the index of a peer in the roster, or -1.
func (c *Charter) Place(peer admission.Key) int {
	return slices.IndexFunc(c.Roster, func(s Seat) bool { return s.Peer == peer })
}

// SignedCharter is a charter's sealed bytes with its signatures. The bytes are
// kept as they came: their hash is the job id.
type SignedCharter struct {
	_         struct{} `cbor:",toarray"`
	Bytes     []byte
	Submitter admission.Signature
	Owner     *admission.Signature // when the owner is another key: over OwnerStatement
}

// SignCharter validates, seals and signs c for the submitter.
func SignCharter(network admission.Network, c *Charter, signer admission.Signer) (SignedCharter, JobID, error) {
	if err := c.Validate(); err != nil {
		return SignedCharter{}, JobID{}, err
	}
	data, err := dagcbor.Seal(TagCharter, network[:], c)
	if err != nil {
		return SignedCharter{}, JobID{}, err
	}
	if len(data) > MaxCharter {
		return SignedCharter{}, JobID{}, fmt.Errorf("charter: %d bytes, at most %d", len(data), MaxCharter)
	}
	return SignedCharter{Bytes: data, Submitter: signer.Sign(data)}, JobID(dagcbor.Sum(data)), nil
}

// Open decodes, validates and verifies the charter for network, and returns it
// with its job id.
func (s SignedCharter) Open(network admission.Network) (*Charter, JobID, error) {
	c, job, err := s.Read(network)
	if err != nil {
		return nil, JobID{}, err
	}
	if !c.Submitter.Verify(s.Bytes, s.Submitter) {
		return nil, JobID{}, fmt.Errorf("charter: submitter: %w", admission.ErrSignature)
	}
	if err := s.checkOwner(network, c); err != nil {
		return nil, JobID{}, err
	}
	return c, job, nil
}

// Read is Open without the signatures: for a charter that was opened before it
// was kept.
func (s SignedCharter) Read(network admission.Network) (*Charter, JobID, error) {
	if len(s.Bytes) > MaxCharter {
		return nil, JobID{}, fmt.Errorf("charter: %d bytes, at most %d", len(s.Bytes), MaxCharter)
	}
	c := new(Charter)
	if err := dagcbor.Unseal(TagCharter, network[:], s.Bytes, c); err != nil {
		return nil, JobID{}, fmt.Errorf("charter: %w", err)
	}
	if err := c.Validate(); err != nil {
		return nil, JobID{}, err
	}
	return c, JobID(dagcbor.Sum(s.Bytes)), nil
}

func (s SignedCharter) checkOwner(network admission.Network, c *Charter) error {
	if c.Owner == c.Submitter {
		if s.Owner != nil {
			return errors.New("charter: an owner's signature where the submitter is the owner")
		}
		return nil
	}
	if s.Owner == nil {
		return errors.New("charter: the owner has not signed")
	}
	data, err := OwnerStatement(network, c)
	if err != nil {
		return err
	}
	if !c.Owner.Verify(data, *s.Owner) {
		return fmt.Errorf("charter: owner: %w", admission.ErrSignature)
	}
	return nil
}

// OwnerStatement is what an owner signs who lets another key submit: {task,
// spec, fault, f, request, accept_by}.
func OwnerStatement(network admission.Network, c *Charter) ([]byte, error) {
	return dagcbor.Seal(TagOwner, network[:], struct {
		_        struct{} `cbor:",toarray"`
		Task     dagcbor.Link
		Spec     dagcbor.Link
		Fault    Fault
		F        uint64
		Request  RequestID
		AcceptBy int64
	}{Task: c.Task, Spec: c.Spec, Fault: c.Fault, F: c.F, Request: c.Request, AcceptBy: c.AcceptBy})
}

// Equal reports whether two needs ask for the same.
func (n Needs) Equal(o Needs) bool {
	return slices.Equal(n.Labels, o.Labels) && maps.Equal(n.Quantities, o.Quantities)
}
