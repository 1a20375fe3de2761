package jobs

// Problem is an error that a person is meant to read: what happened, why, what
// to try, and a stable code.
type Problem struct {
	Code      string
	What      string
	Why       string
	Try       string
	Retryable bool
}

// Error returns what happened and why, in one line.
func (p *Problem) Error() string {
	if p.Why == "" {
		return p.What
	}
	return p.What + ": " + p.Why
}

// The stable codes. The part after MUSTER- says whose problem it is.
const (
	CodeSpecSyntax    = "MUSTER-SPEC-SYNTAX"    // the file does not parse
	CodeSpecKey       = "MUSTER-SPEC-KEY"       // unknown key
	CodeSpecValue     = "MUSTER-SPEC-VALUE"     // a value that cannot be
	CodeSpecFile      = "MUSTER-SPEC-FILE"      // a file that the job names is not there
	CodeModule        = "MUSTER-SPEC-MODULE"    // not a module that can run
	CodeQuorum        = "MUSTER-SPEC-QUORUM"    // a size that fits no f
	CodePlaceCapacity = "MUSTER-PLACE-CAPACITY" // too few nodes have what it needs
	CodePlaceRefused  = "MUSTER-PLACE-REFUSED"  // members refused, with their reasons
	CodePlaceUnknown  = "MUSTER-PLACE-UNKNOWN"  // not acknowledged in time: the job may or may not live
	CodeNotFound      = "MUSTER-NOT-FOUND"
	CodeAmbiguous     = "MUSTER-ID-AMBIGUOUS" // an id prefix that several share
	CodeDenied        = "MUSTER-DENIED"
	CodeNodeDown      = "MUSTER-NODE-DOWN"
	CodeNoNetwork     = "MUSTER-NETWORK-NONE" // this machine is in no network
	CodeTicket        = "MUSTER-TICKET"       // expired, altered, used up, another network's
	CodeConflict      = "MUSTER-CONFLICT"     // done already, or another job under this key
	CodeFile          = "MUSTER-FILE"         // a file or folder of this machine cannot be used
	CodeTimeout       = "MUSTER-TIMEOUT"
	CodeNotDone       = "MUSTER-NOT-DONE" // there is no outcome yet
	CodeCertificate   = "MUSTER-CERT-INVALID"
	CodeUsage         = "MUSTER-USAGE"
	CodeBusy          = "MUSTER-BUSY" // back-pressure
	CodeInternal      = "MUSTER-INTERNAL"
)
