package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
)

// stopPatience is how long a node may take to end in order.
const stopPatience = 15 * time.Second

func (a *app) nodeStop() *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "Stop the node in order, and wait until it is gone",
		Args:  noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			address, err := a.address()
			if err != nil {
				return err
			}
			p := processOf(ctx, c, address)
			defer p.close()
			if err := c.Stop(ctx); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, stopPatience)
			defer cancel()
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for !isDown(ctx, c) || !p.gone() {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			a.say("stopped")
			return nil
		}),
	}
}

func isDown(ctx context.Context, c *client.Client) bool {
	_, err := c.Node(ctx)
	p := new(jobs.Problem)
	return errors.As(err, &p) && p.Code == jobs.CodeNodeDown
}

// process is a process of this machine: a descriptor that no other can take over,
// or -1 if it is not known.
type process int

// processOf returns the process of the node at an address. A node closes its
// listeners before its journal: only when the process is gone another can start in
// its place. Of a node that is reached over the network nothing is known.
func processOf(ctx context.Context, c *client.Client, address string) process {
	n, err := c.Node(ctx)
	if err != nil || n.PID == 0 || !strings.HasPrefix(address, "unix:") {
		return -1
	}
	fd, err := unix.PidfdOpen(n.PID, 0)
	if err != nil {
		return -1
	}
	return process(fd)
}

// gone reports whether the process has ended, also if nobody has waited for it yet.
func (p process) gone() bool {
	if p < 0 {
		return true
	}
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(p), Events: unix.POLLIN}}, 0)
	return n > 0 && err == nil
}

func (p process) close() {
	if p >= 0 {
		_ = unix.Close(int(p))
	}
}
