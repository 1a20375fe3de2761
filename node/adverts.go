package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
)

// adverts is what this node has heard of others, and says of itself.
type adverts struct {
	network admission.Network
	genesis admission.Genesis
	policy  admission.Policy
	clock   func() int64
	revoked func(admission.Key) bool
	came    func(consensus.Advert) // told of a node that comes, or moves; must not block

	mutex    sync.Mutex
	known    map[admission.Key]*heardAdvert // also who is gone, while an advert of theirs could be heard
	sequence uint64                         // begins at the time: an incarnation outlives the process
	version  uint64                         // grows when a node comes, goes or changes
	view     *advertView
}

// advertView is what fresh and seen return until an advert comes or, after the
// Unix time until in milliseconds, one has become stale.
type advertView struct {
	fresh []heardAdvert
	seen  []election.Seen
	until int64
}

type heardAdvert struct {
	signed consensus.SignedAdvert
	group  string // of its addresses
	since  int64  // heard continuously since, Unix milliseconds
	last   int64
	gone   bool // taken for gone, and counted so in version
}

// Bounds of what is taken in: nodes known, and bytes of one signed advert.
const (
	maxKnown  = 4096
	maxAdvert = 4 << 10
)

// freshness is how many intervals may pass without an advert until a node is
// taken for gone.
const freshness = 4

func newAdverts(h home, clock func() int64, revoked func(admission.Key) bool, came func(consensus.Advert)) *adverts {
	return &adverts{network: h.network, genesis: h.founded, policy: h.founded.Policy, clock: clock, revoked: revoked, came: came,
		known: map[admission.Key]*heardAdvert{}, sequence: uint64(clock())}
}

// errStale is returned for an advert that is no news: it is ignored, not held
// against who relayed it.
var errStale = errors.New("advert: not newer than the one known")

// hear checks and keeps an advert. An error that is not errStale means that it
// is invalid.
func (a *adverts) hear(s consensus.SignedAdvert) error {
	ad, now := s.Advert, a.clock()
	a.mutex.Lock()
	before := a.known[ad.Peer]
	a.mutex.Unlock()
	if ad.Issued > now+skewAllowed || a.expired(ad, now) || !isNews(before, ad) {
		return errStale
	}
	if err := a.check(s); err != nil {
		return err
	}
	group := groupOf(ad.Addresses)
	a.mutex.Lock()
	defer a.mutex.Unlock()
	before = a.known[ad.Peer]
	if a.revoked(ad.Peer) || !isNews(before, ad) || before == nil && !a.makeRoom(ad, now) {
		return errStale // also of who is revoked: who relays it may not have heard yet
	}
	next := &heardAdvert{signed: s, group: group, since: now, last: now}
	comes := before == nil || a.stale(before, now)
	again := comes || before.signed.Advert.Incarnation != ad.Incarnation
	if !again {
		next.since = before.since
	}
	if comes || changed(before.signed.Advert, ad) {
		a.version++
	}
	if again || !slices.Equal(before.signed.Advert.Addresses, ad.Addresses) {
		a.came(ad)
	}
	a.known[ad.Peer] = next
	a.view = nil
	return nil
}

// isNews reports whether an advert is later than the one known, which may be nil.
func isNews(before *heardAdvert, ad consensus.Advert) bool {
	if before == nil {
		return true
	}
	known := before.signed.Advert
	if known.Incarnation == ad.Incarnation {
		return known.Sequence < ad.Sequence
	}
	return known.Issued < ad.Issued
}

// expired reports whether an advert is too old to be heard, if for the first time.
func (a *adverts) expired(ad consensus.Advert, now int64) bool {
	return ad.Issued < now-a.window()-skewAllowed
}

// makeRoom reports whether there is room for a node that is not known. Where there
// is none, a node that is gone makes some: the one whose advert was issued first, and
// only to a later one. One that made room is heard again only where another is gone whose
// advert is older still.
func (a *adverts) makeRoom(ad consensus.Advert, now int64) bool {
	if len(a.known) < maxKnown {
		return true
	}
	var first *consensus.Advert
	for _, h := range a.known {
		if known := &h.signed.Advert; a.stale(h, now) && (first == nil || known.Issued < first.Issued) {
			first = known
		}
	}
	if first == nil || first.Issued >= ad.Issued {
		return false
	}
	delete(a.known, first.Peer)
	return true
}

