package submitter

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	blocks "github.com/ipfs/go-block-format"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
	"github.com/muster-network/muster/store/storetest"
)

// stage is a submitter with a cast of members that say what a test lets them,
// in virtual time. What it does to disk and network stands in done, in order.
type stage struct {
	t     *testing.T
	n     *consensustest.Network
	s     *Submitter
	begun time.Time
	end   func() // of Run

	storetest.Memory
	mutex    sync.Mutex
	records  map[string][]byte
	done     []string
	watched  map[consensus.JobID]func(Heard)
	charters map[consensus.JobID]*consensus.Charter
	offers   []offer
	voids    map[consensus.JobID]int
	decided  []consensus.JobID
	known    map[consensus.RequestID]Acknowledged
	// answers is what a member says to an offer or a void; nil: nothing.
	answers func(word string, seat int) *Heard
	fail    error // of appends
}

// job is the job that a record is about.
func (r *record) job() consensus.JobID { return consensus.JobID(dagcbor.Sum(r.Offer.Charter.Bytes)) }

type offer struct {
	to    admission.Key
	job   consensus.JobID
	bytes []byte // of the charter
}

func newStage(t *testing.T) *stage {
	st := &stage{t: t, n: consensustest.New(6), begun: time.Now(), records: map[string][]byte{}, known: map[consensus.RequestID]Acknowledged{},
		answers: func(string, int) *Heard { return nil }}
	st.start()
	return st
}

// start runs a submitter on the records that there are.
func (st *stage) start() {
	st.t.Helper()
	st.watched, st.voids = map[consensus.JobID]func(Heard){}, map[consensus.JobID]int{}
	st.charters = map[consensus.JobID]*consensus.Charter{}
	me := st.n.Nodes[0]
	s, err := New(Config{Network: st.n.ID, Policy: st.n.Genesis.Policy, Signer: me, Credential: func() admission.SignedCredential { return me.Credential },
		Quorum: st, Store: st, Journal: tape{st},
		Roll: func(context.Context) (*consensus.Roll, dagcbor.Link, error) { return st.n.RollMade, st.n.RollLink, nil },
		Known: func(id consensus.RequestID) (Acknowledged, bool, error) {
			a, ok := st.known[id]
			return a, ok, nil
		},
		Decided: func(_ consensus.Offer, _ *consensus.Charter, job consensus.JobID, _ consensus.Conclusion) {
			st.mutex.Lock()
			defer st.mutex.Unlock()
			st.decided = append(st.decided, job)
		},
		Random: rand.NewChaCha8([32]byte{1}), Clock: st.now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		st.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	st.s, st.end = s, sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) && (st.fail == nil || !errors.Is(err, st.fail)) {
			st.t.Errorf("run ends with %v", err)
		}
	})
	st.t.Cleanup(st.end)
}

// restart takes up again what is on disk.
func (st *stage) restart() {
	st.t.Helper()
	st.end()
	st.offers, st.done = nil, nil
	st.start()
	if err := st.s.Recover(st.t.Context()); err != nil {
		st.t.Fatal(err)
	}
}

func (st *stage) now() int64 { return consensustest.Now + time.Since(st.begun).Milliseconds() }

func (st *stage) did(what string) { st.done = append(st.done, what) }

// Put implements store.Blocks.
func (st *stage) Put(ctx context.Context, blks ...blocks.Block) error {
	st.mutex.Lock()
	st.did("put")
	st.mutex.Unlock()
	return st.Memory.Put(ctx, blks...)
}

// Sync implements store.Blocks.
func (st *stage) Sync(context.Context) error {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	st.did("sync")
	return nil
}

// tape is a stage's journal.
type tape struct{ *stage }

