package runner

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/dagcbor/dagcbortest"
)

// sealed is a batch signed by node 0 of a network: statements, as kinds say,
// and notes where a kind is 0.
func sealed(t testing.TB, n *consensustest.Network, kinds []consensus.Kind, payloads []*consensus.Payload) ([]outgoing, batchSigned) {
	t.Helper()
	me := n.Nodes[0]
	out := make([]outgoing, len(kinds))
	var leaves [][]byte
	for i, kind := range kinds {
		job := consensus.JobID(sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
		out[i] = outgoing{job: job, payload: payloads[i], size: 256}
		if kind == 0 {
			out[i].note = consensus.NoteEvidence
			continue
		}
		out[i].statement = consensus.Statement{Kind: kind, Network: n.ID, Job: job, Previous: consensus.Hash(job), Sender: me.Key(),
			Incarnation: me.Incarnation, Value: consensus.Hash{byte(i)}}
		out[i].key = KeyOf(bft.Outgoing{Kind: kind, Value: out[i].statement.Value})
		leaf, err := out[i].statement.Leaf()
		if err != nil {
			t.Fatal(err)
		}
		out[i].index = len(leaves)
		leaves = append(leaves, leaf)
	}
	if len(leaves) == 0 {
		return out, batchSigned{}
	}
	batch, err := consensus.NewBatch(leaves)
	if err != nil {
		t.Fatal(err)
	}
	header, err := consensus.BatchHeader(n.ID, me.Incarnation, uint64(len(leaves)), batch.Root())
	if err != nil {
		t.Fatal(err)
	}
	return out, batchSigned{batch: batch, count: uint64(len(leaves)), signature: me.Sign(header)}
}

// framed puts a body into a frame as it travels.
func framed(t testing.TB, data []byte) []byte {
	t.Helper()
	encoded, err := dagcbor.Marshal(frame{V: frameVersion, Session: 7, Seq: 1, Have: []have{{Session: 3, Seq: 2, Missed: []uint64{1}}}, Body: data})
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func encoder(n *consensustest.Network) *loop {
	return &loop{r: New(Config{Network: n.ID, Genesis: n.Genesis, Policy: n.Genesis.Policy, Signer: n.Nodes[0], Incarnation: n.Nodes[0].Incarnation})}
}

func TestAReceiverGetsItsPartOfABatchAndCanProveIt(t *testing.T) {
	n := consensustest.New(1)
	rapid.Check(t, func(rt *rapid.T) {
		kinds := rapid.SliceOfN(rapid.SampledFrom([]consensus.Kind{0, consensus.KindAccept, consensus.KindPrepare, consensus.KindCommit}), 1, 40).Draw(rt, "kinds")
		out, signed := sealed(t, n, kinds, make([]*consensus.Payload, len(kinds)))
		var which []int
		for i := range out {
			if rapid.Bool().Draw(rt, "wanted") {
				which = append(which, i)
			}
		}
		var got []int
		for _, piece := range encoder(n).encode(out, which, signed) {
			f, b, err := decodeFrame(framed(t, piece.data))
			if err != nil {
				rt.Fatal(err)
			}
			if f.Session != 7 || f.Seq != 1 || len(f.Have) != 1 || f.Have[0].Seq != 2 || !slices.Equal(f.Have[0].Missed, []uint64{1}) {
				rt.Fatalf("the frame came as %+v", f)
			}
			proofs, err := b.proofs(n.ID, n.Nodes[0].Key(), newRootCache(4))
			if err != nil {
				rt.Fatal(err)
			}
			if len(b.Items)+len(b.Notes) != len(piece.order) {
				rt.Fatalf("%d statements and %d notes for %d", len(b.Items), len(b.Notes), len(piece.order))
			}
			for i, at := range piece.order {
				o := out[which[at]]
				got = append(got, which[at])
				if i >= len(b.Items) {
					if o.statement.Kind != 0 || b.Notes[i-len(b.Items)].Job != o.job {
						rt.Fatalf("message %d is not note %d", which[at], i)
					}
					continue
				}
				if err := proofs[i].Check(o.statement); err != nil {
					rt.Fatalf("message %d: %v", which[at], err)
				}
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, which) {
			rt.Fatalf("%v arrived as %v", which, got)
		}
	})
}

func TestAPartOfABatchProvesNothingElse(t *testing.T) {
	n := consensustest.New(2)
	kinds := []consensus.Kind{consensus.KindAccept, consensus.KindPrepare, consensus.KindCommit, consensus.KindPrepare, consensus.KindCommit}
	out, signed := sealed(t, n, kinds, make([]*consensus.Payload, len(kinds)))
	part := func() body {
		_, b, err := decodeFrame(framed(t, encoder(n).encode(out, []int{1, 3}, signed)[0].data))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	me := n.Nodes[0].Key()
	for name, spoil := range map[string]func(*body) (admission.Network, admission.Key){
		"as it is":      func(*body) (admission.Network, admission.Key) { return n.ID, me },
		"another value": func(b *body) (admission.Network, admission.Key) { b.Items[0].Value[0] ^= 1; return n.ID, me },
		"another kind": func(b *body) (admission.Network, admission.Key) {
			b.Items[1].Kind = consensus.KindCommit
			return n.ID, me
		},
		"another round":    func(b *body) (admission.Network, admission.Key) { b.Items[1].Round++; return n.ID, me },
		"another job":      func(b *body) (admission.Network, admission.Key) { b.Items[1].Job[5] ^= 1; return n.ID, me },
		"another height":   func(b *body) (admission.Network, admission.Key) { b.Items[1].Height = 1; return n.ID, me },
		"no such kind":     func(b *body) (admission.Network, admission.Key) { b.Items[1].Kind = 99; return n.ID, me },
		"another place":    func(b *body) (admission.Network, admission.Key) { b.Items[1].Index = 4; return n.ID, me },
		"a place twice":    func(b *body) (admission.Network, admission.Key) { b.Items[1].Index = b.Items[0].Index; return n.ID, me },
		"a place far away": func(b *body) (admission.Network, admission.Key) { b.Items[1].Index = 1 << 63; return n.ID, me },
		"another count":    func(b *body) (admission.Network, admission.Key) { b.Count++; return n.ID, me },
		"a hash too few":   func(b *body) (admission.Network, admission.Key) { b.Siblings = b.Siblings[1:]; return n.ID, me },
		"a hash too many": func(b *body) (admission.Network, admission.Key) {
			b.Siblings = append(b.Siblings, consensus.Hash{})
			return n.ID, me
		},
		"another signature":     func(b *body) (admission.Network, admission.Key) { b.Signature[0] ^= 1; return n.ID, me },
		"another incarnation":   func(b *body) (admission.Network, admission.Key) { b.Incarnation[0] ^= 1; return n.ID, me },
		"from another":          func(*body) (admission.Network, admission.Key) { return n.ID, n.Nodes[1].Key() },
		"in another network":    func(*body) (admission.Network, admission.Key) { return admission.Network{1}, me },
		"one statement dropped": func(b *body) (admission.Network, admission.Key) { b.Items = b.Items[:1]; return n.ID, me },
	} {
		t.Run(name, func(t *testing.T) {
			b := part()
			network, from := spoil(&b)
			proofs, err := b.proofs(network, from, newRootCache(4))
			if ok := err == nil && len(proofs) > 0; ok != (name == "as it is") {
				t.Errorf("%d proofs, %v", len(proofs), err)
			}
		})
	}
}

func TestARootThatWasVerifiedStandsForItsSignatureOnly(t *testing.T) {
	n := consensustest.New(1)
	out, signed := sealed(t, n, []consensus.Kind{consensus.KindAccept}, make([]*consensus.Payload, 1))
	_, b, err := decodeFrame(framed(t, encoder(n).encode(out, []int{0}, signed)[0].data))
	if err != nil {
		t.Fatal(err)
	}
	roots := newRootCache(4)
	if _, err := b.proofs(n.ID, n.Nodes[0].Key(), roots); err != nil {
		t.Fatal(err)
	}
	b.Signature[0] ^= 1
	if _, err := b.proofs(n.ID, n.Nodes[0].Key(), roots); !errors.Is(err, admission.ErrSignature) {
		t.Errorf("a root seen before, with another signature: %v", err)
	}
}

func TestOnlySoManyKeysAreHeldReady(t *testing.T) {
	roots := newRootCache(4)
	for i := range 3 * maxKeys {
		roots.keyOf(admission.Key{byte(i), byte(i >> 8)})
		if len(roots.keys) > maxKeys {
			t.Fatalf("%d keys after %d", len(roots.keys), i+1)
		}
	}
}

func TestFramesStayWithinTheirBoundHoweverMuchIsSaid(t *testing.T) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1)
	// What a long evidence weighs: reports with every quantity, from wide batches.
	use := map[string]uint64{}
	for i := range 16 {
		use["quantity-"+string(rune('a'+i))] = 1 << 60
	}
	var reports []consensus.SignedReport
	for seat := range uint64(8) {
		path := make([]consensus.Hash, 10)
		reports = append(reports, consensus.SignedReport{Seat: seat % 4, Report: consensus.Report{Run: 1, Value: consensustest.Result("hello"), Use: use},
			Proof: consensus.Proof{Count: 1000, Path: path}})
	}
	prepares := n.Votes(job, consensus.KindPrepare, 0, consensus.Hash{1}, 0, 1, 2)
	kinds := make([]consensus.Kind, 500)
	payloads := make([]*consensus.Payload, len(kinds))
	which := make([]int, len(kinds))
	for i := range kinds {
		which[i] = i
		payloads[i] = &consensus.Payload{Reports: reports}
		if i%2 == 0 {
			kinds[i] = consensus.KindPropose
			payloads[i].Set = &prepares
		}
	}
	out, signed := sealed(t, n, kinds, payloads)
	arrived := 0
	for _, piece := range encoder(n).encode(out, which, signed) {
		_, b, err := decodeFrame(framed(t, piece.data))
		if err != nil {
			t.Fatalf("a frame of %d messages in %d bytes: %v", len(piece.order), len(piece.data), err)
		}
		if _, err := b.proofs(n.ID, n.Nodes[0].Key(), newRootCache(4)); err != nil {
			t.Fatal(err)
		}
		arrived += len(b.Items) + len(b.Notes)
	}
	if arrived != len(kinds) {
		t.Errorf("%d of %d messages arrived", arrived, len(kinds))
	}
}

func TestFramesOutOfBoundsAreRefused(t *testing.T) {
	good := body{Siblings: []consensus.Hash{}, Items: []item{}, Notes: []note{}}
	encode := func(v any) []byte {
		data, err := dagcbor.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	with := func(change func(*frame, *body)) []byte {
		b := good
		f := frame{V: frameVersion, Session: 1, Seq: 1, Have: []have{}}
		change(&f, &b)
		if f.Seq > 0 {
			f.Body = encode(b)
		}
		return encode(f)
	}
	offering := func(charter, block, blocks, credentials int) []byte {
		o := consensus.Offer{Charter: consensus.SignedCharter{Bytes: make([]byte, charter)}, Credentials: make([]admission.SignedCredential, credentials)}
		for range blocks {
			o.Blocks = append(o.Blocks, consensus.Block{Link: consensustest.Link("block"), Data: make([]byte, block)})
		}
		return with(func(_ *frame, b *body) {
			b.Notes = []note{{Note: consensus.NoteOffer, Payload: &consensus.Payload{Offer: &o}}}
		})
	}
	refusing := func(reason int) []byte {
		return with(func(_ *frame, b *body) {
			b.Count, b.Items = 1, []item{{Kind: consensus.KindRefuse, Payload: &consensus.Payload{Reason: string(make([]byte, reason))}}}
		})
	}
	for name, c := range map[string]struct {
		data []byte
		ok   bool
	}{
		"empty body":              {with(func(*frame, *body) {}), true},
		"acknowledgements only":   {with(func(f *frame, _ *body) { f.Seq = 0; f.Body = []byte{}; f.Have = make([]have, maxHave) }), true},
		"body without a number":   {with(func(f *frame, _ *body) { f.Seq = 0; f.Body = []byte{0} }), false},
		"another version":         {with(func(f *frame, _ *body) { f.V = 2 }), false},
		"too many answers":        {with(func(f *frame, _ *body) { f.Have = make([]have, maxHave+1) }), false},
		"too many missed":         {with(func(f *frame, _ *body) { f.Have = []have{{Missed: make([]uint64, maxMessages+1)}} }), false},
		"too many notes":          {with(func(_ *frame, b *body) { b.Notes = make([]note, maxMessages+1) }), false},
		"too large a batch":       {with(func(_ *frame, b *body) { b.Count = consensus.MaxBatch + 1; b.Items = make([]item, 1) }), false},
		"a batch without items":   {with(func(_ *frame, b *body) { b.Count = 1 }), false},
		"items without a batch":   {with(func(_ *frame, b *body) { b.Items = make([]item, 1) }), false},
		"more items than batched": {with(func(_ *frame, b *body) { b.Count = 1; b.Items = make([]item, 2) }), false},
		"a large offer":           {offering(consensus.MaxCharter, consensus.MaxInline/2, 2, 2), true},
		"too large a charter":     {offering(consensus.MaxCharter+1, 1, 1, 1), false},
		"too many bytes in line":  {offering(1, consensus.MaxInline/2+1, 2, 1), false},
		"too many blocks":         {offering(1, 0, 65, 1), false},
		"too many credentials":    {offering(1, 1, 1, 3), false},
		"a long reason":           {refusing(maxReason), true},
		"too long a reason":       {refusing(maxReason + 1), false},
		"too long":                {bytes.Repeat([]byte{0}, MaxFrame+1), false},
		"nothing":                 {nil, false},
		"bytes behind it":         {append(with(func(*frame, *body) {}), 0), false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := decodeFrame(c.data); (err == nil) != c.ok {
				t.Errorf("%v", err)
			}
		})
	}
}

// resigned puts the signature under a body that its items and siblings ask for,
// so that a fuzzer gets past it. It leaves alone what no tree can be made of.
func resigned(n *consensustest.Network, b body) body {
	var indexes []int
	var leaves []consensus.Hash
	for _, i := range b.Items {
		leaf, err := i.statement(n.ID, n.Nodes[0].Key(), b.Incarnation).LeafHash()
		if err != nil {
			return b
		}
		indexes, leaves = append(indexes, int(i.Index)), append(leaves, leaf)
	}
	root, _, err := consensus.Partial(int(b.Count), indexes, leaves, b.Siblings)
	if err != nil {
		return b
	}
	if header, err := consensus.BatchHeader(n.ID, b.Incarnation, b.Count, root); err == nil {
		b.Signature = n.Nodes[0].Sign(header)
	}
	return b
}

// What decodes is what its sender encoded, byte for byte, and every statement of
// a batch that verifies has a proof that convinces whoever sees it alone.
func FuzzDecodeFrame(f *testing.F) {
	n := consensustest.New(5)
	job := n.Job(consensus.Byzantine, 1)
	decision := n.Decide(job, consensustest.Result("hello"))
	out, signed := sealed(f, n, []consensus.Kind{consensus.KindAccept, 0, consensus.KindReport},
		[]*consensus.Payload{nil, {Decision: &decision}, {Report: &consensus.Report{Run: 1, Value: consensustest.Result("hello")}}})
	for _, which := range [][]int{{0}, {1}, {0, 1, 2}} {
		data := encoder(n).encode(out, which, signed)[0].data
		f.Add(framed(f, data), false)
		f.Add(data, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, sign bool) {
		if sign { // a body, to be signed for whatever it is
			var b body
			if dagcbor.Unmarshal(data, &b) != nil {
				return
			}
			body, err := dagcbor.Marshal(resigned(n, b))
			if err != nil {
				t.Fatal(err)
			}
			data = framed(t, body)
		}
		fr, b, err := decodeFrame(data)
		if err != nil {
			return
		}
		if again, err := dagcbor.Marshal(fr); err != nil || !bytes.Equal(again, data) {
			t.Errorf("encodes to other bytes: %x, %v", again, err)
		}
		if again, err := dagcbor.Marshal(b); fr.Seq > 0 && (err != nil || !bytes.Equal(again, fr.Body)) {
			t.Errorf("the body encodes to other bytes: %x, %v", again, err)
		}
		proofs, err := b.proofs(n.ID, n.Nodes[0].Key(), newRootCache(4))
		if err != nil {
			return
		}
		if len(proofs) != len(b.Items) {
			t.Fatalf("%d proofs for %d statements", len(proofs), len(b.Items))
		}
		for i, p := range proofs {
			if err := p.Check(b.Items[i].statement(n.ID, n.Nodes[0].Key(), b.Incarnation)); err != nil {
				t.Errorf("statement %d alone: %v", i, err)
			}
		}
	})
}

// Whoever sends little makes a decoder hold little, whatever it claims is to come.
func TestFramesAllocateByWhatTheyHoldNotByWhatTheyClaim(t *testing.T) {
	n := consensustest.New(5)
	decision := n.Decide(n.Job(consensus.Byzantine, 1), consensustest.Result("hello"))
	out, signed := sealed(t, n, []consensus.Kind{consensus.KindAccept, 0}, []*consensus.Payload{nil, {Decision: &decision}})
	data := encoder(n).encode(out, []int{0, 1}, signed)[0].data
	dagcbortest.Claims(t, framed(t, data), func(data []byte) { _, _, _ = decodeFrame(data) })
	dagcbortest.Claims(t, data, func(data []byte) {
		_, _, _ = decodeFrame(framed(t, data))
	})
}
