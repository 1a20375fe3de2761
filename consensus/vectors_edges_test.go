package consensus_test

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"slices"
	"strings"

	"filippo.io/edwards25519"
	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	codec "github.com/muster-network/muster/store/dagcbor"
)

// edges are certificates that just keep a bound, and such as just break it.
func (c *court) edges() {
	c.edgesOfCharters()
	c.edgesOfEncoding()
	c.edgesOfCredentials()
	c.edgesOfBatches()
	c.edgesOfValues()
	c.oddSignatures()
}

// edge adds two certificates: of a charter with n of something, which is as many
// as may be, and with one more.
func (c *court) edge(what string, n int, set func(*consensus.Charter, int)) {
	job := c.job(consensus.Byzantine, 1, nil, func(charter *consensus.Charter) { set(charter, n) })
	c.holds(fmt.Sprintf("%s: %d", what, n), c.n.Certify(job, c.n.Decide(job, consensustest.Result("out"))))
	c.charter(4, fmt.Sprintf("%s: %d", what, n+1), func(charter *consensus.Charter) { set(charter, n+1) })
}

func (c *court) edgesOfCharters() {
	many := func(n int) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprintf("%03d", i))
		}
		return names
	}
	c.edge("bytes of a project", 128, func(c *consensus.Charter, n int) { c.Project = strings.Repeat("é", n/2) + strings.Repeat("e", n%2) })
	c.edge("bytes of a class", 64, func(c *consensus.Charter, n int) { c.Class = consensus.Class(strings.Repeat("c", n)) })
	c.edge("labels", 32, func(c *consensus.Charter, n int) { c.Needs.Labels = many(n) })
	c.edge("bytes of a label", 128, func(c *consensus.Charter, n int) { c.RunNeeds.Labels = []string{strings.Repeat("l", n)} })
	c.edge("quantities", 32, func(c *consensus.Charter, n int) {
		c.RunNeeds.Quantities = map[string]uint64{}
		for _, name := range many(n) {
			c.RunNeeds.Quantities[name] = 1<<64 - 1
		}
	})
	c.edge("bytes of a quantity's name", 64, func(c *consensus.Charter, n int) { c.Needs.Quantities = map[string]uint64{strings.Repeat("q", n): 0} })
	c.edge("input", 1<<40, func(c *consensus.Charter, n int) { c.Limits.Input = uint64(n) })
	c.edge("output", 1<<40, func(c *consensus.Charter, n int) { c.Limits.Output = uint64(n) })
	c.edge("stream", 1<<30, func(c *consensus.Charter, n int) { c.Limits.Stream = uint64(n) })
	c.edge("attempt", 3, func(c *consensus.Charter, n int) { c.Attempt = uint64(n) })
	const tenYears = 10 * 365 * consensustest.Day
	long := c.job(consensus.Byzantine, 1, nil, func(c *consensus.Charter) { c.End = c.Issued + tenYears })
	cert := c.n.Certify(long, c.n.Decide(long, consensustest.Result("out")))
	for _, credential := range cert.Credentials {
		cert = swap(cert, c.n.Badge(credential.Body.Subject, admission.KindNode, func(c *admission.Credential) { c.Until = long.End }))
	}
	c.holds("a job of 3,650 days", cert) // of one millisecond more: above
	c.edge("milliseconds of a run before the deadline is past", int(c.n.Genesis.Policy.Deadline), func(c *consensus.Charter, n int) { c.Timeout = int64(n) })
}

// standIn holds the place of an extension that the codec would not write.
var standIn = []byte("\x78\x1cthe place of an extension...")

// extended adds a certificate whose charter has an extension of these bytes.
func (c *court) extended(step int, name string, extension []byte) {
	job := c.job(consensus.Byzantine, 1, nil, func(c *consensus.Charter) { c.Ext = map[string]codec.Raw{"x": standIn} })
	data := bytes.Replace(job.Signed.Bytes, standIn, extension, 1)
	job.Signed = consensus.SignedCharter{Bytes: data, Submitter: c.n.Nodes[0].Sign(data)}
	job.ID = codec.Sum(data)
	cert := c.n.Certify(job, c.n.Decide(job, consensustest.Result("out")))
	if step > 0 {
		c.forged(step, name, cert)
		return
	}
	c.holds(name, cert)
}

