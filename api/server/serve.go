package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/muster-network/muster/jobs"
)

// Config is what a server is made of. All interfaces are required.
type Config struct {
	Jobs     Jobs
	Control  Control
	Results  Results
	Evidence Evidence
	Blobs    Blobs
	Network  Network
	Events   Events
	Node     Node

	Tokens  []Token      // who may use TCP; the unix socket needs none
	Hosts   []string     // host names beside loopback's that TCP requests may name
	Metrics http.Handler // served at /metrics; nil: no such path
	Version string
	MaxBlob int64 // bytes of one upload; 0: 1 GiB
	Log     *slog.Logger
}

// Bounds of what a caller may send, in bytes, and of how long, at most, a
// request may wait for a job or a reader may stall a stream.
const (
	maxFile       = 1 << 20
	maxSmall      = 64 << 10
	maxHeader     = 16 << 10
	defaultBlob   = 1 << 30
	maxWait       = 10 * time.Minute
	stallTimeout  = 30 * time.Second
	shutdownGrace = 3 * time.Second
)

// Server answers the API on the listeners that it is given.
type Server struct {
	config  Config
	mux     *http.ServeMux
	scopes  map[string]Scope // by the mux's pattern
	openAPI func() ([]byte, error)
}

// New checks the config and makes a server. It starts nothing.
func New(c Config) (*Server, error) {
	switch {
	case c.Jobs == nil, c.Control == nil, c.Results == nil, c.Evidence == nil, c.Blobs == nil, c.Network == nil, c.Events == nil, c.Node == nil:
		return nil, errors.New("api server: an interface is missing")
	case c.Log == nil:
		return nil, errors.New("api server: no log")
	}
	if c.MaxBlob == 0 {
		c.MaxBlob = defaultBlob
	}
	s := &Server{config: c, mux: http.NewServeMux()}
	s.openAPI = sync.OnceValues(s.document)
	s.mount()
	return s, nil
}

// ServeHTTP answers as the unix socket does: whoever may open it may do all.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Listener is where a server listens. Guarded listeners want a token, and a
// Host and Origin that belong to this node.
type Listener struct {
	net.Listener
	Guarded bool
}

// ListenUnix listens on a socket that only this user can open (0600). A socket
// that no process answers on is replaced; one that is answered on is a
// *jobs.Problem. The socket gets its name only after its mode is set.
func ListenUnix(path string) (Listener, error) {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return Listener{}, &jobs.Problem{Code: jobs.CodeConflict, What: "a node is running already",
			Why: "it answers at " + path, Try: "muster node status, or muster node stop"}
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Listener{}, fmt.Errorf("listen on %s: %w", path, err)
	}
	private, err := os.MkdirTemp(dir, ".s") // 0700: nobody else reaches the socket before its mode is set
	if err != nil {
		return Listener{}, fmt.Errorf("listen on %s: %w", path, err)
	}
	defer func() { _ = os.RemoveAll(private) }()
	early := filepath.Join(private, "s")
	l, err := net.Listen("unix", early)
	if err != nil {
		return Listener{}, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	err = os.Chmod(early, 0o600)
	if err == nil {
		err = os.Rename(early, path)
	}
	if err != nil {
		_ = l.Close()
		return Listener{}, fmt.Errorf("listen on %s: %w", path, err)
	}
	return Listener{Listener: unlinking{l, path, new(sync.Once)}}, nil
}

// unlinking is a socket under the name that it was given after its birth: it
// removes that name when it closes.
type unlinking struct {
	net.Listener
	path string
	once *sync.Once
}

func (u unlinking) Addr() net.Addr { return &net.UnixAddr{Name: u.path, Net: "unix"} }

// Close removes the name once: after that, it may be another node's.
func (u unlinking) Close() error {
	u.once.Do(func() { _ = os.Remove(u.path) })
	return u.Listener.Close()
}

// ListenTCP listens on an address. Any but a loopback address needs TLS and at
// least one token: a port that anyone can reach without them is refused.
func ListenTCP(address string, config *tls.Config, tokens []Token) (Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return Listener{}, &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("%q is no address to listen on", address),
			Why: err.Error(), Try: "127.0.0.1:7420"}
	}
	if !loopback(host) && (config == nil || len(tokens) == 0) {
		return Listener{}, &jobs.Problem{Code: jobs.CodeDenied, What: "the API does not listen on " + address,
			Why: "it is not a loopback address, and there is no TLS or no token", Try: "127.0.0.1:7420"}
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return Listener{}, &jobs.Problem{Code: jobs.CodeConflict, What: "the API cannot listen on " + address,
			Why: "the address is in use: another program or node listens there", Try: "--api-listen 127.0.0.1:0, which takes any port"}
	}
	if err != nil {
		return Listener{}, fmt.Errorf("listen on %s: %w", address, err)
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	return Listener{Listener: l, Guarded: true}, nil
}

// Serve answers until ctx ends, then lets requests finish for a moment, and
// returns when all are gone. It closes the listeners.
func (s *Server) Serve(ctx context.Context, listeners ...Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		var handler http.Handler = s
		if l.Guarded {
			handler = guard{next: s, tokens: s.config.Tokens, hosts: s.config.Hosts}
		}
		h := &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    maxHeader,
			ErrorLog:          slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug),
			BaseContext:       func(net.Listener) context.Context { return ctx }, // streams end with the server
		}
		g.Go(func() error {
			if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
			return nil
		})
		g.Go(func() error {
			<-ctx.Done()
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
			defer cancel()
			if h.Shutdown(grace) != nil {
				_ = h.Close()
			}
			return nil
		})
	}
	return g.Wait()
}
