package bft

import (
	"errors"
	"fmt"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/store/dagcbor"
)

// The kinds of records.
const (
	RecordAccept  RecordKind = 1  // this member accepted
	RecordWitness RecordKind = 2  // it was shown q accepts
	RecordStarted RecordKind = 3  // those accepts: [vote]
	RecordVoid    RecordKind = 4  // consensus.Void: the submitter withdrew the job
	RecordCancel  RecordKind = 5  // consensus.Cancel
	RecordRun     RecordKind = 6  // the number of an own run that begins
	RecordReport  RecordKind = 7  // consensus.Report: the own one; its tree is durable
	RecordHeld    RecordKind = 8  // the hash of a value whose blocks are durable
	RecordLock    RecordKind = 9  // the certificate locked on
	RecordSlot    RecordKind = 10 // an own statement, exactly
	RecordDecided RecordKind = 11 // consensus.Decision: the outcome

	RecordHandover RecordKind = 12 // consensus.Decision: what follows belongs to the next height
	RecordSuspect  RecordKind = 13 // a party that this member suspects

	RecordGrant  RecordKind = 14 // a run that this member granted, and to whom
	RecordBegun  RecordKind = 15 // an own run that was granted and begins, with q grants
	RecordEnded  RecordKind = 16 // the number up to which own runs are over
	RecordClosed RecordKind = 17 // this member grants nothing more at this height

	RecordFound RecordKind = 18 // an own verdict on what another reported
)

// mark is the body of a record whose kind says all.
type mark struct {
	_ struct{} `cbor:",toarray"`
}

// slot is an own statement that is made once.
type slot struct {
	_       struct{} `cbor:",toarray"`
	Kind    consensus.Kind
	Round   uint32
	Value   consensus.Hash
	Payload *consensus.Payload
}

type lockRecord struct {
	_     struct{} `cbor:",toarray"`
	Value consensus.Value
	Set   consensus.VoteSet
}

// errJournal is returned for records that no machine wrote in this order.
var errJournal = errors.New("records contradict each other")

// Restore rebuilds a machine from the records that were durable, oldest first.
// The Ready holds what must be said and done again. What others had said is not
// on disk: the caller asks every member for it (NoteAsk).
func Restore(cfg Config, records []Record, now int64) (*Machine, Ready, error) {
	m := New(cfg)
	m.now = now
	for i, r := range records {
		if err := m.replay(r); err != nil {
			return nil, Ready{}, fmt.Errorf("record %d of job %s: %w", i, cfg.Job, err)
		}
	}
	m.resume()
	return m, m.flush(), nil
}

func (m *Machine) replay(r Record) error {
	switch r.Kind {
	case RecordAccept, RecordWitness:
		if err := dagcbor.Unmarshal(r.Data, &mark{}); err != nil {
			return err
		}
		m.entry.accepted = m.entry.accepted || r.Kind == RecordAccept
		m.entry.witnessed = m.entry.witnessed || r.Kind == RecordWitness
		return nil
	case RecordVoid:
		m.entry.void, m.entry.voided = new(consensus.Void), m.entry.started == nil
		return dagcbor.Unmarshal(r.Data, m.entry.void)
	case RecordStarted:
		return m.replayStarted(r.Data)
	case RecordRun, RecordReport, RecordHeld:
		return m.replayRun(r)
	case RecordLock, RecordSlot:
		return m.replayVote(r)
	case RecordFound:
		return m.replayFound(r.Data)
	case RecordCancel:
		m.evidence.cancel = new(consensus.Cancel)
		return dagcbor.Unmarshal(r.Data, m.evidence.cancel)
	case RecordDecided, RecordHandover, RecordSuspect:
		return m.replayHeight(r)
	case RecordGrant, RecordBegun, RecordEnded, RecordClosed:
		return m.replayTurn(r)
	}
	return fmt.Errorf("kind %d: %w", r.Kind, consensus.ErrUnsupported)
}

