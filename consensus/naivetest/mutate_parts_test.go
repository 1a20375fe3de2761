package naivetest

import (
	"math"
	"slices"
	"strings"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/dagcbor"
)

func signatureMutators() []mutator {
	return []mutator{
		{"submitter's signature", onSignatures, func(d *draft) { d.spoil(&d.signed.Submitter, d.signed.Bytes) }},
		{"owner's signature", onSignatures, func(d *draft) {
			if d.signed.Owner != nil {
				s := *d.signed.Owner
				d.signed.Owner = &s
			}
			switch {
			case d.signed.Owner == nil:
				s := d.signer(d.charter.Owner).Sign(must(consensus.OwnerStatement(d.ID, d.charter)))
				d.signed.Owner = &s
			case d.r.IntN(2) == 0:
				d.signed.Owner = nil
			default:
				d.spoil(d.signed.Owner, must(consensus.OwnerStatement(d.ID, d.charter)))
			}
		}},
		{"an owner who signed for another job", onSignatures, func(d *draft) {
			c := cloneCharter(d.charter)
			switch d.r.IntN(5) {
			case 0:
				c.Task = consensustest.Link("another")
			case 1:
				c.Spec = consensustest.Link("another")
			case 2:
				c.F++
			case 3:
				c.AcceptBy++
			case 4:
				c.Nonce[0] ^= 1 // which an owner does not sign
			}
			s := d.signer(c.Owner).Sign(must(consensus.OwnerStatement(d.ID, c)))
			if c.Owner != c.Submitter {
				d.signed.Owner = &s
			}
		}},
	}
}

// order of the group, little-endian.
var groupOrder = [32]byte{0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 31: 0x10}

// spoil makes a signature another's, another's message, or another encoding.
func (d *draft) spoil(s *admission.Signature, message []byte) {
	switch d.r.IntN(4) {
	case 0:
		*s = d.liar.Sign(message)
	case 1:
		s[d.r.IntN(64)] ^= 1 << d.r.IntN(8)
	case 2: // s + L: the same number, not reduced
		carry := 0
		for i := range 32 {
			carry += int(s[32+i]) + int(groupOrder[i])
			s[32+i], carry = byte(carry), carry>>8
		}
	case 3:
		*s = admission.Signature{0: 1} // R is the identity, s is zero
	}
}

func ballotMutators() []mutator {
	one := func(name string, change func(d *draft, b *ballot)) mutator {
		return mutator{name, onBallots, func(d *draft) {
			change(d, pick(d.r, d.everyBallot()))
		}}
	}
	return []mutator{
		one("kind of a vote", func(d *draft, b *ballot) { b.statement.Kind = consensus.Kind(1 + d.r.IntN(11)) }),
		one("network of a vote", func(d *draft, b *ballot) { b.statement.Network = d.other.ID }),
		one("job of a vote", func(d *draft, b *ballot) { b.statement.Job[d.r.IntN(32)] ^= 1 }),
		one("height of a vote", func(d *draft, b *ballot) { b.statement.Height = pick(d.r, edges) }),
		one("previous of a vote", func(d *draft, b *ballot) { b.statement.Previous[d.r.IntN(32)] ^= 1 }),
		one("round of a vote", func(d *draft, b *ballot) { b.statement.Round = pick(d.r, []uint32{0, 1, 2, 7}) }),
		one("sender of a vote", func(d *draft, b *ballot) { b.statement.Sender = pick(d.r, d.Nodes).Key() }),
		one("incarnation of a vote", func(d *draft, b *ballot) { b.statement.Incarnation[d.r.IntN(16)] ^= 1 }),
		one("value of a vote", func(d *draft, b *ballot) { b.statement.Value[d.r.IntN(32)] ^= 1 }),
		one("signer of a vote", func(d *draft, b *ballot) { b.signer = pick(d.r, d.Nodes) }),
		one("a large batch", func(d *draft, b *ballot) {
			b.count = pick(d.r, []int{127, 256, 257, 511, 512})
			b.index = pick(d.r, []int{0, b.count - 1, d.r.IntN(b.count)})
		}),
		one("seat", func(d *draft, b *ballot) { b.seat = pick(d.r, edges) }),
		{"another quorum", onBallots, func(d *draft) {
			switch i := d.r.IntN(len(d.ballots) + 1); d.r.IntN(4) {
			case 0:
				d.ballots = d.ballots[:max(i, 1)]
			case 1:
				d.ballots = append(d.ballots, d.ballots[0])
			case 2:
				d.r.Shuffle(len(d.ballots), func(i, j int) { d.ballots[i], d.ballots[j] = d.ballots[j], d.ballots[i] })
			case 3: // one more than it takes
				for seat := range d.charter.Roster {
					if !slices.ContainsFunc(d.ballots, func(b ballot) bool { return b.seat == uint64(seat) }) {
						b := d.ballots[0]
						b.seat, b.statement.Sender, b.statement.Incarnation = uint64(seat), d.holders[seat].Peer, d.holders[seat].Incarnation
						b.signer = d.signer(b.statement.Sender)
						d.ballots = append(d.ballots, b)
						break
					}
				}
				slices.SortFunc(d.ballots, func(a, b ballot) int { return int(int64(a.seat) - int64(b.seat)) })
			}
		}},
		{"a member twice", onBallots, func(d *draft) {
			if i := d.r.IntN(len(d.ballots)); i > 0 {
				d.ballots[i] = d.ballots[i-1]
			}
		}},
		{"all votes for another value", onBallots, func(d *draft) {
			for i := range d.ballots {
				d.ballots[i].statement.Value[0] ^= 1
			}
		}},
		{"all votes of another round", onBallots, func(d *draft) {
			for i := range d.ballots {
				d.ballots[i].statement.Round ^= 1
			}
			if d.r.IntN(2) == 0 {
				d.round ^= 1
			}
		}},
		{"all votes at another height", onBallots, func(d *draft) {
			for i := range d.ballots {
				d.ballots[i].statement.Height = d.height + 1
			}
		}},
	}
}

