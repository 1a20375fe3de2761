package admission

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/muster-network/muster/store/dagcbor"
)

// Tags of what this package seals.
const (
	TagGenesis    = "muster/genesis/1"
	TagPolicy     = "muster/policy/1"
	TagCredential = "muster/credential/1"
	TagInvite     = "muster/invite/1"
	TagRevocation = "muster/revocation/1"
	TagDoor       = "muster/door/1"
)

// Version of the formats in this package.
const Version = 1

// Genesis begins a network. Its sealed bytes hash to the network's id, so it
// can never change; what may change is a Policy.
type Genesis struct {
	V           uint64 `cbor:"v"`
	Name        string `cbor:"name"`
	Created     int64  `cbor:"created"` // Unix milliseconds
	Nonce       []byte `cbor:"nonce"`   // 16 random bytes: two networks of one name differ
	Authorities []Key  `cbor:"authorities"`
	Testnet     bool   `cbor:"testnet"` // nodes may be told to lie
	Policy      Policy `cbor:"policy"`  // number 0
}

// Policy is what a network asks of its members: numbered, and named by digest
// in every charter. Times are milliseconds.
type Policy struct {
	Number      uint64 `cbor:"number"`
	Size        uint64 `cbor:"size"`         // default quorum size
	Crash       bool   `cbor:"crash"`        // default fault model is crash-only
	Accept      int64  `cbor:"accept"`       // from issue to accept_by
	Start       int64  `cbor:"start"`        // from issue to start_by
	Deadline    int64  `cbor:"deadline"`     // longest and default life of a job
	Retain      int64  `cbor:"retain"`       // from issue to end: how long results are kept
	Beat        int64  `cbor:"beat"`         // between Running messages
	Round       int64  `cbor:"round"`        // T0, the timer of round 0
	RoundMax    int64  `cbor:"round_max"`    // most that a round timer grows to
	Resend      int64  `cbor:"resend"`       // first back-off of unanswered messages
	Stalled     int64  `cbor:"stalled"`      // unreachable members for this long: stalled
	Advert      int64  `cbor:"advert"`       // between capacity adverts
	RollAge     int64  `cbor:"roll_age"`     // most age of a roll
	Settle      int64  `cbor:"settle"`       // seen continuously for this long: must be in a roll
	MaxJobs     uint64 `cbor:"max_jobs"`     // open jobs a member holds
	MaxOpen     uint64 `cbor:"max_open"`     // open charters for each submitter
	MaxInput    uint64 `cbor:"max_input"`    // bytes of inputs, modules included
	MaxOutput   uint64 `cbor:"max_output"`   // bytes of a result tree
	MaxStream   uint64 `cbor:"max_stream"`   // bytes kept of stdout, and of stderr
	MaxMemory   uint64 `cbor:"max_memory"`   // bytes for one run
	MaxTimeout  int64  `cbor:"max_timeout"`  // longest run
	ByCapacity  bool   `cbor:"by_capacity"`  // draw by advertised capacity
	Spread      bool   `cbor:"spread"`       // no two members of one owner or address group
	NoSubmitter bool   `cbor:"no_submitter"` // the submitter is never drawn
}

// DefaultPolicy is the policy of a network whose founder asked for nothing else.
func DefaultPolicy() Policy {
	return Policy{
		Size: 4, Accept: 10_000, Start: 60_000, Deadline: 3_600_000, Retain: 30 * 24 * 3_600_000,
		Beat: 1_000, Round: 1_000, RoundMax: 60_000, Resend: 500, Stalled: 10_000,
		Advert: 5_000, RollAge: 60_000, Settle: 60_000,
		MaxJobs: 4_096, MaxOpen: 2_048, MaxInput: 256 << 20, MaxOutput: 256 << 20,
		MaxStream: 1 << 20, MaxMemory: 1 << 30, MaxTimeout: 3_600_000,
	}
}