// Append implements Journal. It takes a while, as disks do.
func (st tape) Append(ctx context.Context, entries ...journal.Entry) error {
	select {
	case <-time.After(2 * time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	st.mutex.Lock()
	defer st.mutex.Unlock()
	if st.fail != nil {
		return st.fail
	}
	for _, e := range entries {
		if e.Delete {
			delete(st.records, string(e.Key))
			st.did("delete")
			continue
		}
		st.records[string(e.Key)] = e.Value
		var r record
		if err := dagcbor.Unmarshal(e.Value, &r); err != nil {
			st.t.Error(err)
		}
		switch {
		case r.Acknowledged:
			st.did("record acknowledged")
		case r.Void:
			st.did("record void")
		default:
			st.did("record charter")
		}
	}
	return nil
}

// Get implements Journal.
func (st tape) Get(key []byte) ([]byte, error) {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	if value, ok := st.records[string(key)]; ok {
		return value, nil
	}
	return nil, journal.ErrNotFound
}

// Scan implements Journal.
func (st tape) Scan(prefix, _ []byte, fn func(key, value []byte) (bool, error)) error {
	st.mutex.Lock()
	records := maps.Clone(st.records)
	st.mutex.Unlock()
	for _, key := range slices.Sorted(maps.Keys(records)) {
		if !strings.HasPrefix(key, string(prefix)) {
			continue
		}
		if more, err := fn([]byte(key), records[key]); !more || err != nil {
			return err
		}
	}
	return nil
}

// Watch implements Quorum.
func (st *stage) Watch(job consensus.JobID, c *consensus.Charter, heard func(Heard)) {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	st.watched[job], st.charters[job] = heard, c
}

// Forget implements Quorum.
func (st *stage) Forget(job consensus.JobID) {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	delete(st.watched, job)
}

// Offer implements Quorum.
func (st *stage) Offer(_ context.Context, to admission.Key, job consensus.JobID, o consensus.Offer) error {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	st.did("offer")
	st.offers = append(st.offers, offer{to, job, o.Charter.Bytes})
	st.answer("offer", to, job)
	return nil
}

// Void implements Quorum.
func (st *stage) Void(_ context.Context, to admission.Key, job consensus.JobID) error {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	st.did("void")
	st.voids[job]++
	st.answer("void", to, job)
	return nil
}

// answer lets a member speak, a millisecond later.
func (st *stage) answer(word string, to admission.Key, job consensus.JobID) {
	seat, heard := st.charters[job].Place(to), st.watched[job]
	if h := st.answers(word, seat); h != nil && heard != nil {
		h.Seat = seat
		time.AfterFunc(time.Millisecond, func() { heard(*h) })
	}
}

// request is a job of four members under a key.
func (st *stage) request(key, arg string) Request {
	st.t.Helper()
	f := jobs.FileFor("cid:"+consensustest.Link("module").String(), []string{arg})
	f.Run.Quorum.Size = 4
	d := jobs.Defaults{Policy: st.n.Genesis.Policy}
	task, err := f.Task(consensustest.Link("module"), nil, nil, d)
	if err != nil {
		st.t.Fatal(err)
	}
	_, link, err := task.Seal(st.n.ID)
	if err != nil {
		st.t.Fatal(err)
	}
	spec, err := f.Spec(link, d)
	if err != nil {
		st.t.Fatal(err)
	}
	spec.Resources.Disk = 0 // of which the nodes here say nothing
	return Request{Key: key, Spec: spec, Task: task, Class: consensus.Portable}
}

// outline is done, each run of one word said once.
func (st *stage) outline() string {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	return strings.Join(slices.Compact(slices.Clone(st.done)), ", ")
}

// stored are the records on disk.
func (st *stage) stored() []record {
	st.t.Helper()
	var all []record
	if err := (tape{st}).Scan(prefix, nil, func(_, value []byte) (bool, error) {
		var r record
		err := dagcbor.Unmarshal(value, &r)
		all = append(all, r)
		return true, err
	}); err != nil {
		st.t.Fatal(err)
	}
	return all
}

func (st *stage) listening() int {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	return len(st.watched)
}

// settle lets time pass, and what is due by then be done.
func settle(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func code(err error) string {
	var p *jobs.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

func says(kind consensus.Kind) *Heard { return &Heard{Kind: kind} }

// play runs a test in virtual time.
func play(t *testing.T, test func(t *testing.T, st *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t)
		test(t, st)
		st.end()
	})
}

func TestNothingIsAcknowledgedBeforeFPlusOneStartsAreOnDisk(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		started := map[int]bool{0: true}
		st.answers = func(word string, seat int) *Heard {
			if word == "offer" && started[seat] {
				return says(consensus.KindStarted)
			}
			return says(consensus.KindAccept)
		}
		var got Acknowledged
		answer := make(chan error, 1)
		go func() {
			var err error
			got, err = st.s.Submit(t.Context(), st.request("key", "Ada"))
			answer <- err
		}()
		settle(time.Second)
		select {
		case err := <-answer:
			t.Fatalf("acknowledged on one start: %v", err)
		default:
		}
		if want := "put, sync, record charter, offer"; st.outline() != want {
			t.Errorf("did %s, want %s", st.outline(), want)
		}
		st.mutex.Lock()
		heard := st.watched[st.offers[0].job]
		st.mutex.Unlock()
		heard(Heard{Seat: 2, Kind: consensus.KindStarted})
		if err := <-answer; err != nil {
			t.Fatal(err)
		}
		all := st.stored()
		if len(all) != 1 || !all[0].Acknowledged || len(all[0].Started) != 2 || all[0].Started[0].Seat != 0 || all[0].Started[1].Seat != 2 {
			t.Errorf("on disk when the caller is told: %+v", all)
		}
		if got.Job != all[0].job() || got.Charter == nil || got.Charter.Request != got.Request {
			t.Errorf("told %+v", got)
		}
	})
}

