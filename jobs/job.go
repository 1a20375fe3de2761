package jobs

// State is where a job stands, in one vocabulary for people and programs.
type State string

// The states. The last three are terminal, and each of them carries a
// certificate. Refused is the end of a submission that never became a job.
const (
	Pending   State = "pending" // not acknowledged yet
	Accepted  State = "accepted"
	Queued    State = "queued"
	Running   State = "running"
	Agreeing  State = "agreeing"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Cancelled State = "cancelled"
	Refused   State = "refused"
)

// States are all states, in the order of a job's life.
func States() []State {
	return []State{Pending, Accepted, Queued, Running, Agreeing, Succeeded, Failed, Cancelled, Refused}
}

// Terminal reports whether the state is final and certified.
func (s State) Terminal() bool { return s == Succeeded || s == Failed || s == Cancelled }

// Job is what any peer can tell of a job. Times are Unix milliseconds, 0 when
// not yet; what a peer that is no member cannot know is left out.
type Job struct {
	ID         string            `json:"id"`
	Request    string            `json:"request,omitempty"`
	Supersedes string            `json:"supersedes,omitempty"` // the job that this one was retried for
	Name       string            `json:"name,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	State      State             `json:"state"`
	Stalled    *Stalled          `json:"stalled,omitempty"` // a condition beside the state
	Task       string            `json:"task,omitempty"`
	Owner      string            `json:"owner,omitempty"`
	Submitter  string            `json:"submitter,omitempty"`
	Class      string            `json:"class,omitempty"`
	Assurance  string            `json:"assurance,omitempty"`
	Effects    string            `json:"effects,omitempty"` // once or at-least-once, of a task that acts on the world
	Fault      string            `json:"fault,omitempty"`   // byzantine or crash
	Faults     int               `json:"faults"`            // f
	Size       int               `json:"size,omitempty"`    // n
	Quorum     int               `json:"quorum,omitempty"`
	Issued     int64             `json:"issued,omitempty"`
	Deadline   int64             `json:"deadline,omitempty"`
	Finished   int64             `json:"finished,omitempty"` // when the peer that tells learnt the outcome
	Round      int               `json:"round"`
	Members    []Member          `json:"members,omitempty"`
	Replaced   []Replaced        `json:"replaced,omitempty"` // members that lost their seats, in order
	Array      *ArrayState       `json:"array,omitempty"`    // of an array job
	Outcome    *Outcome          `json:"outcome,omitempty"`
	Source     string            `json:"source,omitempty"` // the peer that told
}

// Stalled says that a job cannot go on, and whom it waits for.
type Stalled struct {
	Since   int64    `json:"since"` // Unix milliseconds
	Waiting []string `json:"waiting"`
	Reason  string   `json:"reason"`
}

// Member is one seat of a job's quorum.
type Member struct {
	Peer      string            `json:"peer"`
	Name      string            `json:"name"`
	Role      string            `json:"role"` // executor, backup or voter
	Activated string            `json:"activated,omitempty"`
	Accepted  bool              `json:"accepted"`
	Started   bool              `json:"started"`
	Run       string            `json:"run,omitempty"`     // queued or running
	Granted   uint64            `json:"granted,omitempty"` // of a task that acts: the run that it holds, by its number
	Done      uint64            `json:"done,omitempty"`    // of a run of an array: tasks that have ended
	Report    string            `json:"report,omitempty"`  // a tree's CID, or a failure in words
	Disagrees bool              `json:"disagrees,omitempty"`
	Endorsed  int               `json:"endorsed,omitempty"` // of a job with a check: other members that found its report good, f+1 at most
	Rejected  int               `json:"rejected,omitempty"` // likewise, and bad
	Lied      bool              `json:"lied,omitempty"`     // it is proven to have equivocated in this job
	Differs   []TaskEnd         `json:"differs,omitempty"`  // of an array: what it reports otherwise, the first MaxShown
	Prepared  bool              `json:"prepared,omitempty"`
	Signed    bool              `json:"signed"` // its commit stands in the certificate
	Use       map[string]uint64 `json:"use,omitempty"`
}

// ArrayState is what can be told of the tasks of an array job.
type ArrayState struct {
	Tasks    int       `json:"tasks"`
	Failed   int       `json:"failed,omitempty"`   // once certified
	Failures []TaskEnd `json:"failures,omitempty"` // the first MaxShown of them
}

// MaxShown bounds the tasks of an array that a Job names.
const MaxShown = 100

// TaskEnd is how one task of an array ended.
type TaskEnd struct {
	Index  uint64 `json:"index"` // from 0
	Name   string `json:"name"`
	Kind   string `json:"kind"` // result or failed
	Class  string `json:"class,omitempty"`
	Code   int    `json:"code,omitempty"`
	Result string `json:"result,omitempty"` // the result tree's CID
}

// Replaced is a member that lost its seat to a reserve, by a decision of the
// members before.
type Replaced struct {
	Height uint64 `json:"height"` // at which it was decided
	Seat   int    `json:"seat"`   // from 0
	Peer   string `json:"peer"`
	Name   string `json:"name"`
	By     string `json:"by"` // a peer
	ByName string `json:"by_name"`
}

// Outcome is a certified end.
type Outcome struct {
	Kind   string `json:"kind"`             // result, failed, cancelled
	Class  string `json:"class,omitempty"`  // of failed
	Code   int    `json:"code,omitempty"`   // the program's exit code, the reason of a trap or limit, or how many tasks of an array failed
	Result string `json:"result,omitempty"` // the CID of the result tree, or of the array result
	Signed int    `json:"signed"`           // members that signed
}