// Validate refuses a policy under which no job could end.
func (p Policy) Validate() error {
	for _, field := range []struct {
		name  string
		value int64
	}{
		{"accept", p.Accept}, {"start", p.Start}, {"deadline", p.Deadline}, {"retain", p.Retain},
		{"beat", p.Beat}, {"round", p.Round}, {"round_max", p.RoundMax}, {"resend", p.Resend},
		{"stalled", p.Stalled}, {"advert", p.Advert}, {"roll_age", p.RollAge}, {"settle", p.Settle},
		{"max_timeout", p.MaxTimeout},
	} {
		if field.value <= 0 || field.value > 10*365*24*3_600_000 {
			return fmt.Errorf("policy: %s of %d ms", field.name, field.value)
		}
	}
	for _, field := range []struct {
		name  string
		value uint64
	}{
		{"size", p.Size}, {"max_jobs", p.MaxJobs}, {"max_open", p.MaxOpen}, {"max_input", p.MaxInput},
		{"max_output", p.MaxOutput}, {"max_stream", p.MaxStream}, {"max_memory", p.MaxMemory},
	} {
		if field.value == 0 || field.value > 1<<40 {
			return fmt.Errorf("policy: %s is %d", field.name, field.value)
		}
	}
	step := uint64(3)
	if p.Crash {
		step = 2
	}
	switch {
	case p.Size > maxSize || (p.Size-1)%step != 0:
		return fmt.Errorf("policy: size %d fits no number of faults", p.Size)
	case p.Start < p.Accept || p.Deadline < p.Start || p.Retain < p.Deadline:
		return errors.New("policy: accept, start, deadline and retain are out of order")
	case p.RoundMax < p.Round:
		return errors.New("policy: round_max is less than round")
	}
	return nil
}

// Digest is what charters carry of the policy in force.
func (p Policy) Digest(network Network) ([32]byte, error) {
	data, err := dagcbor.Seal(TagPolicy, network[:], p)
	if err != nil {
		return [32]byte{}, err
	}
	return dagcbor.Sum(data), nil
}

// Seal checks the genesis and returns its bytes and the id they give.
func (g Genesis) Seal() ([]byte, Network, error) {
	if err := g.validate(); err != nil {
		return nil, Network{}, err
	}
	data, err := dagcbor.Seal(TagGenesis, nil, g)
	if err != nil {
		return nil, Network{}, err
	}
	return data, Network(dagcbor.Sum(data)), nil
}

// OpenGenesis decodes and checks a genesis and returns the id of its network.
func OpenGenesis(data []byte) (Genesis, Network, error) {
	var g Genesis
	if len(data) > maxGenesis {
		return g, Network{}, fmt.Errorf("genesis of %d bytes, at most %d", len(data), maxGenesis)
	}
	if err := dagcbor.Unseal(TagGenesis, nil, data, &g); err != nil {
		return g, Network{}, fmt.Errorf("genesis: %w", err)
	}
	if err := g.validate(); err != nil {
		return g, Network{}, err
	}
	return g, Network(dagcbor.Sum(data)), nil
}

const (
	maxGenesis     = 16 << 10
	maxAuthorities = 32
	maxName        = 64
	maxSize        = 31 // of a quorum
)

func (g Genesis) validate() error {
	switch {
	case g.V != Version:
		return fmt.Errorf("genesis: version %d is not known", g.V)
	case g.Name == "" || len(g.Name) > maxName || strings.ContainsFunc(g.Name, func(r rune) bool { return !Printable(r) }):
		return fmt.Errorf("genesis: a name has 1 to %d bytes that print", maxName)
	case len(g.Nonce) != 16:
		return errors.New("genesis: a nonce has 16 bytes")
	case len(g.Authorities) == 0 || len(g.Authorities) > maxAuthorities:
		return fmt.Errorf("genesis: 1 to %d authorities", maxAuthorities)
	case g.Policy.Number != 0:
		return errors.New("genesis: its policy has number 0")
	}
	seen := map[Key]bool{}
	for _, a := range g.Authorities {
		if err := a.Check(); err != nil {
			return fmt.Errorf("genesis: authority: %w", err)
		}
		if seen[a] {
			return errors.New("genesis: an authority stands twice")
		}
		seen[a] = true
	}
	return g.Policy.Validate()
}

// Authority reports whether k is one of the genesis's authorities.
func (g Genesis) Authority(k Key) bool {
	return slices.Contains(g.Authorities, k)
}
