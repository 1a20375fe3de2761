package testnet_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/testnet"
)

// envSeed sets the seed of what happens by chance.
const envSeed = "MUSTER_SEED"

func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(envSeed); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d", envSeed, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestAcknowledgedJobsEndWhileNodesComeAndGo kills one node after the other,
// and starts it again, while jobs come in through all of them.
func TestAcknowledgedJobsEndWhileNodesComeAndGo(t *testing.T) {
	const submitters, each, deaths = 5, 12, 6
	n := up(t, testnet.Options{Nodes: 5})
	rng := seeded(t)
	file := spin(t, 1<<20)
	type submission struct {
		from    int
		key, id string
	}
	acknowledged := make(chan submission, submitters*each)
	ctx, stop := context.WithCancel(n.ctx)
	defer stop()
	var g errgroup.Group
	for s := range submitters {
		c := n.client(1 + s)
		g.Go(func() error {
			for i := range each {
				key := fmt.Sprint(s, " ", i)
				for { // the same key, until it is acknowledged
					job, err := c.Submit(ctx, file, client.SubmitOptions{Key: key})
					var p *jobs.Problem
					if err == nil {
						acknowledged <- submission{1 + s, key, job.ID}
						break
					}
					if !errors.As(err, &p) || !p.Retryable {
						return err
					}
					select {
					case <-time.After(50 * time.Millisecond):
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			}
			return nil
		})
	}
	for range deaths {
		victim := n.Nodes[rng.IntN(5)]
		seen := len(acknowledged)
		n.await("more jobs are acknowledged", func() bool { return len(acknowledged) > seen || seen == submitters*each })
		n.must(victim.Kill())
		n.must(victim.Start(n.ctx))
	}
	n.must(g.Wait())
	close(acknowledged)
	for s := range acknowledged {
		for _, number := range []int{1, 3, 5} {
			if job, _ := n.ended(number, s.id); job.State != jobs.Succeeded {
				t.Fatalf("n%d: %s", number, states(job))
			}
		}
		if again := n.submit(s.from, file, s.key); again.ID != s.id {
			t.Errorf("key %q of n%d was acknowledged as %s, and later as %s", s.key, s.from, s.id, again.ID)
		}
	}
	n.await("nothing is open any more", func() bool { return n.open(1)+n.open(2)+n.open(3)+n.open(4)+n.open(5) == 0 },
		func() string { return fmt.Sprint(n.open(1), n.open(2), n.open(3), n.open(4), n.open(5)) })
}
