// Package testnet starts, shows and stops networks of real nodes on this
// machine: real processes, real sockets, a data directory of their own. One of
// them may be told to lie.
//
// What a testnet is made of stands in testnet.json in its directory, so that
// any process can find and end it; nothing is left behind.
package testnet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/node"
)

// Options say what network to start.
type Options struct {
	Nodes  int
	Lie    int      // how many of them lie: the last ones
	Liars  node.Lie // how they lie; empty: by false results
	Dir    string   // one that holds nothing, or is made; empty: a new one among the temporary files
	Binary string   // the muster to run; empty: this one
	Detach bool     // return when it is up, and leave it running
	Policy *admission.Policy
	CPU    uint64 // milli-CPU that every node offers; 0: all of the machine's
	API    string // of the first node; empty: the usual port or any other; port 0: any
	Stdout io.Writer
	// Pointer is the file that is to name Dir, for Locate; empty: none.
	Pointer string
}

// Network is a running testnet.
type Network struct {
	Dir     string  `json:"dir"`
	Pointer string  `json:"pointer,omitempty"` // the file that names Dir
	Nodes   []*Node `json:"nodes"`
}

// Node is one process of a testnet.
type Node struct {
	Number int      `json:"number"`
	Name   string   `json:"name"`
	Peer   string   `json:"peer"`
	Home   string   `json:"home"`
	Socket string   `json:"socket"`
	API    string   `json:"api"`
	Listen []string `json:"listen"`
	Lie    node.Lie `json:"lie,omitempty"`
	CPU    uint64   `json:"cpu,omitempty"`
	Binary string   `json:"binary"`
	PID    int      `json:"pid"`

	exited chan struct{} // of a process that this one started
	ready  time.Duration // from its start
}

// Policy is what testnets go by: everybody is near, so waits are short.
func Policy() admission.Policy {
	p := admission.DefaultPolicy()
	p.Advert, p.Beat, p.Round, p.Resend = 1_000, 500, 500, 250
	p.Accept, p.Start, p.Stalled, p.Settle = 5_000, 30_000, 3_000, 30_000
	return p
}

// Up starts a network and returns when it is down again, or, detached, when
// every node has met every other. The first node created it; the last
// Options.Lie of them lie.
func Up(ctx context.Context, o Options) error {
	started := time.Now()
	n, err := Start(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Stdout, "testnet up   %d nodes%s   %.1f s   data %s (removed by down)\n", o.Nodes, lying(n), time.Since(started).Seconds(), n.Dir)
	fmt.Fprintf(o.Stdout, "api          http://%s (n1; token in %s)\n", n.Nodes[0].API, filepath.Join(n.Nodes[0].Home, "token"))
	fmt.Fprintf(o.Stdout, "try          muster --testnet run builtin:hello -- Ada\n")
	if o.Detach {
		return nil
	}
	if n.awaitDown(ctx) {
		fmt.Fprintln(o.Stdout, "it was taken down")
		return nil
	}
	fmt.Fprintln(o.Stdout, "going down")
	if err := Down(n.Dir); !isDown(err) {
		return err
	}
	return nil
}

// lookEvery is how often the process that shows a testnet looks whether another has
// taken it down.
const lookEvery = time.Second

// awaitDown waits until another process has taken the network down, or for the end of
// ctx: false.
func (n *Network) awaitDown(ctx context.Context) bool {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-look.C:
			if _, err := Load(n.Dir); isDown(err) {
				return true
			}
		}
	}
}

func lying(n *Network) string {
	text := ""
	for _, node := range n.Nodes {
		if node.Lie != "" {
			text += fmt.Sprintf(", n%d (%s) lies", node.Number, node.Name)
		}
	}
	return text
}

// maxNodes is how many nodes a testnet has at most.
const maxNodes = 64

// Start starts a network and returns when every node has met every other. When
// it fails nothing of it is left, and nothing else is touched. A directory that
// holds something, or a pointer to a testnet that is up, is a conflict.
func Start(ctx context.Context, o Options) (n *Network, err error) {
	if o.Nodes < 1 || o.Nodes > maxNodes || o.Lie < 0 || o.Lie >= o.Nodes {
		return nil, &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("a testnet of %d nodes of which %d lie cannot be", o.Nodes, o.Lie),
			Why: fmt.Sprintf("it takes 1 to %d, and the first is honest", maxNodes), Try: "--nodes 7 --lie 1"}
	}
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	if o.Policy == nil {
		p := Policy()
		o.Policy = &p
	}
	if o.Pointer != "" {
		if err := vacate(o.Pointer); err != nil {
			return nil, err
		}
	}
	for tries := 1; ; tries++ {
		dir, err := place(o.Dir)
		if err != nil {
			return nil, err
		}
		n = &Network{Dir: dir, Pointer: o.Pointer}
		if err = n.found(ctx, o); err == nil {
			return n, nil
		}
		if down := n.down(); down != nil || tries == portTries || !errors.Is(err, errPortTaken) {
			return nil, errors.Join(err, down)
		}
	}
}

