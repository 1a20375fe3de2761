// Command muster is the one binary of the network: it runs nodes, and asks
// them. Each verb has a file of its own, which reads flags and makes one call.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/muster-network/muster/node"
)

func main() {
	if node.Worker() { // this process runs a job's module, and nothing else
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	a := newApp(os.Stdin, os.Stdout, os.Stderr, os.LookupEnv)
	err := a.root().ExecuteContext(ctx)
	a.tell(err)
	os.Exit(exitOf(err))
}
