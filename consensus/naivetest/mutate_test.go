package naivetest

import (
	"math"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/dagcbor"
)

// mutator is one way to go wrong, or nearly.
type mutator struct {
	name   string
	at     stage
	change func(*draft)
}

// mutators are all of them. Whether the result verifies is not theirs to say:
// many stay within the rules, by a hair.
func mutators() []mutator {
	return slices.Concat(charterMutators(), partMutators(), signatureMutators(), handoverMutators(), ballotMutators(), credentialMutators(),
		certificateMutators(), treeMutators(), byteMutators())
}

// edges are numbers about which encodings and bounds change.
var edges = []uint64{0, 1, 2, 3, 4, 10, 11, 15, 16, 23, 24, 31, 32, 255, 256, 512, 513, 65535, 65536, 1 << 20, 1<<20 + 1, 1 << 30, 1<<30 + 1,
	math.MaxUint32, 1 << 32, 1 << 40, 1<<40 + 1, math.MaxInt64, 1 << 63, math.MaxUint64}

// near returns a number close to n.
func (d *draft) near(n int64) int64 { return n + int64(d.r.IntN(5)) - 2 }

func charterMutators() []mutator {
	on := func(name string, change func(d *draft, c *consensus.Charter)) mutator {
		return mutator{name, onCharter, func(d *draft) { change(d, d.charter) }}
	}
	return []mutator{
		on("charter version", func(d *draft, c *consensus.Charter) { c.V = pick(d.r, edges) }),
		on("date", func(d *draft, c *consensus.Charter) {
			dates := []*int64{&c.Issued, &c.AcceptBy, &c.StartBy, &c.Deadline, &c.End}
			*pick(d.r, dates) = d.near(*pick(d.r, dates))
		}),
		on("wild date", func(d *draft, c *consensus.Charter) {
			*pick(d.r, []*int64{&c.Issued, &c.AcceptBy, &c.StartBy, &c.Deadline, &c.End, &c.Timeout}) =
				pick(d.r, []int64{0, -1, 1, math.MaxInt64, math.MinInt64, c.Issued + 10*365*consensustest.Day})
		}),
		on("ten years", func(d *draft, c *consensus.Charter) { c.End = d.near(c.Issued + 10*365*consensustest.Day) }),
		on("timeout", func(d *draft, c *consensus.Charter) {
			c.Timeout = d.near(pick(d.r, []int64{0, 1, c.Deadline - c.Issued}))
		}),
		on("attempt", func(d *draft, c *consensus.Charter) { c.Attempt = uint64(d.r.IntN(6)) }),
		on("request", func(d *draft, c *consensus.Charter) { c.Request[d.r.IntN(32)] ^= 1 }),
		on("project", func(d *draft, c *consensus.Charter) { c.Project = strings.Repeat("é", 62+d.r.IntN(4)) }),
		on("class", func(d *draft, c *consensus.Charter) {
			c.Class = consensus.Class(strings.Repeat("a", pick(d.r, []int{0, 1, 63, 64, 65})))
		}),
		on("assurance", func(d *draft, c *consensus.Charter) {
			c.Assurance = pick(d.r, []consensus.Assurance{consensus.Single, consensus.Replicated, consensus.MajorityEqual, consensus.Endorsed, "sworn", ""})
		}),
		on("effects", func(d *draft, c *consensus.Charter) {
			c.Effects = pick(d.r, []consensus.Effects{consensus.Once, consensus.AtLeastOnce, "twice", ""})
			c.Assurance = pick(d.r, []consensus.Assurance{consensus.Single, c.Assurance})
		}),
		on("limits", func(d *draft, c *consensus.Charter) {
			*pick(d.r, []*uint64{&c.Limits.Input, &c.Limits.Output, &c.Limits.Stream}) = pick(d.r, edges)
		}),
		on("runners", func(d *draft, c *consensus.Charter) { c.Runners = uint64(d.r.IntN(len(c.Roster) + 3)) }),
		on("fault model", func(d *draft, c *consensus.Charter) { c.Fault = consensus.Fault(d.r.IntN(4)) }),
		on("f", func(d *draft, c *consensus.Charter) {
			c.F = pick(d.r, []uint64{0, 1, 2, 3, 10, 11, 15, 16, 31, 32, math.MaxUint64})
		}),
		on("replace", func(d *draft, c *consensus.Charter) { c.Replace = uint64(d.r.IntN(int(c.F) + 3)) }),
		on("period", func(d *draft, c *consensus.Charter) { c.Period = pick(d.r, edges) }),
		on("hashes", func(d *draft, c *consensus.Charter) {
			pick(d.r, []*consensus.Hash{&c.Policy, &c.Nonce})[d.r.IntN(32)] ^= 1
		}),
		on("beacon", func(d *draft, c *consensus.Charter) { c.Beacon = make([]byte, d.r.IntN(2)) }),
		on("links", func(d *draft, c *consensus.Charter) {
			*pick(d.r, []*dagcbor.Link{&c.Spec, &c.Task, &c.Roll}) = d.oddLink()
		}),
		on("needs", func(d *draft, c *consensus.Charter) { d.oddNeeds(pick(d.r, []*consensus.Needs{&c.Needs, &c.RunNeeds})) }),
	}
}