func (c *court) edgesOfEncoding() {
	// The seal, the charter and its ext are three; these are so many more.
	const more = 32 - 3
	link, err := codec.Marshal(consensustest.Link("deep"))
	check(c.t, err)
	for _, inner := range []struct{ name, open, innermost string }{
		{"arrays, the innermost empty", "\x81", "\x80"},
		{"maps, the innermost empty", "\xa1\x61k", "\xa0"},
		{"arrays with a map in the innermost", "\x81", "\xa0"},
		{"arrays and a link", "\x81", string(link)},
		{"arrays and a link among other things", "\x83\x00\x60", string(link)},
	} {
		c.extended(0, "32 inside one another: "+inner.name, []byte(strings.Repeat(inner.open, more-1)+inner.innermost))
		c.extended(4, "33 inside one another: "+inner.name, []byte(strings.Repeat(inner.open, more)+inner.innermost))
	}
	c.extended(0, "a number inside 32 arrays", []byte(strings.Repeat("\x81", more)+"\x01"))
	c.extended(4, "a number inside 33 arrays", []byte(strings.Repeat("\x81", more+1)+"\x01"))
	for _, odd := range []struct {
		step      int
		name, ext string
	}{
		{0, "the largest integer", "\x1b\xff\xff\xff\xff\xff\xff\xff\xff"},
		{0, "the least integer", "\x3b\x7f\xff\xff\xff\xff\xff\xff\xff"},
		{4, "an integer below -2^63", "\x3b\x80\x00\x00\x00\x00\x00\x00\x00"},
		{4, "a float", "\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00"},
		{4, "undefined", "\xf7"},
		{4, "an array of open length", "\x9f\xff"},
		{4, "text that is not UTF-8", "\x63\xed\xa0\x80"},
		{4, "keys out of order", "\xa2\x61b\x01\x61a\x01"},
		{4, "a longer key before a shorter one", "\xa2\x62aa\x01\x61b\x01"},
		{4, "a key twice", "\xa2\x61a\x01\x61a\x01"},
		{4, "a key that is no text", "\xa1\x01\x01"},
		{4, "another tag than a link's", "\xc1\x01"},
		{0, "a link by a hash of no known code, of two bytes", "\xd8\x2a\x48\x00\x01\x71\xff\x7f\x02ab"},
		{0, "a link by an empty digest", "\xd8\x2a\x45\x00\x01\x55\x00\x00"},
		{4, "a link whose digest is longer than it says", "\xd8\x2a\x46\x00\x01\x55\x00\x00a"},
		{4, "a link whose digest is shorter than it says", "\xd8\x2a\x46\x00\x01\x55\x00\x02a"},
		{4, "a link whose codec is not in its shortest form", "\xd8\x2a\x46\x00\x01\xd5\x00\x00\x00"},
		{4, "a CIDv0", "\xd8\x2a\x58\x23\x00\x12\x20" + strings.Repeat("h", 32)},
		{4, "a CID without the zero before it", "\xd8\x2a\x44\x01\x55\x00\x00"},
	} {
		c.extended(odd.step, "in an extension: "+odd.name, []byte(odd.ext))
	}
	plain := c.job(consensus.Byzantine, 1, nil, func(c *consensus.Charter) { c.Ext = map[string]codec.Raw{"x": standIn} })
	left := consensus.MaxCharter - len(plain.Signed.Bytes) + len(standIn) - 3 // the head of a long text
	for _, size := range []int{left, left + 1} {
		pad, err := codec.Marshal(strings.Repeat("x", size))
		check(c.t, err)
		c.extended(4*(size-left), fmt.Sprintf("a charter of %d bytes", consensus.MaxCharter+size-left), pad)
	}
}

