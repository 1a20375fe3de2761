package runner

import (
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/bft"
	"github.com/muster-network/muster/store/dagcbor"
)

// outgoing is one message on its way to some peers.
type outgoing struct {
	statement consensus.Statement // Kind 0 for a note
	note      consensus.Note
	job       consensus.JobID
	payload   *consensus.Payload
	self      int // own party to tell, or -1
	to        []destination
	key       SayKey
	size      int // about, in bytes
	index     int // among the statements of its batch
}

type destination struct {
	peer  admission.Key
	party int // -1 for somebody whom the charter does not name
}

// send signs the statements among says, and what was spoken, in batches, tells
// each machine its own, and sends every peer its frames.
func (l *loop) send(says []Say) {
	out := l.out[:0]
	for _, s := range says {
		out = l.lie(out, l.prepare(s))
	}
	for _, s := range l.spoken {
		out = append(out, l.prepareSpeech(s))
	}
	defer func(all []outgoing) {
		clear(all) // what was said is not to be kept by the room for it
		l.out = all[:0]
	}(out)
	l.spoken = nil
	for len(out) > 0 {
		n := 0
		for end := range out {
			if out[end].statement.Kind != 0 {
				n++
			}
			if n == consensus.MaxBatch {
				l.sendBatch(out[:end+1])
				out = out[end+1:]
				break
			}
			if end == len(out)-1 {
				l.sendBatch(out)
				out = nil
			}
		}
	}
}

func (l *loop) prepare(s Say) outgoing {
	o := outgoing{note: s.Out.Note, job: s.Job, key: KeyOf(s.Out), payload: s.Out.Payload, self: -1, size: 256}
	if s.Out.Kind != 0 {
		o.statement = l.statement(s.Job, s.Out)
		if s.Own {
			o.self = s.Self
		}
	}
	if s.Offer != nil || s.Out.Kind == consensus.KindReport {
		with := *s.Out.Payload
		if s.Offer != nil {
			with.Offer = s.Offer
		} else {
			with.Blocks = l.r.cfg.Host.Inline(l.ctx, with.Report.Value)
		}
		o.payload = &with
	}
	if o.payload != nil {
		o.size += 1 << 10
		for _, b := range o.payload.Blocks {
			o.size += len(b.Data) + 64
		}
		if o.payload.Offer != nil {
			o.size += 4 << 10
		}
	}
	parties := s.To
	if parties == nil {
		parties = roster[:len(s.Charter.Roster)]
	}
	for _, party := range parties {
		if party != s.Self {
			o.to = append(o.to, destination{s.Charter.Party(party).Peer, party})
		}
	}
	if s.Out.Submitter && !slices.Contains(parties, s.Charter.PartyOf(s.Charter.Submitter)) {
		o.to = append(o.to, destination{s.Charter.Submitter, -1})
	}
	return o
}

// roster is the parties of the largest charter's roster.
var roster = func() []int {
	parties := make([]int, consensus.MaxRoster)
	for i := range parties {
		parties[i] = i
	}
	return parties
}()

func (l *loop) prepareSpeech(s Speech) outgoing {
	o := outgoing{note: s.Note, job: s.Job, payload: s.Payload, self: -1, size: 1 << 10, to: []destination{{s.To, -1}}}
	if s.Kind != 0 {
		o.statement = l.statement(s.Job, bft.Outgoing{Kind: s.Kind, Value: s.Value})
	}
	if s.Payload != nil && s.Payload.Offer != nil {
		o.size += consensus.MaxCharter + consensus.MaxInline
	}
	return o
}

func (l *loop) statement(job consensus.JobID, out bft.Outgoing) consensus.Statement {
	cfg := &l.r.cfg
	s := consensus.Statement{Kind: out.Kind, Network: cfg.Network, Job: job, Height: out.Height, Previous: out.Previous, Round: out.Round,
		Sender: cfg.Signer.Key(), Incarnation: cfg.Incarnation, Value: out.Value}
	if out.Height == 0 {
		s.Previous = consensus.Hash(job)
	}
	return s
}

