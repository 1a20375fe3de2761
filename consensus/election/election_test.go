package election_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/store/dagcbor"
)

// world is a network and an ask of it, whose roll tests alter.
type world struct {
	*consensustest.Network
	ask election.Ask
}

func newWorld(nodes int, f uint64, changes ...func(*admission.Genesis)) *world {
	n := consensustest.New(nodes, changes...)
	return &world{n, election.AskOf(n.Charter(consensus.Byzantine, f), n.ID, n.Genesis.Policy)}
}

// alter changes the roll's entry of a node, and signs its credential anew.
func (w *world) alter(node int, change func(*consensus.RollEntry)) {
	key := w.Nodes[node].Key()
	i := slices.IndexFunc(w.RollMade.Entries, func(e consensus.RollEntry) bool { return e.Peer == key })
	e := &w.RollMade.Entries[i]
	change(e)
	e.Credential = w.Badge(key, e.Credential.Body.Kind, func(c *admission.Credential) { *c = e.Credential.Body })
}

func (w *world) draw(t *testing.T) election.Drawn {
	t.Helper()
	d, err := election.Draw(w.RollMade, w.ask)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestADrawGivesMembersAndReservesInRankOrder(t *testing.T) {
	w := newWorld(20, 2)
	d := w.draw(t)
	if len(d.Roster) != 7 || len(d.Reserves) != 2 || len(d.Runners) != 7 {
		t.Fatalf("%d members, %d reserves, runners %v", len(d.Roster), len(d.Reserves), d.Runners)
	}
	seed := election.Seed(w.ask)
	var order []election.Place
	for _, e := range w.RollMade.Entries {
		order = append(order, election.Place{Score: election.Score(seed, e.Peer, 1), Peer: e.Peer})
	}
	slices.SortFunc(order, election.Place.Compare)
	for i, s := range slices.Concat(d.Roster, d.Reserves) {
		if s.Peer != order[i].Peer || s.Incarnation != w.Nodes[w.Index(s.Peer)].Incarnation {
			t.Errorf("place %d is %s, want %s", i, s.Peer.Name(), order[i].Peer.Name())
		}
	}
	if d.Last != order[6] {
		t.Errorf("last %v, want %v", d.Last, order[6])
	}
}

func TestFourNodesMakeFourMembersAndNoReserve(t *testing.T) {
	d := newWorld(4, 1).draw(t)
	if len(d.Roster) != 4 || len(d.Reserves) != 0 {
		t.Errorf("%d members, %d reserves", len(d.Roster), len(d.Reserves))
	}
}

func TestAShortRollSaysHowManyLackWhat(t *testing.T) {
	w := newWorld(14, 1, func(g *admission.Genesis) { g.Policy.NoSubmitter = true })
	w.ask.Class = "arch/amd64"
	w.ask.Needs = consensus.Needs{Labels: []string{"disk", "gpu"}, Quantities: map[string]uint64{"cpu": 2_000, "memory": 4 << 30}}
	for i := range w.Nodes {
		w.alter(i, func(e *consensus.RollEntry) { e.Features = []string{"disk", "gpu"} })
	}
	w.alter(1, func(e *consensus.RollEntry) { e.Credential.Body.Until = w.ask.End - 1 })
	w.alter(2, func(e *consensus.RollEntry) { e.Credential.Body.From = w.ask.Issued + 1 })
	w.alter(3, func(e *consensus.RollEntry) { e.Credential.Body.Role = admission.RoleObserver })
	w.alter(4, func(e *consensus.RollEntry) { e.Credential.Body.Weight = 0 })
	w.alter(5, func(e *consensus.RollEntry) { e.Classes = []consensus.Class{consensus.Portable} })
	w.alter(6, func(e *consensus.RollEntry) { e.Features = []string{"disk"} })
	w.alter(7, func(e *consensus.RollEntry) { e.Features = nil }) // disk comes first
	w.alter(8, func(e *consensus.RollEntry) { e.Total = map[string]uint64{"cpu": 2_000, "memory": 4<<30 - 1} })
	w.alter(9, func(e *consensus.RollEntry) { e.Total = nil }) // cpu comes first
	w.alter(10, func(e *consensus.RollEntry) { e.Total = map[string]uint64{"cpu": 1, "memory": 8 << 30} })
	w.alter(11, func(e *consensus.RollEntry) { // exactly what it takes; the label by credential
		e.Features, e.Credential.Body.Features = []string{"disk"}, []string{"gpu"}
		e.Total = map[string]uint64{"cpu": 2_000, "memory": 4 << 30}
	})
	_, err := election.Draw(w.RollMade, w.ask)
	var short *election.ShortError
	if !errors.As(err, &short) {
		t.Fatal(err)
	}
	want := []election.Lack{
		{Reason: election.LacksCredential, Nodes: 2}, {Reason: election.LacksRole, Nodes: 1},
		{Reason: election.LacksPlace, Nodes: 1}, {Reason: election.LacksWeight, Nodes: 1},
		{Reason: election.LacksClass, Name: "arch/amd64", Nodes: 1},
		{Reason: election.LacksLabel, Name: "disk", Nodes: 1}, {Reason: election.LacksLabel, Name: "gpu", Nodes: 1},
		{Reason: election.LacksQuantity, Name: "cpu", Nodes: 2}, {Reason: election.LacksQuantity, Name: "memory", Nodes: 1},
	}
	if short.Needed != 4 || short.Eligible != 3 || !slices.Equal(short.Lacks, want) {
		t.Errorf("%v", short)
	}
	if got := short.Error(); got != "draw: 4 needed, 3 fit; 2 lack credential; 1 lack role; 1 lack submitter; 1 lack weight; "+
		"1 lack class arch/amd64; 1 lack label disk; 1 lack label gpu; 2 lack quantity cpu; 1 lack quantity memory" {
		t.Error(got)
	}
}

func TestPlacesOwedToRunnersAreKeptForThem(t *testing.T) {
	w := newWorld(12, 1)
	w.ask.RunNeeds = consensus.Needs{Labels: []string{"gpu"}}
	w.ask.Runners = 2
	for _, i := range []int{3, 7, 11} {
		w.alter(i, func(e *consensus.RollEntry) { e.Features = []string{"gpu"} })
	}
	for attempt := range uint64(4) {
		for nonce := range byte(64) {
			w.ask.Attempt, w.ask.Nonce = attempt, consensus.Hash{nonce}
			d := w.draw(t)
			if len(d.Runners) < 2 {
				t.Fatalf("runners %v", d.Runners)
			}
			// Somebody passed over for a runner stands before that runner, so
			// all others in the roster stand in rank order still.
			places := make([]election.Place, len(d.Roster))
			for i, s := range d.Roster {
				places[i] = election.Place{Score: election.Score(election.Seed(w.ask), s.Peer, 1), Peer: s.Peer}
			}
			if !slices.IsSortedFunc(places, election.Place.Compare) {
				t.Fatal("the roster is not in rank order")
			}
		}
	}
	w.ask.Runners = 4
	_, err := election.Draw(w.RollMade, w.ask)
	var short *election.ShortError
	if !errors.As(err, &short) || short.Eligible != 3 || !slices.Equal(short.Lacks, []election.Lack{{Reason: election.LacksRunNeeds, Nodes: 9}}) {
		t.Errorf("%v", err)
	}
}

func TestSpreadTakesOneOfAnOwnerAndOneOfAnAddressGroup(t *testing.T) {
	w := newWorld(12, 1, func(g *admission.Genesis) { g.Policy.Spread = true })
	for i := range 5 { // nodes 0 to 4 are one owner's
		w.alter(i, func(e *consensus.RollEntry) { e.Credential.Body.Owner = w.User.Key() })
	}
	for i := 4; i < 8; i++ { // nodes 4 to 7 are in one address group
		w.alter(i, func(e *consensus.RollEntry) { e.Group = "10.0.0.0/16" })
	}
	for nonce := range byte(64) {
		w.ask.Nonce = consensus.Hash{nonce}
		d := w.draw(t)
		owned, grouped := 0, 0
		for _, s := range slices.Concat(d.Roster, d.Reserves) {
			if i := w.Index(s.Peer); i <= 4 {
				owned++
			}
			if i := w.Index(s.Peer); i >= 4 && i < 8 {
				grouped++
			}
		}
		if owned > 1 || grouped > 1 {
			t.Fatalf("%d of one owner, %d of one group", owned, grouped)
		}
	}
	w.ask.F = 2
	w.ask.Runners = 7
	_, err := election.Draw(w.RollMade, w.ask)
	var short *election.ShortError
	if !errors.As(err, &short) {
		t.Fatal(err)
	}
	free := w.ask
	free.Policy.Spread = false
	if _, err := election.Draw(w.RollMade, free); err != nil {
		t.Errorf("without the policy: %v", err)
	}
	if last := short.Lacks[len(short.Lacks)-1]; last.Reason != election.LacksSpread || last.Nodes+short.Eligible != 12 {
		t.Errorf("%v", err)
	}
}

func TestDrawsByCapacityCountNoMoreThanTheCredentialsWeight(t *testing.T) {
	w := newWorld(5, 1, func(g *admission.Genesis) { g.Policy.ByCapacity = true })
	for i := range w.Nodes {
		w.alter(i, func(e *consensus.RollEntry) {
			e.Credential.Body.Weight = 4_000
			e.Total = map[string]uint64{election.Capacity: uint64(i) * 2_000} // node 0: nothing
		})
	}
	weights := []uint64{0, 2_000, 4_000, 4_000, 4_000}
	last := map[int]bool{}
	for nonce := range byte(64) {
		w.ask.Nonce = consensus.Hash{nonce}
		d := w.draw(t)
		i := w.Index(d.Last.Peer)
		last[i] = true
		if d.Last.Score != election.Score(election.Seed(w.ask), d.Last.Peer, weights[i]) {
			t.Errorf("node %d does not weigh %d", i, weights[i])
		}
	}
	if len(last) != 4 || last[0] {
		t.Errorf("drawn last: %v", last)
	}
}

func TestHeavierNodesAreDrawnInProportion(t *testing.T) {
	w := newWorld(10, 0)
	w.alter(0, func(e *consensus.RollEntry) { e.Credential.Body.Weight = 11 }) // of 20 in all
	drawn := 0
	const draws = 4_000
	for i := range uint64(draws) {
		w.ask.Issued = consensustest.Now + int64(i)*election.PeriodLength
		w.ask.Period, w.ask.End = election.Period(w.ask.Issued), w.ask.Issued
		for j := range w.RollMade.Entries { // the draw does not verify what OpenRoll did
			w.RollMade.Entries[j].Credential.Body.Until = w.ask.Issued + 1
		}
		if w.draw(t).Roster[0].Peer == w.Nodes[0].Key() {
			drawn++
		}
	}
	// Expected 2200; standard deviation 31.5. The seeds are fixed.
	if drawn < 2_200-130 || drawn > 2_200+130 {
		t.Errorf("drawn %d times of %d", drawn, draws)
	}
}

func TestASubmitterHas64SeedsForEachAttempt(t *testing.T) {
	w := newWorld(4, 1)
	seeds := map[consensus.Hash]bool{}
	for attempt := range uint64(election.MaxAttempt + 1) {
		for i := range 2_000 {
			w.ask.Attempt = attempt
			w.ask.Nonce = dagcbor.Sum([]byte(fmt.Sprint(i)))
			seeds[election.Seed(w.ask)] = true
		}
	}
	if len(seeds) != 256 {
		t.Errorf("%d seeds", len(seeds))
	}
}

func TestASeedDependsOnAllThatItNames(t *testing.T) {
	w := newWorld(4, 1)
	base := election.Seed(w.ask)
	for name, change := range map[string]func(*election.Ask){
		"network":   func(a *election.Ask) { a.Network[0] ^= 1 },
		"submitter": func(a *election.Ask) { a.Submitter[0] ^= 1 },
		"period":    func(a *election.Ask) { a.Period++ },
		"attempt":   func(a *election.Ask) { a.Attempt++ },
		"beacon":    func(a *election.Ask) { a.Beacon = []byte{1} },
	} {
		ask := w.ask
		change(&ask)
		if election.Seed(ask) == base {
			t.Errorf("the seed does not depend on %s", name)
		}
	}
	later := w.ask
	later.Issued, later.End, later.F = later.Issued+1, later.End+1, 2
	if election.Seed(later) != base {
		t.Error("the seed depends on the hour")
	}
}

func TestAnAskThatNoCharterCouldCarryIsRefused(t *testing.T) {
	for name, change := range map[string]func(*election.Ask){
		"period":     func(a *election.Ask) { a.Period++ },
		"issued":     func(a *election.Ask) { a.Issued, a.Period = -1, 0 },
		"attempt":    func(a *election.Ask) { a.Attempt = 4 },
		"no runners": func(a *election.Ask) { a.Runners = 0 },
		"runners":    func(a *election.Ask) { a.Runners = 5 },
		"fault":      func(a *election.Ask) { a.Fault = 3 },
		"f":          func(a *election.Ask) { a.F = 11 },
	} {
		w := newWorld(40, 1)
		change(&w.ask)
		_, err := election.Draw(w.RollMade, w.ask)
		if short := (*election.ShortError)(nil); err == nil || errors.As(err, &short) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckAcceptsTheDrawAndNothingElse(t *testing.T) {
	n := consensustest.New(20)
	job := n.Job(consensus.Byzantine, 1)
	policy := n.Genesis.Policy
	if _, err := election.Check(n.RollMade, n.RollLink, job.Charter, n.ID, policy); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(c *consensus.Charter, r *consensus.Roll, p *admission.Policy){
		"order": func(c *consensus.Charter, _ *consensus.Roll, _ *admission.Policy) {
			c.Roster[0], c.Roster[1] = c.Roster[1], c.Roster[0]
		},
		"incarnation": func(c *consensus.Charter, _ *consensus.Roll, _ *admission.Policy) { c.Roster[0].Incarnation[0] ^= 1 },
		"reserves":    func(c *consensus.Charter, _ *consensus.Roll, _ *admission.Policy) { c.Reserves = nil },
		"a reserve's incarnation": func(c *consensus.Charter, _ *consensus.Roll, _ *admission.Policy) {
			c.Reserves[0].Incarnation[0] ^= 1
		},
		"reserve": func(c *consensus.Charter, _ *consensus.Roll, _ *admission.Policy) {
			c.Roster[3], c.Reserves[0] = c.Reserves[0], c.Roster[3]
		},
		"attempt": func(c *consensus.Charter, _ *consensus.Roll, _ *admission.Policy) { c.Attempt = 1 },
		"link": func(c *consensus.Charter, _ *consensus.Roll, _ *admission.Policy) {
			c.Roll = consensustest.Link("other")
		},
		"policy":                   func(_ *consensus.Charter, _ *consensus.Roll, p *admission.Policy) { p.Size = 7 },
		"stale":                    func(_ *consensus.Charter, r *consensus.Roll, p *admission.Policy) { r.Made -= p.RollAge + 1 },
		"an age that wraps around": func(c *consensus.Charter, r *consensus.Roll, _ *admission.Policy) { r.Made = c.Issued + math.MinInt64 },
		"early":                    func(_ *consensus.Charter, r *consensus.Roll, _ *admission.Policy) { r.Made++ },
		"maker":                    func(_ *consensus.Charter, r *consensus.Roll, _ *admission.Policy) { r.Maker[0] ^= 1 },
		"an entry out":             func(c *consensus.Charter, r *consensus.Roll, _ *admission.Policy) { remove(r, c.Roster[2].Peer) },
	} {
		c, r, p := *job.Charter, *n.RollMade, policy
		c.Roster, c.Reserves, r.Entries = slices.Clone(c.Roster), slices.Clone(c.Reserves), slices.Clone(r.Entries)
		change(&c, &r, &p)
		if _, err := election.Check(&r, n.RollLink, &c, n.ID, p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := election.Check(n.RollMade, dagcbor.Link{}, job.Charter, n.ID, policy); err == nil {
		t.Error("accepted without a link")
	}
}

func remove(r *consensus.Roll, peer admission.Key) {
	r.Entries = slices.DeleteFunc(slices.Clone(r.Entries), func(e consensus.RollEntry) bool { return e.Peer == peer })
}

// For any roll and ask: members and reserves are distinct and fit; nobody who
// fits and was passed over stands before the last without a reason; entries
// that do not fit change nothing.
func TestDrawProperties(t *testing.T) {
	const nodes = 24
	base := newWorld(nodes, 0)
	rapid.Check(t, func(t *rapid.T) {
		w := *base
		roll := *base.RollMade
		roll.Entries = slices.Clone(roll.Entries)
		for i := range roll.Entries {
			e := &roll.Entries[i]
			e.Credential.Body.Weight = rapid.Uint64Range(0, 3).Draw(t, "weight")
			if rapid.Bool().Draw(t, "gpu") {
				e.Features = []string{"gpu"}
			}
		}
		w.ask.F = rapid.Uint64Range(0, 4).Draw(t, "f")
		places := int(3*w.ask.F + 1)
		w.ask.Runners = rapid.Uint64Range(1, uint64(places)).Draw(t, "runners")
		w.ask.RunNeeds = consensus.Needs{Labels: []string{"gpu"}}
		w.ask.Nonce = consensus.Hash{rapid.Byte().Draw(t, "nonce")}
		d, err := election.Draw(&roll, w.ask)
		var short *election.ShortError
		if errors.As(err, &short) {
			sum := short.Eligible
			for _, l := range short.Lacks {
				sum += l.Nodes
			}
			if sum != nodes || short.Eligible >= places {
				t.Fatalf("%v adds up to %d", err, sum)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Roster) != places || len(d.Reserves) > int(w.ask.F) || len(d.Runners) < int(w.ask.Runners) {
			t.Fatalf("%d members, %d reserves, %d runners", len(d.Roster), len(d.Reserves), len(d.Runners))
		}
		seen := map[admission.Key]bool{}
		for _, s := range slices.Concat(d.Roster, d.Reserves) {
			if seen[s.Peer] {
				t.Fatal("drawn twice")
			}
			seen[s.Peer] = true
		}
		thin := roll
		thin.Entries = slices.DeleteFunc(slices.Clone(roll.Entries), func(e consensus.RollEntry) bool { return e.Credential.Body.Weight == 0 })
		again, err := election.Draw(&thin, w.ask)
		if err != nil || !slices.Equal(again.Roster, d.Roster) || !slices.Equal(again.Reserves, d.Reserves) {
			t.Fatal("entries that do not fit changed the draw")
		}
	})
}

func BenchmarkDraw512(b *testing.B) {
	w := newWorld(512, 1)
	w.ask.Needs = consensus.Needs{Quantities: map[string]uint64{"cpu": 1_000, "memory": 1 << 30}}
	for b.Loop() {
		if _, err := election.Draw(w.RollMade, w.ask); err != nil {
			b.Fatal(err)
		}
	}
}
