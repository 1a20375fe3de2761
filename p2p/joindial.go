package p2p

import (
	"errors"

	"github.com/libp2p/go-libp2p/config"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

// joinDialer dials without a host: who joins has no network yet to be a host in.
type joinDialer struct {
	transports []transport.Transport
	resources  network.ResourceManager
	quic       *quicreuse.ConnManager
}

func newJoinDialer(identity Identity) (*joinDialer, error) {
	resources, err := newResources(1)
	if err != nil {
		return nil, err
	}
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}
	overTLS, err := libp2ptls.New(libp2ptls.ID, identity.Private, muxers)
	if err != nil {
		return nil, err
	}
	overNoise, err := noise.New(noise.ID, identity.Private, muxers)
	if err != nil {
		return nil, err
	}
	u, err := upgrader.New([]sec.SecureTransport{overTLS, overNoise}, muxers, nil, resources, nil)
	if err != nil {
		return nil, err
	}
	overTCP, err := tcp.NewTCPTransport(u, resources, nil, tcp.DisableReuseport())
	if err != nil {
		return nil, err
	}
	resetKey, err := config.PrivKeyToStatelessResetKey(identity.Private)
	if err != nil {
		return nil, err
	}
	tokenKey, err := config.PrivKeyToTokenGeneratorKey(identity.Private)
	if err != nil {
		return nil, err
	}
	sockets, err := quicreuse.NewConnManager(resetKey, tokenKey)
	if err != nil {
		return nil, err
	}
	overQUIC, err := libp2pquic.NewTransport(identity.Private, sockets, nil, nil, resources)
	if err != nil {
		return nil, errors.Join(err, sockets.Close())
	}
	return &joinDialer{transports: []transport.Transport{overTCP, overQUIC}, resources: resources, quic: sockets}, nil
}

func (d *joinDialer) close() {
	_ = d.quic.Close() // nothing is kept that could be lost
	_ = d.resources.Close()
}