func partMutators() []mutator {
	on := func(name string, change func(d *draft, c *consensus.Charter)) mutator {
		return mutator{name, onCharter, func(d *draft) { change(d, d.charter) }}
	}
	return []mutator{
		on("cause", func(d *draft, c *consensus.Charter) { l := d.oddLink(); c.Cause = &l }),
		on("supersedes", func(d *draft, c *consensus.Charter) { c.Supersedes = &consensus.JobID{byte(d.r.IntN(2))} }),
		on("sealed", func(d *draft, c *consensus.Charter) { c.Sealed = make([]byte, d.r.IntN(3)) }),
		on("crit", func(d *draft, c *consensus.Charter) { c.Crit = []string{pick(d.r, []string{"", "fast", "ext"})} }),
		on("ext", func(d *draft, c *consensus.Charter) {
			c.Ext = map[string]dagcbor.Raw{pick(d.r, []string{"", "later", "v"}): standIn}
			d.extension = d.oddExtension()
		}),
		on("nesting", func(d *draft, c *consensus.Charter) {
			c.Ext = map[string]dagcbor.Raw{"deep": standIn}
			d.extension = d.nested(28 + d.r.IntN(3)) // inside the seal, the charter and ext
		}),
		on("8 KiB", func(d *draft, c *consensus.Charter) {
			c.Ext = map[string]dagcbor.Raw{"pad": must(dagcbor.Marshal(""))}
			now := len(must(dagcbor.Seal(consensus.TagCharter, d.ID[:], c)))
			pad := consensus.MaxCharter - now - 2 + d.r.IntN(4) - 1
			c.Ext["pad"] = must(dagcbor.Marshal(strings.Repeat("x", max(pad, 0))))
		}),
		on("roster", func(d *draft, c *consensus.Charter) {
			i, j := d.r.IntN(len(c.Roster)), d.r.IntN(len(c.Roster))
			switch d.r.IntN(5) {
			case 0:
				c.Roster[i] = c.Roster[j]
			case 1:
				c.Roster[i].Peer = c.Roster[j].Peer
			case 2:
				c.Roster[i], c.Roster[j] = c.Roster[j], c.Roster[i]
			case 3:
				c.Roster = c.Roster[:len(c.Roster)-1]
			case 4:
				c.Roster = append(c.Roster, d.outsider())
			}
		}),
		on("a stranger's seat", func(d *draft, c *consensus.Charter) { c.Roster[d.r.IntN(len(c.Roster))] = d.outsider() }),
		on("reserves", func(d *draft, c *consensus.Charter) {
			switch d.r.IntN(4) {
			case 0:
				c.Reserves = append(c.Reserves, d.outsider())
			case 1:
				c.Reserves = []consensus.Seat{pick(d.r, c.Roster)}
			case 2:
				c.Reserves = nil
			case 3:
				c.Reserves = []consensus.Seat{d.outsider()}
			}
		}),
		on("an odd key", func(d *draft, c *consensus.Charter) {
			keys := []*admission.Key{&c.Owner, &c.Submitter, &c.Roster[d.r.IntN(len(c.Roster))].Peer}
			if len(c.Reserves) > 0 {
				keys = append(keys, &c.Reserves[0].Peer)
			}
			*pick(d.r, keys) = d.oddKey()
		}),
		on("owner", func(d *draft, c *consensus.Charter) {
			c.Owner = pick(d.r, []admission.Key{d.User.Key(), c.Roster[0].Peer, c.Submitter, d.liar.Key()})
		}),
		on("submitter", func(d *draft, c *consensus.Charter) {
			c.Submitter = pick(d.r, []admission.Key{d.User.Key(), pick(d.r, c.Roster).Peer, d.liar.Key()})
		}),
		on("another network's", func(d *draft, _ *consensus.Charter) { d.signing = d.other.ID }),
		on("value", func(d *draft, _ *consensus.Charter) { d.oddValue() }),
		on("what an assurance allows", func(d *draft, c *consensus.Charter) {
			d.value = consensus.Value{Kind: consensus.Failed, Class: pick(d.r, []consensus.Failure{consensus.FailedDisagreement, consensus.FailedRejected})}
			c.Assurance = pick(d.r, []consensus.Assurance{c.Assurance, c.Assurance, consensus.Endorsed})
		}),
	}
}

