package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/node"
)

func (a *app) nodeCommand() *cobra.Command {
	c := &cobra.Command{Use: "node", Short: "Start, show and stop this machine's node", Args: noSuchCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(a.nodeStart(), a.nodeStatus(), a.nodeStop())
	return c
}

func (a *app) nodeStart() *cobra.Command {
	var listen []string
	var api, level string
	var lie string
	var cpu string
	c := &cobra.Command{
		Use:   "start",
		Short: "Run the node, until Ctrl-C or muster node stop",
		Args:  noArgs,
	}
	c.Flags().StringSliceVar(&listen, "listen", nil, "multiaddrs for peers; default: TCP and QUIC on port 7421")
	c.Flags().StringVar(&api, "api-listen", "", "loopback address of the API, or none; default: 127.0.0.1:7420")
	c.Flags().StringVar(&level, "log-level", "", "debug, info, warn or error")
	c.Flags().StringVar(&lie, "lie", "", "results: report false ones and vote for them; twice: cast every vote twice; only where the genesis allows liars")
	c.Flags().Lookup("lie").NoOptDefVal = string(node.LieResults)
	c.Flags().StringVar(&cpu, "cpu", "", "cores to offer: 0.5, 2 or 500m; default: all")
	c.RunE = func(command *cobra.Command, _ []string) error {
		if len(listen) == 0 {
			listen = a.listen()
		}
		if api == "" {
			api = a.apiListen()
		}
		log, err := a.log(level)
		if err != nil {
			return err
		}
		var cores jobs.CPU
		if command.Flags().Changed("cpu") {
			if err := cores.UnmarshalText([]byte(cpu)); err != nil {
				return flagProblem("--cpu", err)
			}
		}
		n, err := node.Open(node.Config{Home: a.set.get(keyHome), Socket: a.set.get(keySocket), API: strings.TrimPrefix(api, "none"),
			Listen: listen, Lie: node.Lie(lie), Version: version(), Log: log, Ready: a.sayReady, CPU: uint64(cores)})
		if err != nil {
			return err
		}
		return n.Run(command.Context())
	}
	return c
}

// listen returns where peers reach the node. When nobody has chosen, and the
// usual port is taken, any port will do.
func (a *app) listen() []string {
	chosen := a.set.resolve(keyListen)
	if chosen.source == "default" && !free("0.0.0.0:7421") {
		return nil
	}
	return strings.Split(chosen.value, ",")
}

// apiListen is listen for the API.
func (a *app) apiListen() string {
	chosen := a.set.resolve(keyAPIListen)
	if chosen.source == "default" && !free(chosen.value) {
		return "127.0.0.1:0"
	}
	return chosen.value
}

// free reports whether nobody listens on an address now.
func free(address string) bool {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func (a *app) log(level string) (*slog.Logger, error) {
	if level == "" {
		level = a.set.get(keyLogLevel)
	}
	if err := checkSetting(keyLogLevel, level); err != nil {
		return nil, err
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, err
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: l})), nil
}

// sayReady is what whoever started the node waits for.
func (a *app) sayReady(r node.Ready) {
	s := a.style(a.out)
	fmt.Fprintf(a.out, "%s   %s in %s, %s    api %s\n", s.good("ready"), r.Name, r.Network, plural(r.Peers, "peer"),
		strings.TrimSpace("unix:"+r.Socket+" "+r.API))
	if r.Fresh != "" {
		a.say("new incarnation: %s", r.Fresh)
	}
}

func (a *app) nodeStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the node",
		Args:  noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			n, err := c.Node(ctx)
			if err != nil {
				return err
			}
			return a.show(view{data: n, names: []string{n.Peer}, table: func(w io.Writer, wide bool) {
				state := "ready"
				if !n.Ready {
					state = "starting"
				}
				fmt.Fprintf(w, "%s   %s in %s, %s   up %s\n", a.style(w).state(state), n.Name, n.NetworkName, plural(n.Peers, "peer"),
					age(time.Since(time.UnixMilli(n.Started))))
				if n.Lying {
					fmt.Fprintln(w, a.style(w).bad("this node lies"))
				}
				r := n.Resources
				t := table{rows: [][]string{
					{"cpu", cores(r.CPUFree) + " / " + cores(r.CPU) + " free"},
					{"memory", bytesOf(r.MemoryFree) + " / " + bytesOf(r.Memory) + " free"},
					{"disk", bytesOf(r.DiskFree) + " / " + bytesOf(r.Disk) + " free"},
					{"jobs", fmt.Sprintf("%d open, %d queued, %d running", n.Queue.Open, n.Queue.Queued, n.Queue.Running)},
					{"api", strings.Join(n.API, " ")},
				}}
				if wide {
					t.rows = append(t.rows, []string{"peer", n.Peer}, []string{"network", n.Network}, []string{"role", dash(n.Role)},
						[]string{"class", dash(n.Class)}, []string{"version", n.Version})
					for _, address := range n.Addresses {
						t.rows = append(t.rows, []string{"address", address})
					}
				}
				t.write(w, a.style(w))
			}})
		}),
	}
}
