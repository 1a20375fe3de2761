package member

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
)

// Keys of the journal:
//
//	c/<job>         an open job's charter, as it was offered
//	d/<job>         a job that ended: its certificate and what the seats did
//	q/<request><owner><time><job>
//	                a job under a request id, by owner, that issued last first: it
//	                lives. A request id is made of its owner's key and of words that
//	                nobody else knows, so a charter of another's with the same id
//	                may be anybody's: it never stands before the owner's
//	t/<time><job>   jobs that ended, newest first, with a line for lists
//	b/<member><number>
//	                a job that ended elsewhere and that a member of it brought,
//	                in order: the oldest goes when there are too many
//	k/<job><number> a checkpoint of an open array job: the block that it is
//
// The records of agreement (r/<job><number>) are the agreement's own; they,
// c/<job> and k/<job> go when d/<job> comes, so that a restart reads only open jobs:
// in one append, or, of a job that was waiting to be resumed, after it.
var (
	prefixOpen    = []byte("c/")
	prefixDone    = []byte("d/")
	prefixRequest = []byte("q/")
	prefixTime    = []byte("t/")
	prefixCopy    = []byte("b/")

	prefixCheckpoint = []byte("k/")
	prefixRecords    = []byte("r/")
)

func keyOf(prefix []byte, id [32]byte) []byte {
	return append(append(make([]byte, 0, len(prefix)+len(id)), prefix...), id[:]...)
}

func timeKey(at int64, id consensus.JobID) []byte { return newestFirst(prefixTime, at, id) }

// requestKey orders an owner's jobs of a request: a retry's comes before that which
// it supersedes, whichever is archived last.
func requestKey(c *consensus.Charter, id consensus.JobID) []byte {
	return newestFirst(ownerKey(c.Request, c.Owner), c.Issued, id)
}

func ownerKey(request consensus.RequestID, owner admission.Key) []byte {
	return append(keyOf(prefixRequest, request), owner[:]...)
}

func newestFirst(prefix []byte, at int64, id consensus.JobID) []byte {
	key := binary.BigEndian.AppendUint64(append([]byte(nil), prefix...), ^uint64(at))
	return append(key, id[:]...)
}

// openRecord is what c/<job> holds.
type openRecord struct {
	_       struct{} `cbor:",toarray"`
	Offer   consensus.Offer
	Witness bool
}

// Closed is a job that ended: what d/<job> holds.
type Closed struct {
	_           struct{} `cbor:",toarray"`
	Certificate []byte
	Finished    int64 // Unix milliseconds, by this node's clock
	Name        string
	Labels      map[string]string
	Tasks       uint64 // of an array job
	Seats       []Seat
	Copied      bool // kept for others: this node was no member
}

// Seat is what became of one seat of a job that ended.
type Seat struct {
	_         struct{} `cbor:",toarray"`
	Role      string
	Activated string
	Accepted  bool
	Started   bool
	Report    string
	Disagrees bool
	Prepared  bool
	Use       map[string]uint64
	Checked   *Verdicts `cbor:",omitempty"` // of a job with a check
}

// Verdicts count the other members that found what a seat reported good, or bad.
type Verdicts struct {
	_        struct{} `cbor:",toarray"`
	Endorsed uint64
	Rejected uint64
}

// Check bounds what is told beside a certificate: what a member tells stays within.
func (c *Closed) Check() error {
	if err := jobs.CheckName(c.Name, c.Labels); err != nil {
		return err
	}
	if len(c.Seats) > consensus.MaxRoster {
		return fmt.Errorf("%d seats, at most %d", len(c.Seats), consensus.MaxRoster)
	}
	for _, s := range c.Seats {
		if max(len(s.Role), len(s.Activated), len(s.Report)) > maxSeatWords {
			return fmt.Errorf("what is told of a seat has at most %d bytes", maxSeatWords)
		}
		if err := consensus.CheckUse(s.Use); err != nil {
			return err
		}
	}
	return nil
}

// maxSeatWords bounds each text about a seat: a role, a report's link, or why it was
// activated, in bytes.
const maxSeatWords = 128

// Line is a job in a list.
type Line struct {
	_      struct{} `cbor:",toarray"`
	Name   string
	State  jobs.State
	Issued int64
	Labels map[string]string
}

// Archive reads jobs that ended from the journal.
type Archive struct{ Journal Journal }