func TestADecisionAcknowledges(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(_ string, seat int) *Heard {
			if seat == 1 {
				return &Heard{Ended: &consensus.Conclusion{}}
			}
			return nil
		}
		a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
		if err != nil || !slices.Equal(st.decided, []consensus.JobID{a.Job}) || st.listening() != 0 {
			t.Errorf("%v, told of %v, listens to %d", err, st.decided, st.listening())
		}
	})
}

func TestAnAppendThatFailsAcknowledgesNothingAndOffersNothing(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.fail = errors.New("disk full")
		if _, err := st.s.Submit(t.Context(), st.request("key", "Ada")); !errors.Is(err, st.fail) {
			t.Errorf("submit: %v", err)
		}
		if len(st.offers) != 0 {
			t.Error("offered what is not on disk")
		}
	})
}

func TestOneKeyIsOneJob(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(string, int) *Heard { return says(consensus.KindStarted) }
		answers := make(chan Acknowledged, 3)
		for range 3 {
			go func() {
				a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
				if err != nil {
					t.Error(err)
				}
				answers <- a
			}()
		}
		first := <-answers
		for range 2 {
			if a := <-answers; a.Job != first.Job {
				t.Errorf("job %s and %s under one key", a.Job, first.Job)
			}
		}
		offered := len(st.offers)
		if a, err := st.s.Submit(t.Context(), st.request("key", "Ada")); err != nil || a.Job != first.Job {
			t.Errorf("afterwards: %v, %v", a.Job, err)
		}
		if _, err := st.s.Submit(t.Context(), st.request("key", "Bob")); code(err) != jobs.CodeConflict {
			t.Errorf("another job under the same key: %v", err)
		}
		// The outcome is archived, and the record gone: the archive answers.
		if err := st.s.Forget(t.Context(), first.Request, first.Job); err != nil {
			t.Fatal(err)
		}
		st.known[first.Request] = first
		if a, err := st.s.Submit(t.Context(), st.request("key", "Ada")); err != nil || a.Job != first.Job {
			t.Errorf("from the archive: %v, %v", a.Job, err)
		}
		if len(st.offers) != offered {
			t.Error("it was offered again")
		}
		if a, err := st.s.Submit(t.Context(), st.request("another", "Ada")); err != nil || a.Job == first.Job {
			t.Errorf("under another key: %v", err)
		}
	})
}

