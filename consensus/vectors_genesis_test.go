package consensus_test

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	codec "github.com/muster-network/muster/store/dagcbor"
)

// judgedGenesis is a genesis for other implementations to judge: docs/protocol.md,
// section 2.
type judgedGenesis struct {
	Name    string `json:"name"`
	Refuse  bool   `json:"refuse,omitempty"` // for the reason that is its name
	Genesis string `json:"genesis"`
	Network string `json:"network,omitempty"`
}

// founding makes geneses that hold, and such as have one fault each.
type founding struct {
	t   *testing.T
	all []judgedGenesis
}

func (f *founding) judge(refuse bool, name string, data []byte) {
	f.t.Helper()
	_, network, err := admission.OpenGenesis(data)
	if (err != nil) != refuse {
		f.t.Errorf("%s: %v", name, err)
	}
	j := judgedGenesis{Name: name, Refuse: refuse, Genesis: hex.EncodeToString(data)}
	if !refuse {
		j.Network = hex.EncodeToString(network[:])
	}
	f.all = append(f.all, j)
}

// sealed is a genesis of the default policy, as changed, whatever came of it.
func (f *founding) sealed(change func(*admission.Genesis)) []byte {
	g := consensustest.New(0).Genesis
	change(&g)
	data, err := codec.Seal(admission.TagGenesis, nil, g)
	check(f.t, err)
	return data
}

func (f *founding) holds(name string, change func(*admission.Genesis)) {
	f.t.Helper()
	f.judge(false, name, f.sealed(change))
}

func (f *founding) refused(name string, change func(*admission.Genesis)) {
	f.t.Helper()
	f.judge(true, name, f.sealed(change))
}

func TestGenesesMatchTheirVerdicts(t *testing.T) {
	f := &founding{t: t}
	f.named()
	f.authorized()
	f.governed()
	plain := f.sealed(func(*admission.Genesis) {})
	f.judge(true, "a byte after it", append(plain, 0))
	other, err := codec.Seal(admission.TagPolicy, nil, consensustest.New(0).Genesis)
	check(t, err)
	f.judge(true, "under another tag", other)
	in := consensustest.New(0)
	of, err := codec.Seal(admission.TagGenesis, in.ID[:], in.Genesis)
	check(t, err)
	f.judge(true, "of a network, which it cannot know", of)
	matches(t, "testdata/geneses.json", f.all)
}

func (f *founding) named() {
	name := func(s string) func(*admission.Genesis) { return func(g *admission.Genesis) { g.Name = s } }
	f.holds("a name of 64 bytes", name(strings.Repeat("é", 32)))
	f.refused("a name of 65 bytes", name(strings.Repeat("é", 32)+"e"))
	f.refused("no name", name(""))
	f.holds("a name with a code point that Unicode 15 gives no meaning", name("a\u0378"))
	for _, r := range "\n\u007f\u00a0\u00ad\u200b\u202e\u3000\ue000\ufeff\U000e0041" {
		f.refused(fmt.Sprintf("a name with %U", r), name("a"+string(r)))
	}
	for _, r := range " é文\u0301\ufe0f😀\ufffd\U000e0100" {
		f.holds(fmt.Sprintf("a name with %U", r), name("a"+string(r)))
	}
	f.holds("created at any time", func(g *admission.Genesis) { g.Created = math.MinInt64 })
	f.refused("a nonce of 15 bytes", func(g *admission.Genesis) { g.Nonce = g.Nonce[:15] })
	f.refused("another version", func(g *admission.Genesis) { g.V = 2 })
}

func (f *founding) authorized() {
	many := func(n int) func(*admission.Genesis) {
		return func(g *admission.Genesis) {
			g.Authorities = nil
			for i := range n {
				g.Authorities = append(g.Authorities, consensustest.Key(fmt.Sprint("authority ", i)).Key())
			}
		}
	}
	f.holds("32 authorities, in any order", many(32))
	f.refused("33 authorities", many(33))
	f.refused("no authority", many(0))
	f.refused("an authority twice", func(g *admission.Genesis) { g.Authorities = append(g.Authorities, g.Authorities[0]) })
	mixed := oddSigner("mixed", nil, orderEight())
	f.holds("an authority with a part of small order", func(g *admission.Genesis) { g.Authorities = []admission.Key{mixed.Key()} })
	for i, small := range smallOrders() {
		for _, sign := range []byte{0, 0x80} {
			key := small
			key[31] |= sign
			f.refused(fmt.Sprintf("an authority of small order, number %d, sign %d", i+1, sign>>7), func(g *admission.Genesis) { g.Authorities[0] = key })
		}
	}
}

// smallOrders are the encodings of section 2, in its order.
func smallOrders() []admission.Key {
	field := func(first, middle, last byte) (key admission.Key) {
		for i := range key {
			key[i] = middle
		}
		key[0], key[31] = first, last
		return key
	}
	other, err := hex.DecodeString("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
	if err != nil {
		panic(err)
	}
	return []admission.Key{field(0, 0, 0), field(1, 0, 0), field(0xec, 0xff, 0x7f), field(0xed, 0xff, 0x7f), field(0xee, 0xff, 0x7f),
		admission.Key(orderEight()), admission.Key(other)}
}

func (f *founding) governed() {
	policy := func(change func(*admission.Policy)) func(*admission.Genesis) {
		return func(g *admission.Genesis) { change(&g.Policy) }
	}
	for _, size := range []uint64{1, 4, 7, 31} {
		f.holds(fmt.Sprintf("quorums of %d", size), policy(func(p *admission.Policy) { p.Size = size }))
	}
	for _, size := range []uint64{0, 3, 5, 34} {
		f.refused(fmt.Sprintf("quorums of %d", size), policy(func(p *admission.Policy) { p.Size = size }))
	}
	f.holds("crash-only quorums of 3", policy(func(p *admission.Policy) { p.Crash, p.Size = true, 3 }))
	f.refused("crash-only quorums of 4", policy(func(p *admission.Policy) { p.Crash = true }))
	const most = 10 * 365 * consensustest.Day
	f.holds("3,650 days", policy(func(p *admission.Policy) { p.Retain = most }))
	f.refused("a millisecond more", policy(func(p *admission.Policy) { p.Retain = most + 1 }))
	f.holds("times of 1 ms", policy(func(p *admission.Policy) {
		p.Accept, p.Start, p.Deadline, p.Retain, p.Beat, p.Round, p.RoundMax = 1, 1, 1, 1, 1, 1, 1
		p.Resend, p.Stalled, p.Advert, p.RollAge, p.Settle, p.MaxTimeout = 1, 1, 1, 1, 1, 1
	}))
	f.refused("no time to settle", policy(func(p *admission.Policy) { p.Settle = 0 }))
	f.refused("a time below 0", policy(func(p *admission.Policy) { p.Beat = -1 }))
	f.refused("start before accept", policy(func(p *admission.Policy) { p.Start = p.Accept - 1 }))
	f.refused("round_max below round", policy(func(p *admission.Policy) { p.RoundMax = p.Round - 1 }))
	f.holds("2^40 bytes of memory", policy(func(p *admission.Policy) { p.MaxMemory = 1 << 40 }))
	f.refused("2^40 + 1 bytes of memory", policy(func(p *admission.Policy) { p.MaxMemory = 1<<40 + 1 }))
	f.refused("no open jobs", policy(func(p *admission.Policy) { p.MaxOpen = 0 }))
	f.refused("a policy of number 1", policy(func(p *admission.Policy) { p.Number = 1 }))
}
