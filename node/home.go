package node

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/file"
)

// What is in a node's data directory.
const (
	fileIdentity   = "identity"   // private key, 0600
	fileGenesis    = "genesis"    // the network
	fileCredential = "credential" // this node's place in it
	filePeers      = "peers"      // remembered
	fileToken      = "token"      // of the API on TCP, 0600
	dirJournal     = "journal"
	dirBlocks      = "blocks"
	dirCache       = "cache" // compiled modules
)

// credentialLife is how long the credentials are valid that an authority gives
// itself and, unless an invite says less, others.
const credentialLife = 5 * 365 * 24 * time.Hour

// Identity is who this machine is in a network.
type Identity struct {
	Name    string
	Peer    string
	Network string // its name
	ID      string // its id
}

// CreateOptions are the founder's choices.
type CreateOptions struct {
	Name    string
	Testnet bool
	Policy  admission.Policy // zero: DefaultPolicy
}

// CreateNetwork founds a network with this machine as its authority.
func CreateNetwork(home string, o CreateOptions) (Identity, error) {
	if err := prepare(home); err != nil {
		return Identity{}, err
	}
	identity, err := p2p.OpenIdentity(filepath.Join(home, fileIdentity))
	if err != nil {
		return Identity{}, err
	}
	if o.Policy == (admission.Policy{}) {
		o.Policy = admission.DefaultPolicy()
	}
	now := time.Now()
	g := admission.Genesis{V: admission.Version, Name: o.Name, Created: now.UnixMilli(), Nonce: make([]byte, 16),
		Authorities: []admission.Key{identity.Signer.Key()}, Testnet: o.Testnet, Policy: o.Policy}
	if _, err := rand.Read(g.Nonce); err != nil {
		return Identity{}, err
	}
	data, network, err := g.Seal()
	if err != nil {
		return Identity{}, &jobs.Problem{Code: jobs.CodeUsage, What: "no such network can be", Why: err.Error(), Try: "muster network create lab"}
	}
	credential, err := admission.SignCredential(network, nodeCredential(identity.Signer.Key(), admission.RoleAuthority, 1, now, credentialLife), identity.Signer)
	if err != nil {
		return Identity{}, err
	}
	return install(home, data, credential)
}

func nodeCredential(subject admission.Key, role admission.Role, weight uint64, now time.Time, life time.Duration) admission.Credential {
	return admission.Credential{Kind: admission.KindNode, Subject: subject, Role: role, Owner: subject, Weight: weight,
		Features: []string{}, From: now.Add(-time.Hour).UnixMilli(), Until: now.Add(life).UnixMilli()}
}

// Join exchanges a ticket for this machine's place in a network.
func Join(ctx context.Context, home, ticket string) (Identity, error) {
	t, err := admission.ParseTicket(ticket)
	if err != nil {
		return Identity{}, ticketProblem("the ticket cannot be read", err, "copy it whole, from mst1 to its end")
	}
	if _, _, err := t.Check(time.Now().UnixMilli()); err != nil {
		return Identity{}, ticketProblem("the ticket is not good", err, "ask for a new one: muster network invite")
	}
	if err := prepare(home); err != nil {
		return Identity{}, err
	}
	identity, err := p2p.OpenIdentity(filepath.Join(home, fileIdentity))
	if err != nil {
		return Identity{}, err
	}
	credential, err := p2p.Join(ctx, identity, t)
	if err != nil {
		return Identity{}, joinProblem(err)
	}
	if err := file.Replace(filepath.Join(home, fileTicketPeers), []byte(joinLines(t.Invite.Addresses)), 0o600); err != nil {
		return Identity{}, err
	}
	return install(home, t.Genesis, credential)
}

func ticketProblem(what string, why error, try string) error {
	return &jobs.Problem{Code: jobs.CodeTicket, What: what, Why: why.Error(), Try: try}
}

func joinProblem(err error) error {
	var refused *p2p.RefusedError
	if errors.As(err, &refused) {
		return ticketProblem("the network did not take the ticket", err, "ask for a new one: muster network invite")
	}
	return &jobs.Problem{Code: jobs.CodeNodeDown, What: "the node that signed the ticket cannot be reached", Why: err.Error(),
		Try: "start it, or ask for a ticket from one that can be reached", Retryable: true}
}

// prepare makes the data directory, and refuses one that is in a network.
func prepare(home string) error {
	if _, err := os.Stat(filepath.Join(home, fileGenesis)); err == nil {
		return &jobs.Problem{Code: jobs.CodeConflict, What: "this machine is in a network already", Why: home + " holds one",
			Try: "another data directory: --home DIR"}
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

func install(home string, genesis []byte, credential admission.SignedCredential) (Identity, error) {
	data, err := dagcbor.Marshal(credential)
	if err != nil {
		return Identity{}, err
	}
	if err := file.Replace(filepath.Join(home, fileCredential), data, 0o600); err != nil {
		return Identity{}, err
	}
	if err := file.Replace(filepath.Join(home, fileGenesis), genesis, 0o600); err != nil {
		return Identity{}, err
	}
	g, network, err := admission.OpenGenesis(genesis)
	if err != nil {
		return Identity{}, err
	}
	key := credential.Body.Subject
	return Identity{Name: key.Name(), Peer: key.String(), Network: g.Name, ID: network.String()}, nil
}

// GenesisFile returns the sealed genesis of the network that home is in.
func GenesisFile(home string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(home, fileGenesis))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noNetwork(home)
	}
	return data, err
}

func noNetwork(home string) error {
	return &jobs.Problem{Code: jobs.CodeNoNetwork, What: "this machine is in no network", Why: home + " holds none",
		Try: "muster network create NAME, or muster network join TICKET"}
}

// home is what a node finds in its data directory.
type home struct {
	dir        string
	identity   p2p.Identity
	genesis    []byte
	founded    admission.Genesis
	network    admission.Network
	credential admission.SignedCredential
}

func openHome(dir string) (home, error) {
	h := home{dir: dir}
	var err error
	if h.genesis, err = GenesisFile(dir); err != nil {
		return h, err
	}
	if h.founded, h.network, err = admission.OpenGenesis(h.genesis); err != nil {
		return h, err
	}
	if h.identity, err = p2p.LoadIdentity(filepath.Join(dir, fileIdentity)); err != nil {
		return h, err
	}
	h.credential, err = h.openCredential()
	return h, err
}

// openCredential reads this machine's place in the network, and checks that it
// is this machine's.
func (h home) openCredential() (c admission.SignedCredential, err error) {
	const try = "restore " + fileCredential + " from a backup, or join under another --home with a new ticket"
	data, err := os.ReadFile(filepath.Join(h.dir, fileCredential))
	if errors.Is(err, fs.ErrNotExist) {
		return c, &jobs.Problem{Code: jobs.CodeNoNetwork, What: "this machine has no credential for network " + h.founded.Name,
			Why: h.dir + " holds none", Try: try}
	}
	if err != nil {
		return c, err
	}
	if err = dagcbor.Unmarshal(data, &c); err == nil {
		err = c.Check(h.founded, h.network)
	}
	if err == nil && c.Body.Subject != h.identity.Signer.Key() {
		err = errors.New("it is another node's")
	}
	if err != nil {
		return c, &jobs.Problem{Code: jobs.CodeDenied, What: "this machine's credential for network " + h.founded.Name + " is not valid",
			Why: err.Error(), Try: try}
	}
	return c, nil
}

func shortHash(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:6]
}