func (d *draft) oddLink() dagcbor.Link {
	code := pick(d.r, []uint64{multihash.SHA2_256, multihash.SHA2_256, multihash.SHA1, multihash.SHA2_512, multihash.IDENTITY, multihash.SHA3_256})
	length := -1
	if code == multihash.SHA2_256 && d.r.IntN(3) == 0 {
		length = 20
	}
	mh := must(multihash.Sum([]byte("odd"), code, length))
	return dagcbor.LinkTo(cid.NewCidV1(pick(d.r, []uint64{cid.DagCBOR, cid.Raw, cid.DagProtobuf}), mh))
}

func (d *draft) oddNeeds(n *consensus.Needs) {
	many := pick(d.r, []int{1, 31, 32, 33})
	switch d.r.IntN(5) {
	case 0:
		n.Labels = []string{"b", pick(d.r, []string{"a", "b", "c", ""})}
	case 1:
		n.Labels = []string{strings.Repeat("l", pick(d.r, []int{0, 1, 127, 128, 129}))}
	case 2:
		n.Quantities = map[string]uint64{strings.Repeat("q", pick(d.r, []int{0, 1, 63, 64, 65})): pick(d.r, edges)}
	case 3:
		n.Quantities = map[string]uint64{}
		for i := range many {
			n.Quantities[strings.Repeat("q", i+1)] = 1
		}
	case 4:
		n.Labels = nil
		for i := range many {
			n.Labels = append(n.Labels, strings.Repeat("l", i+1))
		}
	}
}

// oddExtension is canonical as often as not.
func (d *draft) oddExtension() []byte {
	return pick(d.r, [][]byte{
		{0xf6}, {0x82, 0x01, 0x61, 'a'}, {0x20}, {0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0xa2, 0x61, 'a', 0xf4, 0x61, 'b', 0xf5}, {0x60}, {0x40}, {0x80}, {0xa0},
		{0x18, 0x01}, {0x9f, 0xff}, {0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0}, {0xf7}, {0x61, 0xff}, {0xa2, 0x61, 'b', 0xf4, 0x61, 'a', 0xf5},
		{0xa2, 0x61, 'a', 0xf4, 0x61, 'a', 0xf5}, {0xa1, 0x01, 0x01}, {0xc1, 0x01}, {0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0},
		d.nested(26 + d.r.IntN(8)),
	})
}

// nested has so many arrays or maps inside one another, and in the innermost what
// is one more of them, or a number.
func (d *draft) nested(deep int) []byte {
	around := pick(d.r, []string{"\x81", "\xa1\x61k"})
	innermost := pick(d.r, []string{"\x01", "\x80", "\xa0", string(encode(consensustest.Link("deep").Cid))})
	return []byte(strings.Repeat(around, deep) + innermost)
}

func (d *draft) outsider() consensus.Seat {
	m := pick(d.r, d.Nodes)
	return consensus.Seat{Peer: m.Key(), Incarnation: m.Incarnation}
}

// oddKey is of small order, no point at all, or nobody's.
func (d *draft) oddKey() admission.Key {
	key := pick(d.r, []admission.Key{
		{}, {0: 1}, {0: 2}, d.liar.Key(),
		admission.Key([]byte("\xec\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")),
		admission.Key([]byte("\xee\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")),
		admission.Key([]byte("\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05")),
	})
	if d.r.IntN(3) == 0 {
		key[31] ^= 0x80
	}
	return key
}

func (d *draft) oddValue() {
	tree := pick(d.r, []*dagcbor.Link{nil, d.value.Tree})
	if d.r.IntN(4) == 0 {
		l := d.oddLink()
		tree = &l
	}
	d.value = consensus.Value{
		Kind: consensus.Ending(d.r.IntN(7)), Class: consensus.Failure(d.r.IntN(11)),
		Code: pick(d.r, []uint64{0, 0, 1, 255, consensus.MaxTasks, consensus.MaxTasks + 1, math.MaxUint64}), Tree: tree,
	}
	if d.r.IntN(2) == 0 {
		d.value.Class = 0
	}
}
