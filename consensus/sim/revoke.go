package sim

import "github.com/muster-network/muster/consensus/bft"

// settleRevoked has a credential revoked: some nodes hear of it, at one time or at
// two, and the others when the network behaves. What it draws comes from a source
// of its own: other schedules are what they would be without it.
func (s *Schedule) settleRevoked() {
	if s.Reserves == 0 {
		return
	}
	rng := newSource(s.Seed, 5)
	if !rng.chance(20) {
		return
	}
	subject := rng.below(s.parties())
	for range 1 + rng.below(2) {
		f := Fault{At: 500 + rng.until(4_000), Kind: Revoke, Node: subject, Mask: uint32(rng.below(1 << s.parties()))}
		if rng.chance(50) {
			f.Mask = 1<<s.parties() - 1
		}
		s.Faults = append(s.Faults, f)
	}
}

// revoke tells nodes that a credential was revoked: it is on their disks.
func (w *world) revoke(subject int, hear uint32) {
	w.revoked |= 1 << subject
	for _, n := range w.nodes {
		if hear>>n.id&1 == 0 || n.knows>>subject&1 != 0 {
			continue
		}
		n.knows |= 1 << subject
		if n.isOpen() {
			n.input(bft.Revoked{Party: subject})
		}
	}
}

// revokeAll lets everybody hear of every revocation.
func (w *world) revokeAll() {
	for subject := range w.nodes {
		if w.revoked>>subject&1 != 0 {
			w.revoke(subject, ^uint32(0))
		}
	}
}

// tellRevoked tells a job that was opened what its node has heard before.
func (n *node) tellRevoked() {
	for subject := range n.w.nodes {
		if n.knows>>subject&1 != 0 {
			n.step(bft.Revoked{Party: subject})
		}
	}
}
