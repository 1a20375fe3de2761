package naivetest

import (
	"bytes"
	"maps"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/dagcbor"
)

// world is what all drafts are made from: one network, jobs of several sizes,
// and keys that the network does not know.
type world struct {
	*consensustest.Network
	other   *consensustest.Network // another network, with the same keys
	jobs    []consensustest.Job
	signers map[admission.Key]admission.Signer
	deputy  admission.KeySigner // a second authority of the genesis
	liar    admission.KeySigner
}

func newWorld() *world {
	deputy := consensustest.Key("deputy")
	w := &world{
		Network: consensustest.New(35, func(g *admission.Genesis) { g.Authorities = append(g.Authorities, deputy.Key()) }),
		other:   consensustest.New(0, func(g *admission.Genesis) { g.Nonce[0] = 1 }),
		signers: map[admission.Key]admission.Signer{},
		deputy:  deputy,
		liar:    consensustest.Key("liar"),
	}
	for _, m := range w.Nodes {
		w.signers[m.Key()] = m
	}
	for _, s := range []admission.KeySigner{w.User, w.Authority, w.deputy, w.liar} {
		w.signers[s.Key()] = s
	}
	byUser := func(c *consensus.Charter) { c.Owner = w.User.Key() }
	replaceable := func(c *consensus.Charter) { c.Replace = c.F }
	butOne := func(c *consensus.Charter) { c.Replace = c.F - 1 }
	w.jobs = []consensustest.Job{
		w.Job(consensus.Byzantine, 0), w.Job(consensus.Byzantine, 0, byUser), w.Job(consensus.Byzantine, 1, replaceable),
		w.Job(consensus.Byzantine, 1, byUser), w.Job(consensus.Byzantine, 2, replaceable), w.Job(consensus.Crash, 1, replaceable),
		w.Job(consensus.Crash, 1, byUser), w.Job(consensus.Crash, 2, replaceable), w.Job(consensus.Crash, 4, replaceable),
		w.Job(consensus.Byzantine, 10, replaceable), w.Job(consensus.Crash, 4, butOne),
	}
	return w
}

// ballot is one vote of a draft, before it is signed.
type ballot struct {
	seat      uint64
	statement consensus.Statement
	signer    admission.Signer
	count     int // statements in the batch
	index     int // of this one
}

// level is a height that was handed over, as a draft has it.
type level struct {
	value   consensus.Value
	round   uint32
	ballots []ballot
}

// draft is a certificate in the making. A mutator changes it at one of its
// stages; what follows from the change is then made anew, and signed, so that
// the only fault is the one that was meant.
type draft struct {
	*world
	r           *rand.Rand
	charter     *consensus.Charter
	signing     admission.Network // what is signed for
	extension   []byte            // in the place of standIn
	signed      consensus.SignedCharter
	job         consensus.JobID
	handovers   [][]consensus.Pair // to be decided before the outcome
	levels      []level
	height      uint64 // of the outcome, with the decision before it and the holders of the seats
	previous    consensus.Hash
	holders     []consensus.Seat
	value       consensus.Value
	round       uint32
	ballots     []ballot
	credentials []admission.SignedCredential
	certificate *consensus.Certificate
	data        []byte
	genesis     []byte // that it is verified against
}

// stage is when a mutator acts.
type stage int

const (
	onCharter     stage = iota // before it is signed
	onSignatures               // after that
	onHandovers                // before they are decided
	onBallots                  // before they are signed
	onCredentials              // after they are chosen
	onCertificate              // once it is put together
	onTree                     // on any part of its canonical encoding
	onBytes
)

// draw makes a draft of a valid certificate and has the mutators change it. Its
// data is nil where nobody can write what they made.
func (w *world) draw(r *rand.Rand, mutators []mutator) *draft {
	job := pick(r, w.jobs[:len(w.jobs)-1])
	if r.IntN(50) == 0 {
		job = w.jobs[len(w.jobs)-1] // the largest costs most
	}
	d := &draft{world: w, r: r, charter: cloneCharter(job.Charter), signing: w.ID, genesis: w.Sealed, round: pick(r, []uint32{0, 0, 1, 7, 1<<32 - 1})}
	d.value = pick(r, valuesOf(d.charter))
	at := func(s stage) {
		for _, m := range mutators {
			if m.at == s && d.has(s) {
				m.change(d)
			}
		}
	}
	at(onCharter)
	d.sign()
	at(onSignatures)
	d.plan()
	at(onHandovers)
	d.climb()
	d.ballots = d.vote(d.value, d.round)
	at(onBallots)
	d.ask()
	at(onCredentials)
	d.assemble()
	at(onCertificate)
	data, err := dagcbor.Marshal(d.certificate)
	if err != nil {
		return d
	}
	d.data = data
	at(onTree)
	at(onBytes)
	return d
}

