package bft

import "github.com/muster-network/muster/consensus"

// Machine is one member's state for one job. It is not safe for concurrent use.
type Machine struct {
	cfg      Config
	decision *consensus.Decision
}

// New returns the machine of a job of which nothing is durable yet.
func New(cfg Config) *Machine { return &Machine{cfg: cfg} }

// Restore rebuilds a machine from the records that were durable, oldest first.
// The Ready holds what must be said and done again.
func Restore(cfg Config, records []Record, now int64) (*Machine, Ready, error) {
	return New(cfg), Ready{}, nil
}

// Step applies one input at a time in Unix milliseconds and returns what the
// caller must now do. It neither blocks nor reads a clock.
func (m *Machine) Step(now int64, in Input) Ready { return Ready{} }

// Current returns what this member would say now to a seat that has heard
// nothing.
func (m *Machine) Current(to int) []Outgoing { return nil }

// Done reports whether the job is decided.
func (m *Machine) Done() bool { return m.decision != nil }

// View returns a snapshot for people.
func (m *Machine) View() View { return View{} }