func credentialMutators() []mutator {
	one := func(name string, change func(d *draft, c *admission.Credential)) mutator {
		return mutator{name, onCredentials, func(d *draft) {
			d.reissue(d.r.IntN(len(d.credentials)), d.Authority, func(c *admission.Credential) { change(d, c) })
		}}
	}
	return []mutator{
		one("credential version", func(d *draft, c *admission.Credential) { c.V = pick(d.r, edges) }),
		one("credential kind", func(d *draft, c *admission.Credential) { c.Kind = admission.Kind(d.r.IntN(4)) }),
		one("credential role", func(d *draft, c *admission.Credential) { c.Role = admission.Role(d.r.IntN(5)) }),
		one("credential subject", func(d *draft, c *admission.Credential) {
			c.Subject = pick(d.r, []admission.Key{d.oddKey(), pick(d.r, d.Nodes).Key()})
		}),
		one("credential owner", func(d *draft, c *admission.Credential) { c.Owner = d.oddKey() }),
		one("credential weight", func(d *draft, c *admission.Credential) { c.Weight = pick(d.r, edges) }),
		one("credential features", func(d *draft, c *admission.Credential) {
			c.Features = []string{"b", pick(d.r, []string{"a", "b", "c"})}
		}),
		one("many features", func(d *draft, c *admission.Credential) {
			for i := range pick(d.r, []int{15, 16, 17}) {
				c.Features = append(c.Features, string(rune('a'+i)))
			}
		}),
		one("512 bytes", func(d *draft, c *admission.Credential) {
			c.Features = []string{""}
			size := len(must(dagcbor.Marshal(admission.SignedCredential{Body: *c})))
			c.Features[0] = strings.Repeat("f", admission.MaxCredential-size-2+d.r.IntN(4)) // its length takes a byte or two more
		}),
		one("credential from", func(d *draft, c *admission.Credential) {
			c.From = d.near(pick(d.r, []int64{0, d.charter.Issued, d.charter.End, c.Until}))
		}),
		one("credential until", func(d *draft, c *admission.Credential) {
			c.Until = d.near(pick(d.r, []int64{0, d.charter.Issued, d.charter.End, c.From, math.MaxInt64 - 2}))
		}),
		one("issuer in word only", func(d *draft, c *admission.Credential) { c.Issuer = d.liar.Key() }),
		{"credential of who asks only", onCredentials, func(d *draft) {
			for i, c := range d.credentials {
				if slices.ContainsFunc(d.everyBallot(), func(b *ballot) bool { return b.statement.Sender == c.Body.Subject }) {
					continue
				}
				d.reissue(i, d.Authority, func(c *admission.Credential) {
					c.Kind, c.Role = admission.Kind(1+d.r.IntN(2)), admission.Role(1+d.r.IntN(3))
					*pick(d.r, []*int64{&c.From, &c.Until}) = d.near(d.charter.Issued)
				})
			}
		}},
		{"credential by another authority", onCredentials, func(d *draft) {
			d.reissue(d.r.IntN(len(d.credentials)), d.deputy, func(*admission.Credential) {})
		}},
		{"self-made credential", onCredentials, func(d *draft) {
			i := d.r.IntN(len(d.credentials))
			signer := pick(d.r, []admission.Signer{d.liar, d.signer(d.credentials[i].Body.Subject)})
			d.reissue(i, signer, func(*admission.Credential) {})
		}},
		{"credential of another network", onCredentials, func(d *draft) {
			was := d.signing
			d.signing = d.other.ID
			d.reissue(d.r.IntN(len(d.credentials)), d.Authority, func(*admission.Credential) {})
			d.signing = was
		}},
		{"signature of a credential", onCredentials, func(d *draft) {
			i := d.r.IntN(len(d.credentials))
			d.spoil(&d.credentials[i].Signature, d.credentials[i].Body.Subject[:])
		}},
		{"credentials", onCredentials, func(d *draft) {
			i := d.r.IntN(len(d.credentials))
			switch d.r.IntN(4) {
			case 0:
				d.credentials = slices.Delete(d.credentials, i, i+1)
			case 1:
				d.credentials = append(d.credentials, d.credentials[i])
			case 2:
				d.r.Shuffle(len(d.credentials), func(i, j int) { d.credentials[i], d.credentials[j] = d.credentials[j], d.credentials[i] })
			case 3:
				d.credentials = append(d.credentials, pick(d.r, d.Nodes).Credential)
				d.order()
			}
		}},
		{"another node's credential", onCredentials, func(d *draft) {
			d.credentials[d.r.IntN(len(d.credentials))] = pick(d.r, d.Nodes).Credential
			d.order()
		}},
	}
}

