package bft

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/muster-network/muster/consensus"
)

var update = flag.Bool("bft.update", false, "write what the scripts print into testdata")

// TestScripts plays the stories in testdata. A story is commands, each followed
// by a line of dashes and what it prints: what members say, what they want done.
//
//	quorum byzantine 1     members of a new job, f = 1
//	result 2 lie           the runs of seat 2 end in another result
//	result 2 -             ... or never
//	accept 0 1 2           these members accept
//	witness 3              this one will vote if it is shown q accepts
//	lose 3                 nothing reaches or leaves seat 3 any more
//	lose commit            no commit arrives, but for one's own
//	lose blocks            no blocks arrive
//	heal                   everything arrives again
//	settle                 deliver until nothing is on its way
//	pass 1000              let so many milliseconds pass, in steps of a beat
//	sleep 1000             let so many milliseconds pass in one step
//	resend                 every member says again what it stands for (not printed)
//	crash 2, restart 2     lose all but the records, come back from them
//	void 0, cancel 0       the submitter's Void, the owner's wish reaches seat 0
//	view 0                 what seat 0 shows to people
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playScript(t, string(data))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(data) {
				t.Errorf("the story goes differently (-bft.update writes it down):\n%s", got)
			}
		})
	}
}

// script is a quorum with a printer.
type script struct {
	*quorum
	t     *testing.T
	lossy map[string]bool
	shown int   // of said
	did   []int // by seat: of effects
}

func playScript(t *testing.T, text string) string {
	s := &script{t: t, lossy: map[string]bool{}}
	var out strings.Builder
	printed := false // what follows is what a command printed last time
	for _, line := range strings.Split(text, "\n") {
		switch {
		case line == "----":
			printed = true
		case line == "":
			printed = false
		case printed:
		case strings.HasPrefix(line, "#"):
			fmt.Fprintln(&out, line)
		default:
			fmt.Fprintln(&out, line)
			if got := s.command(strings.Fields(line)); got != "" {
				fmt.Fprintf(&out, "----\n%s\n", got)
			}
		}
	}
	return out.String()
}

func (s *script) command(words []string) string {
	switch words[0] {
	case "quorum":
		s.begin(words)
	case "result":
		s.setResult(s.seat(words[1]), words[2])
	case "accept":
		for _, word := range words[1:] {
			s.input(s.seat(word), AcceptJob{})
		}
	case "witness":
		s.input(s.seat(words[1]), Witnessed{})
	case "lose":
		s.lossy[words[1]] = true
		s.blocked = s.lossy["blocks"]
	case "heal":
		clear(s.lossy)
		s.blocked = false
	case "settle":
		s.settle()
	case "pass":
		for ms := s.seat(words[1]); ms > 0; ms -= 1_000 {
			s.pass(int64(min(ms, 1_000)))
		}
	case "sleep":
		s.pass(int64(s.seat(words[1])))
	case "resend":
		s.resend()
		s.shown = len(s.said) // it is what was said before
		s.settle()
	case "crash":
		s.machines[s.seat(words[1])] = nil
	case "restart":
		s.restart(s.t, s.seat(words[1]))
	case "void":
		s.input(s.seat(words[1]), SubmitterVoid{})
	case "cancel":
		s.input(s.seat(words[1]), CancelWish{})
	case "view":
		return s.view(s.machines[s.seat(words[1])].View())
	default:
		s.t.Fatalf("command %q", words)
	}
	return s.print()
}

func (s *script) seat(word string) int {
	n, err := strconv.Atoi(word)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *script) begin(words []string) {
	fault := consensus.Byzantine
	if words[1] == "crash" {
		fault = consensus.Crash
	}
	s.quorum = newQuorum(fault, uint64(s.seat(words[2])))
	s.did = make([]int, len(s.machines))
	s.lost = func(from, to int, out Outgoing) bool {
		return from != to && (s.lossy[strconv.Itoa(from)] || s.lossy[strconv.Itoa(to)] || s.lossy[title(out)])
	}
}

func (s *script) setResult(seat int, name string) {
	before := s.value
	s.value = func(other int) consensus.Value {
		switch {
		case other != seat:
			return before(other)
		case name == "-":
			return consensus.Value{}
		}
		return named(name)
	}
}

