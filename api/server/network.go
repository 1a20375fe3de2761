package server

import (
	"fmt"
	"net/http"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
)

func (s *Server) network(w http.ResponseWriter, r *http.Request) error {
	n, err := s.config.Network.Network(r.Context())
	if err != nil {
		return err
	}
	n.Schema = api.SchemaNetwork
	return writeJSON(w, http.StatusOK, n)
}

func (s *Server) peers(w http.ResponseWriter, r *http.Request) error {
	peers, err := s.config.Network.Peers(r.Context())
	if err != nil {
		return err
	}
	answer := api.Peers{Schema: api.SchemaPeers, Peers: append([]api.Peer{}, peers...)}
	for i := range answer.Peers {
		answer.Peers[i].Schema = api.SchemaPeer
	}
	return writeJSON(w, http.StatusOK, answer)
}

func (s *Server) members(w http.ResponseWriter, r *http.Request) error {
	members, err := s.config.Network.Members(r.Context())
	if err != nil {
		return err
	}
	answer := api.Members{Schema: api.SchemaMembers, Members: append([]api.Member{}, members...)}
	for i := range answer.Members {
		answer.Members[i].Schema = api.SchemaMember
	}
	return writeJSON(w, http.StatusOK, answer)
}

func (s *Server) invite(w http.ResponseWriter, r *http.Request) error {
	var request api.InviteRequest
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	if request.Uses == nil {
		request.Uses = new(1)
	}
	if request.Role == "" {
		request.Role = "member"
	}
	switch {
	case *request.Uses < 1 || *request.Uses > 1<<20:
		return &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("an invitation has 1 to 1,048,576 uses, not %d", *request.Uses),
			Why: "each use lets one node join", Try: "--uses 2"}
	case request.TTL <= 0:
		return &jobs.Problem{Code: jobs.CodeUsage, What: "an invitation needs a time to live", Try: "--ttl 1h"}
	}
	ticket, err := s.config.Network.Invite(r.Context(), request)
	if err != nil {
		return err
	}
	ticket.Schema = api.SchemaTicket
	return writeJSON(w, http.StatusCreated, ticket)
}

func (s *Server) revoke(w http.ResponseWriter, r *http.Request) error {
	var request api.RevokeRequest
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	if request.Peer == "" {
		return &jobs.Problem{Code: jobs.CodeUsage, What: "a revocation needs a peer", Why: "peer is empty", Try: "its id or name: muster network members"}
	}
	m, err := s.config.Network.Revoke(r.Context(), request)
	if err != nil {
		return err
	}
	m.Schema = api.SchemaMember
	return writeJSON(w, http.StatusCreated, m)
}

func (s *Server) node(w http.ResponseWriter, r *http.Request) error {
	n, err := s.config.Node.Node(r.Context())
	if err != nil {
		return err
	}
	n.Schema = api.SchemaNode
	return writeJSON(w, http.StatusOK, n)
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) error {
	if err := s.config.Node.Stop(r.Context()); err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, api.Health{Schema: api.SchemaHealth, OK: true})
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, api.Health{Schema: api.SchemaHealth, OK: true})
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) error {
	ok, status := s.config.Node.Ready(), http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	return writeJSON(w, status, api.Health{Schema: api.SchemaHealth, OK: ok})
}