func TestAJobThatIsRefusedIsWithdrawnOnDiskBeforeTheNextDraw(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(word string, seat int) *Heard {
			switch {
			case word == "void":
				return says(consensus.KindVoided)
			case seat < 2:
				return &Heard{Kind: consensus.KindRefuse, Reason: "busy: no room"}
			}
			return says(consensus.KindAccept)
		}
		_, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
		if code(err) != jobs.CodePlaceRefused || !strings.Contains(err.Error()+err.(*jobs.Problem).Why, "busy: no room") {
			t.Errorf("refused with %v", err)
		}
		want := "put, sync" + strings.Repeat(", record charter, offer, record void, void", attempts)
		if st.outline() != want {
			t.Errorf("did %s, want %s", st.outline(), want)
		}
		for job, n := range st.voids {
			if n != 2 {
				t.Errorf("%d members of %s were told, want those that did not refuse", n, job)
			}
		}
		if len(st.voids) != attempts {
			t.Errorf("%d draws", len(st.voids))
		}
	})
}

func TestAMemberThatHadStartedKeepsAWithdrawnJobAlive(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(word string, seat int) *Heard {
			switch {
			case word == "void" && seat > 1:
				return says(consensus.KindStarted)
			case seat < 2:
				return &Heard{Kind: consensus.KindRefuse, Reason: "busy"}
			}
			return nil
		}
		a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
		if all := st.stored(); err != nil || len(all) != 1 || !all[0].Acknowledged || all[0].job() != a.Job || len(st.voids) != 1 {
			t.Errorf("%v, on disk %+v", err, all)
		}
	})
}

func TestOfAJobThatNobodySpeaksOfTheFateIsUnknown(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		begun := st.now()
		_, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
		if code(err) != jobs.CodePlaceUnknown {
			t.Errorf("answered %v", err)
		}
		if took := st.now() - begun; took < attempts*st.n.Genesis.Policy.Accept {
			t.Errorf("given up after %d ms, before accept_by", took)
		}
		for job, n := range st.voids {
			if n != 4*voidTries {
				t.Errorf("%d voids of %s", n, job)
			}
		}
	})
}

func TestACallerThatGoesDoesNotEndTheSubmission(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		var may bool
		st.answers = func(string, int) *Heard {
			if may {
				return says(consensus.KindStarted)
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := st.s.Submit(ctx, st.request("key", "Ada")); code(err) != jobs.CodePlaceUnknown {
			t.Errorf("answered %v", err)
		}
		st.mutex.Lock()
		may = true
		st.mutex.Unlock()
		a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
		if err != nil || a.Job != st.offers[0].job {
			t.Errorf("asked again: %v, %v", a.Job, err)
		}
	})
}

func TestAfterACrashTheSameBytesAreOffered(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		go func() { _, _ = st.s.Submit(t.Context(), st.request("key", "Ada")) }()
		settle(time.Second)
		if _, err := st.s.Submit(t.Context(), st.request("key", "Bob")); code(err) != jobs.CodeConflict {
			t.Errorf("another job under the key of one on its way: %v", err)
		}
		before := st.offers[0]
		st.answers = func(string, int) *Heard { return says(consensus.KindStarted) }
		st.restart()
		settle(time.Second)
		if len(st.offers) != 4 || st.offers[0].job != before.job || !bytes.Equal(st.offers[0].bytes, before.bytes) {
			t.Fatalf("%d offers, the first of %s, before it was %s", len(st.offers), st.offers[0].job, before.job)
		}
		if a, err := st.s.Submit(t.Context(), st.request("key", "Ada")); err != nil || a.Job != before.job {
			t.Errorf("the caller asks again: %v, %v", a.Job, err)
		}
		// And once more: what was acknowledged is listened for, and no more.
		st.restart()
		settle(time.Second)
		if len(st.offers) != 0 || st.listening() != 1 {
			t.Errorf("%d offers, listens to %d", len(st.offers), st.listening())
		}
	})
}

