// Package bft is the state machine of one member for one job: accept, start,
// gather evidence, agree on one value (protocol, sections 3 to 6 and 16).
//
// It is pure. It is told the time, receives messages that others have checked,
// and answers with what must now be made durable, done and said, in this order:
//
//	Input --Step--> Ready{Records, Do, Say, Wake}
//
// The caller appends Records and syncs, then starts Do, then sends Say, some of it to
// members of a height that Do has told of, and gives a Tick at Wake. What this member
// signs counts here only when it comes back as a Message from its own seat: then it is
// durable and has a proof.
//
// Peers are named by party (see consensus.Height): a party is the same peer in
// every height of a job; a seat may change hands.
//
// The parts: start.go (accept, started, witness, void), execution.go (runs,
// beats, backups, commit and reveal), evidence.go (reports, and which values
// they make valid), normal.go and endorse.go (by what ends come to, or by a
// check), effects.go (one run at a time, of what acts on the world), blocks.go
// (what must be fetched), agreement.go (rounds), votes.go (who said what in a
// round), current.go (what is said again, and what is answered once the job is
// decided), suspect.go (who is lost, and who would take its seat), heights.go
// (one roster after the other), record.go (what is durable, and how it is read
// back), view.go (for people).
package bft

import (
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

// Timing holds durations in milliseconds.
type Timing struct {
	Beat     int64 // between two beats of an executor
	Round    int64 // T0: how long round 0 may last once a value is valid
	RoundMax int64 // no round lasts longer
	Timeout  int64 // of one run
	Check    int64 // of one run of the check, under assurance endorsed
	Patience int64 // silence after which a member is suspected; 0: nobody is
}

// Config is what a machine is made of.
type Config struct {
	Network admission.Network
	Genesis admission.Genesis
	Job     consensus.JobID
	Charter *consensus.Charter // validated
	Self    int                // own party
	Runners []int              // seats that may execute, in roster order: the first begin, the others are backups
	Spares  []int              // reserves that may execute, as parties
	Timing  Timing
	Salt    [16]byte // secret from which the salts of this member's reports are derived
}

// Input is what Step takes: one of the types below.
type Input interface{ input() }

// AcceptJob says that this member has charter, spec, task and inputs durable,
// and accepts.
type AcceptJob struct{}

// Witnessed says that this member has the charter durable and was shown q
// accepts and the handovers so far, checked: it votes, and need not execute, or
// stands by where it is a reserve. They come with it, since a job whose deadline
// has passed is forgotten unless it starts.
type Witnessed struct {
	Accepts []consensus.Vote
	Chain   []consensus.Decision
}

// Message is a checked message: the sender is the party, in the incarnation that
// the charter names but for Gone, and everything in it is verified. What belongs
// to a height was said by a member of that height. From is -1 for a note that
// somebody relays whom the charter does not name.
type Message struct {
	From    int
	Kind    consensus.Kind // 0 for a note
	Note    consensus.Note // 0 for a signed statement
	Height  uint64
	Round   uint32
	Value   consensus.Hash
	Proof   consensus.Proof    // of a signed statement
	Payload *consensus.Payload // nil when empty
}

// SubmitterVoid is the submitter's signed Void, verified, from itself.
type SubmitterVoid struct{ Void consensus.Void }

// CancelWish is a verified wish of owner or authority that the job end.
type CancelWish struct{ Cancel consensus.Cancel }

// Ran says that an own run ended, and that its tree is durable here. Begun says of one
// that came to nothing (timed out, or the host failed) that the program may have begun: under
// once nobody knows how far it came, and no other run may follow it.
type Ran struct {
	Run    uint64
	Value  consensus.Value
	Normal *consensus.Hash // what a matched value comes to, under assurance majority-equal
	Begun  bool
	Use    map[string]uint64
}

// RunState says where an own run stands: queued or running, and of the run of an
// array how many tasks have ended, which the others are told by the next beat.
type RunState struct {
	Run     uint64
	Running bool
	Done    uint64
}

// Checked says what the check that was asked for found of a value. A machine that
// could not run it says nothing.
type Checked struct {
	Value    consensus.Hash
	Endorses bool
}

// Held says that all blocks of a value are durable here, and that it comes to one of
// the forms of the Fetch that it answers, where that had some.
type Held struct {
	Value   consensus.Hash
	Normals []consensus.Hash
}

// Revoked says that the credential of a party was revoked, verified: its place may
// be taken at once. What it says counts on until then (protocol, section 10).
type Revoked struct{ Party int }

// Tick says that time has passed, and nothing else.
type Tick struct{}

func (AcceptJob) input()     {}
func (Witnessed) input()     {}
func (Message) input()       {}
func (SubmitterVoid) input() {}
func (CancelWish) input()    {}
func (Ran) input()           {}
func (RunState) input()      {}
func (Checked) input()       {}
func (Held) input()          {}
func (Revoked) input()       {}
func (Tick) input()          {}

// Ready is what the caller must now do, in the order of the fields.
type Ready struct {
	Records []Record   // append and sync, atomically
	Do      []Effect   // then start
	Say     []Outgoing // then send
	Wake    int64      // give a Tick at this time (Unix ms); 0: none is wanted
}

// RecordKind says what a record holds.
type RecordKind uint8

// Record is one entry of a machine's journal: canonical dag-cbor.
type Record struct {
	Kind RecordKind
	Data []byte
}

// Outgoing is something to say. The caller fills in and signs the statement.
type Outgoing struct {
	To        []int // parties; nil: the charter's roster, self included; empty but not nil: no member
	Submitter bool  // also to the submitter
	Kind      consensus.Kind
	Note      consensus.Note
	Height    uint64         // of what belongs to a height
	Previous  consensus.Hash // above height 0: the decision that the statement is bound to
	Round     uint32
	Value     consensus.Hash
	Payload   *consensus.Payload
}

// Effect is something to do: one of the types below. Doing one twice must be
// harmless: a restored machine asks again.
type Effect interface{ effect() }

// Execute asks to reserve resources and run; then Ran.
type Execute struct{ Run uint64 }

// Fetch asks to make a value's blocks durable; then Held. It is repeated when
// the fetch takes long and others claim to hold them than were asked.
type Fetch struct {
	Value   consensus.Value
	Hash    consensus.Hash
	Normals []consensus.Hash // the value must come to one of these to be held; none: to anything
	From    []int            // parties that claim to hold the blocks
}

// Check asks to run the job's check on a value whose blocks are durable here; then
// Checked. It is repeated when no verdict comes.
type Check struct {
	Value consensus.Value
	Hash  consensus.Hash
}

// StartedJob says that q accepts are durable.
type StartedJob struct{}

// Reached says that members were replaced, durably: Height is the one that
// follows.
type Reached struct{ Height consensus.Height }

// Decided says that the job has its outcome, durable in Records of this Ready
// or an earlier one.
type Decided struct{ consensus.Conclusion }

// Abandon gives up the job's place in the queue: accept_by passed without q
// accepts. Charter and accepts are kept: late accepts still start the job.
type Abandon struct{}

// Expire forgets a job that never started here, when its deadline has passed, or
// for which this node stood by and was not needed.
type Expire struct{}

// Equivocation reports two different statements for one slot, by the holder of a
// seat, said here or shown by others. It is told once for each holder, also after
// Decided.
type Equivocation struct {
	Seat          int
	First, Second consensus.Signed
}

// Disagreement reports, before Decided, a party's signed report that the outcome
// contradicts; of each party one.
type Disagreement struct{ Report consensus.SignedReport }

func (Execute) effect()      {}
func (Fetch) effect()        {}
func (Check) effect()        {}
func (StartedJob) effect()   {}
func (Reached) effect()      {}
func (Decided) effect()      {}
func (Abandon) effect()      {}
func (Expire) effect()       {}
func (Equivocation) effect() {}
func (Disagreement) effect() {}
