package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/testnet"
)

func (a *app) testnetCommand() *cobra.Command {
	c := &cobra.Command{Use: "testnet", Short: "A network of real nodes on this machine", Args: noSuchCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(a.testnetUp(), a.testnetStatus(), a.testnetKill(), a.testnetDown())
	return c
}

func (a *app) testnetUp() *cobra.Command {
	o := testnet.Options{}
	c := &cobra.Command{
		Use:   "up",
		Short: "Start a testnet, until Ctrl-C or muster testnet down",
		Args:  noArgs,
	}
	c.Flags().IntVar(&o.Nodes, "nodes", 4, "how many nodes")
	c.Flags().IntVar(&o.Lie, "lie", 0, "how many of them lie")
	c.Flags().StringVar((*string)(&o.Liars), "liars", "", "how they lie: results (the default), or twice, which casts every vote twice")
	c.Flags().StringVar(&o.Dir, "dir", "", "data folder; default: a new one among the temporary files")
	c.Flags().BoolVar(&o.Detach, "detach", false, "return when it is up")
	c.RunE = func(command *cobra.Command, _ []string) error {
		o.Stdout, o.Pointer = a.out, a.testnetPointer()
		if !a.machine() || !o.Detach {
			return testnet.Up(command.Context(), o)
		}
		o.Stdout = a.err // chatter, where a program reads
		if err := testnet.Up(command.Context(), o); err != nil {
			return err
		}
		return a.showTestnet(command.Context())
	}
	return c
}

func (a *app) testnetStatus() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show the testnet's nodes", Args: noArgs,
		RunE: func(command *cobra.Command, _ []string) error { return a.showTestnet(command.Context()) }}
}

func (a *app) showTestnet(ctx context.Context) error {
	dir, err := testnet.Locate(a.testnetPointer())
	if err != nil {
		return err
	}
	s, err := testnet.Status(ctx, dir)
	if err != nil {
		return err
	}
	return a.show(testnetView(a, s))
}

func testnetView(a *app, s testnet.State) view {
	v := view{data: s, table: func(w io.Writer, wide bool) {
		t := table{head: []string{"NODE", "NAME", "STATE", "PID", "PEERS", "JOBS", "SOCKET"}}
		if wide {
			t.head = append(t.head, "API", "PEER")
		}
		for _, n := range s.Nodes {
			pid, peers, open := "-", "-", "-"
			if n.PID != 0 {
				pid, peers = fmt.Sprint(n.PID), "no answer"
			}
			if n.Peers != nil && n.Open != nil {
				peers, open = fmt.Sprint(*n.Peers), fmt.Sprintf("%d open", *n.Open)
			}
			row := []string{fmt.Sprintf("n%d", n.Number), n.Name, n.State, pid, peers, open, n.Socket}
			if wide {
				row = append(row, n.API, n.Peer)
			}
			t.rows = append(t.rows, row)
		}
		t.write(w, a.style(w))
	}}
	for _, n := range s.Nodes {
		v.names = append(v.names, fmt.Sprintf("n%d", n.Number))
	}
	return v
}

func (a *app) testnetKill() *cobra.Command {
	return &cobra.Command{Use: "kill NODE", Short: "Kill a node with signal 9", Args: exactArgs("a node: n3"), ValidArgsFunction: a.completeTestnet,
		RunE: func(_ *cobra.Command, args []string) error {
			number, err := strconv.Atoi(strings.TrimPrefix(args[0], "n"))
			if err != nil {
				return usage("no node "+strconv.Quote(args[0]), "muster testnet kill n3")
			}
			dir, err := testnet.Locate(a.testnetPointer())
			if err != nil {
				return err
			}
			return testnet.Kill(dir, number)
		}}
}

func (a *app) testnetDown() *cobra.Command {
	return &cobra.Command{Use: "down", Short: "Stop the testnet and remove its data", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := testnet.Locate(a.testnetPointer())
			if err != nil {
				return err
			}
			return testnet.Down(dir)
		}}
}

// testnetPointer is the file that names the folder of this user's testnet.
func (a *app) testnetPointer() string {
	dir, _ := a.set.env("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("muster-%d", os.Getuid()))
	}
	return filepath.Join(dir, "muster-testnet")
}

// testnetAddress is the API of the running testnet's first node.
func (a *app) testnetAddress() (string, error) {
	dir, err := testnet.Locate(a.testnetPointer())
	if err != nil {
		return "", err
	}
	return "unix:" + testnet.Socket(dir, 1), nil
}

// testnetHome is the data folder of the running testnet's first node.
func (a *app) testnetHome() (string, error) {
	dir, err := testnet.Locate(a.testnetPointer())
	if err != nil {
		return "", err
	}
	n, err := testnet.Load(dir)
	if err != nil {
		return "", err
	}
	return n.Nodes[0].Home, nil
}
