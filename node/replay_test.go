package node_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/node"
)

// toldUntil follows a node's events after an id, up to the one that is last.
func toldUntil(t *testing.T, ctx context.Context, n *node.Node, after string, last func(api.Event) bool) []api.Event { //nolint:revive // t comes first
	t.Helper()
	found := errors.New("found")
	var all []api.Event
	err := n.Follow(ctx, after, func(e api.Event) error {
		if all = append(all, e); last(e) {
			return found
		}
		return nil
	})
	if !errors.Is(err, found) {
		t.Fatalf("%v, after %+v", err, all)
	}
	return all
}

func TestEventsAreReplayedAfterARestart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	home := filepath.Join(t.TempDir(), "n")
	l := &lab{t: t, ctx: ctx}
	_, err := node.CreateNetwork(home, node.CreateOptions{Name: "lab", Testnet: true, Policy: testPolicy()})
	l.must(err)
	l.start(home, node.Faults{})
	first := certified(t, l.nodes[0], hello("Ada", 1))
	succeeded := func(id string) func(api.Event) bool {
		return func(e api.Event) bool { return e.Type == "muster.job.succeeded" && e.Subject == id }
	}
	all := toldUntil(t, ctx, l.nodes[0], "0", succeeded(first.ID))
	l.ends[0]()
	l.start(home, node.Faults{})
	second := certified(t, l.nodes[1], hello("Bob", 1))

	// All that became of the first job, and the second's story as it went.
	again := toldUntil(t, ctx, l.nodes[1], "0", succeeded(second.ID))
	if len(again) < 4 || again[0].ID != all[0].ID || again[0].Type != "muster.job.accepted" || again[1].ID != all[len(all)-1].ID {
		t.Errorf("after the restart: %+v, before it: %+v", again, all)
	}
	// Whoever had seen the first job end is told of nothing but the second.
	for _, e := range toldUntil(t, ctx, l.nodes[1], all[len(all)-1].ID, succeeded(second.ID)) {
		if e.Subject != second.ID {
			t.Errorf("told again: %+v", e)
		}
	}
}
