package bft

import "github.com/muster-network/muster/consensus"

// Phase says how far a job is.
type Phase string

// The phases.
const (
	PhaseAccepting Phase = "accepting" // short of q accepts
	PhaseVoided    Phase = "voided"    // the submitter withdrew it before it started
	PhaseRunning   Phase = "running"   // started, no value is valid yet
	PhaseFetching  Phase = "fetching"  // a value is valid, its blocks are on their way
	PhaseAgreeing  Phase = "agreeing"  // votes are being exchanged
	PhaseDecided   Phase = "decided"
)

// Role is what a seat does in a job besides voting.
type Role string

// The roles.
const (
	RoleVoter    Role = "voter"
	RoleExecutor Role = "executor"
	RoleBackup   Role = "backup"
)

// View is a snapshot of a machine for people. Times are Unix milliseconds.
type View struct {
	Phase    Phase
	Round    uint32
	Executed bool // this member's own report is durable
	Seats    []SeatView
	Waiting  []int            // seats whose next word would bring the job on
	Valid    *consensus.Value // the value this member prefers
	Decision *consensus.Decision
}

// SeatView is what this member knows of one seat.
type SeatView struct {
	Role      Role
	Activated bool   // called to execute
	Why       string // a backup was called in
	Accepted  bool
	Refused   string // its reason, if it refused
	Voided    bool
	Started   bool
	Running   bool
	LastBeat  int64 // 0: never heard
	Committed bool  // sent a report commit
	Report    *consensus.Value
	Disagrees bool // its report is not the value that others matched
	Round     uint32
	Prepared  *consensus.Hash // in this member's round
	CommitFor *consensus.Hash // in this member's round
}
