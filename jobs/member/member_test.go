package member

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	blocks "github.com/ipfs/go-block-format"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/storetest"
)

func TestAnOfferIsAcceptedWhenItsBlocksAreOnDiskAndNotBefore(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		b.offer(j, nil)
		if len(b.refused) != 0 || len(b.opened) != 1 {
			t.Fatalf("refused: %q, opened %d", b.refused, len(b.opened))
		}
		if got := strings.Join(slices.Compact(b.done), ", "); got != "put, sync, open, append" {
			t.Errorf("did %s", got)
		}
		for _, link := range []dagcbor.Link{j.Spec, j.Task, j.Roll} {
			if has, err := b.Has(t.Context(), link.Cid); !has || err != nil {
				t.Errorf("%s is not here: %v", link, err)
			}
		}
		if _, ok := b.records.Held[string(keyOf(prefixOpen, j.ID))]; !ok || !slices.Equal(b.told, []string{"accepted"}) {
			t.Errorf("its charter is on disk: %t, told %q", ok, b.told)
		}
		b.offer(j, nil)
		if len(b.opened) != 1 || len(b.refused) != 0 {
			t.Error("what is open is looked at again")
		}
	})
}

func TestAnOfferIsRefusedWithItsReason(t *testing.T) {
	for name, rule := range map[string]struct {
		code   string
		change func(*consensus.Charter)
		after  func(*consensus.Charter)
		offer  func(*consensus.Offer)
		before func(*bench)
	}{
		"no seat":                   {code: RefuseInvalid, before: func(b *bench) { b.me = b.n.NewNode("another"); b.end(); b.start(); b.me = b.n.Nodes[1] }},
		"another life of this node": {code: RefuseGone, before: func(b *bench) { b.me.Incarnation[0] ^= 1; b.end(); b.start() }},
		"too late":                  {code: RefuseLate, before: func(b *bench) { <-time.After(time.Duration(b.n.Genesis.Policy.Accept+1) * time.Millisecond) }},
		"past its deadline":         {code: RefusePast, before: func(*bench) { <-time.After(3 * time.Hour) }},
		"an hour to accept it":      {code: RefuseInvalid, change: func(c *consensus.Charter) { c.AcceptBy, c.StartBy = c.Deadline, c.Deadline }},
		"from the future":           {code: RefuseLate, before: func(b *bench) { b.begun = b.begun.Add(2 * time.Minute) }},
		"no credential":             {code: RefuseDenied, offer: func(o *consensus.Offer) { o.Credentials = nil }},
		"a forged credential":       {code: RefuseDenied, offer: func(o *consensus.Offer) { o.Credentials[0].Signature[0] ^= 1 }},
		"another's credential":      {code: RefuseDenied, offer: func(o *consensus.Offer) { o.Credentials[0].Body.Subject[0] ^= 1 }},
		"a revoked submitter":       {code: RefuseDenied, before: func(b *bench) { b.revoked = revoked(b.n.Nodes[0]) }},
		"a revoked member":          {code: RefuseDenied, before: func(b *bench) { b.revoked = revoked(b.n.Nodes[4]) }},
		"another draw":              {code: RefuseDraw, after: func(c *consensus.Charter) { c.Roster[0], c.Roster[1] = c.Roster[1], c.Roster[0] }},
		"another policy":            {code: RefuseUnsupported, change: func(c *consensus.Charter) { c.Policy[0] ^= 1 }},
		"another timeout":           {code: RefuseInvalid, change: func(c *consensus.Charter) { c.Timeout++ }},
		"a spec nobody has":         {code: RefuseMissing, change: func(c *consensus.Charter) { c.Spec = consensustest.Link("gone") }},
		"a module of another class": {code: RefuseInvalid, before: func(b *bench) { b.class = "arch/amd64" }},
		"a full queue":              {code: RefuseBusy, before: func(b *bench) { b.m.cfg.Policy.MaxJobs = 0 }},
		"a submitter with too many": {code: RefuseBusy, before: func(b *bench) { b.m.cfg.Policy.MaxOpen = 0 }},
	} {
		play(t, func(t *testing.T, b *bench) {
			change, after := rule.change, rule.after
			if change == nil {
				change = as
			}
			if after == nil {
				after = as
			}
			j := b.job(change, after)
			if rule.before != nil {
				rule.before(b)
			}
			b.offer(j, rule.offer)
			if len(b.refused) != 1 || !strings.HasPrefix(b.refused[0], rule.code+": ") || len(b.opened) != 0 || len(b.records.Held) != 0 {
				t.Errorf("%s: refused with %q, opened %d, %d records", name, b.refused, len(b.opened), len(b.records.Held))
			}
		})
	}
}

