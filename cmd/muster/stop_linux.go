package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
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

// processOf returns the process of the node at an address, if it has one of its own
// that can be seen from here. A node closes its listeners before its journal: only when
// the process is gone another can start in its place.
func processOf(ctx context.Context, c *client.Client, address string) process {
	n, err := c.Node(ctx)
	if err != nil || n.PID == 0 {
		return -1
	}
	return listenerOf(ctx, address, n.PID)
}

// listenerOf returns the process that listens at an address, if the number that a node
// says is that process's: here, or in its own namespace, as in a container. Any other
// one is not the node's: it hands on what it takes, maybe to another machine.
func listenerOf(ctx context.Context, address string, said int) process {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return -1
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return -1
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return -1
	}
	found := process(-1)
	err = raw.Control(func(socket uintptr) {
		peer, err := unix.GetsockoptUcred(int(socket), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil || peer.Pid == 0 { // 0: it has no number here
			return
		}
		fd, err := unix.PidfdOpen(int(peer.Pid), 0)
		if err != nil {
			return
		}
		if found = process(fd); !slices.Contains(numbersOf(int(peer.Pid)), said) {
			found.close()
			found = -1
		}
	})
	if err != nil {
		return -1
	}
	return found
}

// numbersOf returns the numbers of a process, in this namespace and those within it.
func numbersOf(pid int) []int {
	numbers := []int{pid}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return numbers
	}
	for line := range strings.Lines(string(status)) {
		list, ok := strings.CutPrefix(line, "NSpid:")
		if !ok {
			continue
		}
		for _, text := range strings.Fields(list) {
			if number, err := strconv.Atoi(text); err == nil {
				numbers = append(numbers, number)
			}
		}
	}
	return numbers
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
