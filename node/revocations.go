package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
)

// revocations are the credentials that ended before their time, as far as this
// node has heard (protocol, section 10, and decision 019). Each was checked and
// is on disk before it has an effect:
//
//	v/<subject>   the signed revocation
//
// Only authorities revoke, each key once, and there is no way back.
type revocations struct {
	home    home
	journal *journal.Journal

	taking sync.Mutex // held while one is made durable
	mutex  sync.Mutex
	held   map[admission.Key]admission.SignedRevocation
}

var prefixRevoked = []byte("v/")

// maxRevoked bounds the revocations that are kept, and pageOfRevoked those in one
// answer.
const (
	maxRevoked    = 1 << 16
	pageOfRevoked = 1024
)

// openRevocations reads what revocations there are.
func openRevocations(h home, j *journal.Journal) (*revocations, error) {
	r := &revocations{home: h, journal: j, held: map[admission.Key]admission.SignedRevocation{}}
	err := j.Scan(prefixRevoked, nil, func(_, value []byte) (bool, error) {
		s, err := admission.OpenRevocation(value, h.founded, h.network)
		if err != nil {
			return false, fmt.Errorf("journal: %w", err)
		}
		r.held[s.Body.Subject] = s
		return true, nil
	})
	return r, err
}

// add makes a revocation durable, unless one of its subject is held, and reports
// whether it is news. It was checked.
func (r *revocations) add(ctx context.Context, s admission.SignedRevocation) (bool, error) {
	r.taking.Lock()
	defer r.taking.Unlock()
	if r.has(s.Body.Subject) {
		return false, nil
	}
	if r.count() >= maxRevoked {
		return false, fmt.Errorf("%d revocations are kept, and no more", maxRevoked)
	}
	value, err := dagcbor.Marshal(s)
	if err != nil {
		return false, err
	}
	key := append(bytes.Clone(prefixRevoked), s.Body.Subject[:]...)
	if err := r.journal.Append(ctx, journal.Entry{Key: key, Value: value}); err != nil {
		return false, err
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.held[s.Body.Subject] = s
	return true, nil
}

// of returns the revocation of a key, if there is one: the first stands.
func (r *revocations) of(key admission.Key) (admission.SignedRevocation, bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	s, ok := r.held[key]
	return s, ok
}

// has reports whether the credential of a key was revoked.
func (r *revocations) has(key admission.Key) bool {
	_, ok := r.of(key)
	return ok
}

// encoded returns the revocation of a key in its encoded form, or nothing.
func (r *revocations) encoded(key admission.Key) []byte {
	s, ok := r.of(key)
	if !ok {
		return nil
	}
	data, err := dagcbor.Marshal(s)
	if err != nil {
		panic(err) // it was decoded from these bytes
	}
	return data
}

func (r *revocations) count() int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return len(r.held)
}

// list returns the revocations held, by subject.
func (r *revocations) list() []admission.SignedRevocation {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	all := make([]admission.SignedRevocation, 0, len(r.held))
	for _, s := range r.held {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b admission.SignedRevocation) int { return bytes.Compare(a.Body.Subject[:], b.Body.Subject[:]) })
	return all
}

// digest names the set of those revoked.
func (r *revocations) digest() [32]byte {
	var all []byte
	for _, s := range r.list() {
		all = append(all, s.Body.Subject[:]...)
	}
	return sha256.Sum256(all)
}

// page returns, in their encoded form, the revocations of the subjects that come
// after one, in order.
func (r *revocations) page(after []byte) ([][]byte, error) {
	page := [][]byte{}
	for _, s := range r.list() {
		if len(page) == pageOfRevoked {
			break
		}
		if bytes.Compare(s.Body.Subject[:], after) <= 0 {
			continue
		}
		data, err := dagcbor.Marshal(s)
		if err != nil {
			return nil, err
		}
		page = append(page, data)
	}
	return page, nil
}
