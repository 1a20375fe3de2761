package naivetest

import (
	"encoding/binary"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

func certificateMutators() []mutator {
	vote := func(name string, change func(d *draft, p *consensus.Proof)) mutator {
		return mutator{name, onCertificate, func(d *draft) {
			decisions := append(slices.Clone(d.certificate.Chain), d.certificate.Outcome)
			if votes := pick(d.r, decisions).Commits.Votes; len(votes) > 0 {
				change(d, &votes[d.r.IntN(len(votes))].Proof)
			}
		}}
	}
	return []mutator{
		{"certificate version", onCertificate, func(d *draft) { d.certificate.V = pick(d.r, edges) }},
		{"an outcome in the chain", onCertificate, func(d *draft) { d.certificate.Chain = append(d.certificate.Chain, d.certificate.Outcome) }},
		{"a handover as outcome", onCertificate, func(d *draft) {
			if c := d.certificate.Chain; len(c) > 0 {
				d.certificate.Outcome, d.certificate.Chain = c[len(c)-1], c[:len(c)-1]
			}
		}},
		{"chain", onCertificate, func(d *draft) {
			c := d.certificate.Chain
			switch i := d.r.IntN(len(c) + 1); {
			case i == len(c):
				d.certificate.Chain = nil
			case d.r.IntN(2) == 0:
				d.certificate.Chain = append(c, c[i])
			default:
				slices.Reverse(c)
			}
		}},
		{"a height in the chain", onCertificate, func(d *draft) {
			if c := d.certificate.Chain; len(c) > 0 {
				c[d.r.IntN(len(c))].Height = pick(d.r, edges)
			}
		}},
		{"height", onCertificate, func(d *draft) { d.certificate.Outcome.Height = pick(d.r, edges) }},
		{"round in word only", onCertificate, func(d *draft) { d.certificate.Outcome.Commits.Round ^= 1 }},
		{"value in word only", onCertificate, func(d *draft) { d.certificate.Outcome.Commits.Value[d.r.IntN(32)] ^= 1 }},
		{"another outcome", onCertificate, func(d *draft) { d.oddValue(); d.certificate.Outcome.Value = d.value }},
		vote("count", func(d *draft, p *consensus.Proof) {
			p.Count = pick(d.r, append(edges, p.Count+1, p.Count-1, p.Count*2))
		}),
		vote("index", func(d *draft, p *consensus.Proof) { p.Index = pick(d.r, append(edges, p.Index^1, p.Count)) }),
		vote("path", func(d *draft, p *consensus.Proof) {
			switch d.r.IntN(4) {
			case 0:
				p.Path = append(p.Path, consensus.Hash{1})
			case 1:
				p.Path = p.Path[:len(p.Path)/2]
			case 2:
				slices.Reverse(p.Path)
			case 3:
				if len(p.Path) > 0 {
					p.Path[d.r.IntN(len(p.Path))][d.r.IntN(32)] ^= 1
				}
			}
		}),
		vote("signature of a vote", func(d *draft, p *consensus.Proof) { d.spoil(&p.Signature, p.Signature[:]) }),
	}
}

// treeMutators change any part of the decoded file and encode it again.
func treeMutators() []mutator {
	return []mutator{
		{"a part replaced", onTree, func(d *draft) { d.replace(func(any) any { return d.odd() }) }},
		{"a part varied", onTree, func(d *draft) { d.replace(d.varied) }},
		{"a part of the charter varied", onTree, func(d *draft) {
			// Not signed again: only the form can be seen.
			root, _ := tryDecode(d.data)
			file, _ := root.(map[string]any)
			signed, _ := file["charter"].([]any)
			if len(signed) == 0 {
				return
			}
			if inner, ok := signed[0].([]byte); ok {
				d.data = inner
				d.replace(d.varied)
				signed[0] = d.data
				d.data = encode(file)
			}
		}},
		{"a feature of another type, signed", onTree, func(d *draft) {
			root, _ := tryDecode(d.data)
			file, _ := root.(map[string]any)
			credentials, _ := file["credentials"].([]any)
			if len(credentials) == 0 {
				return
			}
			credential, _ := pick(d.r, credentials).([]any)
			if len(credential) != 2 {
				return // another mutation has been here
			}
			body, ok := credential[0].(map[string]any)
			if !ok {
				return
			}
			body["features"], body["issuer"] = []any{d.odd()}, keyOf(d.Authority)
			signature := d.Authority.Sign(network{id: d.signing[:]}.seal("muster/credential/1", body))
			credential[1] = signature[:]
			d.data = encode(file)
		}},
	}
}

func keyOf(s admission.Signer) []byte {
	key := s.Key()
	return key[:]
}

// replace changes one part of the file, each as likely as any other. What does
// not decode is left as it is.
func (d *draft) replace(change func(any) any) {
	root, err := tryDecode(d.data)
	if err != nil {
		return
	}
	left := d.r.IntN(count(root))
	d.data = encode(at(root, &left, change))
}

func tryDecode(data []byte) (v any, err error) {
	defer func() {
		if r, ok := recover().(refusal); ok {
			err = r
		}
	}()
	return decode(data), nil
}

func count(v any) int {
	n := 1
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			n += count(item)
		}
	case map[string]any:
		for _, item := range v {
			n += count(item)
		}
	}
	return n
}

