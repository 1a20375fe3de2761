package server

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/muster-network/muster/jobs"
)

// Scope is what a token allows; each includes those before it.
type Scope int

// The scopes.
const (
	ScopeNone    Scope = iota // probes: no token is asked for
	ScopeRead                 // jobs, results, peers
	ScopeSubmit               // jobs and their inputs; cancel
	ScopeOperate              // stop the node
	ScopeAdmin                // invite
)

// Token lets its bearer use the API over TCP. Only its hash is kept.
type Token struct {
	hash  [sha256.Size]byte
	scope Scope
}

// NewToken makes a token's text: 128 random bits and more.
func NewToken() string { return "mtk_" + rand.Text() }

// TokenOf admits the bearer of text.
func TokenOf(text string, scope Scope) Token {
	return Token{hash: sha256.Sum256([]byte(text)), scope: scope}
}

// guard stands before the mux on listeners that others than this user reach.
type guard struct {
	next   *Server
	tokens []Token
	hosts  []string
}

func (g guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := g.check(r); err != nil {
		if errors.Is(err, errNoToken) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeProblem(w, err, http.StatusUnauthorized)
			return
		}
		writeError(w, err)
		return
	}
	g.next.ServeHTTP(w, r)
}

// errNoToken marks the refusal of a request that names no known token.
var errNoToken = errors.New("no token of this node")

// check refuses requests that a web page made a browser send (Host after DNS
// rebinding, Origin), and bearers without the scope that the route asks for.
func (g guard) check(r *http.Request) error {
	if !g.ours(r.Host) {
		return &jobs.Problem{Code: jobs.CodeDenied, What: "this node does not answer for the host " + strings.ToValidUTF8(r.Host, "?"),
			Try: "call it by its loopback address"}
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Host != r.Host {
			return &jobs.Problem{Code: jobs.CodeDenied, What: "requests from other web pages are not answered"}
		}
	}
	need := g.next.scope(r)
	if need == ScopeNone {
		return nil
	}
	have := g.scope(r.Header.Get("Authorization"))
	if have >= need {
		return nil
	}
	if have == ScopeNone {
		return fmt.Errorf("%w: %w", errNoToken, &jobs.Problem{Code: jobs.CodeDenied, What: "this address needs a token",
			Try: "set MUSTER_TOKEN to the node's token, or use its unix socket"})
	}
	return &jobs.Problem{Code: jobs.CodeDenied, What: "the token does not allow this", Try: "use a token with a wider scope"}
}

// scope compares the bearer's token with every known one, in a time that does
// not tell which.
func (g guard) scope(authorization string) Scope {
	text, ok := strings.CutPrefix(authorization, "Bearer ")
	if !ok {
		return ScopeNone
	}
	hash := sha256.Sum256([]byte(text))
	found := ScopeNone
	for _, t := range g.tokens {
		if subtle.ConstantTimeCompare(hash[:], t.hash[:]) == 1 {
			found = max(found, t.scope)
		}
	}
	return found
}

func (g guard) ours(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	return loopback(name) || slices.Contains(g.hosts, name)
}

// loopback judges by the text alone: no name but localhost is one, whatever it
// resolves to.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
