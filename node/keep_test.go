package node

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/jobs/backlog"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/store/journal"
)

func TestAnOutcomeIsKeptWhereItRanksAndWhenAMemberOfItBringsIt(t *testing.T) {
	n := consensustest.New(60)
	job := n.Job(consensus.Byzantine, 0)
	certificate, err := n.Certify(job, n.Decide(job, consensustest.Result("out"))).Encode()
	if err != nil {
		t.Fatal(err)
	}
	data := encoded(t, member.Closed{Certificate: certificate, Seats: []member.Seat{{}}})
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Options{Host: journal.Host{MachineID: "m"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	node := listener(n)
	node.member, err = member.New(member.Config{Network: n.ID, Genesis: n.Genesis, Policy: n.Genesis.Policy, Journal: j,
		Clock: func() int64 { return consensustest.Now }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var all []admission.Key
	for _, m := range n.Nodes {
		ad := advertOf(m)
		signed := consensus.SignedAdvert{Advert: ad, Credential: m.Credential, Signature: m.Sign(sealed(t, n, consensus.TagAdvert, ad))}
		if err := node.adverts.hear(signed); err != nil {
			t.Fatal(err)
		}
		all = append(all, m.Key())
	}
	by := job.Roster[0].Peer
	ranked := append(election.RankFor(job.ID, all, 2*keepers), election.RankFor(job.Request, all, 2*keepers)...)
	kept := 0
	for _, m := range n.Nodes {
		key := m.Key()
		node.home.identity = p2p.Identity{Signer: m.KeySigner}
		want := slices.Contains(ranked, key) && key != by && key != job.Submitter
		if err := node.keep(t.Context(), by, data); (err == nil) != want {
			t.Errorf("%s: %v, want it kept: %v", key.Name(), err, want)
		}
		if want {
			kept++
			if stranger := n.Nodes[(n.Index(by)+1)%len(n.Nodes)].Key(); node.keep(t.Context(), stranger, data) == nil {
				t.Errorf("%s takes it from a stranger", key.Name())
			}
		}
	}
	if kept < 2*keepers-2 || kept == len(n.Nodes) {
		t.Errorf("%d of %d keep it", kept, len(n.Nodes))
	}
	for _, key := range node.keepersOf(job.ID, job.Charter, []admission.Key{by}, keepers) {
		if !slices.Contains(ranked, key) {
			t.Errorf("%s is to be brought it, and does not rank", key.Name())
		}
	}
	keeper := slices.IndexFunc(n.Nodes, func(m consensustest.Node) bool {
		return slices.Contains(ranked, m.Key()) && m.Key() != by && m.Key() != job.Submitter
	})
	node.home.identity = p2p.Identity{Signer: n.Nodes[keeper].KeySigner}
	for turn := 0; node.keep(t.Context(), by, data) == nil; turn++ {
		if turn == 10_000 {
			t.Fatal("it is brought on and on")
		}
	}
}

// One peer does not answer: the others are brought everything, in order and one at a
// time, and what waits for the one is bounded.
func TestAKeeperThatDoesNotAnswerKeepsNothingFromTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const outcomes, each = maxBrought, 16
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		var mutex sync.Mutex
		asked, under := map[admission.Key][]string{}, map[admission.Key]int{}
		silent := admission.Key{0}
		b := bringer{log: slog.New(slog.DiscardHandler), waiting: map[admission.Key][][]byte{},
			start: func(do func(context.Context) error) { running.Go(func() { _ = do(ctx) }) },
			ask: func(ctx context.Context, to admission.Key, data []byte) error {
				mutex.Lock()
				asked[to] = append(asked[to], string(data))
				if under[to]++; under[to] > 1 {
					t.Errorf("%d questions under way", under[to])
				}
				mutex.Unlock()
				if to == silent {
					<-ctx.Done()
				}
				mutex.Lock()
				defer mutex.Unlock()
				under[to]--
				return ctx.Err()
			}}
		var all []string
		for i := range outcomes {
			all = append(all, fmt.Sprint(i))
			for k := range each {
				b.add(admission.Key{byte(k)}, []byte(all[i]))
			}
		}
		synctest.Wait()
		for k := 1; k < each; k++ {
			if !slices.Equal(asked[admission.Key{byte(k)}], all) {
				t.Errorf("keeper %d is brought %d of %d", k, len(asked[admission.Key{byte(k)}]), outcomes)
			}
		}
		if len(asked[silent]) != 1 || len(b.waiting) != 1 {
			t.Errorf("the silent one is asked %d times; %d are asked still", len(asked[silent]), len(b.waiting))
		}
		for range 10 {
			b.add(silent, nil)
		}
		if len(b.waiting[silent]) != maxBrought {
			t.Errorf("%d wait for one that does not answer", len(b.waiting[silent]))
		}
		cancel()
		running.Wait()
	})
}

// Nobody works on the background's lossy queue: its workers are held up.
func TestTheRecordOfAnOutcomeAndEvidenceWaitForNoKeeper(t *testing.T) {
	b := openBook(t)
	job := b.job(1)
	node := listener(b.n)
	node.home.identity = p2p.Identity{Signer: b.n.Nodes[b.n.Index(job.Roster[0].Peer)].KeySigner}
	node.cfg.Log, node.agreed, node.misconduct = slog.New(slog.DiscardHandler), newAgreed(), b.misconduct
	node.records, node.tasks, node.owed = make(chan dhtRecord, 1), make(chan func(context.Context) error), backlog.New[func(context.Context) error]()
	var err error
	if node.events, err = openEvents(b.j, "muster:lab", time.Now); err != nil {
		t.Fatal(err)
	}
	node.jobEnded(job.ID, member.End{Height: b.n.First(job), Outcome: b.n.Decide(job, consensustest.Result("out")), Closed: &member.Closed{}})
	if len(node.records) != 1 {
		t.Error("its record is left out")
	}
	node.accuse(b.twice(job, 1))
	if node.owed.Len() != 1 {
		t.Error("evidence is not owed to the others")
	}
}