func (m *Machine) replayStarted(data []byte) error {
	var votes []consensus.Vote
	if err := dagcbor.Unmarshal(data, &votes); err != nil {
		return err
	}
	if len(votes) != m.t.Quorum {
		return fmt.Errorf("%d accepts, it takes %d: %w", len(votes), m.t.Quorum, errJournal)
	}
	for _, v := range votes {
		if v.Seat >= uint64(m.t.N) {
			return fmt.Errorf("seat %d: %w", v.Seat, errJournal)
		}
		m.hold(int(v.Seat), v.Proof)
	}
	m.entry.started = votes
	return nil
}

func (m *Machine) replayRun(r Record) error {
	switch r.Kind {
	case RecordRun:
		return dagcbor.Unmarshal(r.Data, &m.runs.run)
	case RecordHeld:
		var hash consensus.Hash
		err := dagcbor.Unmarshal(r.Data, &hash)
		m.evidence.held = append(m.evidence.held, hash)
		return err
	}
	var report consensus.Report
	if err := dagcbor.Unmarshal(r.Data, &report); err != nil {
		return err
	}
	if err := report.Validate(); err != nil {
		return err
	}
	m.keepReport(&report)
	return nil
}

func (m *Machine) replayHeight(r Record) error {
	if r.Kind == RecordSuspect {
		var s suspicion
		if err := dagcbor.Unmarshal(r.Data, &s); err != nil {
			return err
		}
		if s.Height != m.at.Number || s.Party >= uint64(len(m.watch.parties)) {
			return fmt.Errorf("suspicion of party %d at height %d: %w", s.Party, s.Height, errJournal)
		}
		m.watch.parties[s.Party].suspected, m.watch.parties[s.Party].noted = true, true
		return nil
	}
	var d consensus.Decision
	if err := dagcbor.Unmarshal(r.Data, &d); err != nil {
		return err
	}
	if d.Height != m.at.Number {
		return fmt.Errorf("decision of height %d at height %d: %w", d.Height, m.at.Number, errJournal)
	}
	if r.Kind == RecordDecided {
		m.decision = &d
		return d.Value.Validate()
	}
	next, err := m.at.Next(d.Value)
	if err != nil {
		return err
	}
	m.chain = append(m.chain, d)
	m.begin(next)
	return nil
}

func (m *Machine) replayVote(r Record) error {
	if r.Kind == RecordLock {
		var l lockRecord
		if err := dagcbor.Unmarshal(r.Data, &l); err != nil {
			return err
		}
		if lock := m.rounds.lock; lock != nil && l.Set.Round <= lock.set.Round {
			return fmt.Errorf("a lock that does not advance: %w", errJournal)
		}
		m.rounds.lock = &certificate{l.Value, l.Set}
		m.learn(m.rounds.lock)
		return l.Value.Validate()
	}
	var s slot
	if err := dagcbor.Unmarshal(r.Data, &s); err != nil {
		return err
	}
	if s.Kind == consensus.KindRoundChange && s.Round > m.rounds.round && s.Round <= lastRound {
		m.rounds.move(s.Round, m.t.N)
		m.rounds.own = nil
	}
	if !s.Kind.Slot() || s.Round != m.rounds.round || m.rounds.said(s.Kind) {
		return fmt.Errorf("%s of round %d in round %d: %w", s.Kind, s.Round, m.rounds.round, errJournal)
	}
	m.rounds.own = append(m.rounds.own, s)
	m.learn(certificateOf(s.Payload))
	return nil
}

// resume says and does again what follows from the records. A run that left no
// report is gone: the next one begins.
func (m *Machine) resume() {
	if len(m.chain) > 0 {
		m.do(Reached{Height: m.at}) // also of a job that is decided: who archives it has to know of whom
	}
	if m.decision != nil {
		m.tellDecided(func(int) bool { return false })
		return
	}
	m.evidence.news, m.rounds.since = true, m.now
	m.resumeTurns()
	m.ready.Say = m.statements(nil)
	if m.entry.voided {
		m.say(Outgoing{To: []int{}, Submitter: true, Kind: consensus.KindVoided})
	}
	if m.entry.started != nil {
		m.listen()
	}
	if m.acts() {
		m.do(StartedJob{})
		if m.isRunning() && !m.hasEffects() {
			m.beginRun()
		}
	}
	m.advance()
}
