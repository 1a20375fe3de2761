package p2p

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/dagcbor"
)

// door decides who comes in. It judges by the peer id that the connection's
// security handshake has proved, so a credential is bound to its connection
// without another signature. Safe for concurrent use.
type door struct {
	self       admission.Key
	genesis    admission.Genesis
	network    admission.Network
	credential func() admission.SignedCredential
	revoked    func(admission.Key) bool
	revocation func(admission.Key) []byte
	issuer     Issuer
	refused    func(*RefusedError)
	log        *slog.Logger
	now        func() time.Time
	limits     doorLimits
	waiting    *pending

	mu      sync.Mutex
	members map[peer.ID]entrant // who came in
}

// entrant is who came in: by which credential, and when.
type entrant struct {
	credential admission.SignedCredential
	since      time.Time
}

// settling is how long one who came in may take to be connected: the swarm learns of
// a connection after the door has opened to it.
const settling = time.Minute

// errJoined ends a connection that had come for a credential, and got it.
var errJoined = errors.New("the connection was for joining")

func newDoor(cfg Config, g admission.Genesis, id admission.Network) *door {
	return &door{
		self: cfg.Identity.Signer.Key(), genesis: g, network: id,
		credential: cfg.Credential, revoked: cfg.Revoked, revocation: cfg.Revocation,
		issuer: cfg.Issuer, refused: cfg.Refused, log: cfg.Log, now: cfg.Now, limits: cfg.limits,
		waiting: newPending(cfg.limits), members: map[peer.ID]entrant{},
	}
}

