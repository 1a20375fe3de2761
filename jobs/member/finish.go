package member

import (
	"context"
	"errors"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
)

// Started is told when q members have accepted.
func (m *Member) Started(id consensus.JobID) {
	m.setIdle(id, false)
	m.cfg.Events.Tell(Event{Type: "started", Job: id})
}

// Reached is told when members were replaced: a node that lost its seat runs
// nothing any more. A reserve that was not needed may be by the next height.
func (m *Member) Reached(id consensus.JobID, at consensus.Height) {
	j, ok := m.job(id)
	if !ok {
		return
	}
	seated := at.SeatOf(j.self) >= 0
	m.mutex.Lock()
	if at.Number <= j.at.Number { // a reserve that came late opened the job at a later height
		m.mutex.Unlock()
		return
	}
	lost := j.at.SeatOf(j.self) >= 0 && !seated
	j.at, j.idle = at, !seated
	m.mutex.Unlock()
	if lost {
		m.stopRuns(j)
	}
	last := at.Replaced[len(at.Replaced)-1]
	m.cfg.Events.Tell(Event{Type: "replaced", Job: id, Data: map[string]any{"height": at.Number,
		"member": at.Charter.Party(last.Out).Peer.String(), "by": at.Charter.Party(last.In).Peer.String()}})
}

// Decided puts an outcome away: the certificate and what the seats did take the
// place of everything that was kept while the job was open: records are the keys
// under which agreement kept what is not needed any more.
func (m *Member) Decided(id consensus.JobID, ended consensus.Conclusion, standing Standing, records [][]byte) {
	m.work.Add(func(ctx context.Context) {
		if err := m.finish(ctx, id, ended, standing, records); err != nil && ctx.Err() == nil {
			m.cfg.Log.Error("outcome not archived", "job", id, "error", err)
		}
	})
}

func (m *Member) finish(ctx context.Context, id consensus.JobID, ended consensus.Conclusion, standing Standing, records [][]byte) error {
	j, ok := m.leave(id)
	if !ok {
		return nil
	}
	defer m.stay(j)
	m.stopRuns(j)
	certificate, err := m.certificate(ctx, j, ended)
	if err != nil {
		return err
	}
	closed := &Closed{Certificate: certificate, Finished: m.cfg.Clock(), Name: j.spec.Name, Labels: j.spec.Labels,
		Tasks: uint64(j.task.Tasks()), Seats: []Seat{}}
	for _, seat := range standing.Seats {
		s := Seat{Role: seat.Role, Activated: seat.Activated, Accepted: seat.Accepted,
			Started: seat.Started, Report: seat.Report, Disagrees: seat.Disagrees, Prepared: seat.Prepared, Use: seat.Use}
		if seat.Endorsed+seat.Rejected > 0 {
			s.Checked = &Verdicts{Endorsed: uint64(seat.Endorsed), Rejected: uint64(seat.Rejected)}
		}
		closed.Seats = append(closed.Seats, s)
	}
	value := ended.Outcome.Value
	state := jobs.StateOf(value)
	entries, err := closed.entries(id, j.charter, state)
	if err != nil {
		return err
	}
	// One by one: a range's deletion would slow every look-up until it is
	// compacted away.
	for _, key := range records {
		entries = append(entries, journal.Entry{Key: key, Delete: true})
	}
	entries = append(entries, journal.Entry{Key: keyOf(prefixOpen, id), Delete: true})
	entries = append(entries, j.checkpoints.close(id)...)
	m.mutex.Lock()
	at := j.at
	m.mutex.Unlock()
	kept, settled := m.cfg.Events.Keep(Event{Type: string(state), Job: id, Data: map[string]any{"outcome": value.String(), "name": j.spec.Name},
		End: &End{Height: at, Outcome: ended.Outcome, Closed: closed}})
	if err := m.cfg.Journal.Append(ctx, append(entries, kept...)...); err != nil {
		settled(err)
		return err
	}
	m.mutex.Lock()
	delete(m.open, id)
	m.mutex.Unlock()
	m.ended(id)
	j.logs.Close()
	settled(nil)
	m.dropCheckpoints(ctx, j)
	m.replicate(j, value)
	m.accuse(ctx, j, certificate)
	return nil
}

// replicate fetches what is not here of the result of a job that was decided without
// this member: the quorum is what keeps it. That its root is here says nothing of the
// rest, and a tree that is whole is asked of nobody.
func (m *Member) replicate(j *job, v consensus.Value) {
	if v.Tree == nil {
		return
	}
	others := m.others(j)
	m.tasks.Add(func(ctx context.Context) {
		if err := m.cfg.Fetcher.Fetch(ctx, v.Tree.Cid, others, int64(j.charter.Limits.Output)); err != nil && ctx.Err() == nil {
			m.cfg.Log.Warn("result not replicated", "job", j.id, "error", err)
		}
	})
}

