package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api/client"
)

func (a *app) peersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "peers",
		Short: "Show the other nodes as this one sees them",
		Args:  noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.Peers(ctx)
			if err != nil {
				return err
			}
			v := view{data: all, table: func(w io.Writer, wide bool) {
				t := table{head: []string{"NAME", "STATE", "PATH", "RTT", "CPU FREE", "AGREED"}}
				if wide {
					t.head = append(t.head, "MEMORY FREE", "QUEUED", "ADDRESS", "PEER")
				}
				for _, p := range all.Peers {
					rtt, agreed := "-", "-"
					if p.RTT > 0 {
						rtt = fmt.Sprintf("%.3g ms", p.RTT)
					}
					if p.Agreed != nil {
						agreed = percent(*p.Agreed)
					}
					state := p.State
					if p.Barred {
						state += ", barred"
					}
					row := []string{p.Name, state, dash(p.Path), rtt, cores(p.CPUFree) + " / " + cores(p.CPU), agreed}
					if wide {
						row = append(row, bytesOf(p.MemFree)+" / "+bytesOf(p.Mem), fmt.Sprint(p.Queued), dash(p.Address), p.Peer)
					}
					t.rows = append(t.rows, row)
				}
				t.write(w, a.style(w))
			}}
			for _, p := range all.Peers {
				v.names = append(v.names, p.Peer)
			}
			return a.show(v)
		}),
	}
}
