package naivetest

import (
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/muster-network/muster/consensus"
)

var (
	certificates = flag.Int("certificates", usual, "certificates that both verifiers are shown")
	seed         = flag.Uint64("seed", 0, "of the generator; 0 takes one from the clock")
	first        = flag.Int("first", 0, "draft to begin with, to see one again")
)

// variants are made of each draft: changes of its bytes alone, which are cheap.
const variants = 4

// tally counts what became of the certificates that a mutator changed alone.
type tally struct{ drawn, accepted, refused int }

// Two verifiers that share no check say the same of every certificate, and of
// one that verifies also for which job, value, round and signers.
func TestBothVerifiersGiveTheSameVerdictOnWhateverIsMadeOfACertificate(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d -certificates %d", *seed, *certificates)
	w, all := newWorld(), mutators()
	encodings := slices.Concat(treeMutators(), byteMutators())
	tallies := map[string]*tally{"nothing": {}}
	for _, m := range all {
		tallies[m.name] = &tally{}
	}
	shown, accepted, higher := 0, 0, 0
	for i := *first; shown < *certificates; i++ {
		// Each draft has a generator of its own, so that it can be made again alone.
		r := rand.New(rand.NewPCG(*seed, uint64(i)))
		chosen := choose(r, all, i)
		d := w.draw(r, chosen)
		ok := compare(t, d.genesis, d.data, fmt.Sprintf("-seed %d -first %d: %q", *seed, i, names(chosen)))
		record(tallies, chosen, ok)
		accepted += count01(ok)
		higher += count01(ok && len(d.levels) > 0)
		for range variants {
			m := pick(r, encodings)
			genesis, data := d.vary(m)
			ok := compare(t, genesis, data, fmt.Sprintf("-seed %d -first %d: %q, then %q", *seed, i, names(chosen), m.name))
			accepted += count01(ok)
		}
		if t.Failed() {
			t.FailNow()
		}
		if shown += 1 + variants; shown%50_000 == 0 {
			fmt.Fprintf(os.Stderr, "%s: %d certificates, %d verify\n", time.Now().Format(time.TimeOnly), shown, accepted)
		}
	}
	t.Logf("%d certificates, %d of them verify; of %d drafts that do, the roster was changed", shown, accepted, higher)
	if higher == 0 {
		t.Error("no certificate has a chain")
	}
	judge(t, tallies)
}

func count01(ok bool) int {
	if ok {
		return 1
	}
	return 0
}

// choose takes mostly one mutator, in turn; every sixteenth time none, and now
// and then two or three. A turn is never skipped: each mutator is tried within
// the first len(all)·16/15 drafts.
func choose(r *rand.Rand, all []mutator, i int) []mutator {
	const period = 16
	if i%period == period-1 {
		return nil
	}
	chosen := []mutator{all[(i-i/period)%len(all)]}
	for r.IntN(5) == 0 && len(chosen) < 3 {
		chosen = append(chosen, pick(r, all))
	}
	return chosen
}

func names(chosen []mutator) (all []string) {
	for _, m := range chosen {
		all = append(all, m.name)
	}
	return all
}

// compare shows both verifiers one certificate, and says whether it verifies.
func compare(t *testing.T, genesis, data []byte, what string) bool {
	t.Helper()
	plain, why := Verify(genesis, data)
	theirs, whyNot := shipped(genesis, data)
	switch {
	case (why == nil) != (whyNot == nil):
		t.Errorf("%s\nconsensus: %v\nnaive:     %v\n%s", what, whyNot, why, hex.EncodeToString(data))
	case why == nil && (plain.Job != theirs.Job || plain.Height != theirs.Height || plain.Value != theirs.Value || plain.Round != theirs.Round || !slices.Equal(plain.Signers, theirs.Signers)):
		t.Errorf("%s\nconsensus: %+v\nnaive:     %+v\n%s", what, theirs, plain, hex.EncodeToString(data))
	}
	return whyNot == nil
}

// shipped asks package consensus.
func shipped(genesis, data []byte) (Verdict, error) {
	c, err := consensus.OpenCertificate(data)
	if err != nil {
		return Verdict{}, err
	}
	v, err := c.Verify(genesis)
	return Verdict{Job: v.Job, Height: v.Height.Number, Value: v.ValueHash, Round: uint64(v.Round), Signers: v.Signers}, err
}

func record(tallies map[string]*tally, chosen []mutator, ok bool) {
	name := "nothing"
	if len(chosen) > 0 {
		name = chosen[0].name
	}
	one := tallies[name]
	one.drawn++
	if len(chosen) > 1 {
		return
	}
	if ok {
		one.accepted++
	} else {
		one.refused++
	}
}

// judge fails where the generator did not do what it is for: then the verifiers
// may agree because they were asked nothing.
func judge(t *testing.T, tallies map[string]*tally) {
	t.Helper()
	for _, name := range slices.Sorted(keysOf(tallies)) {
		one := tallies[name]
		t.Logf("%-38s drawn %7d, alone: verify %7d, refused %7d", name, one.drawn, one.accepted, one.refused)
		if one.drawn == 0 {
			t.Errorf("%s was never tried", name)
		}
	}
	if n := tallies["nothing"]; n.refused > 0 || n.accepted == 0 {
		t.Errorf("of certificates left as they were %d verify, %d do not", n.accepted, n.refused)
	}
	for name, one := range tallies {
		if name != "nothing" && one.drawn > 200 && one.refused == 0 && !harmless[name] {
			t.Errorf("%s is never refused", name)
		}
	}
}

// harmless are changes that stay within the rules: what a submitter may choose.
var harmless = map[string]bool{
	"owner": true, "submitter": true, "request": true, "period": true, "hashes": true, "supersedes": true, "cause": true, "sealed": true, "a large batch": true, "a handover less": true,
	"credential by another authority": true,
}

func keysOf(m map[string]*tally) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// A draft's bytes may have been changed before: the generator takes any.
func TestEveryChangeOfBytesIsMadeOfWhateverBytesThereAre(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	d := newWorld().draw(r, nil)
	whole := d.data
	for size := range whole {
		d.data = whole[:size]
		for _, m := range byteMutators() {
			d.vary(m)
		}
		if size%64 == 0 {
			for _, m := range treeMutators() {
				d.vary(m)
			}
		}
	}
}