// accepts are what a witness shows of a job.
func (b *bench) accepts(j consensustest.Job, seats ...int) []consensus.Vote {
	return b.n.Votes(j, consensus.KindAccept, 0, consensus.Hash{}, seats...).Votes
}

func TestAWitnessIsBelievedWhenItIsLateAndTheQueueFullAndOnlyWithQAccepts(t *testing.T) {
	for _, shown := range []int{2, 3} {
		play(t, func(t *testing.T, b *bench) {
			b.revoked = revoked(b.n.Nodes...) // counting in a charter does not change
			j := b.job(as, as)
			for n := range b.n.Genesis.Policy.MaxJobs {
				b.m.open[consensus.JobID{byte(n), byte(n >> 8), 1}] = &job{charter: j.Charter}
			}
			<-time.After(time.Duration(b.n.Genesis.Policy.Accept+1) * time.Millisecond)
			b.offer(j, nil, b.accepts(j, []int{0, 1, 2}[:shown]...)...)
			if shown == 2 {
				if len(b.opened) != 0 || len(b.refused) != 1 {
					t.Errorf("opened on %d accepts, refused %q", shown, b.refused)
				}
				return
			}
			if len(b.opened) != 1 || !b.opened[0].Witness || len(b.opened[0].Accepts) != 3 || len(b.refused) != 0 {
				t.Errorf("opened %d, refused %q", len(b.opened), b.refused)
			}
		})
	}
}

func TestAJobWhoseFirstRecordsFailIsNotOpenAndNotTold(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		b.fail = errors.New("disk full")
		b.offer(j, nil)
		if _, open := b.m.Job(j.ID); open || len(b.told) != 1 || b.told[0] != "refused" {
			t.Errorf("open: %t, told %q", open, b.told)
		}
		b.fail = nil
		b.offer(j, nil) // it is offered again
		if _, open := b.m.Job(j.ID); !open || b.told[len(b.told)-1] != "accepted" {
			t.Errorf("open: %t, told %q", open, b.told)
		}
	})
}

func TestAJobThatBeganTooLateIsRefusedAndLeavesNothing(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		b.late = true
		b.offer(j, nil)
		if len(b.refused) != 1 || !strings.HasPrefix(b.refused[0], RefuseLate+": ") || len(b.records.Held) != 0 {
			t.Errorf("refused with %q, %d records", b.refused, len(b.records.Held))
		}
		if b.wantLoad(t, 0, 0, 0); t.Failed() {
			return
		}
		// What an earlier version left of one goes at a restart.
		b.late = false
		b.offer(j, nil)
		b.end()
		b.late = true
		b.start()
		if _, err := b.m.Recover(t.Context()); err != nil {
			t.Error(err)
		}
		for key := range b.records.Held {
			if !strings.HasPrefix(key, "n/") {
				t.Errorf("%q is left", key)
			}
		}
		b.wantLoad(t, 0, 0, 0)
	})
}

func TestWhatWasOpenIsOpenedAgainFromDiskAlone(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		b.offer(j, nil)
		b.end()
		b.others, b.opened = storetest.Memory{}, nil //nolint:govet // nobody uses it any more
		b.start()
		if n, err := b.m.Recover(t.Context()); n != 1 || err != nil {
			t.Fatalf("%d resumed: %v", n, err)
		}
		if len(b.opened) != 1 || !b.opened[0].Resume || b.opened[0].Job != j.ID || len(b.opened[0].Entries) != 0 {
			t.Errorf("opened %+v", b.opened)
		}
		// Under a new incarnation this node has no vote in it.
		b.end()
		b.me.Incarnation[0] ^= 1
		b.opened = nil
		b.start()
		if _, err := b.m.Recover(t.Context()); err != nil || len(b.opened) != 0 {
			t.Errorf("another life opens %d jobs: %v", len(b.opened), err)
		}
	})
}

