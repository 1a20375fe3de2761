package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/store/journal"
)

// chronicle is events over a journal on a disk that can crash.
type chronicle struct {
	*events
	t    *testing.T
	disk *vfs.MemFS
	now  time.Time
}

func newChronicle(t *testing.T) *chronicle {
	c := &chronicle{t: t, disk: vfs.NewCrashableMem(), now: time.UnixMicro(1_700_000_000_000_000)}
	c.open()
	return c
}

func (c *chronicle) open() {
	c.t.Helper()
	j, err := journal.Open("journal", journal.Options{FS: c.disk})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = j.Close() })
	if c.events, err = openEvents(j, "muster:lab/me", func() time.Time { return c.now }); err != nil {
		c.t.Fatal(err)
	}
}

// crash loses all that was not synced.
func (c *chronicle) crash() {
	c.t.Helper()
	c.disk = c.disk.CrashClone(vfs.CrashCloneCfg{})
	c.now = c.now.Add(time.Second)
	c.open()
}

func job(n int) consensus.JobID { return consensus.JobID{byte(n >> 16), byte(n >> 8), byte(n)} }

func (c *chronicle) tell(kind string, n int) { c.Tell(member.Event{Type: kind, Job: job(n)}) }

// happen keeps events and appends them all at once.
func (c *chronicle) happen(kind string, jobs ...int) {
	c.t.Helper()
	var entries []journal.Entry
	var settle []func(error)
	for _, n := range jobs {
		e, settled := c.Keep(member.Event{Type: kind, Job: job(n), Data: map[string]any{"name": fmt.Sprint(n)}})
		entries, settle = append(entries, e...), append(settle, settled)
	}
	err := c.journal.Append(c.t.Context(), entries...)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, settled := range settle {
		settled(nil)
	}
}

// seen is what a follower is told now.
func (c *chronicle) seen(after string) []api.Event {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	cancel()
	var all []api.Event
	if err := c.follow(ctx, after, func(e api.Event) error {
		all = append(all, e)
		return nil
	}); !errors.Is(err, context.Canceled) {
		c.t.Fatal(err)
	}
	return all
}

// brief is events by type and job.
func brief(all []api.Event) string {
	var out []string
	for _, e := range all {
		name := strings.TrimPrefix(e.Type, "muster.")
		if n, ok := e.Data["name"]; ok {
			name += fmt.Sprintf(" %s", n)
		}
		out = append(out, name)
	}
	return strings.Join(out, ", ")
}

func (c *chronicle) check(what, after, want string) []api.Event {
	c.t.Helper()
	all := c.seen(after)
	if got := brief(all); got != want {
		c.t.Errorf("%s: told %q, want %q", what, got, want)
	}
	return all
}

func TestAFollowerMissesNothingThatBecameOfJobsOverACrash(t *testing.T) {
	c := newChronicle(t)
	c.happen("accepted", 1)
	c.tell("running", 1)
	first := c.check("before", "0", "job.accepted 1, job.running")
	c.happen("succeeded", 1)
	c.happen("accepted", 2)
	c.tell("running", 2)
	c.tell("reported", 2)
	all := c.seen("0")
	c.crash()
	kept := c.check("all that is kept", "0", "job.accepted 1, job.succeeded 1, job.accepted 2")
	if e := kept[1]; e.ID != all[2].ID || e.Time != all[2].Time || e.Subject != all[2].Subject || e.Source != all[2].Source || e.SpecVersion != "1.0" {
		t.Errorf("told %+v, before the crash it was %+v", e, all[2])
	}
	c.check("after a kept one", first[0].ID, "job.succeeded 1, job.accepted 2")
	c.check("after one that is told once", first[1].ID, "job.succeeded 1, job.accepted 2")
	c.check("after the last", all[len(all)-1].ID, "")
	c.happen("failed", 2)
	last := c.check("what came since", all[len(all)-1].ID, "job.failed 2")
	if slices.ContainsFunc(all, func(e api.Event) bool { return e.ID == last[0].ID }) {
		t.Errorf("%s was given before the crash, too", last[0].ID)
	}
	c.check("from now on", "", "")
}

