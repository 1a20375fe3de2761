package servertest

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store"
	"github.com/muster-network/muster/store/tree"
)

// PutFile implements server.Blobs.
func (n *Network) PutFile(ctx context.Context, r io.Reader) (api.Blob, error) {
	t, err := tree.WriteFile(ctx, &n.Blocks, r)
	if err != nil {
		return api.Blob{}, err
	}
	return api.Blob{CID: t.Root.String(), Size: t.Bytes}, nil
}

// PutTree implements server.Blobs.
func (n *Network) PutTree(ctx context.Context, r io.Reader) (api.Blob, error) {
	var files []tree.File
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return api.Blob{}, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(in)
		if err != nil {
			return api.Blob{}, err
		}
		files = append(files, tree.File{Path: h.Name, Data: data})
	}
	t, err := tree.Write(ctx, &n.Blocks, files)
	if err != nil {
		return api.Blob{}, err
	}
	return api.Blob{CID: t.Root.String(), Size: t.Bytes}, nil
}

// Open implements server.Blobs.
func (n *Network) Open(ctx context.Context, root, path string) (server.Blob, error) {
	c, err := cid.Decode(root)
	if err != nil {
		return server.Blob{}, err
	}
	at, err := tree.Lookup(ctx, &n.Blocks, c, path)
	if err != nil {
		return server.Blob{}, notFound(err, root+"/"+path)
	}
	blob := server.Blob{CID: at.CID.String(), Size: at.Size}
	if !at.Dir {
		r, err := tree.OpenFile(ctx, &n.Blocks, at.CID)
		if err != nil {
			return server.Blob{}, notFound(err, root+"/"+path)
		}
		blob.Content = content{r}
		return blob, nil
	}
	entries, err := tree.List(ctx, &n.Blocks, at.CID)
	if err != nil {
		return server.Blob{}, notFound(err, root+"/"+path)
	}
	for _, e := range entries {
		blob.Entries = append(blob.Entries, api.Entry{Name: e.Name, CID: e.CID.String(), Size: e.Size, Dir: e.Dir})
	}
	return blob, nil
}

type content struct{ *tree.Reader }

func (content) Close() error { return nil }

// Block implements server.Blobs.
func (n *Network) Block(ctx context.Context, text string) ([]byte, error) {
	c, err := cid.Decode(text)
	if err != nil {
		return nil, err
	}
	data, err := n.Blocks.Get(ctx, c)
	return data, notFound(err, text)
}

func notFound(err error, what string) error {
	if errors.Is(err, store.ErrNotFound) {
		return &jobs.Problem{Code: jobs.CodeNotFound, What: "nothing at " + what}
	}
	return err
}

// Network implements server.Network.
func (n *Network) Network(context.Context) (api.Network, error) {
	return api.Network{ID: n.id.String(), Name: "lab", Created: Now, Testnet: true, Size: members,
		Authorities: []string{n.signers[0].Key().String()}, Genesis: n.GenesisBytes}, nil
}

// Peers implements server.Network.
func (n *Network) Peers(context.Context) ([]api.Peer, error) {
	agreed := 0.987
	var peers []api.Peer
	for i, s := range n.signers[1:] {
		p := api.Peer{Peer: s.Key().String(), Name: s.Key().Name(), State: "alive", Path: "direct quic",
			RTT: 14, CPU: 8000, CPUFree: 6500, Mem: 16 << 30, MemFree: 8 << 30}
		if i == 1 {
			p.Agreed = &agreed
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// Members implements server.Network.
func (n *Network) Members(context.Context) ([]api.Member, error) {
	var all []api.Member
	for i, s := range n.signers {
		m := api.Member{Peer: s.Key().String(), Name: s.Key().Name(), Kind: "node", Role: "member", From: Now, Until: Now + 1_000_000_000,
			Issuer: n.signers[0].Key().String(), State: "alive"}
		if i == 0 {
			m.Role, m.State = "authority", "self"
		}
		all = append(all, m)
	}
	return all, nil
}

// Invite implements server.Network.
func (n *Network) Invite(_ context.Context, r api.InviteRequest) (api.Ticket, error) {
	return api.Ticket{Ticket: "mst1test", Network: n.id.String(), Uses: *r.Uses, Expires: Now + r.TTL}, nil
}

// Revoke implements server.Network.
func (n *Network) Revoke(_ context.Context, r api.RevokeRequest) (api.Member, error) {
	return api.Member{Peer: r.Peer, Name: r.Peer, State: "revoked", Revoked: Now, Reason: r.Reason, Issuer: n.signers[0].Key().String()}, nil
}

// Follow implements server.Events: the accepted and, where they ended, the
// terminal events of all jobs, and then nothing more.
func (n *Network) Follow(ctx context.Context, after string, fn func(api.Event) error) error {
	n.mu.Lock()
	var events []api.Event
	for _, j := range n.jobs {
		for _, kind := range []string{"accepted", string(j.told.State)} {
			id := fmt.Sprintf("00/%d", len(events)+1)
			events = append(events, api.Event{SpecVersion: "1.0", ID: id, Source: "muster:lab", Type: "muster.job." + kind,
				Subject: j.told.ID, Time: "2026-01-01T00:00:00Z"})
		}
	}
	n.mu.Unlock()
	for _, e := range events {
		if strings.Compare(e.ID, after) <= 0 {
			continue
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// Node implements server.Node.
func (n *Network) Node(context.Context) (api.Node, error) {
	key := n.signers[0].Key()
	return api.Node{Peer: key.String(), Name: key.Name(), Network: n.id.String(), NetworkName: "lab", Role: "authority", Version: "test",
		Started: Now, Ready: true, Addresses: []string{"/ip4/127.0.0.1/tcp/7421"}, API: []string{"unix:/run/muster.sock"}, Peers: members - 1,
		Resources: api.Resources{CPU: 8000, CPUFree: 6500, Memory: 16 << 30, MemoryFree: 8 << 30, Disk: 100 << 30, DiskFree: 50 << 30}}, nil
}

// Ready implements server.Node.
func (n *Network) Ready() bool { return true }

// Stop implements server.Node.
func (n *Network) Stop(context.Context) error {
	n.stop.Do(func() { close(n.Stopped) })
	return nil
}

// Hello is the script of a program that greets its first argument.
func Hello(file *jobs.File) Run {
	name := "world"
	if len(file.Run.Args) > 0 {
		name = file.Run.Args[0]
	}
	out := []byte("Hello, " + name + "\n")
	return Run{Value: consensus.Value{Kind: consensus.Result}, Result: tree.Result{Stdout: out, Out: []tree.File{{Path: "greeting.txt", Data: out}}}}
}