// A copy makes room for others, so that this node's own word of the end is still to come.
func TestAJobOfWhichACopyOfTheEndWasKeptWhileItWasTakenIsResumed(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		b.slow = time.Second
		b.offer(j, nil, b.accepts(j, 0, 1, 2)...)
		v := consensus.Verdict{Job: j.ID, Charter: j.Charter, Value: consensus.Value{Kind: consensus.Cancelled}}
		if err := b.m.KeepFor(t.Context(), b.n.Nodes[2].Key(), v, Closed{Certificate: []byte{1}, Seats: []Seat{}}); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		b.end()
		b.start()
		if n, err := b.m.Recover(t.Context()); n != 1 || err != nil || len(b.opened) != 2 {
			t.Errorf("%d resumed, opened %d times: %v", n, len(b.opened), err)
		}
	})
}

// lose has the disk and the others lose the spec of a job, and returns what brings it
// back to the others.
func (b *bench) lose(j consensustest.Job) (found func()) {
	b.t.Helper()
	data, err := b.others.Get(b.t.Context(), j.Spec.Cid)
	if err != nil {
		b.t.Fatal(err)
	}
	block, err := blocks.NewBlockWithCid(data, j.Spec.Cid)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := errors.Join(b.Delete(b.t.Context(), j.Spec.Cid), b.others.Delete(b.t.Context(), j.Spec.Cid)); err != nil {
		b.t.Fatal(err)
	}
	return func() {
		if err := b.others.Put(b.t.Context(), block); err != nil {
			b.t.Error(err)
		}
	}
}

func TestAJobWhoseBlocksAreLostIsSilentAndKeepsNoOtherFromBeingResumed(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		whole := b.accepted("whole")
		b.check = "a check" // so that its spec is another
		damaged := b.accepted("damaged")
		b.end()
		found := b.lose(damaged)
		kept := len(b.records.Held)
		b.opened, b.slow = nil, time.Second
		b.start()
		begun := time.Now()
		if n, err := b.m.Recover(t.Context()); n != 1 || err != nil || time.Since(begun) > b.slow {
			t.Fatalf("%d resumed in %s: %v", n, time.Since(begun), err)
		}
		if len(b.opened) != 1 || b.opened[0].Job != whole.ID {
			t.Fatalf("opened %d", len(b.opened))
		}
		b.offer(damaged, nil) // accepted anew, it would not know what it has said
		pass(time.Minute)
		if len(b.opened) != 1 || len(b.refused) != 0 || len(b.records.Held) != kept {
			t.Fatalf("opened %d, refused %q, %d records of %d", len(b.opened), b.refused, len(b.records.Held), kept)
		}
		found() // another member has it
		pass(20 * time.Minute)
		if len(b.opened) != 2 || b.opened[1].Job != damaged.ID || !b.opened[1].Resume || len(b.opened[1].Entries) != 0 {
			t.Errorf("opened %d more", len(b.opened)-1)
		}
		if b.wantLoad(t, 2, 0, 0); len(b.m.intake) != 0 {
			t.Error("offers of it are not looked at any more")
		}
	})
}

func TestAJobWhoseBlocksNeverCameIsNotBegunAnew(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.accepted("job")
		b.end()
		found := b.lose(j)
		b.opened = nil
		b.start()
		if n, err := b.m.Recover(t.Context()); n != 0 || err != nil {
			t.Fatalf("%d resumed: %v", n, err)
		}
		pass(againTries * againFirst << 6) // it is asked for no more
		found()
		b.offer(j, nil, b.accepts(j, 0, 1, 2)...)
		pass(time.Hour)
		if len(b.opened) != 0 {
			t.Errorf("begun anew %d times", len(b.opened))
		}
	})
}

func TestNothingIsLeftOfAJobWhoseOutcomeCameBeforeItsBlocks(t *testing.T) {
	brings := map[string]func(*bench, consensus.Verdict, Closed) error{
		"to its submitter": func(b *bench, v consensus.Verdict, c Closed) error { return b.m.Keep(t.Context(), v, c) },
		"by a member": func(b *bench, v consensus.Verdict, c Closed) error {
			return b.m.KeepFor(t.Context(), b.n.Nodes[2].Key(), v, c)
		},
	}
	for name, bring := range brings {
		for _, restarts := range []bool{false, true} {
			play(t, func(t *testing.T, b *bench) { endedBeforeItsBlocks(t, b, name, restarts, bring) })
		}
	}
}