// forget drops what is known of a node.
func (a *adverts) forget(key admission.Key) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	delete(a.known, key)
	a.version++
	a.view = nil
}

// skewAllowed is the difference of clocks that is allowed for, milliseconds.
const skewAllowed = 60_000

func (a *adverts) window() int64 { return freshness * a.policy.Advert }

func (a *adverts) stale(h *heardAdvert, now int64) bool { return now-h.last > a.window() }

// changed reports whether an advert says something that the draw goes by.
func changed(before, after consensus.Advert) bool {
	return before.Incarnation != after.Incarnation || !sameQuantities(before.Total, after.Total) ||
		!slices.Equal(before.Features, after.Features) || !slices.Equal(before.Classes, after.Classes)
}

func sameQuantities(a, b map[string]uint64) bool {
	return consensus.Needs{Quantities: a}.Equal(consensus.Needs{Quantities: b})
}

func (a *adverts) check(s consensus.SignedAdvert) error {
	ad, c := s.Advert, s.Credential.Body
	switch {
	case c.Subject != ad.Peer || c.Kind != admission.KindNode:
		return errors.New("advert: the credential is not that node's")
	case len(ad.Total) > 32 || len(ad.Free) > 32 || len(ad.Features) > 32 || len(ad.Classes) > 8 || len(ad.Addresses) > 16:
		return errors.New("advert: too large")
	case !slices.IsSorted(ad.Features):
		return errors.New("advert: features are sorted")
	}
	if err := s.Credential.Check(a.genesis, a.network); err != nil {
		return err
	}
	data, err := dagcbor.Seal(consensus.TagAdvert, a.network[:], ad)
	if err != nil {
		return err
	}
	if len(data) > maxAdvert {
		return fmt.Errorf("advert: %d bytes, at most %d", len(data), maxAdvert)
	}
	if !ad.Peer.Verify(data, s.Signature) {
		return fmt.Errorf("advert: %w", admission.ErrSignature)
	}
	return nil
}

// fresh returns the adverts of all nodes that are not taken for gone, by key.
// Callers share it, and change nothing in it.
func (a *adverts) fresh() []heardAdvert { return a.current().fresh }

// seen is the view that members hold a submitter's roll against, shared likewise.
func (a *adverts) seen() []election.Seen { return a.current().seen }

// current makes the view again if there is none that holds: each offer and each
// job that ends asks for it, and adverts come seldom.
func (a *adverts) current() *advertView {
	now := a.clock()
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.view != nil && now <= a.view.until {
		return a.view
	}
	v := &advertView{fresh: make([]heardAdvert, 0, len(a.known)), seen: make([]election.Seen, 0, len(a.known)), until: math.MaxInt64}
	for key, h := range a.known {
		if a.stale(h, now) {
			if !h.gone {
				h.gone = true
				a.version++
			}
			if a.expired(h.signed.Advert, now) { // not before: it would be heard again
				delete(a.known, key)
			} else {
				v.until = min(v.until, h.signed.Advert.Issued+a.window()+skewAllowed)
			}
			continue
		}
		v.fresh = append(v.fresh, *h)
		v.until = min(v.until, h.last+a.window())
	}
	slices.SortFunc(v.fresh, func(x, y heardAdvert) int {
		return slices.Compare(x.signed.Advert.Peer[:], y.signed.Advert.Peer[:])
	})
	for _, h := range v.fresh {
		ad := h.signed.Advert
		v.seen = append(v.seen, election.Seen{Peer: ad.Peer, Incarnation: ad.Incarnation, Since: h.since, Credential: h.signed.Credential.Body,
			Total: ad.Total, Features: ad.Features, Classes: ad.Classes, Group: h.group})
	}
	a.view = v
	return v
}

func (a *adverts) state() uint64 {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.version
}

// get returns the last advert of a node that is not taken for gone.
func (a *adverts) get(key admission.Key) (heardAdvert, bool) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	h, ok := a.known[key]
	if !ok || a.stale(h, a.clock()) {
		return heardAdvert{}, false
	}
	return *h, true
}

// groupOf is the address group of a node: the /16 or /32 that its first
// public address lies in, or empty.
func groupOf(addresses []string) string {
	for _, text := range addresses {
		addr, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			continue
		}
		if ip, ok := publicGroup(addr); ok {
			return ip
		}
	}
	return ""
}