// at changes the part that is left parts ahead.
func at(v any, left *int, change func(any) any) any {
	if *left == 0 {
		*left = -1
		return change(v)
	}
	*left--
	switch v := v.(type) {
	case []any:
		for i := range v {
			if *left < 0 {
				break
			}
			v[i] = at(v[i], left, change)
		}
	case map[string]any:
		for _, k := range sortedKeys(v) {
			if *left < 0 {
				break
			}
			v[k] = at(v[k], left, change)
		}
	}
	return v
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (d *draft) odd() any {
	return pick(d.r, []any{
		nil, true, uint64(0), uint64(1), uint64(1 << 63), int64(-1), "", "text", []byte{}, make([]byte, 16), make([]byte, 32), make([]byte, 64),
		[]any{}, []any{nil}, map[string]any{}, map[string]any{"k": nil}, cid.NewCidV1(cid.Raw, d.oddLink().Hash()),
	})
}

// varied keeps the type of a part.
func (d *draft) varied(v any) any {
	switch v := v.(type) {
	case uint64:
		return pick(d.r, append(edges, v+1, v-1))
	case []byte:
		v = slices.Clone(v)
		switch i := d.r.IntN(len(v) + 1); {
		case i == len(v):
			return append(v, 0)
		case d.r.IntN(4) == 0:
			return v[:i]
		default:
			v[i] ^= 1 << d.r.IntN(8)
			return v
		}
	case string:
		return pick(d.r, []string{v + "x", "", "portable", v[:len(v)/2]})
	case []any:
		if len(v) == 0 {
			return []any{d.odd()}
		}
		i := d.r.IntN(len(v))
		switch d.r.IntN(3) {
		case 0:
			return slices.Delete(v, i, i+1)
		case 1:
			return append(v, v[i])
		default:
			slices.Reverse(v)
			return v
		}
	case map[string]any:
		if keys := sortedKeys(v); len(keys) > 0 && d.r.IntN(2) == 0 {
			delete(v, pick(d.r, keys))
		} else {
			v[pick(d.r, []string{"", "x", "V", "extra", "charter"})] = d.odd()
		}
		return v
	case cid.Cid:
		return d.oddLink().Cid
	}
	return d.odd()
}

func byteMutators() []mutator {
	on := func(name string, change func(d *draft, i int)) mutator {
		return mutator{name, onBytes, func(d *draft) {
			if len(d.data) > 0 {
				change(d, d.r.IntN(len(d.data)))
			}
		}}
	}
	return []mutator{
		on("a bit", func(d *draft, i int) { d.data[i] ^= 1 << d.r.IntN(8) }),
		on("a byte", func(d *draft, i int) { d.data[i] = byte(d.r.IntN(256)) }),
		on("a byte more", func(d *draft, i int) { d.data = slices.Insert(d.data, i, byte(d.r.IntN(256))) }),
		on("a byte less", func(d *draft, i int) { d.data = slices.Delete(d.data, i, i+1) }),
		on("bytes behind it", func(d *draft, _ int) { d.data = append(d.data, byte(d.r.IntN(256))) }),
		on("cut short", func(d *draft, i int) { d.data = d.data[:i] }),
		on("a piece twice", func(d *draft, i int) {
			j := min(len(d.data), i+d.r.IntN(128))
			d.data = slices.Insert(d.data, i, slices.Clone(d.data[i:j])...)
		}),
		on("not canonical", func(d *draft, _ int) { d.longer() }),
		on("64 KiB", func(d *draft, _ int) {
			d.data = append(d.data, make([]byte, max(0, consensus.MaxCertificate-len(d.data)+d.r.IntN(3)-1))...)
		}),
		on("an empty file", func(d *draft, _ int) { d.data = nil }),
		on("another genesis", func(d *draft, i int) {
			d.genesis = pick(d.r, [][]byte{d.other.Sealed, slices.Clone(d.Sealed)})
			d.genesis[i%len(d.genesis)] ^= byte(d.r.IntN(2))
		}),
		on("the charter alone", func(d *draft, _ int) { d.data = d.signed.Bytes }),
	}
}

// longer writes the argument of one item in more bytes than it takes, or an
// item of open length.
func (d *draft) longer() {
	heads := headsOf(d.data)
	if len(heads) == 0 {
		return
	}
	i := pick(d.r, heads)
	major, info := d.data[i]&0xe0, d.data[i]&0x1f
	var wide []byte
	size := 0
	switch {
	case major == 0xe0:
		wide = []byte{0xf8, d.data[i] & 0x1f} // a simple value in two bytes
	case d.r.IntN(4) == 0 && major >= 0x40 && major < 0xc0:
		wide = []byte{major | 31}
	case info < 24:
		wide = []byte{major | 24, info}
	case info == 24:
		wide, size = []byte{major | 25, 0, d.data[i+1]}, 1
	case info == 25:
		wide, size = []byte{major | 26, 0, 0, d.data[i+1], d.data[i+2]}, 2
	case info == 26:
		wide, size = binary.BigEndian.AppendUint64([]byte{major | 27}, uint64(binary.BigEndian.Uint32(d.data[i+1:]))), 4
	default:
		return
	}
	d.data = slices.Replace(d.data, i, i+1+size, wide...)
}

// headsOf returns where the items of an encoded value begin whose arguments are there.
func headsOf(data []byte) []int {
	var heads []int
	for i := 0; i < len(data); {
		head, major, info := i, data[i]>>5, data[i]&0x1f
		i++
		n := uint64(info)
		if size := 0; info >= 24 && info <= 27 {
			size = 1 << (info - 24)
			if i+size > len(data) {
				return heads
			}
			n = 0
			for _, b := range data[i : i+size] {
				n = n<<8 | uint64(b)
			}
			i += size
		}
		heads = append(heads, head)
		if major == 2 || major == 3 {
			if n > uint64(len(data)-i) {
				return heads
			}
			i += int(n)
		}
	}
	return heads
}
