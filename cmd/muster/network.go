package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/node"
)

func (a *app) networkCommand() *cobra.Command {
	c := &cobra.Command{Use: "network", Short: "Create a network, invite to it, join it", Args: noSuchCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(a.networkCreate(), a.networkInvite(), a.networkJoin(), a.networkMembers(), a.networkRevoke(), a.networkGenesis())
	return c
}

func (a *app) networkCreate() *cobra.Command {
	var testnet bool
	var size uint64
	c := &cobra.Command{Use: "create NAME", Short: "Found a network, with this machine as its authority", Args: exactArgs("the network's name")}
	c.Flags().BoolVar(&testnet, "liars", false, "a network for trials: its nodes may be told to lie")
	c.Flags().Uint64Var(&size, "quorum", 0, "members of a job's quorum unless it says otherwise")
	c.RunE = func(_ *cobra.Command, args []string) error {
		policy := admission.DefaultPolicy()
		if size != 0 {
			policy.Size = size
		}
		id, err := node.CreateNetwork(a.set.get(keyHome), node.CreateOptions{Name: args[0], Testnet: testnet, Policy: policy})
		if err != nil {
			return err
		}
		if err := a.show(identityView("Network %s created. This machine is %s, its authority.", id)); err != nil {
			return err
		}
		a.say("Next: muster node start, then muster network invite")
		return nil
	}
	return c
}

// identityView tells who this machine is in which network.
func identityView(sentence string, id node.Identity) view {
	data := struct {
		Schema      string `json:"schema"`
		Name        string `json:"name"`
		Peer        string `json:"peer"`
		Network     string `json:"network"`
		NetworkName string `json:"network_name"`
	}{"muster.identity/v1", id.Name, id.Peer, id.ID, id.Network}
	return view{data: data, names: []string{id.Peer}, table: func(w io.Writer, _ bool) {
		fmt.Fprintf(w, sentence+"\n", id.Network, id.Name)
	}}
}

func (a *app) networkInvite() *cobra.Command {
	r := api.InviteRequest{Uses: new(int)}
	var ttl time.Duration
	c := &cobra.Command{
		Use:     "invite",
		Short:   "Make a ticket with which others join",
		Example: "  muster network invite --uses 2 --ttl 1h | ssh birch muster network join -",
		Args:    noArgs,
	}
	c.Flags().IntVar(r.Uses, "uses", 1, "how many may join with it")
	c.Flags().DurationVar(&ttl, "ttl", time.Hour, "for how long")
	c.Flags().StringVar(&r.Role, "role", "member", "member, or observer (submits and reads, is never drawn)")
	c.RunE = a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
		if r.TTL = ttl.Milliseconds(); r.TTL <= 0 {
			return usage("a ticket needs a time to live of 1 ms or more", "--ttl 1h")
		}
		t, err := c.Invite(ctx, r)
		if err != nil {
			return err
		}
		err = a.show(view{data: t, names: []string{t.Ticket}, table: func(w io.Writer, _ bool) { fmt.Fprintln(w, t.Ticket) }})
		if err == nil && !a.machine() {
			a.say("(%s, expires %s)     Elsewhere: muster network join -", plural(t.Uses, "use"), clock(t.Expires))
		}
		return err
	})
	return c
}

// clock writes a moment as the day's time, with the date when it is not soon.
func clock(ms int64) string {
	t := time.UnixMilli(ms)
	if time.Until(t) > 12*time.Hour {
		return t.Format("2006-01-02 15:04")
	}
	return t.Format("15:04")
}

func (a *app) networkJoin() *cobra.Command {
	return &cobra.Command{
		Use:   "join TICKET",
		Short: "Join the network that a ticket invites to; - reads the ticket from standard input",
		Args:  exactArgs("a ticket, or - for standard input"),
		RunE: func(command *cobra.Command, args []string) error {
			ticket := args[0]
			if ticket == "-" {
				data, err := io.ReadAll(io.LimitReader(a.in, 64<<10))
				if err != nil {
					return err
				}
				ticket = string(data)
			}
			id, err := node.Join(command.Context(), a.set.get(keyHome), strings.TrimSpace(ticket))
			if err != nil {
				return err
			}
			if err := a.show(identityView("Joined %s. This machine is %s.", id)); err != nil {
				return err
			}
			a.say("Next: muster node start")
			return nil
		},
	}
}

func (a *app) networkMembers() *cobra.Command {
	return &cobra.Command{
		Use:   "members",
		Short: "Show who has a credential",
		Args:  noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.Members(ctx)
			if err != nil {
				return err
			}
			v := view{data: all, table: func(w io.Writer, wide bool) {
				t := table{head: []string{"NAME", "KIND", "ROLE", "STATE", "UNTIL"}}
				if wide {
					t.head = append(t.head, "PEER")
				}
				for _, m := range all.Members {
					until := "-"
					if m.Until > 0 {
						until = time.UnixMilli(m.Until).UTC().Format(time.DateOnly)
					}
					row := []string{m.Name, dash(m.Kind), dash(m.Role), dash(m.State), until}
					if wide {
						row = append(row, m.Peer)
					}
					t.rows = append(t.rows, row)
				}
				t.write(w, a.style(w))
			}}
			for _, m := range all.Members {
				v.names = append(v.names, m.Peer)
			}
			return a.show(v)
		}),
	}
}

func (a *app) networkRevoke() *cobra.Command {
	r := api.RevokeRequest{}
	c := &cobra.Command{
		Use:   "revoke PEER",
		Short: "End a member's credential, for good",
		Long: "End a member's credential, for good: no node lets it in any more, and it is drawn\n" +
			"for no job. Jobs that it has a part in go on, and where they have a reserve, that\n" +
			"takes its place. Needs a node that is an authority of the network. The member may\n" +
			"join again with another identity and a new ticket.",
		Example: "  muster network revoke wise-fox --reason 'the machine was stolen'",
		Args:    exactArgs("a member's name or peer id"),
	}
	c.Flags().StringVar(&r.Reason, "reason", "", "for people, up to 256 bytes")
	c.RunE = a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
		r.Peer = args[0]
		m, err := c.Revoke(ctx, r)
		if err != nil {
			return err
		}
		return a.show(view{data: m, names: []string{m.Peer}, table: func(w io.Writer, _ bool) {
			fmt.Fprintf(w, "%s is revoked. Nodes that hear of it let it in no more, and do not draw it.\n", m.Name)
		}})
	})
	return c
}

func (a *app) networkGenesis() *cobra.Command {
	return &cobra.Command{
		Use:     "genesis",
		Short:   "Write the network's genesis, with which anybody verifies certificates",
		Example: "  muster network genesis > lab.genesis",
		Args:    noArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if terminal(a.out) {
				return usage("the genesis is no text for a terminal", "muster network genesis > lab.genesis")
			}
			data, err := a.ownGenesis(command.Context())
			if err != nil {
				return err
			}
			_, err = a.out.Write(data)
			return err
		},
	}
}

// ownGenesis is this machine's, or, when it is in no network itself, that of
// the node that the settings name.
func (a *app) ownGenesis(ctx context.Context) ([]byte, error) {
	if a.set.get(keyAPI) == "" {
		home, err := a.home()
		if err != nil {
			return nil, err
		}
		data, err := node.GenesisFile(home)
		if err == nil || errors.Is(err, os.ErrPermission) {
			return data, err
		}
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Genesis(ctx)
}
