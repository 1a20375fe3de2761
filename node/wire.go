package node

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/runner"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/backlog"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/wasm"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/jobs/submitter"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/p2p/discovery"
	"github.com/muster-network/muster/p2p/gossip"
	"github.com/muster-network/muster/p2p/stream"
	"github.com/muster-network/muster/store/disk"
	"github.com/muster-network/muster/store/exchange"
	"github.com/muster-network/muster/store/file"
	"github.com/muster-network/muster/store/journal"
)

// Node is one node of a network: all parts, put together.
type Node struct {
	cfg         Config
	home        home
	name        string
	incarnation admission.Incarnation
	started     int64

	journal     *journal.Journal
	blocks      *disk.Store
	archive     member.Archive
	executor    exec.Executor
	closeExec   func() error
	p2p         *p2p.Node
	streams     *stream.Streams
	transport   runner.Transport
	exchange    *exchange.Exchange
	fetcher     member.Fetcher
	runner      *runner.Runner
	agreement   *agreement
	member      *member.Member
	submitter   *submitter.Submitter
	server      *server.Server
	adverts     *adverts
	rolls       rolls
	announced   *announced
	agreed      *agreed
	announcer   announcer
	gossip      *gossip.Gossip
	discovery   *discovery.Discovery
	records     chan dhtRecord
	bringer     bringer
	issuer      *issuer
	events      *events
	reach       *reach
	misconduct  *misconduct
	revocations *revocations
	tasks       chan func(context.Context) error // may be left out
	owed        *backlog.Backlog[func(context.Context) error]
	arrivals    *arrivals

	listeners []server.Listener
	ready     chan struct{}
	stop      chan struct{}
	stopOnce  sync.Once
	closeOnce sync.Once

	mutex    sync.Mutex
	classes  map[cid.Cid]consensus.Class
	builtins map[string]cid.Cid // those stored since the node began
}

// Open opens a node's data directory and makes all parts. Nothing is said to
// anybody before Run, which also releases what Open took.
func Open(cfg Config) (*Node, error) { return open(cfg, func(*Node) {}) }

