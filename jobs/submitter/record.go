package submitter

import (
	"errors"
	"fmt"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
)

// prefix begins the journal keys of submissions: s/<request>. A record goes
// when the job's outcome is known: members keep the request's index; and when a
// charter that was withdrawn has lapsed.
var prefix = []byte("s/")

func recordKey(id consensus.RequestID) []byte {
	return append(append([]byte(nil), prefix...), id[:]...)
}

// record is what survives of a submission.
type record struct {
	_            struct{}        `cbor:",toarray"`
	Offer        consensus.Offer // without blocks
	Attempt      uint64
	Void         bool // this charter was withdrawn
	Acknowledged bool
	Started      []consensus.Vote // f+1 of them, when acknowledged
}

func (s *Submitter) record(id consensus.RequestID) (*record, bool, error) {
	value, err := s.cfg.Journal.Get(recordKey(id))
	if errors.Is(err, journal.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	r := new(record)
	if err := dagcbor.Unmarshal(value, r); err != nil {
		return nil, false, fmt.Errorf("journal: submission %s: %w", id, err)
	}
	return r, true, nil
}

func (r *record) entry(id consensus.RequestID) (journal.Entry, error) {
	value, err := dagcbor.Marshal(r)
	return journal.Entry{Key: recordKey(id), Value: value}, err
}

// sameRecord refuses another job than the one whose charter stands under a request,
// acknowledged or not: that one may live.
func (s *Submitter) sameRecord(sub *submission) error {
	r, ok, err := s.record(sub.request)
	if err != nil || !ok {
		return err
	}
	charter, _, err := r.Offer.Charter.Open(s.cfg.Network)
	if err != nil {
		return err
	}
	return sameSpec(charter.Spec, sub.specRef)
}

func sameSpec(have, want dagcbor.Link) error {
	if have.Cid == want.Cid {
		return nil
	}
	return &jobs.Problem{Code: jobs.CodeConflict, What: "another job was submitted under this idempotency key",
		Try: "a key of its own for each job"}
}
