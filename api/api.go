// Package api holds what the HTTP API and its clients share: paths, envelopes
// and problems. It says nothing of how either side works (see server, client).
//
// Every JSON object that leaves a node carries "schema": a name and a version
// under which its fields stay. Times are Unix milliseconds, sizes are bytes,
// CPU is thousandths of a core.
package api

import (
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

// The paths. Those with {braces} are patterns of net/http's mux.
const (
	PathJobs        = "/v1/jobs"
	PathJob         = "/v1/jobs/{id}"
	PathCancel      = "/v1/jobs/{id}/cancel"
	PathRetry       = "/v1/jobs/{id}/retry"
	PathCertificate = "/v1/jobs/{id}/certificate"
	PathBundle      = "/v1/jobs/{id}/bundle"
	PathLogs        = "/v1/jobs/{id}/logs"
	PathBlobs       = "/v1/blobs"
	PathBlob        = "/v1/blobs/{cid}"
	PathBlobFile    = "/v1/blobs/{cid}/{path...}"
	PathEvidence    = "/v1/evidence"
	PathProof       = "/v1/evidence/{id}"
	PathEvents      = "/v1/events"
	PathPeers       = "/v1/peers"
	PathNetwork     = "/v1/network"
	PathMembers     = "/v1/network/members"
	PathInvites     = "/v1/network/invites"
	PathRevocations = "/v1/network/revocations"
	PathNode        = "/v1/node"
	PathStop        = "/v1/node/stop"
	PathHealth      = "/healthz"
	PathReady       = "/readyz"
	PathMetrics     = "/metrics"
	PathOpenAPI     = "/openapi.json"
)

// The media types beside application/json.
const (
	TypeJSON        = "application/json"
	TypeProblem     = "application/problem+json"
	TypeYAML        = "application/yaml"
	TypeTar         = "application/x-tar"
	TypeNDJSON      = "application/x-ndjson"
	TypeEvents      = "text/event-stream"
	TypeCertificate = "application/vnd.muster.certificate+cbor"
	TypeBundle      = "application/vnd.muster.bundle"
	TypeEvidence    = "application/vnd.muster.evidence+cbor"
	TypeBlock       = "application/vnd.ipld.raw"
)

// HeaderKey carries a caller's idempotency key: submitting again under one key
// finds the job that lives.
const HeaderKey = "Idempotency-Key"

// Bounds of a bundle (decision 005): a node writes at most so many bytes of blocks,
// and so many blocks, into one. MaxBundle is what its certificate and roll take
// besides, with what stands before each part: a CBOR head, the header of a CAR file,
// and a length and a CID for each block.
const (
	MaxBundleOutput = 64 << 20
	MaxBundleBlocks = 1 << 16
	MaxBundle       = MaxBundleOutput + 5 + consensus.MaxBundleHead + 60 + MaxBundleBlocks*(4+36)
)

// The schemas.
const (
	SchemaJob   = "muster.job/v1"
	SchemaJobs  = "muster.jobs/v1"
	SchemaLog   = "muster.log/v1"
	SchemaBlob  = "muster.blob/v1"
	SchemaEvent = "muster.event/v1"

	SchemaEvidence     = "muster.evidence/v1"
	SchemaEvidenceList = "muster.evidence_list/v1"

	SchemaPeer    = "muster.peer/v1"
	SchemaPeers   = "muster.peers/v1"
	SchemaMember  = "muster.member/v1"
	SchemaMembers = "muster.members/v1"
	SchemaNetwork = "muster.network/v1"
	SchemaInvite  = "muster.invite/v1"
	SchemaRevoke  = "muster.revoke/v1"
	SchemaTicket  = "muster.ticket/v1"
	SchemaNode    = "muster.node/v1"
	SchemaHealth  = "muster.health/v1"
	SchemaProblem = "muster.problem/v1"
)

// Job is a job in its envelope.
type Job struct {
	Schema string `json:"schema"`
	jobs.Job
}

// JobOf wraps j.
func JobOf(j jobs.Job) Job { return Job{Schema: SchemaJob, Job: j} }

// Jobs is one page of jobs, newest first.
type Jobs struct {
	Schema string `json:"schema"`
	Jobs   []Job  `json:"jobs"`
	Next   string `json:"next,omitempty"` // cursor of the next page; empty at the end
}

// LogChunk is a piece of a run's output as it was written. Member is empty for
// output that a certificate names.
type LogChunk struct {
	Schema string `json:"schema"`
	Member string `json:"member,omitempty"` // peer id
	Name   string `json:"name,omitempty"`   // the member's short name
	Stream string `json:"stream"`           // stdout or stderr
	Data   []byte `json:"data"`             // base64 in JSON: output need not be text
}

// Blob describes a stored file or folder.
type Blob struct {
	Schema  string  `json:"schema"`
	CID     string  `json:"cid"`
	Size    int64   `json:"size"` // of the content; of a folder, of all in it
	Entries []Entry `json:"entries,omitempty"`
}

// Entry is one name in a stored folder.
type Entry struct {
	Name string `json:"name"`
	CID  string `json:"cid"`
	Size int64  `json:"size"`
	Dir  bool   `json:"dir"`
}

// Evidence is proof that a node did what no node that follows the protocol does.
// What it says can be checked offline: its file, at PathProof, proves itself.
type Evidence struct {
	Schema      string `json:"schema"`
	ID          string `json:"id"`         // the file's CID
	Misconduct  string `json:"misconduct"` // equivocation or disagreement
	Peer        string `json:"peer"`
	Name        string `json:"name"`
	Incarnation string `json:"incarnation"`
	Job         string `json:"job"`
	Found       int64  `json:"found"`  // when this node learnt of it
	Barred      bool   `json:"barred"` // the peer is not drawn again
	Height      uint64 `json:"height"`

	// Of an equivocation: what was signed twice, and the values, as hashes.
	Statement string `json:"statement,omitempty"`
	Round     uint32 `json:"round,omitempty"`
	First     string `json:"first,omitempty"`
	Second    string `json:"second,omitempty"`

	// Of a disagreement, in words.
	Reported  string `json:"reported,omitempty"`
	Certified string `json:"certified,omitempty"`
}

// EvidenceList is the evidence that was asked for, newest first.
type EvidenceList struct {
	Schema   string     `json:"schema"`
	Evidence []Evidence `json:"evidence"`
}

// EventGap is the type of the event that says that others, after the one that a
// caller saw last, were not kept.
const EventGap = "muster.events.gap"

// Event is a CloudEvents 1.0 object; the schema is an extension attribute.
type Event struct {
	Schema      string         `json:"schema"`
	SpecVersion string         `json:"specversion"` // 1.0
	ID          string         `json:"id"`          // incarnation/sequence
	Source      string         `json:"source"`      // muster:<network>/<peer>
	Type        string         `json:"type"`        // muster.job.accepted, ...
	Subject     string         `json:"subject,omitempty"`
	Time        string         `json:"time"` // RFC 3339
	Data        map[string]any `json:"data,omitempty"`
}

// Peer is another node as this one sees it.
type Peer struct {
	Schema  string   `json:"schema"`
	Peer    string   `json:"peer"`
	Name    string   `json:"name"`
	State   string   `json:"state"`            // alive, silent or away
	Path    string   `json:"path,omitempty"`   // direct quic, direct tcp, relay <name>
	RTT     float64  `json:"rtt_ms,omitempty"` // milliseconds, 0 when not measured
	CPUFree uint64   `json:"cpu_free"`         // thousandths of a core
	CPU     uint64   `json:"cpu"`
	MemFree uint64   `json:"memory_free"`
	Mem     uint64   `json:"memory"`
	Queued  uint64   `json:"queued"`
	Agreed  *float64 `json:"agreed,omitempty"` // share of its reports that were certified, 0 to 1; absent without any
	Barred  bool     `json:"barred,omitempty"` // it equivocated, and is not drawn again
	Address string   `json:"address,omitempty"`
	Version string   `json:"version,omitempty"`
}

// Peers is all peers.
type Peers struct {
	Schema string `json:"schema"`
	Peers  []Peer `json:"peers"`
}

// Member is a key with a credential for the network.
type Member struct {
	Schema string `json:"schema"`
	Peer   string `json:"peer"`
	Name   string `json:"name"`
	Kind   string `json:"kind"` // node or user
	Role   string `json:"role"` // authority, member or observer
	From   int64  `json:"from"`
	Until  int64  `json:"until"`
	Issuer string `json:"issuer"`
	State  string `json:"state,omitempty"` // self, alive, silent, away or revoked

	Revoked int64  `json:"revoked,omitempty"` // when its credential was
	Reason  string `json:"reason,omitempty"`  // why it was
}

// Members is all members that the node knows.
type Members struct {
	Schema  string   `json:"schema"`
	Members []Member `json:"members"`
}

// Network describes the network that a node is in.
type Network struct {
	Schema      string   `json:"schema"`
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Created     int64    `json:"created"`
	Testnet     bool     `json:"testnet"`
	Authorities []string `json:"authorities"`
	Size        int      `json:"size"`    // default quorum
	Genesis     []byte   `json:"genesis"` // base64 in JSON: what verify needs
}

// InviteRequest asks an authority for a ticket.
type InviteRequest struct {
	Schema string `json:"schema,omitempty"`
	Uses   *int   `json:"uses,omitempty"` // 1 unless given
	TTL    int64  `json:"ttl_ms"`         // how long the ticket may be exchanged, milliseconds
	Role   string `json:"role,omitempty"` // member unless given
}

// RevokeRequest asks an authority to end a member's credential, for good.
type RevokeRequest struct {
	Schema string `json:"schema,omitempty"`
	Peer   string `json:"peer"`             // its peer id, or its name
	Reason string `json:"reason,omitempty"` // for people, at most 256 bytes
}

// Ticket is what an invitation gives: a word that is exchanged for a credential.
type Ticket struct {
	Schema  string `json:"schema"`
	Ticket  string `json:"ticket"`
	Network string `json:"network"`
	Uses    int    `json:"uses"`
	Expires int64  `json:"expires"`
}

// Node is the node that answers.
type Node struct {
	Schema      string    `json:"schema"`
	Peer        string    `json:"peer"`
	Name        string    `json:"name"`
	Incarnation string    `json:"incarnation,omitempty"`
	Network     string    `json:"network"`
	NetworkName string    `json:"network_name"`
	Role        string    `json:"role,omitempty"`
	Version     string    `json:"version"`
	Class       string    `json:"class,omitempty"` // arch/<GOARCH>
	PID         int       `json:"pid,omitempty"`   // of its process, which ends with it, as that counts
	Started     int64     `json:"started"`
	Ready       bool      `json:"ready"`
	Lying       bool      `json:"lying,omitempty"`
	Addresses   []string  `json:"addresses"`
	API         []string  `json:"api"` // unix:/path, http://127.0.0.1:7420
	Peers       int       `json:"peers"`
	Resources   Resources `json:"resources"`
	Queue       Queue     `json:"queue"`
}

// Resources are a node's totals and what is free of them.
type Resources struct {
	CPU        uint64 `json:"cpu"` // thousandths of a core
	CPUFree    uint64 `json:"cpu_free"`
	Memory     uint64 `json:"memory"`
	MemoryFree uint64 `json:"memory_free"`
	Disk       uint64 `json:"disk"`
	DiskFree   uint64 `json:"disk_free"`
}

// Queue counts a node's open jobs.
type Queue struct {
	Open    int `json:"open"`
	Queued  int `json:"queued"`
	Running int `json:"running"`
}

// Health answers the probes.
type Health struct {
	Schema string `json:"schema"`
	OK     bool   `json:"ok"`
}
