package member

import (
	"context"
	"sync"

	"github.com/muster-network/muster/consensus/admission"
)

// Bounds of the offers here. Who brings one is asked for what its job needs, and
// may take its time: so each peer has a queue and places of its own, and what it
// holds up is its own offers.
const (
	maxOffersPeer     = 2048     // waiting to be looked at
	maxOfferBytesPeer = 8 << 20  // of them
	maxOfferBytes     = 64 << 20 // of those of all peers
	placesPeer        = 4        // looked at at once: as many syncs as share one
	placesAll         = 64
	maxHeldPeer       = 64 // for the end of another job
	maxHeld           = 256
)

// offers are the charters that wait to be looked at, by who brought them, and the
// places of those that are. It is safe for concurrent use.
type offers struct {
	mutex    sync.Mutex
	bringers map[admission.Key]*bringer // who has an offer here
	bytes    int
	places   int // taken
	held     int
	turn     uint64
	ready    chan struct{}
}

// bringer is what a peer has here.
type bringer struct {
	waiting []offered
	bytes   int
	places  int
	held    int
	turn    uint64 // of its last offer that was looked at
}

func newOffers() *offers {
	return &offers{bringers: map[admission.Key]*bringer{}, ready: make(chan struct{}, 1)}
}

// add puts an offer into its bringer's queue, if there is room. Where there is
// none for all, whoever has most waiting loses its last. Whoever offers does so
// again, with back-off.
func (s *offers) add(o offered) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	b := s.bringer(o.from)
	defer s.drop(o.from, b)
	if len(b.waiting) >= maxOffersPeer || b.bytes+o.size > maxOfferBytesPeer {
		return
	}
	for s.bytes+o.size > maxOfferBytes {
		key, most := s.heaviest()
		if most.bytes <= b.bytes+o.size {
			return
		}
		last := len(most.waiting) - 1
		s.count(most, -most.waiting[last].size)
		most.waiting[last] = offered{}
		most.waiting = most.waiting[:last]
		s.drop(key, most)
	}
	b.waiting = append(b.waiting, o)
	s.count(b, o.size)
	s.wake()
}

// take waits for an offer whose bringer has a place left, and takes the place,
// which leave gives back. Who has the fewest goes first, and among them who has
// not had a turn for longest.
func (s *offers) take(ctx context.Context) (offered, error) {
	for {
		if o, ok := s.next(); ok {
			return o, nil
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return offered{}, ctx.Err()
		}
	}
}

func (s *offers) next() (offered, bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.places >= placesAll {
		return offered{}, false
	}
	var first *bringer
	for _, b := range s.bringers {
		if len(b.waiting) == 0 || b.places >= placesPeer {
			continue
		}
		if first == nil || b.places < first.places || b.places == first.places && b.turn < first.turn {
			first = b
		}
	}
	if first == nil {
		return offered{}, false
	}
	o := first.waiting[0]
	first.waiting[0] = offered{}
	first.waiting = first.waiting[1:]
	s.count(first, -o.size)
	s.places++
	first.places++
	s.turn++
	first.turn = s.turn
	return o, true
}

// leave gives a place back.
func (s *offers) leave(from admission.Key) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	b := s.bringers[from]
	s.places--
	b.places--
	s.drop(from, b)
	s.wake()
}

// hold reports whether an offer may wait for the end of another job; release ends
// that.
func (s *offers) hold(from admission.Key) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	b := s.bringer(from)
	defer s.drop(from, b)
	if s.held >= maxHeld || b.held >= maxHeldPeer {
		return false
	}
	s.held++
	b.held++
	return true
}

func (s *offers) release(from admission.Key) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	b := s.bringers[from]
	s.held--
	b.held--
	s.drop(from, b)
}

// For what follows the caller holds the mutex.

func (s *offers) bringer(from admission.Key) *bringer {
	b, ok := s.bringers[from]
	if !ok {
		b = &bringer{turn: s.turn}
		s.bringers[from] = b
	}
	return b
}

// drop forgets a peer that has nothing here any more.
func (s *offers) drop(from admission.Key, b *bringer) {
	if len(b.waiting) == 0 && b.places == 0 && b.held == 0 {
		delete(s.bringers, from)
	}
}

func (s *offers) heaviest() (from admission.Key, most *bringer) {
	for key, b := range s.bringers {
		if most == nil || b.bytes > most.bytes {
			from, most = key, b
		}
	}
	return from, most
}

func (s *offers) count(b *bringer, bytes int) {
	b.bytes += bytes
	s.bytes += bytes
}

func (s *offers) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}
