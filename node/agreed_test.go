package node

import (
	"encoding/binary"
	"testing"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs/member"
)

func TestAShareIsOfTheReportsThatAPeerMade(t *testing.T) {
	a, roster := newAgreed(), []admission.Key{{1}, {2}, {3}}
	a.note(roster, []member.Seat{{Report: "x"}, {Report: "y", Disagrees: true}, {}})
	a.note(roster, []member.Seat{{Report: "x"}, {Report: "x"}, {}, {Report: "of nobody"}})
	for key, want := range map[admission.Key]float64{{1}: 1, {2}: 0.5} {
		if got := a.share(key); got == nil || *got != want {
			t.Errorf("%v: %v, want %v", key[0], got, want)
		}
	}
	if got := a.share(roster[2]); got != nil {
		t.Errorf("no report, and a share of %v", *got)
	}
	for i := range uint32(maxTallied) {
		var key admission.Key
		binary.BigEndian.PutUint32(key[4:], i+1)
		a.note([]admission.Key{key}, []member.Seat{{Report: "x"}})
	}
	if len(a.of) != maxTallied || len(a.order) != maxTallied || a.share(roster[0]) != nil {
		t.Errorf("%d peers are counted, %d in order; at most %d", len(a.of), len(a.order), maxTallied)
	}
}
