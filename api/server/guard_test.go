package server_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/api/server/servertest"
	"github.com/muster-network/muster/jobs"
)

func TestOverTCPAskersNeedATokenAndThisNodesName(t *testing.T) {
	texts := map[server.Scope]string{}
	var tokens []server.Token
	for _, scope := range []server.Scope{server.ScopeRead, server.ScopeSubmit, server.ScopeOperate, server.ScopeAdmin} {
		texts[scope] = server.NewToken()
		tokens = append(tokens, server.TokenOf(texts[scope], scope))
	}
	base := serveTCP(t, tokens)
	const none = server.ScopeNone
	invite := `{"ttl_ms": 1000}`
	for _, test := range []struct {
		name         string
		scope        server.Scope
		method, path string
		body         string
		headers      []string
		status       int
	}{
		{"a probe", none, "GET", "/healthz", "", nil, 200},
		{"no token", none, "GET", "/v1/jobs", "", nil, 401},
		{"no token, no path", none, "GET", "/nothing", "", nil, 401},
		{"unknown token", none, "GET", "/v1/jobs", "", []string{"Authorization: Bearer mtk_guess"}, 401},
		{"basic", none, "GET", "/v1/jobs", "", []string{"Authorization: Basic eDp5"}, 401},
		{"read", server.ScopeRead, "GET", "/v1/jobs", "", nil, 200},
		{"read cannot submit", server.ScopeRead, "POST", "/v1/jobs", hello, nil, 403},
		{"submit", server.ScopeSubmit, "POST", "/v1/jobs", hello, nil, 200},
		{"submit cannot stop", server.ScopeSubmit, "POST", "/v1/node/stop", "", nil, 403},
		{"operate", server.ScopeOperate, "POST", "/v1/node/stop", "", nil, 202},
		{"operate cannot invite", server.ScopeOperate, "POST", "/v1/network/invites", invite, nil, 403},
		{"admin", server.ScopeAdmin, "POST", "/v1/network/invites", invite, nil, 201},
		{"rebound name", server.ScopeAdmin, "GET", "/v1/jobs", "", []string{"Host: evil.example"}, 403},
		{"rebound probe", none, "GET", "/healthz", "", []string{"Host: evil.example:7420"}, 403},
		{"loopback in a name", server.ScopeRead, "GET", "/v1/jobs", "", []string{"Host: 127.0.0.1.evil.example"}, 403},
		{"localhost", server.ScopeRead, "GET", "/v1/jobs", "", []string{"Host: localhost:7420"}, 200},
		{"six", server.ScopeRead, "GET", "/v1/jobs", "", []string{"Host: [::1]:7420"}, 200},
		{"a given name", server.ScopeRead, "GET", "/v1/jobs", "", []string{"Host: lab.example:7420"}, 200},
		{"another page", server.ScopeRead, "GET", "/v1/jobs", "", []string{"Origin: http://evil.example"}, 403},
		{"a page without origin", server.ScopeRead, "GET", "/v1/jobs", "", []string{"Origin: null"}, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), test.method, base+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if text := texts[test.scope]; text != "" {
				r.Header.Set("Authorization", "Bearer "+text)
			}
			for _, line := range test.headers {
				name, value, _ := strings.Cut(line, ": ")
				r.Header.Set(name, value)
				if name == "Host" {
					r.Host = value
				}
			}
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != test.status {
				t.Errorf("%d, want %d", answer.StatusCode, test.status)
			}
			if asks := answer.Header.Get("WWW-Authenticate") != ""; asks != (test.status == 401) {
				t.Errorf("asks for a token: %v", asks)
			}
		})
	}
}

func serveTCP(t *testing.T, tokens []server.Token) string {
	t.Helper()
	c := servertest.New(servertest.Hello).Config()
	c.Log, c.Tokens, c.Hosts = slog.New(slog.DiscardHandler), tokens, []string{"lab.example"}
	s, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := server.ListenTCP("127.0.0.1:0", nil, tokens)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

func TestAnOpenPortWithoutTLSAndTokenIsRefused(t *testing.T) {
	tokens := []server.Token{server.TokenOf("x", server.ScopeRead)}
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.org:0"} {
		if _, err := server.ListenTCP(address, nil, tokens); code(err) != jobs.CodeDenied {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := server.ListenTCP("nonsense", nil, tokens); code(err) != jobs.CodeUsage {
		t.Errorf("nonsense: %v", err)
	}
	l, err := server.ListenTCP("127.0.0.1:0", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if !l.Guarded || l.Addr().(*net.TCPAddr).Port == 0 {
		t.Errorf("%+v", l)
	}
}