func title(out Outgoing) string {
	if out.Note == 0 {
		return out.Kind.String()
	}
	return [...]string{"", "offer", "accepts", "running", "evidence", "highest", "decided", "ask"}[out.Note]
}

// print writes what was said and asked since the last command. Beats are left
// out: they would drown the story.
func (s *script) print() string {
	var b strings.Builder
	for ; s.shown < len(s.said); s.shown++ {
		out := s.said[s.shown]
		if out.Note == consensus.NoteRunning {
			continue
		}
		fmt.Fprintf(&b, "%d says %s", s.speaker[s.shown], title(out))
		if out.Kind.Slot() {
			fmt.Fprintf(&b, " in round %d", out.Round)
		}
		if name := s.name(out); name != "" {
			fmt.Fprintf(&b, ": %s", name)
		}
		switch {
		case out.To != nil && len(out.To) == 0:
			b.WriteString(", to the submitter")
		case out.To != nil:
			fmt.Fprintf(&b, ", to %v", out.To)
		}
		b.WriteString("\n")
	}
	for seat, effects := range s.effects {
		for ; s.did[seat] < len(effects); s.did[seat]++ {
			fmt.Fprintf(&b, "%d wants %s\n", seat, effect(effects[s.did[seat]]))
		}
	}
	return b.String()
}

// name says which value a message is about, and what rides along.
func (s *script) name(out Outgoing) string {
	p := out.Payload
	switch {
	case out.Kind == consensus.KindReport:
		return plain(p.Report.Value)
	case out.Kind == consensus.KindRoundChange && p != nil, out.Note == consensus.NoteHighest:
		return fmt.Sprintf("certificate of round %d for %s", p.Set.Round, plain(*p.Value))
	case out.Kind == consensus.KindPropose && p.Set != nil:
		return fmt.Sprintf("%s, with the certificate of round %d", plain(*p.Value), p.Set.Round)
	case out.Kind == consensus.KindPropose && p.Void != nil:
		return fmt.Sprintf("%s, with the submitter's void", plain(*p.Value))
	case out.Kind == consensus.KindPropose:
		return fmt.Sprintf("%s, with %d reports", plain(*p.Value), len(p.Reports))
	case out.Note == consensus.NoteAccepts:
		return fmt.Sprint(len(p.Accepts))
	case out.Kind.Slot() || out.Note == consensus.NoteDecided || out.Note == consensus.NoteEvidence:
		for _, short := range []string{"truth", "lie", "other", "exit", "timeout", "host", "disagreement", "deadline", "cancelled"} {
			if mustHash(named(short)) == out.Value {
				return short
			}
		}
	}
	return ""
}

func plain(v consensus.Value) string {
	for _, short := range []string{"truth", "lie", "other"} {
		if mustHash(named(short)) == mustHash(v) {
			return short
		}
	}
	return v.String()
}

func effect(e Effect) string {
	switch e := e.(type) {
	case Execute:
		return fmt.Sprintf("run %d", e.Run)
	case Fetch:
		return fmt.Sprintf("the blocks of %s from %v", plain(e.Value), e.From)
	case Decided:
		return fmt.Sprintf("the decision told: %s, in round %d", plain(e.Outcome.Value), e.Outcome.Commits.Round)
	case StartedJob:
		return "the start told"
	case Abandon:
		return "its place in the queue given up"
	case Expire:
		return "all of it forgotten"
	}
	return fmt.Sprintf("%T", e)
}

func (s *script) view(v View) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, round %d, waiting for %v\n", v.Phase, v.Round, v.Waiting)
	for seat, sv := range v.Seats {
		fmt.Fprintf(&b, "  %d %s", seat, sv.Role)
		for _, word := range []struct {
			is   bool
			name string
		}{{sv.Activated, "called"}, {sv.Accepted, "accepted"}, {sv.Started, "started"}, {sv.Committed, "bound"}, {sv.Disagrees, "disagrees"}} {
			if word.is {
				fmt.Fprintf(&b, ", %s", word.name)
			}
		}
		if sv.Why != "" {
			fmt.Fprintf(&b, " (%s)", sv.Why)
		}
		b.WriteString("\n")
	}
	return b.String()
}