func TestAnEventThatIsNotDurableYetIsNotToldNorAreThoseAfterIt(t *testing.T) {
	c := newChronicle(t)
	ended := 0
	c.ended = func(consensus.JobID, member.End) { ended++ }
	entries, settled := c.Keep(member.Event{Type: "succeeded", Job: job(1), Data: map[string]any{"name": "1"}, End: &member.End{}})
	c.tell("running", 2)
	c.happen("accepted", 3)
	c.check("while the append is under way", "0", "")
	if ended != 0 {
		t.Error("its end is told before it is durable")
	}
	if err := c.journal.Append(t.Context(), entries...); err != nil {
		t.Fatal(err)
	}
	settled(nil)
	c.check("afterwards", "0", "job.succeeded 1, job.running, job.accepted 3")
	if ended != 1 {
		t.Errorf("its end was told %d times", ended)
	}
	_, settled = c.Keep(member.Event{Type: "failed", Job: job(4)})
	c.tell("running", 5)
	settled(errors.New("refused"))
	c.check("an append that failed is none", "0", "job.succeeded 1, job.running, job.accepted 3, job.running")
	_, settled = c.Keep(member.Event{Type: "failed", Job: job(6), End: &member.End{}})
	c.tell("running", 7)
	settled(fmt.Errorf("append: %w", context.Canceled))
	c.check("nobody knows what became of it", "0", "job.succeeded 1, job.running, job.accepted 3, job.running")
	if ended != 1 {
		t.Error("an end was told that is not durable")
	}
}

func TestEventsAreBoundedAndAGapIsTold(t *testing.T) {
	c := newChronicle(t)
	c.happen("accepted", 0)
	start := c.seen("0")[0].ID
	for n := 1; n < maxKept+3*pruneStep; n += pruneStep {
		var some []int
		for i := range pruneStep {
			some = append(some, n+i)
		}
		c.happen("succeeded", some...)
	}
	for range 2 {
		kept := c.seen("0")
		if len(kept) > maxKept+pruneStep || len(kept) < maxKept {
			t.Errorf("%d are kept", len(kept))
		}
		if kept[0].Type == api.EventGap {
			t.Error("a gap is told to somebody who missed nothing")
		}
		all := c.seen(start)
		if len(all) != len(kept)+1 || all[0].Type != api.EventGap || all[0].Data["after"] != start || all[1].ID != kept[0].ID {
			t.Fatalf("%d events after one that is no more, first %+v", len(all), all[0])
		}
		if again := c.seen(all[0].ID); len(again) != len(kept) || again[0].ID != kept[0].ID {
			t.Errorf("after the gap's own id: %d events, first %+v", len(again), again[0])
		}
		for i := range kept {
			if i > 0 && kept[i].Data["name"] != fmt.Sprint(len(kept)-i) && kept[i].ID == kept[i-1].ID {
				t.Fatalf("event %d is told twice", i)
			}
		}
		if len(c.recent) > maxRecent {
			t.Errorf("%d events in memory", len(c.recent))
		}
		c.crash()
	}
}

func TestIdsOfAnotherJournalOrOfTheFutureAreAGap(t *testing.T) {
	c := newChronicle(t)
	c.happen("accepted", 1)
	id := c.seen("0")[0].ID
	c.check("another incarnation", "00ff/7", "events.gap, job.accepted 1")
	c.check("a number never given", id+"9", "events.gap, job.accepted 1")
	c.now = c.now.Add(-time.Hour)
	c.tell("running", 1)
	c.check("a clock that was set back", id, "job.running")
	for _, bad := range []string{"x", "1", "/", "00/x", "00/-1"} {
		if err := c.follow(t.Context(), bad, nil); err == nil {
			t.Errorf("%q is an id", bad)
		}
	}
}

func TestAFollowerThatFallsBehindMemoryGetsTheRestFromTheJournal(t *testing.T) {
	c := newChronicle(t)
	want := []string{}
	for n := range 3 * maxRecent {
		c.tell("running", n)
		if n%10 == 0 {
			c.happen("succeeded", n)
		}
	}
	for n := 0; n < 3*maxRecent; n += 10 {
		want = append(want, fmt.Sprint(n))
	}
	var got []string
	for _, e := range c.seen("0") {
		if name, ok := e.Data["name"]; ok {
			got = append(got, name.(string))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("told of %d, want %d, in order", len(got), len(want))
	}
}

func TestAFollowerHearsWhatComes(t *testing.T) {
	c := newChronicle(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heard := make(chan string)
	done := make(chan error, 1)
	go func() {
		done <- c.follow(ctx, "0", func(e api.Event) error {
			heard <- strings.TrimPrefix(e.Type, "muster.job.")
			return nil
		})
	}()
	for n, kind := range []string{"accepted", "succeeded", "failed"} {
		c.happen(kind, n)
		if got := <-heard; got != kind {
			t.Errorf("heard %s, want %s", got, kind)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ends with %v", err)
	}
}