// sendBatch signs up to MaxBatch statements together and sends them with the
// notes among them.
func (l *loop) sendBatch(out []outgoing) {
	cfg := &l.r.cfg
	var leaves [][]byte
	for i := range out {
		if out[i].statement.Kind != 0 {
			leaf, err := out[i].statement.Leaf()
			if err != nil {
				panic(err) // our own statements have known kinds
			}
			out[i].index = len(leaves)
			leaves = append(leaves, leaf)
		}
	}
	signed := batchSigned{}
	if len(leaves) > 0 {
		batch, err := consensus.NewBatch(leaves)
		if err != nil {
			panic(err) // 1 to MaxBatch leaves
		}
		header, err := consensus.BatchHeader(cfg.Network, cfg.Incarnation, uint64(len(leaves)), batch.Root())
		if err != nil {
			panic(err)
		}
		signed = batchSigned{batch: batch, count: uint64(len(leaves)), signature: cfg.Signer.Sign(header)}
		l.r.roots.add(keyOfRoot(cfg.Signer.Key(), cfg.Incarnation, signed.count, batch.Root(), signed.signature))
		l.tellOwn(out, signed)
	}
	l.sendFrames(out, signed)
}

type batchSigned struct {
	batch     consensus.Batch
	count     uint64
	signature admission.Signature
}

// proof shows that the statement of an index was signed.
func (s batchSigned) proof(index int) consensus.Proof {
	return consensus.Proof{Count: s.count, Index: uint64(index), Path: s.batch.Path(index), Signature: s.signature}
}

// tellOwn is the local shortcut: a machine counts its own statement once it is
// durable and signed. A submitter on this node hears it, too.
func (l *loop) tellOwn(out []outgoing, signed batchSigned) {
	now := l.r.cfg.Clock()
	for i := range out {
		o := &out[i]
		if o.statement.Kind == 0 {
			continue
		}
		proof := signed.proof(o.index)
		if w, ok := l.r.watcher(o.job); ok {
			l.r.tellWatcher(w, stashed{from: o.statement.Sender, incarnation: o.statement.Incarnation,
				item: item{Kind: o.statement.Kind, Job: o.job, Height: o.statement.Height, Round: o.statement.Round,
					Value: o.statement.Value, Payload: o.payload}, proof: proof})
		}
		if o.self >= 0 {
			l.core.Input(now, o.job, bft.Message{From: o.self, Kind: o.statement.Kind, Height: o.statement.Height,
				Round: o.statement.Round, Value: o.statement.Value, Proof: proof, Payload: o.payload})
		}
	}
}

// sendFrames groups messages by receiver. Receivers of the same messages share
// one encoding of the body.
func (l *loop) sendFrames(out []outgoing, signed batchSigned) {
	type parcel struct {
		peer    admission.Key
		which   []int
		parties []int
	}
	var parcels []parcel
	place := map[admission.Key]int{}
	for i := range out {
		for _, d := range out[i].to {
			if d.peer == l.r.cfg.Signer.Key() {
				l.toSelf(out[i], signed)
				continue
			}
			at, ok := place[d.peer]
			if !ok {
				at = len(parcels)
				place[d.peer] = at
				parcels = append(parcels, parcel{peer: d.peer, which: make([]int, 0, len(out)), parties: make([]int, 0, len(out))})
			}
			parcels[at].which = append(parcels[at].which, i)
			parcels[at].parties = append(parcels[at].parties, d.party)
		}
	}
	var shared []int
	var pieces []piece
	for _, p := range parcels {
		l.pace.ask(p.peer)
		if !slices.Equal(p.which, shared) {
			shared, pieces = p.which, l.encode(out, p.which, signed)
		}
		for _, piece := range pieces {
			keys := make([]sentKey, len(piece.order))
			for i, at := range piece.order {
				o := &out[p.which[at]]
				keys[i] = o.sent(p.parties[at])
			}
			l.sendFrame(p.peer, piece.data, keys)
		}
	}
}

// sent is what an acknowledgement of the message by a party stands for: nothing
// where the message was only a hint.
func (o *outgoing) sent(party int) sentKey {
	if o.note == consensus.NoteDecided && o.payload == nil {
		party = -1
	}
	return sentKey{o.job, party, o.key}
}

