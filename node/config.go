// Package node puts the rooms together: it opens what is on disk, makes every
// part, hands each what it needs, runs them in one order, and answers the API.
// It is the only room that knows all the others.
//
// config.go says what a node is told, home.go what is on disk, wire.go which
// part gets what, run.go in which order they run and end. The other files are
// the seams: agreement.go between member, submitter and runner; adverts.go and
// roll.go between what peers say and the draw; lookup.go between a question for
// a job and whoever can answer it; api_*.go between the API and the rest.
package node

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/muster-network/muster/jobs"
)

// Config is what a node is told from outside. Home is required.
type Config struct {
	Home    string   // data directory, 0700
	Socket  string   // unix socket of the API; empty: SocketFor(Home)
	API     string   // loopback address of the API, host:port; empty: no TCP; port 0: any
	Listen  []string // multiaddrs; empty: TCP and QUIC on all interfaces, any port
	Lie     Lie      // only in a network whose genesis says testnet
	CPU     uint64   // milli-CPU to offer; 0: all of the machine's
	Version string
	Log     *slog.Logger
	Ready   func(Ready) // called once, when submissions can be placed
}

// Ready is what a node says when it is ready.
type Ready struct {
	Name    string
	Peer    string
	Network string
	Socket  string
	API     string // http://host:port, or empty
	Peers   int
	Fresh   string // why the journal's incarnation is new, or empty
}

func (c Config) withDefaults() (Config, error) {
	if c.Home == "" {
		return c, fmt.Errorf("node: no data directory")
	}
	if c.Socket == "" {
		c.Socket = SocketFor(c.Home)
	}
	if len(c.Listen) == 0 {
		c.Listen = []string{"/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Ready == nil {
		c.Ready = func(Ready) {}
	}
	if c.Version == "" {
		c.Version = "devel"
	}
	return c, nil
}

// resources offers all cores unless the config says otherwise, half of the
// memory, and 10 GiB of disk.
func (c Config) resources() jobs.Resources {
	r := jobs.Resources{CPU: c.CPU, Memory: 2 << 30, Disk: 10 << 30}
	if r.CPU == 0 {
		r.CPU = uint64(runtime.NumCPU()) * 1000
	}
	if total, ok := systemMemory(); ok {
		r.Memory = total / 2
	}
	return r
}

func systemMemory() (uint64, bool) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	var kib uint64
	if _, err := fmt.Sscanf(string(data), "MemTotal: %d kB", &kib); err != nil {
		return 0, false
	}
	return kib << 10, true
}

// maxSocket is the longest path of a unix socket that every system takes.
const maxSocket = 100

// SocketFor is where a node with this data directory answers, unless it is told
// otherwise: in the directory itself, where the path is short enough.
func SocketFor(home string) string {
	path := filepath.Join(home, "muster.sock")
	if len(path) <= maxSocket {
		return path
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("muster-%x.sock", shortHash(path)))
}