// vary changes the encoding of a finished draft once more.
func (d *draft) vary(m mutator) (genesis, data []byte) {
	v := *d
	v.data = slices.Clone(d.data)
	m.change(&v)
	return v.genesis, v.data
}

// has reports whether earlier changes left anything to change.
func (d *draft) has(s stage) bool {
	switch s {
	case onCharter:
		return len(d.charter.Roster) > 0
	case onBallots:
		return len(d.ballots) > 0
	case onCredentials:
		return len(d.credentials) > 0
	}
	return true
}

func cloneCharter(c *consensus.Charter) *consensus.Charter {
	out := *c
	out.Roster, out.Reserves = slices.Clone(c.Roster), slices.Clone(c.Reserves)
	out.Ext = maps.Clone(c.Ext)
	return &out
}

// valuesOf are outcomes that a job of this charter can have.
func valuesOf(c *consensus.Charter) []consensus.Value {
	tree := consensustest.Link("out")
	values := []consensus.Value{
		{Kind: consensus.Result, Tree: &tree},
		{Kind: consensus.Result, Tree: &tree},
		{Kind: consensus.Failed, Class: consensus.FailedTrap, Tree: &tree},
		{Kind: consensus.Failed, Class: consensus.FailedExit, Code: 3, Tree: &tree},
		{Kind: consensus.Failed, Class: consensus.FailedLimit, Code: 1, Tree: &tree},
		{Kind: consensus.Failed, Class: consensus.FailedTimeout},
		{Kind: consensus.Failed, Class: consensus.FailedHost},
		{Kind: consensus.Failed, Class: consensus.FailedDeadline},
		{Kind: consensus.Failed, Class: consensus.FailedTasks, Code: consensus.MaxTasks, Tree: &tree}, // dag-cbor
		{Kind: consensus.Cancelled},
	}
	if c.Fault == consensus.Byzantine && c.F > 0 {
		values = append(values, consensus.Value{Kind: consensus.Failed, Class: consensus.FailedDisagreement})
	}
	return values
}

// signer returns who signs for a key; the liar where nobody is known.
func (w *world) signer(key admission.Key) admission.Signer {
	if s, ok := w.signers[key]; ok {
		return s
	}
	return w.liar
}

// sign seals the charter, valid or not, and signs it.
func (d *draft) sign() {
	data := must(dagcbor.Seal(consensus.TagCharter, d.signing[:], d.charter))
	if d.extension != nil {
		data = bytes.Replace(data, standIn, d.extension, 1)
	}
	d.job = dagcbor.Sum(data)
	d.signed = consensus.SignedCharter{Bytes: data, Submitter: d.signer(d.charter.Submitter).Sign(data)}
	if d.charter.Owner != d.charter.Submitter {
		s := d.signer(d.charter.Owner).Sign(must(consensus.OwnerStatement(d.signing, d.charter)))
		d.signed.Owner = &s
	}
}

// standIn holds the place of an extension that the codec would not write.
var standIn = must(dagcbor.Marshal("the place of an extension"))

// plan draws the handovers of a draft, within the rules.
func (d *draft) plan() {
	left := min(int(d.charter.Replace), len(d.charter.Reserves), len(d.charter.Roster))
	reserve := uint64(0)
	for left > 0 && d.r.IntN(2) == 0 && (len(d.charter.Roster) <= 13 || len(d.handovers) < 2) {
		pairs := 1 + d.r.IntN(min(left, 3))
		seats := d.r.Perm(len(d.charter.Roster))[:pairs]
		slices.Sort(seats)
		var handover []consensus.Pair
		for _, seat := range seats {
			handover = append(handover, consensus.Pair{Seat: uint64(seat), Reserve: reserve})
			reserve++
		}
		d.handovers = append(d.handovers, handover)
		left -= pairs
	}
}

// climb decides the handovers, as far as anybody could: a pair of what does not
// exist changes nobody's seat.
func (d *draft) climb() {
	d.previous, d.holders = consensus.Hash(d.job), slices.Clone(d.charter.Roster)
	for _, pairs := range d.handovers {
		l := level{value: consensus.Value{Kind: consensus.Handover, Pairs: pairs}, round: uint32(d.r.IntN(3))}
		l.ballots = d.vote(l.value, l.round)
		d.levels = append(d.levels, l)
		d.previous = dagcbor.Sum(must(dagcbor.Seal(consensus.TagChain, d.signing[:], struct {
			_        struct{} `cbor:",toarray"`
			Job      consensus.JobID
			Height   uint64
			Previous consensus.Hash
			Value    consensus.Hash
		}{Job: d.job, Height: d.height, Previous: d.previous, Value: must(l.value.Hash(d.signing))})))
		d.height++
		for _, p := range pairs {
			if p.Seat < uint64(len(d.holders)) && p.Reserve < uint64(len(d.charter.Reserves)) {
				d.holders[p.Seat] = d.charter.Reserves[p.Reserve]
			}
		}
	}
}