func (m *Member) others(j *job) []admission.Key {
	m.mutex.Lock()
	at := j.at
	m.mutex.Unlock()
	var out []admission.Key
	for _, seat := range at.Roster() {
		if seat.Peer != m.cfg.Self {
			out = append(out, seat.Peer)
		}
	}
	return out
}

// certificate assembles the file that anyone can check: the signers'
// credentials are those of the roll that the roster was drawn from.
func (m *Member) certificate(ctx context.Context, j *job, ended consensus.Conclusion) ([]byte, error) {
	roll, err := m.roll(ctx, j.charter.Roll, offered{from: j.charter.Submitter})
	if err != nil {
		return nil, err
	}
	c, err := consensus.Assemble(j.offer.Charter, j.charter, j.offer.Known(roll), ended.Chain, ended.Outcome)
	if err != nil {
		return nil, err
	}
	return c.Encode()
}

// Closed returns how a job ended, if it is known here. A job
// that is just being looked at is not: the archive is asked once for it, there.
func (m *Member) Closed(id consensus.JobID) (consensus.Conclusion, bool) {
	m.mutex.Lock()
	coming := m.intake[id] != nil && !m.intake[id].opened
	m.mutex.Unlock()
	if coming {
		return consensus.Conclusion{}, false
	}
	return m.archived(id)
}

func (m *Member) archived(id consensus.JobID) (consensus.Conclusion, bool) {
	closed, ok, err := (Archive{m.cfg.Journal}).Closed(id)
	if err != nil || !ok {
		return consensus.Conclusion{}, false
	}
	var c consensus.Certificate
	if err := dagcbor.Unmarshal(closed.Certificate, &c); err != nil {
		m.cfg.Log.Error("archive is damaged", "job", id, "error", err)
		return consensus.Conclusion{}, false
	}
	return consensus.Conclusion{Chain: c.Chain, Outcome: c.Outcome}, true
}

// ErrOpen is returned for a job that is open here, whether it has its place or gave
// that up: its own machine comes to its end and archives it, or forgets it.
var ErrOpen = errors.New("the job is open here, and its end not archived yet")

// Archived reports whether the end of a job is on disk here. An open job's is not:
// ErrOpen. Await tells when it is.
func (m *Member) Archived(id consensus.JobID) (bool, error) {
	_, open := m.job(id) // first: it leaves when its end is on disk
	if _, ok, err := (Archive{m.cfg.Journal}).Closed(id); ok || err != nil {
		return ok, err
	}
	if open {
		return false, ErrOpen
	}
	return false, nil
}

// Keep archives what is kept of a job that was submitted here and ended elsewhere.
// The certificate was verified, and verdict is its verdict. Of an open job it keeps
// nothing: ErrOpen.
func (m *Member) Keep(ctx context.Context, verdict consensus.Verdict, closed Closed) error {
	if archived, err := m.Archived(verdict.Job); archived || err != nil {
		return err
	}
	entries, err := m.told(&closed, verdict)
	if err != nil {
		return err
	}
	if err := m.cfg.Journal.Append(ctx, entries...); err != nil {
		return err
	}
	m.ended(verdict.Job)
	return nil
}

// ended wakes everybody who waits for a job.
func (m *Member) ended(id consensus.JobID) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for _, waiter := range m.waiters[id] {
		close(waiter)
	}
	delete(m.waiters, id)
}

// Await returns a channel that is closed when the job is archived here, and
// what to call when nobody waits any more.
func (m *Member) Await(id consensus.JobID) (<-chan struct{}, func()) {
	waiter := make(chan struct{})
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.waiters[id] = append(m.waiters[id], waiter)
	return waiter, func() {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		m.waiters[id] = slices.DeleteFunc(m.waiters[id], func(c chan struct{}) bool { return c == waiter })
		if len(m.waiters[id]) == 0 {
			delete(m.waiters, id)
		}
	}
}

// Open returns the jobs that are open on this node, but for those that gave up
// their place.
func (m *Member) Open() []OpenJob {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	out := make([]OpenJob, 0, len(m.open))
	for _, j := range m.open {
		if !j.idle {
			out = append(out, j.show())
		}
	}
	return out
}

// OpenJob is an open job as this member stores it.
type OpenJob struct {
	ID      consensus.JobID
	Charter *consensus.Charter
	Signed  consensus.SignedCharter
	Height  consensus.Height // who the members are
	Spec    *jobs.Spec
	Task    *jobs.Task
	Logs    *Logs
}

func (j *job) show() OpenJob {
	return OpenJob{ID: j.id, Charter: j.charter, Signed: j.offer.Charter, Height: j.at, Spec: j.spec, Task: j.task, Logs: j.logs}
}

// Job returns one open job that has its place.
func (m *Member) Job(id consensus.JobID) (OpenJob, bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	j, ok := m.open[id]
	if !ok || j.idle {
		return OpenJob{}, false
	}
	return j.show(), true
}
