// Package naivetest is a second verifier of certificates, written from the text
// of the protocol (sections 2, 3, 5, 7, 11 and 14) and from the
// lists of fields, and from nothing else: it calls no check of package consensus
// and shares no type with it. It is slow and plain, each rule one line, and
// serves one purpose: to be asked what consensus is asked, and to answer the
// same. Where the two differ, one of them is wrong, or the text is.
//
// Shipped code does not import it.
package naivetest

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/hdevalence/ed25519consensus"
)

// Verdict is what a certificate that verified says.
type Verdict struct {
	Job     [32]byte
	Height  uint64   // of the outcome
	Value   [32]byte // hash of the outcome
	Round   uint64
	Signers []int // seats, ascending
}

// Verify judges a certificate, given only the bytes of a genesis that is well
// formed (protocol, section 11). It returns a verdict, or why there is none.
func Verify(genesis, certificate []byte) (v Verdict, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case refusal:
			v, err = Verdict{}, r
		default:
			panic(r)
		}
	}()
	return verify(genesis, certificate), nil
}

// refusal is what a broken rule panics with: so a rule is one line, and none of
// them can be forgotten by whoever calls it.
type refusal string

// Error says which rule was broken.
func (r refusal) Error() string { return string(r) }

// require refuses when a rule does not hold.
func require(holds bool, rule string, args ...any) {
	if !holds {
		panic(refusal(fmt.Sprintf(rule, args...)))
	}
}

func verify(genesis, certificate []byte) Verdict {
	net := readGenesis(genesis)

	require(len(certificate) <= 64<<10, "at most 64 KiB")
	file := dict(decode(certificate), "v", "charter", "credentials", "chain", "outcome")
	require(number(file["v"]) == 1, "v is known")

	signed := list(file["charter"], 3)
	c := readCharter(net, anyBytes(signed[0]))
	c.checkSignatures(net, octets(signed[1], 64), signed[2])

	at, signers := c.height0(), [][]byte{}
	for _, d := range anyList(file["chain"]) {
		decided := readDecision(d)
		signers = append(signers, at.check(net, decided)...)
		at = at.handOver(net, decided.value)
	}
	outcome := readDecision(file["outcome"])
	require(outcome.value.kind != handover, "a handover is no outcome")
	signers = append(signers, at.check(net, outcome)...)

	checkCredentials(net, c, signers, anyList(file["credentials"]))
	v := Verdict{Job: c.job, Height: at.number, Value: outcome.value.hash(net), Round: outcome.round}
	for _, vote := range outcome.votes {
		v.Signers = append(v.Signers, int(vote.seat))
	}
	return v
}

// network is what a genesis gives: the hash of its bytes, and the authorities.
type network struct {
	id          []byte
	authorities [][]byte
}

func readGenesis(genesis []byte) network {
	sealed := list(decode(genesis), 3)
	require(text(sealed[0]) == "muster/genesis/1", "tag of a genesis")
	body, ok := sealed[2].(map[string]any)
	require(ok, "a genesis is a map")
	net := network{id: sum(genesis)}
	for _, a := range anyList(body["authorities"]) {
		net.authorities = append(net.authorities, octets(a, 32))
	}
	return net
}

func (n network) authority(key []byte) bool {
	for _, a := range n.authorities {
		if bytes.Equal(a, key) {
			return true
		}
	}
	return false
}

// seal is how everything signed or hashed begins: with its tag and the network.
func (n network) seal(tag string, body any) []byte {
	return encode([]any{tag, n.id, body})
}

// unseal takes what seal wrote, with exactly this tag and of this network.
func (n network) unseal(tag string, data []byte) any {
	sealed := list(decode(data), 3)
	require(text(sealed[0]) == tag, "tag %s", tag)
	require(bytes.Equal(anyBytes(sealed[1]), n.id), "of this network")
	return sealed[2]
}

func sum(data []byte) []byte {
	h := sha256.Sum256(data)
	return h[:]
}

// verified reports whether a signature is the key's, by ZIP-215.
func verified(key, message, signature []byte) bool {
	return ed25519consensus.Verify(key, message, signature)
}
