package sim

import (
	"fmt"
	"strings"

	"github.com/muster-network/muster/consensus"
)

// trace is what happened: always as a hash, in words if wanted.
type trace struct {
	hash  uint64
	words bool
	text  strings.Builder
}

// note adds numbers to the hash (FNV-1a over words).
func (t *trace) note(numbers ...uint64) {
	for _, n := range numbers {
		t.hash = (t.hash ^ n) * 0x100000001b3
		t.hash ^= t.hash >> 29
	}
}

// logf adds a line, if words are wanted.
func (w *world) logf(format string, args ...any) {
	if w.trace.words {
		fmt.Fprintf(&w.trace.text, "%7d ", w.now-epoch)
		fmt.Fprintf(&w.trace.text, format+"\n", args...)
	}
}

// describe says what a message says.
func describe(m *mailed) string {
	var b strings.Builder
	if m.claim.Kind != 0 {
		fmt.Fprintf(&b, "%s", m.claim.Kind)
	} else {
		b.WriteString(noteName(m.claim.Note))
	}
	if m.claim.Kind.Slot() || acts(m.claim.Kind) {
		fmt.Fprintf(&b, " %d", m.claim.Round)
	}
	if !m.claim.Value.Zero() {
		fmt.Fprintf(&b, " %s", nameOf(m.claim.Value))
	}
	if p := m.claim.Payload; p != nil {
		if p.Set != nil {
			fmt.Fprintf(&b, " with the certificate of round %d", p.Set.Round)
		}
		if p.Report != nil {
			fmt.Fprintf(&b, " of run %d", p.Report.Run)
		}
		if len(p.Accepts) > 0 {
			fmt.Fprintf(&b, " %d", len(p.Accepts))
		}
	}
	return b.String()
}

func noteName(n consensus.Note) string {
	names := [...]string{"", "offer", "accepts", "beat", "evidence", "highest", "decided", "ask"}
	if int(n) < len(names) {
		return names[n]
	}
	return fmt.Sprintf("note %d", uint64(n))
}