// toSelf delivers a speech to this very node: an offer to itself.
func (l *loop) toSelf(o outgoing, signed batchSigned) {
	if o.note == consensus.NoteOffer && o.payload != nil && o.payload.Offer != nil {
		l.r.cfg.Host.Offered(l.r.cfg.Signer.Key(), *o.payload.Offer, nil, nil)
	}
	if o.statement.Kind == consensus.KindVoid {
		l.core.Input(l.r.cfg.Clock(), o.job, bft.SubmitterVoid{Void: consensus.Void{Incarnation: o.statement.Incarnation, Proof: signed.proof(o.index)}})
	}
	if w, ok := l.r.watcher(o.job); ok && o.note == consensus.NoteDecided {
		l.r.tellWatcher(w, stashed{from: l.r.cfg.Signer.Key(), note: &note{Note: o.note, Job: o.job, Payload: o.payload}})
	}
}

// piece is an encoded body, and which messages it holds in which order:
// statements first, then notes.
type piece struct {
	data  []byte
	order []int // positions in which
}

func (l *loop) encode(out []outgoing, which []int, signed batchSigned) []piece {
	var pieces []piece
	for start := 0; start < len(which); {
		end, size := start, 0
		for end < len(which) && (end == start || size+out[which[end]].size <= frameFill) && end-start < maxMessages {
			size += out[which[end]].size
			end++
		}
		pieces = append(pieces, l.halve(out, which[start:end], start, signed)...)
		start = end
	}
	return pieces
}

// halve encodes messages into one body, or into more where their sizes were
// guessed too low: a frame out of bounds would count against this node. Base is
// the position of the first message.
func (l *loop) halve(out []outgoing, which []int, base int, signed batchSigned) []piece {
	data, order, err := l.encodeBody(out, which, base, signed)
	if err == nil && len(data) <= maxBody {
		return []piece{{data, order}}
	}
	if len(which) < 2 {
		return nil // no message by itself is that long
	}
	half := len(which) / 2
	return append(l.halve(out, which[:half], base, signed), l.halve(out, which[half:], base+half, signed)...)
}

func (l *loop) encodeBody(out []outgoing, which []int, base int, signed batchSigned) ([]byte, []int, error) {
	b := body{Incarnation: l.r.cfg.Incarnation, Siblings: []consensus.Hash{}, Items: []item{}, Notes: []note{}}
	var indexes, order, notes []int
	for i, at := range which {
		o := &out[at]
		if o.statement.Kind == 0 {
			b.Notes = append(b.Notes, note{Note: o.note, Job: o.job, Payload: o.payload})
			notes = append(notes, base+i)
			continue
		}
		it := item{Index: uint64(o.index), Kind: o.statement.Kind, Job: o.job, Height: o.statement.Height,
			Round: o.statement.Round, Value: o.statement.Value, Payload: o.payload}
		if it.Height > 0 {
			it.Previous = &o.statement.Previous
		}
		b.Items = append(b.Items, it)
		indexes = append(indexes, o.index)
		order = append(order, base+i)
	}
	if len(indexes) > 0 {
		b.Count, b.Signature, b.Siblings = signed.count, signed.signature, signed.batch.Siblings(indexes)
	}
	data, err := dagcbor.Marshal(&b)
	return data, append(order, notes...), err
}

func (l *loop) sendFrame(to admission.Key, data []byte, keys []sentKey) {
	p := l.peer(to)
	p.seq++
	p.fly(p.seq, keys)
	l.transmit(to, p, p.seq, data)
}

func (l *loop) transmit(to admission.Key, p *peer, seq uint64, data []byte) {
	f := frame{V: frameVersion, Session: l.r.cfg.Session, Seq: seq, Have: p.have, Body: data}
	p.have, p.missed = nil, 0
	encoded, err := dagcbor.Marshal(&f)
	if err != nil {
		panic(err) // plain bytes and integers always encode
	}
	l.r.cfg.Transport.Send(to, encoded)
}

// acknowledge answers frames that no frame of ours has answered yet.
func (l *loop) acknowledge() {
	for to, p := range l.peers {
		if len(p.have) > 0 {
			l.transmit(to, p, 0, nil)
		}
	}
}

func (l *loop) peer(key admission.Key) *peer {
	p, ok := l.peers[key]
	if !ok {
		p = &peer{flight: map[uint64][]sentKey{}}
		l.peers[key] = p
	}
	return p
}