// open is Open for tests, too: change may put something else in the place of
// executor, transport and fetcher before the parts that use them are made.
func open(cfg Config, change func(*Node)) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	h, err := openHome(cfg.Home)
	if err != nil {
		return nil, err
	}
	if err := cfg.Lie.check(); err != nil {
		return nil, err
	}
	if cfg.Lie != Honest && !h.founded.Testnet {
		return nil, &jobs.Problem{Code: jobs.CodeDenied, What: "this node may not lie", Why: "its network is no testnet"}
	}
	n := &Node{cfg: cfg, home: h, name: h.identity.Signer.Key().Name(), ready: make(chan struct{}), stop: make(chan struct{}),
		tasks: make(chan func(context.Context) error, 1024), owed: backlog.New[func(context.Context) error](), arrivals: newArrivals(), classes: map[cid.Cid]consensus.Class{}, builtins: map[string]cid.Cid{}, announced: newAnnounced(), agreed: newAgreed(),
		records: make(chan dhtRecord, maxRecords)}
	n.started = n.clock()
	changed := func() error { change(n); return nil }
	for _, open := range []func() error{n.openStore, n.openExecutor, n.openNetwork, n.openBringer, changed, n.openJobs, n.openAPI} {
		if err := open(); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

func (n *Node) clock() int64 { return time.Now().UnixMilli() }

func (n *Node) openStore() error {
	machine, err := os.ReadFile("/etc/machine-id")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	n.journal, err = journal.Open(filepath.Join(n.cfg.Home, dirJournal), journal.Options{
		Host: journal.Host{MachineID: strings.TrimSpace(string(machine))}, Logger: n.cfg.Log})
	if errors.Is(err, syscall.EAGAIN) { // what its lock says
		return &jobs.Problem{Code: jobs.CodeConflict, What: "a node runs in " + n.cfg.Home + " already", Why: "it holds the lock of the journal there",
			Try: "muster node status; or another data directory: --home DIR"}
	}
	if err != nil {
		return formatProblem(n.cfg.Home, err)
	}
	n.incarnation = n.journal.Incarnation()
	n.archive = member.Archive{Journal: n.journal}
	if n.misconduct, err = openMisconduct(n.home.genesis, n.journal, n.clock); err != nil {
		return err
	}
	if n.revocations, err = openRevocations(n.home, n.journal); err != nil {
		return err
	}
	n.blocks, err = disk.Open(filepath.Join(n.cfg.Home, dirBlocks), disk.Options{Logger: n.cfg.Log})
	return formatProblem(n.cfg.Home, err)
}

// formatProblem says that another version of muster wrote what is on disk.
func formatProblem(home string, err error) error {
	if !errors.Is(err, journal.ErrFormat) && !errors.Is(err, disk.ErrFormat) {
		return err
	}
	return &jobs.Problem{Code: jobs.CodeFile, What: "this program cannot read what is in " + home, Why: err.Error(),
		Try: "the muster that wrote it, which finds everything as it was; or muster network join with another --home"}
}

func (n *Node) openExecutor() error {
	e, err := wasm.New(wasm.Config{Command: wasm.Command{Args: []string{workerArg}}, Cache: filepath.Join(n.cfg.Home, dirCache)})
	if errors.Is(err, wasm.ErrNoCompiler) {
		return &jobs.Problem{Code: jobs.CodeDenied, What: "this node cannot run programs", Why: err.Error(),
			Try: "allow it to make memory executable (systemd: MemoryDenyWriteExecute=no; SELinux: execmem), or another machine"}
	}
	if err != nil {
		return err
	}
	n.executor, n.closeExec = e, e.Close
	if n.cfg.Lie == LieResults {
		n.executor = liar{e}
	}
	return nil
}

func (n *Node) openNetwork() error {
	listen, err := parseAddrs(n.cfg.Listen)
	if err != nil {
		return &jobs.Problem{Code: jobs.CodeUsage, What: "cannot listen there", Why: err.Error(), Try: "/ip4/0.0.0.0/tcp/7421"}
	}
	n.issuer = &issuer{home: n.home, journal: n.journal, clock: n.clock}
	cfg := p2p.Config{Identity: n.home.identity, Genesis: n.home.genesis, Listen: listen,
		Credential: func() admission.SignedCredential { return n.home.credential },
		Revoked:    n.revocations.has, Revocation: n.revocations.encoded, Refused: n.doorShut,
		PeersFile: filepath.Join(n.cfg.Home, filePeers), Log: n.cfg.Log}
	if n.home.founded.Authority(n.home.identity.Signer.Key()) {
		cfg.Issuer = n.issuer
	}
	if n.p2p, err = p2p.New(cfg); err != nil {
		return listenProblem(err)
	}
	n.rememberInviter()
	n.reach = newReach(n.home.identity.Signer.Key(), n.clock)
	n.streams = stream.New(n.p2p.Host, p2p.Protocol(n.home.network, "agree"), stream.Config{MaxFrame: runner.MaxFrame, Log: n.cfg.Log})
	n.transport, n.fetcher = wire{n.streams}, fetcher{n}
	n.streams.Handle(n.receive)
	n.streams.OnUp(func(id peer.ID) { n.reach.set(id, true) })
	n.streams.OnDown(func(id peer.ID) { n.reach.set(id, false) })
	n.adverts = newAdverts(n.home, n.clock, n.revocations.has, n.nodeCame)
	n.openGossip()
	n.openDiscovery()
	n.events, err = openEvents(n.journal, "muster:"+n.home.network.String()+"/"+n.home.identity.Peer.String(), time.Now)
	if err != nil {
		return err
	}
	n.events.ended = n.jobEnded
	return nil
}

// listenProblem says that somebody else has the addresses for peers. libp2p keeps
// the words of the error only.
func listenProblem(err error) error {
	if !strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		return err
	}
	return &jobs.Problem{Code: jobs.CodeConflict, What: "cannot listen for peers", Why: "the address is in use: another program or node listens there",
		Try: "muster node start --listen /ip4/0.0.0.0/tcp/0, which takes any port"}
}

// rememberInviter dials whoever signed the ticket: it is the first peer. A file that
// cannot be read costs an introduction only where no other peer is remembered.
func (n *Node) rememberInviter() {
	infos, err := n.inviter()
	if err != nil {
		n.cfg.Log.Warn("who signed the ticket is not known any more", "error", err)
	}
	for _, info := range infos {
		n.p2p.Remember(info)
	}
}