func (c *court) edgesOfCredentials() {
	n := c.n
	job := n.Job(consensus.Byzantine, 1)
	voter := job.Roster[1].Peer
	made := func(change func(*admission.Credential)) *consensus.Certificate {
		return swap(n.Certify(job, n.Decide(job, consensustest.Result("out"))), n.Badge(voter, admission.KindNode, change))
	}
	padded := func(size int) *consensus.Certificate {
		for n := range size {
			feature := func(c *admission.Credential) { c.Features = []string{strings.Repeat("f", n)} }
			data, err := codec.Marshal(c.n.Badge(voter, admission.KindNode, feature))
			check(c.t, err)
			if len(data) == size {
				return made(feature)
			}
		}
		c.t.Fatalf("no feature makes a credential of %d bytes", size)
		return nil
	}
	features := func(n int) func(*admission.Credential) {
		return func(c *admission.Credential) {
			for i := range n {
				c.Features = append(c.Features, string(rune('a'+i)))
			}
		}
	}
	c.holds("a voter's credential of 512 bytes", padded(512))
	c.forged(14, "a voter's credential of 513 bytes", padded(513))
	c.holds("a voter's credential with 16 features", made(features(16)))
	c.forged(14, "a voter's credential with 17 features", made(features(17)))
	c.holds("a voter's credential of the greatest weight", made(func(c *admission.Credential) { c.Weight = admission.MaxWeight }))
	c.holds("a voter that is an authority", made(func(c *admission.Credential) { c.Role = admission.RoleAuthority }))
	c.holds("a voter's credential from issue to end", made(func(c *admission.Credential) { c.From, c.Until = job.Issued, job.End }))
	c.holds("a voter's credential of weight 0, from the beginning of time", made(func(c *admission.Credential) { c.From, c.Weight = 0, 0 }))
	c.forged(14, "a credential from before the beginning of time", made(func(c *admission.Credential) { c.From = -1 }))

	owned := n.Job(consensus.Byzantine, 1, func(c *consensus.Charter) { c.Owner = n.User.Key() })
	c.holds("an owner that is an observer, for the millisecond of issue",
		swap(n.Certify(owned, n.Decide(owned, consensustest.Result("out"))), n.Badge(n.User.Key(), admission.KindNode, func(c *admission.Credential) {
			c.Role, c.From, c.Until = admission.RoleObserver, owned.Issued, owned.Issued+1
		})))
	c.refused(1, "a feature that is a number", c.numbered(made(features(1)), voter))
}

// numbered is a certificate in which the one feature of a credential, "a", is the
// number 5, with the authority's signature.
func (c *court) numbered(cert *consensus.Certificate, subject admission.Key) []byte {
	data := encode(c.t, cert)
	for _, signed := range cert.Credentials {
		if signed.Body.Subject != subject {
			continue
		}
		sealed, err := codec.Seal(admission.TagCredential, c.n.ID[:], signed.Body)
		check(c.t, err)
		text, number := []byte("hfeatures\x81\x61a"), []byte("hfeatures\x81\x05")
		signature := c.n.Authority.Sign(bytes.Replace(sealed, text, number, 1))
		data = bytes.Replace(bytes.Replace(data, text, number, 1), signed.Signature[:], signature[:], 1)
	}
	return data
}

func (c *court) edgesOfBatches() {
	n, result := c.n, consensustest.Result("out")
	job := n.Job(consensus.Byzantine, 1)
	d := n.Decide(job, result)
	left := make([]consensus.Hash, 9)
	for i := range left {
		left[i][0] = byte(i + 1)
	}
	c.claim(job, &d, 0, 512, left...)
	c.claim(job, &d, 1, 257, left[0])     // the last of so many is alone up to the root
	c.claim(job, &d, 2, 511, left[:8]...) // promoted once, at the bottom
	c.holds("commits in batches of 512, 257 and 511", n.Certify(job, d))
	last := n.Votes(job, consensus.KindCommit, 1<<32-1, valueHash(c.t, n, result), 1, 2, 3)
	c.holds("of the last round", n.Certify(job, decision(result, last)))
	d = n.Decide(job, result)
	c.claim(job, &d, 0, 512, left[:8]...)
	c.forged(11, "a path of 8 hashes in a batch of 512", n.Certify(job, d))
}

func (c *court) edgesOfValues() {
	n, job := c.n, c.n.Job(consensus.Byzantine, 1)
	tree := consensustest.Link("out") // dag-cbor, as an array result is
	failed := func(class consensus.Failure, code uint64) *consensus.Certificate {
		return n.Certify(job, n.Decide(job, consensus.Value{Kind: consensus.Failed, Class: class, Code: code, Tree: &tree}))
	}
	c.holds("a trap without a number", failed(consensus.FailedTrap, 0))
	c.holds("a trap of the greatest code", failed(consensus.FailedTrap, 1<<64-1))
	c.holds("a limit", failed(consensus.FailedLimit, 3))
	c.holds("exit of the greatest code", failed(consensus.FailedExit, 1<<64-1))
	c.holds("one failed task", failed(consensus.FailedTasks, 1))
	c.holds("100000 failed tasks", failed(consensus.FailedTasks, consensus.MaxTasks))
	c.forged(8, "no failed task", failed(consensus.FailedTasks, 0))
	c.forged(8, "100001 failed tasks", failed(consensus.FailedTasks, consensus.MaxTasks+1))
	raw := codec.LinkTo(cid.NewCidV1(cid.Raw, tree.Hash()))
	c.holds("a result of one raw block", n.Certify(job, n.Decide(job, consensus.Value{Kind: consensus.Result, Tree: &raw})))
}