// vote has a random quorum say commit at the present height, each in a batch of
// its own size.
func (d *draft) vote(value consensus.Value, round uint32) (ballots []ballot) {
	t, err := d.charter.Fault.For(d.charter.F)
	if err != nil {
		t = consensus.Thresholds{N: len(d.charter.Roster), Quorum: len(d.charter.Roster)/2 + 1}
	}
	seats := d.r.Perm(t.N)[:min(t.Quorum, t.N)]
	slices.Sort(seats)
	hash := must(value.Hash(d.signing))
	for _, seat := range seats {
		if seat >= len(d.holders) {
			continue
		}
		member := d.holders[seat]
		b := ballot{seat: uint64(seat), signer: d.signer(member.Peer), count: 1 + d.r.IntN(3)}
		if d.r.IntN(20) == 0 {
			b.count = pick(d.r, []int{4, 5, 6, 7, 8, 9, 31, 33, 63, 65})
		}
		b.index = d.r.IntN(b.count)
		b.statement = consensus.Statement{
			Kind: consensus.KindCommit, Network: d.signing, Job: d.job, Height: d.height, Previous: d.previous, Round: round,
			Sender: member.Peer, Incarnation: member.Incarnation, Value: hash,
		}
		ballots = append(ballots, b)
	}
	return ballots
}

// everyBallot returns the ballots of all heights.
func (d *draft) everyBallot() (all []*ballot) {
	for i := range d.levels {
		for j := range d.levels[i].ballots {
			all = append(all, &d.levels[i].ballots[j])
		}
	}
	for j := range d.ballots {
		all = append(all, &d.ballots[j])
	}
	return all
}

// cast signs a ballot in its batch; the other leaves are noise.
func (d *draft) cast(b ballot) consensus.Vote {
	leaves := make([][]byte, b.count)
	for i := range leaves {
		leaves[i] = []byte{byte(i)}
	}
	leaves[b.index] = must(b.statement.Leaf())
	batch := must(consensus.NewBatch(leaves))
	header := must(consensus.BatchHeader(b.statement.Network, b.statement.Incarnation, uint64(b.count), batch.Root()))
	return consensus.Vote{Seat: b.seat, Proof: consensus.Proof{
		Count: uint64(b.count), Index: uint64(b.index), Path: batch.Path(b.index), Signature: b.signer.Sign(header),
	}}
}

// ask gathers the credentials of submitter, owner and signers.
func (d *draft) ask() {
	parties := map[admission.Key]bool{d.charter.Submitter: true, d.charter.Owner: true}
	for _, b := range d.everyBallot() {
		parties[b.statement.Sender] = true
	}
	for key := range parties {
		credential, ok := d.Credential(key)
		if !ok || d.charter.End > credential.Body.Until && d.charter.End < math.MaxInt64 {
			credential = d.Badge(key, admission.KindNode, func(c *admission.Credential) { c.Until = max(c.Until, d.charter.End) })
		}
		d.credentials = append(d.credentials, credential)
	}
	d.order()
}

func (d *draft) order() {
	slices.SortFunc(d.credentials, func(a, b admission.SignedCredential) int {
		return slices.Compare(a.Body.Subject[:], b.Body.Subject[:])
	})
}

func (d *draft) assemble() {
	d.certificate = &consensus.Certificate{V: consensus.Version, Charter: d.signed, Credentials: d.credentials}
	for i, l := range d.levels {
		d.certificate.Chain = append(d.certificate.Chain, d.decide(uint64(i), l.value, l.round, l.ballots))
	}
	d.certificate.Outcome = d.decide(d.height, d.value, d.round, d.ballots)
}

func (d *draft) decide(height uint64, value consensus.Value, round uint32, ballots []ballot) consensus.Decision {
	decision := consensus.Decision{Height: height, Value: value, Commits: consensus.VoteSet{Round: round, Value: must(value.Hash(d.ID))}}
	for _, b := range ballots {
		decision.Commits.Votes = append(decision.Commits.Votes, d.cast(b))
	}
	return decision
}

// reissue signs the credential at i again, as changed.
func (d *draft) reissue(i int, issuer admission.Signer, change func(*admission.Credential)) {
	body := d.credentials[i].Body
	body.Features = slices.Clone(body.Features)
	body.Issuer = issuer.Key()
	change(&body)
	signature := issuer.Sign(must(dagcbor.Seal(admission.TagCredential, d.signing[:], body)))
	d.credentials[i] = admission.SignedCredential{Body: body, Signature: signature}
}

func pick[T any](r *rand.Rand, all []T) T { return all[r.IntN(len(all))] }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