// portTries is how often a network is started before it is an error that somebody else
// took a port between the moment it was found free and the start of its node.
const portTries = 3

func (n *Network) found(ctx context.Context, o Options) error {
	if err := n.plan(o); err != nil {
		return err
	}
	if err := n.begin(ctx, o); err != nil {
		return err
	}
	return n.save()
}

// plan gives every node its directory, its socket and its ports. Ports are
// fixed, so that nodes find each other after a restart.
func (n *Network) plan(o Options) error {
	taken := map[int]bool{}
	for i := 1; i <= o.Nodes; i++ {
		home := home(n.Dir, i)
		port, err := freePort(taken)
		if err != nil {
			return err
		}
		api, err := planAPI(i, o.API, taken)
		if err != nil {
			return err
		}
		one := &Node{Number: i, Home: home, Socket: node.SocketFor(home), API: api, Binary: o.Binary, CPU: o.CPU,
			Listen: []string{fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port)}}
		if i > o.Nodes-o.Lie {
			one.Lie = cmp.Or(o.Liars, node.LieResults)
		}
		n.Nodes = append(n.Nodes, one)
	}
	return nil
}

const (
	usualAPI = "127.0.0.1:7420" // where a node's API is looked for first
	anyAPI   = "127.0.0.1:0"
)

// planAPI returns where a node's API is to be. Only the first node's is asked for.
func planAPI(number int, asked string, taken map[int]bool) (string, error) {
	if number == 1 && asked != anyAPI {
		if asked != "" {
			return asked, nil
		}
		if l, err := net.Listen("tcp", usualAPI); err == nil {
			return usualAPI, l.Close()
		}
	}
	port, err := freePort(taken)
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

// freePort returns a port that nobody listens on and that is not taken, and
// takes it. It is below those that systems give to outgoing connections, so that
// it is likely to be free again when a node that was down comes back.
func freePort(taken map[int]bool) (int, error) {
	var err error
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		if taken[port] {
			continue
		}
		taken[port] = true
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}

// begin founds the network, has everybody join it, and waits until they met.
func (n *Network) begin(ctx context.Context, o Options) error {
	first := n.Nodes[0]
	id, err := node.CreateNetwork(first.Home, node.CreateOptions{Name: "testnet", Testnet: true, Policy: *o.Policy})
	if err != nil {
		return err
	}
	first.Name, first.Peer = id.Name, id.Peer
	if err := first.Start(ctx); err != nil {
		return err
	}
	if o.Nodes > 1 {
		c, err := first.Client()
		if err != nil {
			return err
		}
		defer c.Close()
		ticket, err := c.Invite(ctx, api.InviteRequest{Uses: new(o.Nodes - 1), TTL: time.Hour.Milliseconds()})
		if err != nil {
			return err
		}
		g, ctx := errgroup.WithContext(ctx)
		for _, other := range n.Nodes[1:] {
			g.Go(func() error {
				id, err := node.Join(ctx, other.Home, ticket.Ticket)
				if err != nil {
					return err
				}
				other.Name, other.Peer = id.Name, id.Peer
				return other.Start(ctx)
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return n.Meet(ctx)
}

// meetTimeout bounds how long nodes may take to meet.
const meetTimeout = time.Minute

// Meet waits until every running node is connected to every other and has heard
// what it can do.
func (n *Network) Meet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	running := 0
	for _, node := range n.Nodes {
		if node.Running() {
			running++
		}
	}
	for _, node := range n.Nodes {
		if !node.Running() {
			continue
		}
		if err := node.meets(ctx, running-1); err != nil {
			return fmt.Errorf("n%d: %w", node.Number, err)
		}
	}
	return nil
}

func (n *Node) meets(ctx context.Context, others int) error {
	c, err := n.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	return poll(ctx, func() (bool, error) {
		peers, err := c.Peers(ctx)
		met := 0
		for _, p := range peers.Peers {
			if p.State == "alive" && p.CPU > 0 {
				met++
			}
		}
		return met >= others, err
	})
}

// poll asks until done, an error, or the end of ctx.
func poll(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Client speaks to the node over its socket.
func (n *Node) Client() (*client.Client, error) {
	return client.New(client.Config{Address: "unix:" + n.Socket})
}