func (n *Node) inviter() ([]peer.AddrInfo, error) {
	data, err := os.ReadFile(filepath.Join(n.cfg.Home, fileTicketPeers))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	addrs, err := parseAddrs(strings.Fields(string(data)))
	if err != nil {
		return nil, err
	}
	return peer.AddrInfosFromP2pAddrs(addrs...)
}

// fileTicketPeers holds the addresses that stood in the ticket, a line each.
const fileTicketPeers = "inviter"

func joinLines(lines []string) string { return strings.Join(lines, "\n") + "\n" }

func parseAddrs(texts []string) ([]multiaddr.Multiaddr, error) {
	out := make([]multiaddr.Multiaddr, len(texts))
	for i, text := range texts {
		a, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			return nil, err
		}
		out[i] = a
	}
	return out, nil
}

func (n *Node) openJobs() error {
	policy := n.home.founded.Policy
	n.agreement = &agreement{journal: n.journal, policy: policy, network: n.home.network, genesis: n.home.founded, secret: n.secret()}
	var err error
	n.member, err = member.New(member.Config{
		Network: n.home.network, Genesis: n.home.founded, Policy: policy, Self: n.home.identity.Signer.Key(), Incarnation: n.incarnation,
		Agreement: n.agreement, Quorum: n.agreement, Store: n.blocks, Fetcher: n.fetcher, Journal: n.journal, Executor: n.executor,
		Total: n.cfg.resources(), Seen: n.seen, Revoked: n.revocations.has, Events: n.events, Accuse: n.accuse, Clock: n.clock, Log: n.cfg.Log,
	})
	if err != nil {
		return err
	}
	var session [8]byte
	if _, err := rand.Read(session[:]); err != nil {
		return err
	}
	cfg := runner.Config{Network: n.home.network, Genesis: n.home.founded, Signer: n.home.identity.Signer, Incarnation: n.incarnation,
		Policy: policy, Journal: n.agreement, Transport: n.transport, Host: host{n.member}, Revoked: n.revocations.has, Clock: n.clock,
		Session: binary.BigEndian.Uint64(session[:]), Lie: n.cfg.Lie.votes()}
	n.runner = runner.New(cfg)
	n.agreement.runner = n.runner
	n.submitter, err = submitter.New(submitter.Config{Network: n.home.network, Policy: policy, Signer: n.home.identity.Signer,
		Credential: func() admission.SignedCredential { return n.home.credential }, Quorum: n.agreement, Store: n.blocks, Journal: n.journal,
		Roll: n.Roll, Known: n.answering, Ended: n.endedHere, Decided: n.submitterDecided, Random: rand.Reader, Clock: n.clock, Log: n.cfg.Log})
	return err
}

// secret is derived from the identity: it is as secret, and outlives restarts.
func (n *Node) secret() [32]byte {
	signature := n.home.identity.Signer.Sign([]byte("muster/node-secret/1"))
	return sha256.Sum256(signature[:])
}

func (n *Node) openAPI() error {
	token, err := n.openToken()
	if err != nil {
		return err
	}
	tokens := []server.Token{server.TokenOf(token, server.ScopeAdmin)}
	n.server, err = server.New(server.Config{Jobs: n, Control: n, Results: n, Evidence: n, Blobs: n, Network: n, Events: n, Node: n,
		Tokens: tokens, Version: n.cfg.Version, MaxBlob: int64(n.home.founded.Policy.MaxInput), Log: n.cfg.Log})
	if err != nil {
		return err
	}
	unix, err := server.ListenUnix(n.cfg.Socket)
	if err != nil {
		return err
	}
	n.listeners = append(n.listeners, unix)
	if n.cfg.API != "" {
		tcp, err := server.ListenTCP(n.cfg.API, nil, tokens)
		if err != nil {
			return err
		}
		n.listeners = append(n.listeners, tcp)
	}
	return nil
}

// openToken reads the token that TCP callers show, and makes it once.
func (n *Node) openToken() (string, error) {
	path := filepath.Join(n.cfg.Home, fileToken)
	data, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(data)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	token := rand.Text()
	return token, file.Replace(path, []byte(token+"\n"), 0o600)
}

func (n *Node) apiURL() string {
	for _, l := range n.listeners {
		if l.Guarded {
			return "http://" + l.Addr().String()
		}
	}
	return ""
}