// handoverMutators change which handovers are decided. Each is then voted for,
// and the heights above follow from it.
func handoverMutators() []mutator {
	on := func(name string, change func(d *draft, pairs *[]consensus.Pair)) mutator {
		return mutator{name, onHandovers, func(d *draft) {
			if len(d.handovers) == 0 { // one that the charter has no place for
				d.handovers = [][]consensus.Pair{{{Seat: uint64(d.r.IntN(len(d.charter.Roster) + 1))}}}
			}
			pairs := &d.handovers[d.r.IntN(len(d.handovers))]
			if len(*pairs) == 0 { // another change took them
				*pairs = []consensus.Pair{{}}
			}
			change(d, pairs)
		}}
	}
	return []mutator{
		on("a handover more", func(d *draft, _ *[]consensus.Pair) {
			d.handovers = append(d.handovers, []consensus.Pair{{Seat: uint64(d.r.IntN(len(d.charter.Roster) + 1)), Reserve: uint64(d.r.IntN(len(d.charter.Reserves) + 2))}})
		}),
		on("a handover for each reserve", func(d *draft, _ *[]consensus.Pair) {
			d.handovers = d.handovers[:0]
			for reserve := range min(max(len(d.charter.Reserves), 1), 4) { // of none, one that is not there
				d.handovers = append(d.handovers, []consensus.Pair{{Seat: uint64(d.r.IntN(max(len(d.charter.Roster), 1))), Reserve: uint64(reserve)}})
			}
		}),
		on("a handover less", func(d *draft, _ *[]consensus.Pair) {
			i := d.r.IntN(len(d.handovers))
			d.handovers = slices.Delete(d.handovers, i, i+1)
		}),
		on("a pair's seat", func(d *draft, pairs *[]consensus.Pair) {
			(*pairs)[d.r.IntN(len(*pairs))].Seat = uint64(d.r.IntN(len(d.charter.Roster) + 2))
		}),
		on("a pair's reserve", func(d *draft, pairs *[]consensus.Pair) {
			(*pairs)[d.r.IntN(len(*pairs))].Reserve = uint64(d.r.IntN(len(d.charter.Reserves) + 2))
		}),
		on("a wild pair", func(d *draft, pairs *[]consensus.Pair) {
			*pairs = []consensus.Pair{{Seat: pick(d.r, edges), Reserve: pick(d.r, edges)}}
		}),
		on("pairs", func(d *draft, pairs *[]consensus.Pair) {
			switch d.r.IntN(4) {
			case 0:
				*pairs = nil
			case 1:
				*pairs = append(*pairs, (*pairs)[0])
			case 2:
				slices.Reverse(*pairs)
			case 3:
				*pairs = append(*pairs, consensus.Pair{Seat: (*pairs)[len(*pairs)-1].Seat + 1, Reserve: (*pairs)[len(*pairs)-1].Reserve + 1})
			}
		}),
		on("handovers in another order", func(d *draft, _ *[]consensus.Pair) { slices.Reverse(d.handovers) }),
		on("reserves skipped", func(d *draft, _ *[]consensus.Pair) {
			for i := range d.handovers {
				for j := range d.handovers[i] {
					d.handovers[i][j].Reserve++
				}
			}
		}),
	}
}
