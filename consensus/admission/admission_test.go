package admission_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"filippo.io/edwards25519"
	"github.com/hdevalence/ed25519consensus"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/dagcbor"
)

// smallOrder are all 14 encodings that ZIP-215 decodes to a point whose order
// divides 8: eight canonical ones and six that others would refuse.
var smallOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000", // order 1
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // order 2
	"0000000000000000000000000000000000000000000000000000000000000000", // order 4
	"0000000000000000000000000000000000000000000000000000000000000080",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"0100000000000000000000000000000000000000000000000000000000000080", // not canonical from here on
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

func TestKeysOfSmallOrderAreRefused(t *testing.T) {
	seen := map[admission.Key]bool{}
	for _, s := range smallOrder {
		raw, err := hex.DecodeString(s)
		check(t, err)
		k := admission.Key(raw)
		point, err := new(edwards25519.Point).SetBytes(k[:])
		check(t, err)
		if new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) != 1 {
			t.Errorf("%s is of large order: the list is wrong", s)
		}
		if k.Check() == nil {
			t.Errorf("%s is accepted", s)
		}
		seen[k] = true
	}
	if len(seen) != 14 {
		t.Errorf("%d encodings", len(seen))
	}
	// The curve has exactly eight such points, so none is missing; six of the
	// encodings are second ones.
	canonical := map[string]bool{}
	for k := range seen {
		p, _ := new(edwards25519.Point).SetBytes(k[:])
		canonical[string(p.Bytes())] = true
	}
	if len(canonical) != 8 {
		t.Errorf("%d points of an order that divides 8", len(canonical))
	}
	if err := consensustest.Key("anybody").Key().Check(); err != nil {
		t.Error(err)
	}
}

// A signature of zeros under the identity holds for every message, which is why
// such keys are refused everywhere.
// Every encoding of small order as key and as nonce, with a scalar of zero, is
// where implementations differ; and so are scalars that are not reduced.
func TestSignaturesOfSmallOrderAreJudgedByZIP215(t *testing.T) {
	order, err := hex.DecodeString("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("Zcash")
	for _, a := range smallOrder {
		for _, r := range smallOrder {
			key, nonce := unhex(t, a), unhex(t, r)
			for _, scalar := range [][]byte{make([]byte, 32), order} {
				signature := admission.Signature(append(append([]byte{}, nonce...), scalar...))
				got, want := admission.Key(key).Verify(message, signature), ed25519consensus.Verify(key, message, signature[:])
				if got != want || want != (scalar[0] == 0) {
					t.Errorf("key %s, nonce %s, scalar %x: %v, the reference says %v", a, r, scalar[:1], got, want)
				}
				if got := admission.Key(key).Expand().Verify(message, signature); got != want {
					t.Errorf("key %s expanded, nonce %s, scalar %x: %v, the reference says %v", a, r, scalar[:1], got, want)
				}
			}
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	data, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Signatures whose parts were changed are accepted or refused as by
// ed25519consensus, the reference for ZIP-215.
func TestChangedSignaturesAreJudgedAsByTheReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := ed25519.NewKeyFromSeed(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed"))
		message := rapid.SliceOf(rapid.Byte()).Draw(t, "message")
		public, signature := admission.Key(key[32:]), admission.Signature(ed25519.Sign(key, message))
		if !public.Verify(message, signature) {
			t.Fatal("a good signature was refused")
		}
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			switch at := rapid.IntRange(0, 96).Draw(t, "at"); {
			case at < 32:
				public[at] ^= rapid.Byte().Draw(t, "flip")
			case at < 96:
				signature[at-32] ^= rapid.Byte().Draw(t, "flip")
			default:
				message = append(message, 0)
			}
		}
		if got, want := public.Verify(message, signature), ed25519consensus.Verify(public[:], message, signature[:]); got != want {
			t.Fatalf("%v, the reference says %v", got, want)
		}
		if got, want := public.Expand().Verify(message, signature), ed25519consensus.Verify(public[:], message, signature[:]); got != want {
			t.Fatalf("expanded: %v, the reference says %v", got, want)
		}
	})
}

func TestAKeyOfSmallOrderWouldSignAnything(t *testing.T) {
	k := admission.Key{1}
	if !k.Verify([]byte("anything"), admission.Signature{1}) {
		t.Error("the attack that Check prevents no longer works")
	}
}

func TestKeysAndPeerIdsAreTheSame(t *testing.T) {
	k := consensustest.Key("somebody").Key()
	if got, err := admission.ParseKey(k.String()); err != nil || got != k {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := admission.KeyOf(k.Peer()); err != nil || got != k {
		t.Errorf("%s, %v", got, err)
	}
	own, err := crypto.UnmarshalEd25519PublicKey(k[:])
	check(t, err)
	if id, err := peer.IDFromPublicKey(own); err != nil || id != k.Peer() {
		t.Errorf("libp2p says %s, %v, the key says %s", id, err, k.Peer())
	}
	if !strings.HasPrefix(k.String(), "12D3KooW") {
		t.Error(k.String())
	}
	_, public, err := crypto.GenerateSecp256k1Key(constant{})
	check(t, err)
	other, err := peer.IDFromPublicKey(public)
	check(t, err)
	for _, s := range []string{"", "12D3KooW", other.String()} {
		if _, err := admission.ParseKey(s); err == nil {
			t.Errorf("%q is read as a key", s)
		}
	}
	for _, id := range []peer.ID{"", other, k.Peer() + "x", k.Peer()[:37]} {
		if _, err := admission.KeyOf(id); err == nil {
			t.Errorf("%x has a key", string(id))
		}
	}
}

type constant struct{}

func (constant) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 7
	}
	return len(p), nil
}