func TestAWithdrawalIsTakenUpAfterACrashAndNotTakenBack(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		st.answers = func(_ string, seat int) *Heard {
			if seat < 2 {
				return &Heard{Kind: consensus.KindRefuse, Reason: "busy"}
			}
			return nil
		}
		go func() { _, _ = st.s.Submit(t.Context(), st.request("key", "Ada")) }()
		settle(20 * time.Millisecond) // it has begun to withdraw
		if all := st.stored(); len(all) != 1 || !all[0].Void {
			t.Fatalf("on disk: %+v", all)
		}
		st.answers = func(string, int) *Heard { return says(consensus.KindVoided) }
		st.restart()
		settle(time.Second)
		if len(st.offers) != 0 || len(st.voids) != 1 {
			t.Errorf("%d offers, voids of %d jobs", len(st.offers), len(st.voids))
		}
	})
}

func TestTheRecordOfARefusedSubmissionGoesWhenItsCharterHasLapsed(t *testing.T) {
	for name, rule := range map[string]struct {
		answers func(string, int) *Heard
		until   func(*consensus.Charter) int64
	}{
		"given up by q members, at accept_by": {func(word string, seat int) *Heard {
			if word == "void" {
				return says(consensus.KindVoided)
			}
			return &Heard{Kind: consensus.KindRefuse, Reason: "busy"}
		}, func(c *consensus.Charter) int64 { return c.AcceptBy }},
		"of unknown fate, at the deadline": {func(string, int) *Heard { return nil }, func(c *consensus.Charter) int64 { return c.Deadline }},
	} {
		for _, crashes := range []bool{false, true} {
			play(t, func(t *testing.T, st *stage) {
				st.answers = rule.answers
				if _, err := st.s.Submit(t.Context(), st.request("key", "Ada")); err == nil {
					t.Fatal("acknowledged")
				}
				all := st.stored()
				if len(all) != 1 {
					t.Fatalf("%s: %d records", name, len(all))
				}
				c, _, err := all[0].Offer.Charter.Open(st.n.ID)
				if err != nil {
					t.Fatal(err)
				}
				if crashes {
					st.restart()
				}
				settle(time.Duration(rule.until(c)-st.now()) * time.Millisecond)
				if len(st.stored()) != 1 {
					t.Errorf("%s, crashes %t: gone too soon", name, crashes)
				}
				settle(time.Minute)
				if all := st.stored(); len(all) != 0 || st.listening() != 0 {
					t.Errorf("%s, crashes %t: %d records are left, listens to %d", name, crashes, len(all), st.listening())
				}
			})
		}
	}
}

func TestALapsedCharterTakesNoOtherWithIt(t *testing.T) {
	play(t, func(t *testing.T, st *stage) {
		var may bool
		st.answers = func(word string, seat int) *Heard {
			switch {
			case may:
				return says(consensus.KindStarted)
			case word == "void":
				return says(consensus.KindVoided)
			}
			return &Heard{Kind: consensus.KindRefuse, Reason: "busy"}
		}
		if _, err := st.s.Submit(t.Context(), st.request("key", "Ada")); err == nil {
			t.Fatal("acknowledged")
		}
		may = true
		a, err := st.s.Submit(t.Context(), st.request("key", "Ada"))
		if err != nil {
			t.Fatal(err)
		}
		settle(2 * time.Hour)
		if all := st.stored(); len(all) != 1 || all[0].job() != a.Job || !all[0].Acknowledged || st.listening() != 1 {
			t.Errorf("on disk %+v, listens to %d", all, st.listening())
		}
	})
}