// Closed returns a job that ended, and whether it is known.
func (a Archive) Closed(id consensus.JobID) (*Closed, bool, error) {
	value, err := a.Journal.Get(keyOf(prefixDone, id))
	if errors.Is(err, journal.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	c := new(Closed)
	if err := dagcbor.Unmarshal(value, c); err != nil {
		return nil, false, fmt.Errorf("archive of %s: %w", id, err)
	}
	return c, true, nil
}

// Own returns an owner's job that lives under a request id: of several, which one
// superseded or was drawn after another, the one issued last. The owner signed its
// charter, so nobody else can put a job there.
func (a Archive) Own(id consensus.RequestID, owner admission.Key) (job consensus.JobID, ok bool, err error) {
	return a.first(id, ownerKey(id, owner))
}

// Request returns the job that lives under a request id: that of the owner given,
// or of any other where that one has none. Of several others none has the better
// claim that could be seen here; who asks is told the owner.
func (a Archive) Request(id consensus.RequestID, owner admission.Key) (job consensus.JobID, ok bool, err error) {
	if job, ok, err = a.Own(id, owner); ok || err != nil {
		return job, ok, err
	}
	return a.first(id, keyOf(prefixRequest, id))
}

// Owned returns an owner's jobs under a request id, that issued last first. The first
// need not live: its charter may have been withdrawn, and forgotten by all but this
// index.
func (a Archive) Owned(id consensus.RequestID, owner admission.Key) (ids []consensus.JobID, err error) {
	err = a.each(id, ownerKey(id, owner), func(job consensus.JobID) bool {
		ids = append(ids, job)
		return true
	})
	return ids, err
}

func (a Archive) first(id consensus.RequestID, prefix []byte) (job consensus.JobID, ok bool, err error) {
	err = a.each(id, prefix, func(first consensus.JobID) bool {
		job, ok = first, true
		return false
	})
	return job, ok, err
}

// each calls fn with the jobs of a request whose keys begin with prefix, in order,
// until it returns false.
func (a Archive) each(id consensus.RequestID, prefix []byte, fn func(consensus.JobID) bool) error {
	var job consensus.JobID
	size := len(requestKey(&consensus.Charter{}, job))
	return a.Journal.Scan(prefix, nil, func(key, _ []byte) (bool, error) {
		if len(key) != size {
			return false, fmt.Errorf("archive of request %s: a key of %d bytes", id, len(key))
		}
		return fn(consensus.JobID(key[size-len(job):])), nil
	})
}

// List calls fn with the jobs that ended, newest first, after the cursor, until
// it returns false. The cursor of a job is its key.
func (a Archive) List(after []byte, fn func(cursor []byte, id consensus.JobID, line Line) bool) error {
	return a.Journal.Scan(prefixTime, after, func(key, value []byte) (bool, error) {
		var line Line
		if err := dagcbor.Unmarshal(value, &line); err != nil {
			return false, fmt.Errorf("archive: %w", err)
		}
		return fn(append([]byte(nil), key...), consensus.JobID(key[len(key)-32:]), line), nil
	})
}

// entries returns what is appended when a job ends.
func (c *Closed) entries(id consensus.JobID, charter *consensus.Charter, state jobs.State) ([]journal.Entry, error) {
	value, err := dagcbor.Marshal(c)
	if err != nil {
		return nil, err
	}
	line, err := dagcbor.Marshal(Line{Name: c.Name, State: state, Issued: charter.Issued, Labels: c.Labels})
	if err != nil {
		return nil, err
	}
	return []journal.Entry{
		{Key: keyOf(prefixDone, id), Value: value},
		{Key: requestKey(charter, id), Value: []byte{}},
		{Key: timeKey(charter.Issued, id), Value: line},
	}, nil
}

// told returns what is appended when the end of a job is kept that this node's own
// member did not come to. A job that waits to be resumed is no copy for all that, and
// its c/<job> stays: see clear.
func (m *Member) told(c *Closed, verdict consensus.Verdict) ([]journal.Entry, error) {
	_, err := m.cfg.Journal.Get(keyOf(prefixOpen, verdict.Job))
	if c.Copied = errors.Is(err, journal.ErrNotFound); err != nil && !c.Copied {
		return nil, err
	}
	return c.entries(verdict.Job, verdict.Charter, jobs.StateOf(verdict.Value))
}