func TestNamesStayTheSame(t *testing.T) {
	for seed, want := range map[byte]string{0: "dogwood-newt", 1: "thorn-salmon", 2: "ash-lark"} {
		raw := make([]byte, ed25519.SeedSize)
		raw[0] = seed
		if got := admission.NewKeySigner(ed25519.NewKeyFromSeed(raw)).Key().Name(); got != want {
			t.Errorf("seed %d: %s, want %s", seed, got, want)
		}
	}
}

func TestANetworkIdReadsBackInOneFormOnly(t *testing.T) {
	n := admission.Network{1, 2, 3}
	for _, s := range []string{n.String(), strings.ToUpper(n.String())} {
		if got, err := admission.ParseNetwork(s); err != nil || got != n {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", n.String()[1:], n.String() + "a", n.String()[:51] + "b", "1" + n.String()[1:]} {
		if got, err := admission.ParseNetwork(s); err == nil {
			t.Errorf("%q is read as %s", s, got)
		}
	}
}

func TestCredentialsHaveLimits(t *testing.T) {
	n := consensustest.New(1)
	subject := consensustest.Key("subject").Key()
	good := n.Badge(subject, admission.KindNode)
	check(t, good.Check(n.Genesis, n.ID))
	for name, change := range map[string]func(*admission.Credential){
		"kind":                   func(c *admission.Credential) { c.Kind = 3 },
		"no role":                func(c *admission.Credential) { c.Role = 0 },
		"role":                   func(c *admission.Credential) { c.Role = 4 },
		"weight":                 func(c *admission.Credential) { c.Weight = admission.MaxWeight + 1 },
		"ends as it begins":      func(c *admission.Credential) { c.Until = c.From },
		"before time":            func(c *admission.Credential) { c.From = -1 },
		"17 features":            func(c *admission.Credential) { c.Features = strings.Split("abcdefghijklmnopq", "") },
		"over 512 bytes":         func(c *admission.Credential) { c.Features = []string{strings.Repeat("x", 400)} },
		"subject of small order": func(c *admission.Credential) { c.Subject = admission.Key{1} },
		"owner of small order":   func(c *admission.Credential) { c.Owner = admission.Key{1} },
	} {
		if err := n.Badge(subject, admission.KindNode, change).Check(n.Genesis, n.ID); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	full := n.Badge(subject, admission.KindNode, func(c *admission.Credential) {
		c.Weight, c.Features = admission.MaxWeight, strings.Split("abcdefghijklmnop", "")
	})
	check(t, full.Check(n.Genesis, n.ID))
}

func TestACredentialIsSignedByAnAuthorityForItsNetwork(t *testing.T) {
	n := consensustest.New(1)
	good := n.Nodes[0].Credential
	if err := good.Check(n.Genesis, admission.Network{1}); !errors.Is(err, admission.ErrSignature) {
		t.Errorf("in another network: %v", err)
	}
	altered := good
	altered.Body.Weight++
	if err := altered.Check(n.Genesis, n.ID); !errors.Is(err, admission.ErrSignature) {
		t.Errorf("altered: %v", err)
	}
	self, err := admission.SignCredential(n.ID, good.Body, n.Nodes[0])
	check(t, err)
	if err := self.Check(n.Genesis, n.ID); err == nil {
		t.Error("signed by itself")
	}
	posing := self
	posing.Body.Issuer = n.Authority.Key()
	if err := posing.Check(n.Genesis, n.ID); !errors.Is(err, admission.ErrSignature) {
		t.Errorf("signed by itself in an authority's name: %v", err)
	}
	unordered := good
	unordered.Body.Features = []string{"b", "a"}
	if err := unordered.Check(n.Genesis, n.ID); err == nil {
		t.Error("features out of order")
	}
	versioned := good
	versioned.Body.V = 2
	if err := versioned.Check(n.Genesis, n.ID); err == nil {
		t.Error("another version")
	}
}

func TestSigningACredentialSortsFeaturesAndNamesAnOwner(t *testing.T) {
	n := consensustest.New(1)
	features := []string{"zone=b", "gpu", "gpu"}
	subject := n.Nodes[0].Key()
	c := n.Badge(subject, admission.KindNode, func(c *admission.Credential) { c.Features, c.Owner = features, admission.Key{} })
	check(t, c.Check(n.Genesis, n.ID))
	if !slices.Equal(c.Body.Features, []string{"gpu", "zone=b"}) || c.Body.Owner != subject {
		t.Errorf("%+v", c.Body)
	}
	if features[0] != "zone=b" {
		t.Error("the caller's slice was sorted")
	}
}

func TestACredentialIsValidFromItsBeginToBeforeItsEnd(t *testing.T) {
	c := admission.Credential{From: 10, Until: 20}
	for at, want := range map[int64]bool{9: false, 10: true, 19: true, 20: false} {
		if c.ValidAt(at) != want {
			t.Errorf("valid at %d: %v", at, !want)
		}
	}
	if !c.Covers(10, 20) || c.Covers(9, 20) || c.Covers(10, 21) {
		t.Error("covers other times than its own")
	}
}

func TestAGenesisWithWhichNoNetworkCouldLiveIsRefused(t *testing.T) {
	n := consensustest.New(0)
	for name, change := range map[string]func(*admission.Genesis){
		"version":          func(g *admission.Genesis) { g.V = 2 },
		"no name":          func(g *admission.Genesis) { g.Name = "" },
		"long name":        func(g *admission.Genesis) { g.Name = strings.Repeat("x", 65) },
		"name that blinks": func(g *admission.Genesis) { g.Name = "a\x1b[5mb" },
		"nonce":            func(g *admission.Genesis) { g.Nonce = g.Nonce[:15] },
		"no authority":     func(g *admission.Genesis) { g.Authorities = nil },
		"authority twice":  func(g *admission.Genesis) { g.Authorities = append(g.Authorities, g.Authorities[0]) },
		"small authority":  func(g *admission.Genesis) { g.Authorities = []admission.Key{{}} },
		"33 authorities": func(g *admission.Genesis) {
			for len(g.Authorities) < 33 {
				g.Authorities = append(g.Authorities, consensustest.Key(strings.Repeat("x", len(g.Authorities))).Key())
			}
		},
		"policy number":       func(g *admission.Genesis) { g.Policy.Number = 1 },
		"no time to accept":   func(g *admission.Genesis) { g.Policy.Accept = 0 },
		"no size":             func(g *admission.Genesis) { g.Policy.Size = 0 },
		"size 5":              func(g *admission.Genesis) { g.Policy.Size = 5 },
		"crash-only size 4":   func(g *admission.Genesis) { g.Policy.Crash = true },
		"size 34":             func(g *admission.Genesis) { g.Policy.Size = 34 },
		"start before accept": func(g *admission.Genesis) { g.Policy.Start = g.Policy.Accept - 1 },
		"no time to end":      func(g *admission.Genesis) { g.Policy.Deadline = g.Policy.Start - 1 },
		"results not kept":    func(g *admission.Genesis) { g.Policy.Retain = g.Policy.Deadline - 1 },
		"rounds that shrink":  func(g *admission.Genesis) { g.Policy.RoundMax = g.Policy.Round - 1 },
		"no memory":           func(g *admission.Genesis) { g.Policy.MaxMemory = 0 },
		"eternity":            func(g *admission.Genesis) { g.Policy.Retain = 1 << 60 },
	} {
		g := n.Genesis
		g.Authorities = slices.Clone(g.Authorities)
		change(&g)
		if _, _, err := g.Seal(); err == nil {
			t.Errorf("%s: sealed", name)
		}
		data, err := dagcbor.Seal(admission.TagGenesis, nil, g)
		check(t, err)
		if _, _, err := admission.OpenGenesis(data); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if _, _, err := admission.OpenGenesis(make([]byte, 17<<10)); err == nil {
		t.Error("opened over its size")
	}
	g, id, err := admission.OpenGenesis(n.Sealed)
	if err != nil || id != n.ID || g.Name != "test" {
		t.Errorf("%+v, %v", g, err)
	}
}

func ticket(t testing.TB, n *consensustest.Network, change func(*admission.Invite)) admission.Ticket {
	t.Helper()
	invite := admission.Invite{
		ID: make([]byte, 16), Role: admission.RoleMember, Kind: admission.KindNode, Weight: 1, Uses: 3,
		Expires: consensustest.Now, Validity: consensustest.Day, Addresses: []string{"/ip4/127.0.0.1/tcp/4001"},
	}
	if change != nil {
		change(&invite)
	}
	out, err := admission.SignInvite(n.Sealed, invite, n.Authority)
	check(t, err)
	return out
}

func TestATicketIsOneWordThatReadsBack(t *testing.T) {
	n := consensustest.New(0)
	word := ticket(t, n, nil).String()
	if strings.ContainsAny(word, " \n\"'$&|;<>") {
		t.Errorf("%q is not one word in a shell", word)
	}
	got, err := admission.ParseTicket(" " + word + "\n")
	check(t, err)
	if _, id, err := got.Check(consensustest.Now - 1); err != nil || id != n.ID {
		t.Errorf("%s, %v", id, err)
	}
	if _, _, err := got.Check(consensustest.Now); !errors.Is(err, admission.ErrExpired) {
		t.Errorf("when it expires: %v", err)
	}
}

func TestAnAlteredTicketIsRefused(t *testing.T) {
	n := consensustest.New(0)
	word := ticket(t, n, nil).String()
	for i := range word {
		for _, c := range []byte{'A', 'b', '-', '=', ' '} {
			changed := word[:i] + string(c) + word[i+1:]
			if changed == word || strings.TrimSpace(changed) == word {
				continue
			}
			parsed, err := admission.ParseTicket(changed)
			if err != nil {
				continue
			}
			if _, _, err := parsed.Check(consensustest.Now - 1); err == nil {
				t.Fatalf("good with %q at %d", c, i)
			}
		}
	}
	for _, s := range []string{"", "mst1", "mst2" + word[4:], word + "A", word[:len(word)-1], "mst1" + strings.Repeat("A", 40<<10)} {
		if _, err := admission.ParseTicket(s); err == nil {
			t.Errorf("%.20q is read", s)
		}
	}
}

func TestATicketGivesWhatACredentialMayHold(t *testing.T) {
	n := consensustest.New(0)
	for name, change := range map[string]func(*admission.Invite){
		"id":           func(i *admission.Invite) { i.ID = i.ID[:15] },
		"no uses":      func(i *admission.Invite) { i.Uses = 0 },
		"endless uses": func(i *admission.Invite) { i.Uses = 1<<20 + 1 },
		"no validity":  func(i *admission.Invite) { i.Validity = 0 },
		"eternity":     func(i *admission.Invite) { i.Validity = 1 << 62 },
		"kind":         func(i *admission.Invite) { i.Kind = 0 },
		"role":         func(i *admission.Invite) { i.Role = 9 },
		"weight":       func(i *admission.Invite) { i.Weight = admission.MaxWeight + 1 },
		"33 addresses": func(i *admission.Invite) { i.Addresses = make([]string, 33) },
		"expired":      func(i *admission.Invite) { i.Expires = 0 },
	} {
		if _, _, err := ticket(t, n, change).Check(consensustest.Now - 1); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	mine, err := admission.SignInvite(n.Sealed, ticket(t, n, nil).Invite, n.User)
	check(t, err)
	if _, _, err := mine.Check(consensustest.Now - 1); err == nil {
		t.Error("a ticket by somebody who is no authority is accepted")
	}
	if _, err := admission.SignInvite([]byte("no genesis"), admission.Invite{}, n.Authority); err == nil {
		t.Error("a ticket to nowhere is signed")
	}
}

func TestOnlyAuthoritiesRevoke(t *testing.T) {
	n := consensustest.New(2)
	body := admission.Revocation{Subject: n.Nodes[0].Key(), Issued: consensustest.Now, Reason: "lost"}
	good, err := admission.SignRevocation(n.ID, body, n.Authority)
	check(t, err)
	check(t, good.Check(n.Genesis, n.ID))
	data, err := dagcbor.Marshal(good)
	check(t, err)
	if _, err := admission.OpenRevocation(data, n.Genesis, n.ID); err != nil {
		t.Error(err)
	}
	if _, err := admission.OpenRevocation(append(data, 0), n.Genesis, n.ID); err == nil {
		t.Error("a byte too many")
	}
	for name, change := range map[string]func(*admission.SignedRevocation){
		"subject":   func(s *admission.SignedRevocation) { s.Body.Subject = n.Nodes[1].Key() },
		"reason":    func(s *admission.SignedRevocation) { s.Body.Reason = "" },
		"time":      func(s *admission.SignedRevocation) { s.Body.Issued = 0 },
		"version":   func(s *admission.SignedRevocation) { s.Body.V = 2 },
		"signature": func(s *admission.SignedRevocation) { s.Signature[5] ^= 1 },
	} {
		s := good
		change(&s)
		if err := s.Check(n.Genesis, n.ID); err == nil {
			t.Errorf("%s: accepted altered", name)
		}
	}
	if err := good.Check(n.Genesis, admission.Network{}); err == nil {
		t.Error("accepted in another network")
	}
	for name, make := range map[string]func() (admission.SignedRevocation, error){
		"an authority": func() (admission.SignedRevocation, error) {
			b := body
			b.Subject = n.Authority.Key()
			return admission.SignRevocation(n.ID, b, n.Authority)
		},
		"by itself": func() (admission.SignedRevocation, error) { return admission.SignRevocation(n.ID, body, n.Nodes[0]) },
		"long reason": func() (admission.SignedRevocation, error) {
			b := body
			b.Reason = strings.Repeat("x", 257)
			return admission.SignRevocation(n.ID, b, n.Authority)
		},
		"small order": func() (admission.SignedRevocation, error) {
			b := body
			b.Subject = admission.Key{1}
			return admission.SignRevocation(n.ID, b, n.Authority)
		},
	} {
		s, err := make()
		check(t, err)
		if err := s.Check(n.Genesis, n.ID); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