// next returns the sequence of this node's next advert.
func (a *adverts) next() uint64 {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.sequence++
	return a.sequence
}

// advertise makes this node's next advert.
func (n *Node) advertise() (consensus.SignedAdvert, error) {
	load := n.member.Load()
	ad := consensus.Advert{
		Peer: n.home.identity.Signer.Key(), Incarnation: n.incarnation, Sequence: n.adverts.next(), Issued: n.clock(),
		Total: load.Total.Quantities(), Free: load.Free.Quantities(), Queued: uint64(load.Queued), OldestWait: load.OldestWait,
		Features: []string{}, Classes: []consensus.Class{consensus.Class("arch/" + runtime.GOARCH), consensus.Portable},
		Addresses: n.addresses(),
	}
	data, err := dagcbor.Seal(consensus.TagAdvert, n.home.network[:], ad)
	if err != nil {
		return consensus.SignedAdvert{}, err
	}
	return consensus.SignedAdvert{Advert: ad, Credential: n.home.credential, Signature: n.home.identity.Signer.Sign(data)}, nil
}

// advertLoop says what this node can do, every interval.
func (n *Node) advertLoop(ctx context.Context) error {
	interval := time.Duration(n.home.founded.Policy.Advert) * time.Millisecond
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		if err := n.sayAdvert(ctx); err != nil {
			return err
		}
		timer.Reset(interval/2 + jitterOf(interval))
	}
}

func (n *Node) sayAdvert(ctx context.Context) error {
	signed, err := n.advertise()
	if err != nil {
		return err
	}
	if err := n.adverts.hear(signed); err != nil && !errors.Is(err, errStale) {
		return fmt.Errorf("own advert: %w", err)
	}
	data, err := dagcbor.Marshal(signed)
	if err != nil {
		return err
	}
	if err := n.publish(ctx, topicAdverts, data); err != nil {
		n.cfg.Log.Debug("advert not spread", "error", err)
	}
	return nil
}

// quantitiesOf turns an advert's quantities back into resources.
func quantitiesOf(q map[string]uint64) jobs.Resources {
	return jobs.Resources{CPU: q[jobs.QuantityCPU], Memory: q[jobs.QuantityMemory], Disk: q[jobs.QuantityDisk]}
}

// askAdverts asks a peer for the adverts it has heard: gossip loses messages by
// design, and a node that has just come has heard none.
func (n *Node) askAdverts(ctx context.Context, from peer.ID) error {
	data, err := n.ask(ctx, from, question{Op: opAdverts})
	if err != nil {
		return err
	}
	return n.hearAdverts(data)
}

// hearAdverts takes in an answer of adverts.
func (n *Node) hearAdverts(data []byte) error {
	var list []consensus.SignedAdvert
	if err := dagcbor.Unmarshal(data, &list); err != nil {
		return err
	}
	if len(list) > maxKnown {
		return fmt.Errorf("%d adverts, at most %d", len(list), maxKnown)
	}
	for _, signed := range list {
		if err := n.adverts.hear(signed); err != nil && !errors.Is(err, errStale) {
			return err
		}
	}
	return nil
}

// answerAdverts answers with the freshest adverts known.
func (n *Node) answerAdverts() ([]byte, error) {
	fresh := slices.Clone(n.adverts.fresh())
	slices.SortFunc(fresh, func(x, y heardAdvert) int { return cmp.Compare(y.last, x.last) })
	list := make([]consensus.SignedAdvert, 0, min(len(fresh), maxAnswered))
	for _, h := range fresh[:min(len(fresh), maxAnswered)] {
		list = append(list, h.signed)
	}
	return dagcbor.Marshal(list)
}

// maxAnswered bounds the adverts in one answer.
const maxAnswered = 512

// nodeCame remembers where a node that was heard of can be dialled: agreement
// needs direct streams between the members of a job.
func (n *Node) nodeCame(ad consensus.Advert) {
	if ad.Peer == n.home.identity.Signer.Key() {
		return
	}
	addrs, err := parseAddrs(ad.Addresses)
	if err != nil {
		return
	}
	infos, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		return
	}
	for _, info := range infos {
		if info.ID == ad.Peer.Peer() {
			n.p2p.Remember(info)
		}
	}
}
