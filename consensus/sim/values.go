package sim

import (
	"fmt"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// stock is a value that runs here can come to, with its name in traces.
type stock struct {
	name  string
	value consensus.Value
	hash  consensus.Hash
}

// network is the one network of all runs, so that hashes are made once.
var network = admission.Network{1}

// The values. Runs of a task that is not deterministic end in differs.
var (
	truth        = newStock("truth", result("truth"))
	lie          = newStock("lie", result("lie"))
	anotherLie   = newStock("another lie", result("another lie"))
	exits        = newStock("exit 3", consensus.Value{Kind: consensus.Failed, Class: consensus.FailedExit, Code: 3, Tree: result("exit").Tree})
	timesOut     = newStock("timeout", failed(consensus.FailedTimeout))
	hostFails    = newStock("host", failed(consensus.FailedHost))
	disagreement = newStock("disagreement", failed(consensus.FailedDisagreement))
	deadline     = newStock("deadline", failed(consensus.FailedDeadline))
	cancelled    = newStock("cancelled", consensus.Value{Kind: consensus.Cancelled})
	differs      = newDiffering()
)

func newStock(name string, v consensus.Value) stock {
	hash, err := v.Hash(network)
	if err != nil {
		panic(err) // values here are valid
	}
	return stock{name, v, hash}
}

func newDiffering() []stock {
	var list []stock
	for i := range consensus.MaxRoster {
		name := fmt.Sprintf("differs %d", i)
		list = append(list, newStock(name, result(name)))
	}
	return list
}

func result(name string) consensus.Value {
	link := dagcbor.LinkTo(dagcbor.CID([]byte(name)))
	return consensus.Value{Kind: consensus.Result, Tree: &link}
}

func failed(class consensus.Failure) consensus.Value {
	return consensus.Value{Kind: consensus.Failed, Class: class}
}

// handovers are the pairs by which a roster here can lose one seat or two.
var handovers = newHandovers()

func newHandovers() map[consensus.Hash]*stock {
	const seats, reserves = 7, 2
	all := map[consensus.Hash]*stock{}
	add := func(name string, pairs ...consensus.Pair) {
		s := newStock(name, consensus.Value{Kind: consensus.Handover, Pairs: pairs})
		all[s.hash] = &s
	}
	for seat := range uint64(seats) {
		for reserve := range uint64(reserves) {
			add(fmt.Sprintf("handover of %d to %d", seat, reserve), consensus.Pair{Seat: seat, Reserve: reserve})
		}
		for other := seat + 1; other < seats; other++ {
			add(fmt.Sprintf("handover of %d and %d", seat, other), consensus.Pair{Seat: seat, Reserve: 0}, consensus.Pair{Seat: other, Reserve: 1})
		}
	}
	return all
}

// plain are the values that are the same in every run; differing ones come after.
func plain() [9]*stock {
	return [...]*stock{&truth, &lie, &anotherLie, &exits, &timesOut, &hostFails, &disagreement, &deadline, &cancelled}
}

// stockOf returns the value that a hash stands for, if runs here can come to it.
func stockOf(hash consensus.Hash) (*stock, bool) {
	for _, s := range plain() {
		if s.hash == hash {
			return s, true
		}
	}
	for i := range differs {
		if differs[i].hash == hash {
			return &differs[i], true
		}
	}
	s, ok := handovers[hash]
	return s, ok
}

func nameOf(hash consensus.Hash) string {
	if s, ok := stockOf(hash); ok {
		return s.name
	}
	return fmt.Sprintf("%.4x", hash[:])
}

// endOf is what a node's honest run ends in.
func (s *Schedule) endOf(node int) *stock {
	switch s.Truth {
	case endsExit:
		return &exits
	case endsTimeout:
		return &timesOut
	case endsDiverse:
		return &differs[node]
	case endsHost:
		if node%2 == int(s.Seed%2) {
			return &hostFails
		}
		return &differs[node]
	}
	return &truth
}
