package server

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
)

// route is one line of the API: where it is, who may call it, what goes in and
// comes out. The OpenAPI document is made from these lines.
type route struct {
	method, path string
	scope        Scope
	about        string
	handle       handler
	params       []param
	in           reflect.Type // of the JSON body; nil: none
	bodies       []string     // media types that are taken beside it
	status       int          // of success
	out          reflect.Type // of the JSON answer; nil: none
	answers      []string     // media types that are given beside it
}

// param is a query parameter, or a header when its name begins with a capital.
type param struct{ name, about string }

var (
	waitParam = param{"wait", "How long to wait for the job's end, as 30s; at most 10m. What each member did, in a job that this node had no part in, is asked for only without it."}
	streamed  = []string{api.TypeNDJSON, api.TypeEvents}
)

// routes is the whole API.
func (s *Server) routes() []route {
	get, post := http.MethodGet, http.MethodPost
	job := reflect.TypeFor[api.Job]()
	return []route{
		{method: post, path: api.PathJobs, scope: ScopeSubmit, handle: s.submit, about: "Submit a job file",
			params: []param{waitParam, {api.HeaderKey, "Submitting again under one key finds the job that lives."}},
			in:     reflect.TypeFor[jobs.File](), bodies: []string{api.TypeYAML}, status: http.StatusAccepted, out: job},
		{method: get, path: api.PathJobs, scope: ScopeRead, handle: s.list, about: "List jobs, newest first",
			params: []param{{"state", "Only jobs in this state, or those that are stalled."}, {"label", "Only jobs with this label: key or key=value."},
				{"limit", "1 to 1000; 100 unless given."}, {"cursor", "The page before's next."}},
			out: reflect.TypeFor[api.Jobs]()},
		{method: get, path: api.PathJob, scope: ScopeRead, handle: s.job, about: "Tell of a job, by job id, request id or a unique prefix",
			params: []param{waitParam}, out: job},
		{method: http.MethodDelete, path: api.PathJob, scope: ScopeSubmit, handle: s.cancel, about: "Cancel a job",
			status: http.StatusAccepted, out: job},
		{method: post, path: api.PathCancel, scope: ScopeSubmit, handle: s.cancel, about: "Cancel a job",
			status: http.StatusAccepted, out: job},
		{method: post, path: api.PathRetry, scope: ScopeSubmit, handle: s.retry, about: "Submit a job that failed or was cancelled again, under its request id",
			status: http.StatusAccepted, out: job},
		{method: get, path: api.PathCertificate, scope: ScopeRead, handle: s.certificate, about: "The certificate of a job that ended",
			answers: []string{api.TypeCertificate}},
		{method: get, path: api.PathBundle, scope: ScopeRead, handle: s.bundle, about: "Certificate, roll and output in one file",
			answers: []string{api.TypeBundle}},
		{method: get, path: api.PathLogs, scope: ScopeRead, handle: s.logs, about: "What the job's runs write",
			params: []param{{"follow", "true: until the job ends."},
				{"member", "Whose run is shown while the job is open: its peer id, the beginning of it, or its name."}}, answers: streamed},

		{method: post, path: api.PathBlobs, scope: ScopeSubmit, handle: s.putBlob, about: "Store a file, or a folder as a tar stream",
			bodies: []string{"application/octet-stream", api.TypeTar}, status: http.StatusCreated, out: reflect.TypeFor[api.Blob]()},
		{method: get, path: api.PathBlob, scope: ScopeRead, handle: s.getBlob, about: "Read a stored file (Range works) or folder",
			params: []param{{"format", "raw: one block as it is stored, to be checked against its CID."}},
			out:    reflect.TypeFor[api.Blob](), answers: []string{"application/octet-stream", api.TypeBlock}},
		{method: get, path: api.PathBlobFile, scope: ScopeRead, handle: s.getBlob, about: "Read a file or folder below a stored folder",
			out: reflect.TypeFor[api.Blob](), answers: []string{"application/octet-stream"}},

		{method: get, path: api.PathEvidence, scope: ScopeRead, handle: s.evidence, about: "Misconduct that this node can prove, newest first",
			params: []param{{"of", "Only that of a peer, by id or name, or in a job."}}, out: reflect.TypeFor[api.EvidenceList]()},
		{method: get, path: api.PathProof, scope: ScopeRead, handle: s.proof, about: "A piece of evidence, which proves itself offline",
			answers: []string{api.TypeEvidence}},
		{method: get, path: api.PathEvents, scope: ScopeRead, handle: s.events, about: "Follow what happens, as CloudEvents",
			params:  []param{{"after", "Id of the last event that was seen; 0: from the oldest kept."}, {"Last-Event-ID", "The same, as browsers send it."}},
			answers: streamed},
		{method: get, path: api.PathPeers, scope: ScopeRead, handle: s.peers, about: "The peers as this node sees them", out: reflect.TypeFor[api.Peers]()},
		{method: get, path: api.PathNetwork, scope: ScopeRead, handle: s.network, about: "The network and its genesis", out: reflect.TypeFor[api.Network]()},
		{method: get, path: api.PathMembers, scope: ScopeRead, handle: s.members, about: "Who has a credential", out: reflect.TypeFor[api.Members]()},
		{method: post, path: api.PathInvites, scope: ScopeAdmin, handle: s.invite, about: "Sign an invitation",
			in: reflect.TypeFor[api.InviteRequest](), status: http.StatusCreated, out: reflect.TypeFor[api.Ticket]()},
		{method: post, path: api.PathRevocations, scope: ScopeAdmin, handle: s.revoke, about: "Revoke a member's credential, for good",
			in: reflect.TypeFor[api.RevokeRequest](), status: http.StatusCreated, out: reflect.TypeFor[api.Member]()},
		{method: get, path: api.PathNode, scope: ScopeRead, handle: s.node, about: "The node that answers", out: reflect.TypeFor[api.Node]()},
		{method: post, path: api.PathStop, scope: ScopeOperate, handle: s.stop, about: "Stop the node in order",
			status: http.StatusAccepted, out: reflect.TypeFor[api.Health]()},

		{method: get, path: api.PathHealth, handle: s.health, about: "Whether the process answers", out: reflect.TypeFor[api.Health]()},
		{method: get, path: api.PathReady, handle: s.ready, about: "Whether submissions can be placed: 200 or 503", out: reflect.TypeFor[api.Health]()},
		{method: get, path: api.PathOpenAPI, handle: s.describe, about: "This document", answers: []string{api.TypeJSON}},
	}
}

// mount puts the routes on the mux. What no route matches is a problem like
// any other.
func (s *Server) mount() {
	scopes := map[string]Scope{}
	for _, r := range s.routes() {
		pattern := r.method + " " + r.path
		s.mux.Handle(pattern, r.handle)
		scopes[pattern] = r.scope
	}
	if s.config.Metrics != nil {
		s.mux.Handle("GET "+api.PathMetrics, s.config.Metrics)
		scopes["GET "+api.PathMetrics] = ScopeRead
	}
	s.mux.Handle("/", handler(func(_ http.ResponseWriter, r *http.Request) error {
		return &jobs.Problem{Code: jobs.CodeNotFound, What: "there is nothing at " + strings.ToValidUTF8(r.Method+" "+r.URL.Path, "?"),
			Try: "GET " + api.PathOpenAPI}
	}))
	s.scopes = scopes
}

// scope says what a request needs. What no route matches is told to nobody
// without a token.
func (s *Server) scope(r *http.Request) Scope {
	_, pattern := s.mux.Handler(r)
	if scope, known := s.scopes[pattern]; known {
		return scope
	}
	return ScopeRead
}