// oddSignatures are such as implementations of Ed25519 differ on, and ZIP-215
// decides: the equation has the cofactor, and R and A have more than one encoding.
func (c *court) oddSignatures() {
	n, result := c.n, consensustest.Result("out")
	job := n.Job(consensus.Byzantine, 1)
	signed := func(r []byte) *consensus.Certificate {
		odd := job
		odd.Signed.Submitter = oddSigner("node 0", r, nil).Sign(job.Signed.Bytes)
		return n.Certify(odd, n.Decide(odd, result))
	}
	field := func(first, middle, last byte) []byte {
		return slices.Concat([]byte{first}, bytes.Repeat([]byte{middle}, 30), []byte{last})
	}
	for _, r := range []struct {
		name string
		r    []byte
	}{
		{"the identity", field(1, 0, 0)},
		{"the identity with the sign of x set", field(1, 0, 0x80)},
		{"the identity as p+1", field(0xee, 0xff, 0x7f)},
		{"the identity as p+1, with the sign of x set", field(0xee, 0xff, 0xff)},
		{"a point of order 2 with the sign of x set", field(0xec, 0xff, 0xff)},
		{"a point of order 4 as p", field(0xed, 0xff, 0x7f)},
		{"a point of order 8", orderEight()},
	} {
		c.holds("R of a signature is "+r.name, signed(r.r))
	}
	c.forged(5, "R of a signature is no point", signed(field(2, 0, 0)))

	// A key with a part of small order: the equation without the cofactor fails.
	mixed := oddSigner("mixed", nil, orderEight())
	owned := c.job(consensus.Byzantine, 1, nil, func(c *consensus.Charter) { c.Owner = mixed.Key() })
	statement, err := consensus.OwnerStatement(n.ID, owned.Charter)
	check(c.t, err)
	signature := mixed.Sign(statement)
	owned.Signed.Owner = &signature
	badge := n.Badge(mixed.Key(), admission.KindUser)
	cert, err := consensus.Assemble(owned.Signed, owned.Charter, func(key admission.Key) (admission.SignedCredential, bool) {
		if key == mixed.Key() {
			return badge, true
		}
		return n.Credential(key)
	}, nil, n.Decide(owned, result))
	check(c.t, err)
	c.holds("a key with a part of small order", cert)
}

// orderEight encodes a point of order 8.
func orderEight() []byte {
	return []byte("\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05")
}

// odd signs with an R that it was given, of small order, or for a key to which a
// point of small order was added.
type odd struct {
	scalar *edwards25519.Scalar
	key    admission.Key
	r      []byte
}

// oddSigner has the secret of a key of consensustest.
func oddSigner(name string, r, added []byte) odd {
	seed := codec.Sum([]byte("test key " + name))
	h := sha512.Sum512(seed[:])
	s, err := edwards25519.NewScalar().SetBytesWithClamping(h[:32])
	if err != nil {
		panic(err)
	}
	key := edwards25519.NewGeneratorPoint().ScalarBaseMult(s)
	if added != nil {
		point, err := new(edwards25519.Point).SetBytes(added)
		if err != nil {
			panic(err)
		}
		key.Add(key, point)
	}
	return odd{s, admission.Key(key.Bytes()), r}
}

func (o odd) Key() admission.Key { return o.key }

// Sign takes H(R, A, message) times the secret for S, and with an R of its own
// adds nothing to it: R is of small order, or that of the secret 1.
func (o odd) Sign(message []byte) (signature admission.Signature) {
	r, nonce := o.r, edwards25519.NewScalar()
	if r == nil {
		one, err := nonce.SetCanonicalBytes(append([]byte{1}, make([]byte, 31)...))
		if err != nil {
			panic(err)
		}
		r = edwards25519.NewIdentityPoint().ScalarBaseMult(one).Bytes()
	}
	h := sha512.Sum512(slices.Concat(r, o.key[:], message))
	k, err := edwards25519.NewScalar().SetUniformBytes(h[:])
	if err != nil {
		panic(err)
	}
	copy(signature[:], r)
	copy(signature[32:], edwards25519.NewScalar().MultiplyAdd(k, o.scalar, nonce).Bytes())
	return signature
}
