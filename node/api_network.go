package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
)

var (
	_ server.Network = (*Node)(nil)
	_ server.Node    = (*Node)(nil)
)

// Network implements server.Network.
func (n *Node) Network(context.Context) (api.Network, error) {
	g := n.home.founded
	out := api.Network{Schema: api.SchemaNetwork, ID: n.home.network.String(), Name: g.Name, Created: g.Created, Testnet: g.Testnet,
		Size: int(g.Policy.Size), Genesis: n.home.genesis}
	for _, a := range g.Authorities {
		out.Authorities = append(out.Authorities, a.String())
	}
	return out, nil
}

// Peers implements server.Network: everybody heard of or connected, by name.
func (n *Node) Peers(context.Context) ([]api.Peer, error) {
	self := n.home.identity.Signer.Key()
	peers := map[admission.Key]*api.Peer{}
	for _, h := range n.adverts.fresh() {
		ad := h.signed.Advert
		if ad.Peer == self {
			continue
		}
		total, free := quantitiesOf(ad.Total), quantitiesOf(ad.Free)
		peers[ad.Peer] = &api.Peer{Schema: api.SchemaPeer, Peer: ad.Peer.String(), Name: ad.Peer.Name(), State: "silent",
			CPU: total.CPU, CPUFree: free.CPU, Mem: total.Memory, MemFree: free.Memory, Queued: ad.Queued}
	}
	for _, info := range n.p2p.Peers() {
		key, err := admission.KeyOf(info.ID)
		if err != nil {
			continue
		}
		p, ok := peers[key]
		if !ok {
			p = &api.Peer{Schema: api.SchemaPeer, Peer: key.String(), Name: key.Name()}
			peers[key] = p
		}
		p.State, p.Path, p.Address = "alive", pathOf(info.Address), info.Address.String()
		p.RTT = float64(n.p2p.Host.Peerstore().LatencyEWMA(info.ID)) / float64(time.Millisecond)
	}
	for _, info := range n.p2p.Remembered() {
		key, err := admission.KeyOf(info.ID)
		if _, ok := peers[key]; err != nil || ok || key == self {
			continue
		}
		peers[key] = &api.Peer{Schema: api.SchemaPeer, Peer: key.String(), Name: key.Name(), State: "away"}
	}
	out := make([]api.Peer, 0, len(peers))
	for key, p := range peers {
		p.Barred, p.Agreed = n.misconduct.bars(key), n.agreed.share(key)
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b api.Peer) int { return compareStrings(a.Name, b.Name, a.Peer, b.Peer) })
	return out, nil
}

func pathOf(addr multiaddr.Multiaddr) string {
	if addr == nil {
		return ""
	}
	for _, p := range addr.Protocols() {
		if p.Code == multiaddr.P_QUIC_V1 {
			return "direct quic"
		}
	}
	return "direct tcp"
}

// Members implements server.Network: those whose credentials this node has seen, or
// knows to be revoked.
func (n *Node) Members(context.Context) ([]api.Member, error) {
	seen := map[admission.Key]bool{}
	var out []api.Member
	for _, s := range n.revocations.list() {
		seen[s.Body.Subject] = true
		out = append(out, revokedMember(s))
	}
	add := func(c admission.Credential, state string) {
		if seen[c.Subject] {
			return
		}
		seen[c.Subject] = true
		out = append(out, api.Member{Schema: api.SchemaMember, Peer: c.Subject.String(), Name: c.Subject.Name(), Kind: kindName(c.Kind),
			Role: roleName(c.Role), From: c.From, Until: c.Until, Issuer: c.Issuer.String(), State: state})
	}
	add(n.home.credential.Body, "self")
	for _, info := range n.p2p.Peers() {
		if c, ok := n.p2p.Credential(info.ID); ok {
			add(c.Body, "alive")
		}
	}
	for _, h := range n.adverts.fresh() {
		add(h.signed.Credential.Body, "silent")
	}
	for _, c := range n.issuer.issued() {
		add(c.Body, "away")
	}
	slices.SortFunc(out, func(a, b api.Member) int { return compareStrings(a.Name, b.Name, a.Peer, b.Peer) })
	return out, nil
}

func compareStrings(a, b, thenA, thenB string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	case thenA < thenB:
		return -1
	case thenA > thenB:
		return 1
	}
	return 0
}

func kindName(k admission.Kind) string {
	if k == admission.KindUser {
		return "user"
	}
	return "node"
}

