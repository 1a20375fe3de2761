package member

import (
	"bytes"
	"strings"
	"testing"
)

// A program that turns to the other stream after each byte fills the chunks that
// it may have, and no more memory than one that writes at length.
func TestLogsAreBoundedInChunksAsInBytes(t *testing.T) {
	const limit = 1 << 16
	l := newLogs(limit)
	for range limit {
		for stream := range 2 {
			if n, err := l.writer(stream).Write([]byte{'x'}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
	}
	chunks, _, err := l.Next(t.Context(), 0, false)
	if most := 2 * (minChunks + limit/chunkCost); len(chunks) != most || err != nil {
		t.Errorf("%d chunks, want %d: %v", len(chunks), most, err)
	}
}

func TestLogsHoldAllThatTheLimitAllowsOfWhoWritesLines(t *testing.T) {
	const limit = 1 << 20
	l := newLogs(limit)
	line := []byte("a line of log\n")
	for range 2 * limit / len(line) {
		_, _ = l.writer(0).Write(line)
	}
	_, _ = l.writer(1).Write(bytes.Repeat([]byte{'y'}, MaxLogChunk+1))
	chunks, _, err := l.Next(t.Context(), 0, false)
	if err != nil {
		t.Fatal(err)
	}
	var written [2]strings.Builder
	for _, c := range chunks {
		if len(c.Data) == 0 || len(c.Data) > MaxLogChunk {
			t.Errorf("a chunk of %d bytes", len(c.Data))
		}
		if c.Stream == "stdout" {
			written[0].Write(c.Data)
		} else {
			written[1].Write(c.Data)
		}
	}
	if want := strings.Repeat(string(line), 2*limit/len(line))[:limit]; written[0].String() != want {
		t.Errorf("%d bytes of stdout, want %d", written[0].Len(), len(want))
	}
	if written[1].Len() != MaxLogChunk+1 {
		t.Errorf("%d bytes of stderr", written[1].Len())
	}
}

func TestWhatReadersOfLogsWereShownDoesNotChange(t *testing.T) {
	l := newLogs(100)
	write := func(stream int, words string) { _, _ = l.writer(stream).Write([]byte(words)) }
	next := func(at int) []LogChunk {
		chunks, _, err := l.Next(t.Context(), at, false)
		if err != nil {
			t.Fatal(err)
		}
		return chunks
	}
	write(0, "one ")
	write(0, "two ")
	first := next(0)
	if len(first) != 1 || string(first[0].Data) != "one two " {
		t.Fatalf("first %q", first)
	}
	write(0, "three")
	write(1, "four")
	write(0, "five")
	if second := next(1); len(second) != 3 || string(second[0].Data) != "three" || second[1].Stream != "stderr" || string(second[2].Data) != "five" {
		t.Errorf("then %q", second)
	}
	if string(first[0].Data) != "one two " {
		t.Errorf("the first is %q now", first)
	}
	l.Close()
	write(0, "six")
	if third, ended, _ := l.Next(t.Context(), 4, true); len(third) != 0 || !ended {
		t.Errorf("after the end %q", third)
	}
}

func TestAReaderGoesOnWhereEqualLengthsWereShownAndNowhereElse(t *testing.T) {
	l := newLogs(100)
	_, _ = l.writer(0).Write([]byte("one"))
	_, _ = l.writer(1).Write([]byte("three"))
	for at, lengths := range [][]LogLength{{{}}, {{Stdout: 3}}, {{Stdout: 3, Stderr: 5}}} {
		for _, have := range append(lengths, LogLength{Stdout: 2}, LogLength{Stdout: 3, Stderr: 4}) {
			if got, want := l.Holds(at, have), have == lengths[0]; got != want {
				t.Errorf("%+v in %d chunks: %v", have, at, got)
			}
		}
	}
	if l.Holds(3, LogLength{Stdout: 3, Stderr: 5}) {
		t.Error("more chunks than there are")
	}
	_, _ = l.writer(1).Write([]byte("!")) // after what was held to be shown, and not into it
	if chunks, _, err := l.Next(t.Context(), 2, false); err != nil || len(chunks) != 1 || string(chunks[0].Data) != "!" {
		t.Errorf("%q: %v", chunks, err)
	}
}
