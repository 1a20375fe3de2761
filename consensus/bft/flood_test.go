package bft

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/muster-network/muster/consensus"
)

// I11: what a member holds of a peer is bounded, whatever that says and for how
// long: a liar says everything that a member may say, of any round and value.
func TestWhatAMemberHoldsOfAPeerDoesNotGrowWithWhatItSays(t *testing.T) {
	const flood, slack = 4_000, 2 << 10
	for name, m := range map[string]*Machine{
		"started":            started(t, consensus.Byzantine, 1),
		"majority":           started(t, consensus.Crash, 1),
		"with reserves":      lostSeat(t, 3),
		"not yet started":    New(testConfig(testCharter(consensus.Byzantine, 1, 1_000), 0)),
		"with its own value": started(t, consensus.Byzantine, 2),
		"with a check":       startedUnder(t, consensus.Endorsed),
	} {
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 1))
		bound := seed%2 == 0 // to one report, by its first ReportCommit
		from := len(m.cfg.Charter.Roster) - 1
		talk := func() {
			for range flood {
				if msg := anything(rng, m, from); bound || msg.Kind != consensus.KindReportCommit {
					m.Step(m.now+1, msg)
				}
			}
		}
		talk()
		before := sizeOf(m)
		talk()
		if after := sizeOf(m); after > before+slack {
			t.Errorf("seed %d, %s: holds %d bytes after %d messages, %d after twice as many", seed, name, before, flood, after)
		}
	}
}

// anything is a message that one party may say, as others would believe it.
func anything(rng *rand.Rand, m *Machine, from int) Message {
	var name [8]byte
	binary.BigEndian.PutUint64(name[:], rng.Uint64())
	v := result(string(name[:]))
	switch rng.IntN(3) {
	case 0:
		v = consensus.Value{Kind: consensus.Handover, Pairs: []consensus.Pair{{Seat: rng.Uint64N(4), Reserve: rng.Uint64N(2)}}}
	case 1:
		v = named([]string{"exit", "timeout", "host", "disagreement", "deadline", "rejected", "cancelled"}[rng.IntN(7)])
	}
	kinds := []consensus.Kind{consensus.KindAccept, consensus.KindRefuse, consensus.KindStarted, consensus.KindVoided, consensus.KindReportCommit,
		consensus.KindReport, consensus.KindPropose, consensus.KindPrepare, consensus.KindCommit, consensus.KindRoundChange, consensus.KindSuspect, consensus.KindEndorse, consensus.KindReject, 0}
	msg := Message{From: from, Kind: kinds[rng.IntN(len(kinds))], Round: rng.Uint32() >> rng.IntN(32), Value: mustHash(v)}
	report := consensus.Report{Run: 1 + rng.Uint64N(1<<20), Value: result(string(name[:]))}
	switch msg.Kind {
	case consensus.KindRefuse:
		msg.Payload = &consensus.Payload{Reason: string(make([]byte, rng.IntN(512)))}
	case consensus.KindReport:
		msg.Round, msg.Payload = 0, &consensus.Payload{Report: &report}
	case consensus.KindPropose:
		msg.Payload = &consensus.Payload{Value: &v}
	case consensus.KindSuspect:
		msg.Value = m.nameOf(rng.IntN(m.cfg.Charter.Parties()))
	case 0:
		msg.Note = []consensus.Note{consensus.NoteAlive, consensus.NoteAsk, consensus.NoteRunning, consensus.NoteEvidence}[rng.IntN(4)]
		msg.Payload = &consensus.Payload{Beat: &consensus.Beat{Run: rng.Uint64(), Running: rng.IntN(2) == 0},
			Reports: []consensus.SignedReport{{Seat: uint64(from), Report: report}}}
	}
	return msg
}

// sizeOf counts the bytes that can be reached from a machine, each once.
func sizeOf(m *Machine) int {
	seen := map[uintptr]bool{}
	var size func(v reflect.Value) int
	size = func(v reflect.Value) int {
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() || seen[v.Pointer()] {
				return 0
			}
			seen[v.Pointer()] = true
			return int(v.Type().Elem().Size()) + size(v.Elem())
		case reflect.Interface:
			if v.IsNil() {
				return 0
			}
			return int(v.Elem().Type().Size()) + size(v.Elem())
		case reflect.String:
			return v.Len()
		case reflect.Slice:
			if v.IsNil() || v.Cap() > 0 && seen[v.Pointer()] {
				return 0
			}
			seen[v.Pointer()] = true
			n := v.Cap() * int(v.Type().Elem().Size())
			for i := range v.Len() {
				n += size(v.Index(i))
			}
			return n
		case reflect.Array:
			n := 0
			for i := range v.Len() {
				n += size(v.Index(i))
			}
			return n
		case reflect.Map:
			n := 0
			for _, key := range v.MapKeys() {
				n += int(key.Type().Size()+v.Type().Elem().Size()) + size(key) + size(v.MapIndex(key))
			}
			return n
		case reflect.Struct:
			n := 0
			for i := range v.NumField() {
				n += size(v.Field(i))
			}
			return n
		}
		return 0
	}
	return size(reflect.ValueOf(m))
}