// enter is the dialler's part. On an error the caller closes the connection.
func (d *door) enter(ctx context.Context, conn transport.CapableConn) error {
	ctx, cancel := context.WithTimeout(ctx, d.limits.Timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err := d.enterStream(ctx, conn)
	return d.settle(ctx, conn, err)
}

func (d *door) enterStream(ctx context.Context, conn transport.CapableConn) error {
	ours, err := encodeCredential(d.credential())
	if err != nil {
		return err
	}
	greeting, err := dagcbor.Marshal(hello{Tag: admission.TagDoor, Network: d.network, Verb: verbMember, Body: ours})
	if err != nil {
		return err
	}
	s, err := conn.OpenStream(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := writeMessage(s, greeting); err != nil {
		return err
	}
	reason, theirs, err := readAnswer(s)
	if err != nil {
		return err
	}
	if reason != 0 {
		return refusedBy(reason, theirs)
	}
	credential, reason := d.judge(conn.RemotePeer(), theirs)
	if reason != 0 {
		return d.refuse(s, conn.RemotePeer(), reason)
	}
	if reason := d.remember(conn.RemotePeer(), credential); reason != 0 {
		return d.refuse(s, conn.RemotePeer(), reason)
	}
	return writeAnswer(s, 0, nil)
}

// admit is the listener's part. On an error the caller closes the connection.
func (d *door) admit(ctx context.Context, conn transport.CapableConn) error {
	ctx, cancel := context.WithTimeout(ctx, d.limits.Timeout)
	defer cancel()
	// AcceptStream knows no deadline; closing the connection ends it.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err := d.admitStream(ctx, conn)
	return d.settle(ctx, conn, err)
}

func (d *door) admitStream(ctx context.Context, conn transport.CapableConn) error {
	s, err := conn.AcceptStream()
	if err != nil {
		return err
	}
	defer s.Close()
	message, err := readMessage(s)
	if err != nil {
		return err
	}
	greeting, err := decodeHello(message)
	if err != nil {
		return d.refuse(s, conn.RemotePeer(), ReasonProtocol)
	}
	if greeting.Network != d.network {
		return d.refuse(s, conn.RemotePeer(), ReasonAnotherNetwork)
	}
	if greeting.Verb == verbJoin {
		return d.issue(ctx, s, conn.RemotePeer(), greeting.Body)
	}
	credential, reason := d.judge(conn.RemotePeer(), greeting.Body)
	if reason != 0 {
		return d.refuse(s, conn.RemotePeer(), reason)
	}
	ours, err := encodeCredential(d.credential())
	if err != nil {
		return err
	}
	if err := writeAnswer(s, 0, ours); err != nil {
		return err
	}
	reason, shown, err := readAnswer(s)
	if err != nil {
		return err
	}
	if reason != 0 {
		return refusedBy(reason, shown)
	}
	if reason := d.remember(conn.RemotePeer(), credential); reason != 0 {
		return &RefusedError{Reason: reason}
	}
	return nil
}

// linger is how long a refused peer has to read why.
const linger = time.Second

// refuse tells the other side, id, why, and gives it time to read: closing at once
// would throw the answer away.
func (d *door) refuse(s network.MuxedStream, id peer.ID, reason Reason) error {
	if err := writeAnswer(s, reason, d.shownTo(id, reason)); err != nil {
		return err
	}
	if s.CloseWrite() == nil && s.SetReadDeadline(time.Now().Add(linger)) == nil {
		_, _ = readMessage(s)
	}
	return &RefusedError{Reason: reason}
}

// shownTo is what a reason is given with: its revocation to who was revoked.
func (d *door) shownTo(id peer.ID, reason Reason) []byte {
	key, err := admission.KeyOf(id)
	if err != nil || reason != ReasonRevoked {
		return nil
	}
	return d.revocation(key)
}

// refusedBy is the error of a peer's reason, with what it was given with.
func refusedBy(reason Reason, shown []byte) *RefusedError {
	refused := &RefusedError{Reason: reason, ByPeer: true}
	if reason == ReasonRevoked && len(shown) <= admission.MaxRevocation {
		refused.Revocation = shown
	}
	return refused
}

// settle gives an exchange's error its peer and its proper kind, and reports
// refusals. A dial that lost a race to another address offends nobody.
func (d *door) settle(ctx context.Context, conn transport.CapableConn, err error) error {
	if err == nil || errors.Is(err, errJoined) {
		return err
	}
	id := conn.RemotePeer()
	var refused *RefusedError
	var closed *network.ConnError
	switch {
	case errors.As(err, &refused):
		refused.Peer = id
	case errors.As(err, &closed) && closed.Remote && closed.ErrorCode == network.ConnRateLimited:
		refused = &RefusedError{Peer: id, Reason: ReasonBusy, ByPeer: true}
	case errors.Is(err, errMessage):
		refused = &RefusedError{Peer: id, Reason: ReasonProtocol}
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		refused = &RefusedError{Peer: id, Reason: ReasonTimeout}
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		d.log.Debug("connection ended at the door", "peer", id, "address", conn.RemoteMultiaddr(), "error", err)
		return err
	}
	d.report(refused, conn)
	return refused
}

func (d *door) report(refused *RefusedError, conn transport.CapableConn) {
	d.log.Warn("door shut", "peer", refused.Peer, "reason", refused.Reason, "by_peer", refused.ByPeer,
		"address", conn.RemoteMultiaddr())
	d.refused(refused)
}

// judge says whether the encoded credential lets id in: reason 0.
func (d *door) judge(id peer.ID, data []byte) (admission.SignedCredential, Reason) {
	var c admission.SignedCredential
	if len(data) == 0 {
		return c, ReasonNoCredential
	}
	if len(data) > admission.MaxCredential || dagcbor.Unmarshal(data, &c) != nil {
		return c, ReasonProtocol
	}
	return c, d.standing(id, c)
}

// standing judges a credential as it is now.
func (d *door) standing(id peer.ID, c admission.SignedCredential) Reason {
	key, err := admission.KeyOf(id)
	now := d.now().UnixMilli()
	switch {
	case err != nil || c.Body.Subject != key:
		return ReasonWrongSubject
	case c.Check(d.genesis, d.network) != nil:
		return ReasonInvalid
	case c.Body.Kind != admission.KindNode:
		return ReasonNotNode
	case d.revoked(key):
		return ReasonRevoked
	case now < c.Body.From:
		return ReasonNotYet
	case !c.Body.ValidAt(now):
		return ReasonExpired
	}
	return 0
}

// bars reports whether id was revoked.
func (d *door) bars(id peer.ID) bool {
	key, err := admission.KeyOf(id)
	return err == nil && d.revoked(key)
}

// remember notes who comes in, unless it may not any more: the other side has had
// time since it was judged, and a revocation may have come.
func (d *door) remember(id peer.ID, c admission.SignedCredential) Reason {
	if reason := d.standing(id, c); reason != 0 {
		return reason
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.members[id] = entrant{c, d.now()}
	return 0
}

// lost says why one who came in would not be let in now: reason 0 if it would.
func (d *door) lost(id peer.ID) Reason {
	if c, ok := d.member(id); ok {
		return d.standing(id, c)
	}
	return 0
}

// member returns the credential that id last came in with.
func (d *door) member(id peer.ID) (admission.SignedCredential, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, ok := d.members[id]
	return e.credential, ok
}

// sweep forgets who is no longer connected and returns who has lost the right
// to be. Who came in a moment ago is not forgotten: a connection of it may be on its
// way to the swarm, and nobody would know of it what it may.
func (d *door) sweep(connected func(peer.ID) bool) []*RefusedError {
	d.mu.Lock()
	defer d.mu.Unlock()
	var lost []*RefusedError
	now := d.now()
	for id, e := range d.members {
		gone := !connected(id)
		if !gone {
			if reason := d.standing(id, e.credential); reason != 0 {
				gone = true
				lost = append(lost, &RefusedError{Peer: id, Reason: reason})
			}
		}
		if gone && now.Sub(e.since) >= settling {
			delete(d.members, id)
		}
	}
	return lost
}
