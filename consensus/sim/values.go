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
	form  consensus.Hash // what its blocks alone come to
	run   int            // of an end that differs: which, from 1
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
	rejected     = newStock("rejected", failed(consensus.FailedRejected))
	cancelled    = newStock("cancelled", consensus.Value{Kind: consensus.Cancelled})
	differs      = newDiffering("differs", consensus.Value{Kind: consensus.Result})
	exitsDiffer  = newDiffering("exit 3 differs", consensus.Value{Kind: consensus.Failed, Class: consensus.FailedExit, Code: 3})
)

func newStock(name string, v consensus.Value) stock {
	hash, err := v.Hash(network)
	if err != nil {
		panic(err) // values here are valid
	}
	return stock{name: name, value: v, hash: hash, form: dagcbor.Sum([]byte("the form of " + name))}
}

func newDiffering(name string, v consensus.Value) []stock {
	var list []stock
	for i := range consensus.MaxRoster {
		name := fmt.Sprintf("%s %d", name, i)
		v.Tree = result(name).Tree
		s := newStock(name, v)
		s.run = i + 1
		list = append(list, s)
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
func plain() [10]*stock {
	return [...]*stock{&truth, &lie, &anotherLie, &exits, &timesOut, &hostFails, &disagreement, &rejected, &deadline, &cancelled}
}

// stockOf returns the value that a hash stands for, if runs here can come to it.
func stockOf(hash consensus.Hash) (*stock, bool) {
	for _, s := range plain() {
		if s.hash == hash {
			return s, true
		}
	}
	for _, list := range [][]stock{differs, exitsDiffer, arrayEnds, failsTasks} {
		for i := range list {
			if list[i].hash == hash {
				return &list[i], true
			}
		}
	}
	if arrayLie.hash == hash {
		return &arrayLie, true
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
	switch s.Slips[node] {
	case slipsTimeout:
		return &timesOut
	case slipsHost:
		return &hostFails
	}
	if s.Array.On {
		return s.Array.endOf(node, s.Truth)
	}
	switch s.Truth {
	case endsExit:
		if s.Equal.On {
			return &exitsDiffer[s.Equal.Runs[node]]
		}
		return &exits
	case endsTimeout:
		return &timesOut
	case endsDiverse:
		return s.differing(node)
	case endsHost:
		if node%2 == int(s.Seed%2) {
			return &hostFails
		}
		return s.differing(node)
	}
	if s.Equal.On || s.Checked.Differ {
		return s.differing(node)
	}
	return &truth
}

// differing is the end of a node's run where runs end otherwise.
func (s *Schedule) differing(node int) *stock {
	if s.Equal.On {
		node = s.Equal.Runs[node]
	}
	return &differs[node]
}