func endedBeforeItsBlocks(t *testing.T, b *bench, name string, restarts bool, bring func(*bench, consensus.Verdict, Closed) error) {
	t.Helper()
	other := b.accepted("other")
	b.check = "a check" // so that its spec is another
	j := b.accepted("job")
	open, _ := b.m.job(j.ID)
	checkpoint := blocks.NewBlock([]byte("tasks"))
	if err := open.checkpoints.add(t.Context(), b.m, j.ID, []blocks.Block{checkpoint}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []consensus.JobID{j.ID, other.ID} {
		b.records.Held[string(append(keyOf(prefixRecords, id), 1))] = []byte{1}
	}
	b.end()
	found := b.lose(j)
	b.start()
	if n, err := b.m.Recover(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d resumed: %v", n, err)
	}
	cancelled := consensus.Value{Kind: consensus.Cancelled}
	certificate, err := dagcbor.Marshal(b.n.Certify(j, b.n.Decide(j, cancelled)))
	if err != nil {
		t.Fatal(err)
	}
	if err := bring(b, consensus.Verdict{Job: j.ID, Charter: j.Charter, Value: cancelled}, Closed{Certificate: certificate, Seats: []Seat{}}); err != nil {
		t.Fatal(err)
	}
	if restarts {
		b.end()
		found() // and is here again, too
		if err := b.Fetch(t.Context(), j.Spec.Cid, nil, 0); err != nil {
			t.Fatal(err)
		}
		b.start()
		if n, err := b.m.Recover(t.Context()); n != 1 || err != nil {
			t.Fatalf("%d resumed after the outcome: %v", n, err)
		}
	}
	pass(20 * time.Minute)
	for key := range b.records.Held {
		if id := string(j.ID[:]); strings.Contains(key, id) && !strings.HasPrefix(key, "d/") && !strings.HasPrefix(key, "q/") && !strings.HasPrefix(key, "t/") || strings.HasPrefix(key, "b/") {
			t.Errorf("%s, restarts %t: %q is left", name, restarts, key[:2])
		}
	}
	if closed, ok, err := (Archive{tape{b}}).Closed(j.ID); !ok || err != nil || closed.Copied {
		t.Errorf("%s, restarts %t: closed %t, %v, or the copy of another's", name, restarts, ok, err)
	}
	if has, _ := b.Has(t.Context(), checkpoint.Cid()); has {
		t.Errorf("%s, restarts %t: its checkpoint is left", name, restarts)
	}
	if len(b.records.Held[string(append(keyOf(prefixRecords, other.ID), 1))]) == 0 {
		t.Error("another job's records are gone, too")
	}
}

func TestAnOutcomeTakesThePlaceOfAllThatWasKeptInOneAppend(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		b.offer(j, nil)
		record := []byte("r/one")
		b.records.Held[string(record)] = []byte{1}
		b.done = nil
		ended, _ := b.m.Await(j.ID)
		d := b.n.Decide(j, consensus.Value{Kind: consensus.Cancelled})
		b.m.Decided(j.ID, consensus.Conclusion{Outcome: d}, Standing{}, [][]byte{record})
		<-ended
		synctest.Wait()
		if got := strings.Join(b.done, ", "); got != "append" {
			t.Errorf("did %s", got)
		}
		if _, open := b.m.Job(j.ID); open || !slices.Equal(b.told, []string{"accepted", "cancelled"}) {
			t.Errorf("open: %t, told %q", open, b.told)
		}
		for _, key := range []string{string(keyOf(prefixOpen, j.ID)), string(record)} {
			if _, ok := b.records.Held[key]; ok {
				t.Errorf("%q is left", key)
			}
		}
		if known, ok := b.m.Closed(j.ID); !ok || known.Outcome.Value.Kind != consensus.Cancelled {
			t.Error("the decision is not known")
		}
		b.offer(j, nil)
		if len(b.opened) != 1 || b.done[len(b.done)-1] != "decided" {
			t.Errorf("offered again, it did %s", b.done)
		}
	})
}

func TestARunGivesBackWhatItTookAndIsReportedWhenItsTreeIsSynced(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		j := b.job(as, as)
		b.offer(j, nil)
		b.m.Execute(j.ID, 1)
		<-time.After(10 * time.Millisecond)
		synctest.Wait()
		if load := b.m.Load(); load.Free != load.Total || load.Running != 0 || load.Open != 1 {
			t.Errorf("after the run: %+v", load)
		}
		last := b.done[len(b.done)-2:]
		if last[0] != "sync" || !strings.HasPrefix(last[1], "ran result") {
			t.Errorf("did %s at last, want its tree synced before it is reported", last)
		}
	})
}