func roleName(r admission.Role) string {
	switch r {
	case admission.RoleAuthority:
		return "authority"
	case admission.RoleObserver:
		return "observer"
	}
	return "member"
}

// Invite implements server.Network.
func (n *Node) Invite(_ context.Context, r api.InviteRequest) (api.Ticket, error) {
	self := n.home.identity.Signer.Key()
	if !n.home.founded.Authority(self) {
		return api.Ticket{}, &jobs.Problem{Code: jobs.CodeDenied, What: "this node cannot invite", Why: "it is no authority of the network",
			Try: "muster network invite on the machine that created the network"}
	}
	role, ok := map[string]admission.Role{"": admission.RoleMember, "member": admission.RoleMember, "observer": admission.RoleObserver}[r.Role]
	if !ok {
		return api.Ticket{}, &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("there is no role %q to invite to", r.Role), Try: "member or observer"}
	}
	if r.Uses == nil {
		r.Uses = new(1)
	}
	if r.TTL == 0 {
		r.TTL = time.Hour.Milliseconds()
	}
	if *r.Uses < 1 || *r.Uses > 1<<20 || r.TTL < 0 {
		return api.Ticket{}, &jobs.Problem{Code: jobs.CodeUsage, What: "an invitation has at least one use, and time to be used", Try: "--uses 2 --ttl 1h"}
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return api.Ticket{}, err
	}
	invite := admission.Invite{ID: id, Role: role, Kind: admission.KindNode, Weight: 1, Uses: uint64(*r.Uses), Expires: n.clock() + r.TTL,
		Validity: credentialLife.Milliseconds(), Addresses: n.addresses()}
	ticket, err := admission.SignInvite(n.home.genesis, invite, n.home.identity.Signer)
	if err != nil {
		return api.Ticket{}, err
	}
	return api.Ticket{Schema: api.SchemaTicket, Ticket: ticket.String(), Network: n.home.network.String(), Uses: *r.Uses, Expires: invite.Expires}, nil
}

// Node implements server.Node.
func (n *Node) Node(context.Context) (api.Node, error) {
	load := n.member.Load()
	out := api.Node{PID: os.Getpid(),
		Schema: api.SchemaNode, Peer: n.home.identity.Peer.String(), Name: n.name, Incarnation: fmt.Sprintf("%x", n.incarnation[:]),
		Network: n.home.network.String(), NetworkName: n.home.founded.Name, Role: roleName(n.home.credential.Body.Role),
		Version: n.cfg.Version, Class: "arch/" + runtime.GOARCH, Started: n.started, Ready: n.Ready(), Lying: n.cfg.Lie != Honest,
		Addresses: n.addresses(), API: []string{"unix:" + n.cfg.Socket}, Peers: len(n.p2p.Peers()),
		Resources: api.Resources{CPU: load.Total.CPU, CPUFree: load.Free.CPU, Memory: load.Total.Memory, MemoryFree: load.Free.Memory,
			Disk: load.Total.Disk, DiskFree: load.Free.Disk},
		Queue: api.Queue{Open: load.Open, Queued: load.Queued, Running: load.Running},
	}
	if url := n.apiURL(); url != "" {
		out.API = append(out.API, url)
	}
	return out, nil
}

// Ready implements server.Node.
func (n *Node) Ready() bool {
	select {
	case <-n.ready:
		return true
	default:
		return false
	}
}

// Stop implements server.Node.
func (n *Node) Stop(context.Context) error {
	n.stopOnce.Do(func() { close(n.stop) })
	return nil
}

func (n *Node) addresses() []string {
	addrs := n.p2p.Addresses()
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out
}

// alive returns the connected peers.
func (n *Node) alive() []admission.Key {
	var out []admission.Key
	for _, info := range n.p2p.Peers() {
		if key, err := admission.KeyOf(info.ID); err == nil {
			out = append(out, key)
		}
	}
	return out
}

func peersOf(keys []admission.Key) []peer.ID {
	out := make([]peer.ID, len(keys))
	for i, k := range keys {
		out[i] = k.Peer()
	}
	return out
}

// publicGroup returns the address group of a public address: its /16, or /32 of
// IPv6.
func publicGroup(addr multiaddr.Multiaddr) (string, bool) {
	ip, err := manet.ToIP(addr)
	if err != nil || !manet.IsPublicAddr(addr) {
		return "", false
	}
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return "", false
	}
	a = a.Unmap()
	bits := 16
	if a.Is6() {
		bits = 32
	}
	prefix, err := a.Prefix(bits)
	return prefix.String(), err == nil
}
