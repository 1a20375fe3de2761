package servertest

import (
	"bytes"
	"context"
	"slices"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/jobs"
)

// Logs implements server.Results as a node does: while a job is held it shows what
// the script says that one member's run has written, and when it has ended what was
// certified, past what was shown.
func (n *Network) Logs(ctx context.Context, id string, o server.LogOptions, fn func(api.LogChunk) error) error {
	j, err := n.find(id)
	if err != nil {
		return err
	}
	shown := map[string][]byte{}
	if !n.ended(j) {
		member, err := j.writer(o.Member)
		if err != nil {
			return err
		}
		for _, c := range j.run.Logs {
			if c.Member != member {
				continue
			}
			if err := fn(c); err != nil {
				return err
			}
			shown[c.Stream] = append(shown[c.Stream], c.Data...)
		}
		if !o.Follow {
			return nil
		}
		if n.wait(ctx, j); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if j.run.Value.Tree == nil {
		return nil
	}
	for _, c := range j.certified() {
		rest, ok := bytes.CutPrefix(c.Data, shown[c.Stream])
		if !ok {
			return &jobs.Problem{Code: jobs.CodeConflict, What: "the output that was shown is not the certified one"}
		}
		if c.Data = rest; len(rest) == 0 {
			continue
		}
		if err := fn(c); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) ended(j *job) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return j.told.State.Terminal()
}

// writer is the member of whose run the script tells that is meant, or the first one.
func (j *job) writer(text string) (string, error) {
	var all []jobs.Member
	for _, c := range j.run.Logs {
		if m := (jobs.Member{Peer: c.Member, Name: c.Name}); !slices.ContainsFunc(all, func(o jobs.Member) bool { return o.Peer == m.Peer }) {
			all = append(all, m)
		}
	}
	if text == "" && len(all) > 0 {
		return all[0].Peer, nil
	}
	if text == "" {
		return "", nil
	}
	m, err := jobs.MatchMember(text, all)
	return m.Peer, err
}

// certified is the output that the certificate names.
func (j *job) certified() []api.LogChunk {
	ends := j.run.Ends
	if len(ends) == 0 {
		ends = append(ends, j.run.Result)
	}
	all := []api.LogChunk{{Stream: "stdout"}, {Stream: "stderr"}}
	for _, end := range ends {
		all[0].Data = append(all[0].Data, end.Stdout...)
		all[1].Data = append(all[1].Data, end.Stderr...)
	}
	return all
}
