package node

import (
	"testing"

	"github.com/muster-network/muster/jobs/member"
)

func TestAnAnswerHoldsAsMuchOfLogsAsFitsInto(t *testing.T) {
	for _, size := range []int{1, 40, 64 << 10, maxLogAnswer} {
		chunks := make([]member.LogChunk, 1<<20/size+4)
		for i := range chunks {
			chunks[i] = member.LogChunk{Stream: "stdout", Data: make([]byte, size)}
		}
		answers := 0
		for rest := chunks; len(rest) > 0; answers++ {
			page := logPage(rest)
			if len(page) == 0 {
				t.Fatal("an answer of nothing")
			}
			if data := encoded(t, logAnswer{Chunks: page}); len(data) > maxAnswer {
				t.Fatalf("%d chunks of %d bytes are an answer of %d", len(page), size, len(data))
			}
			if rest = rest[len(page):]; len(rest) > 0 && !mayBeCut(page) {
				t.Fatalf("an answer of %d chunks of %d bytes is taken for all", len(page), size)
			}
		}
		if most := len(chunks)*(size+logChunkCost)/maxLogAnswer + 5; answers > most {
			t.Errorf("%d answers for %d chunks of %d bytes, want at most %d", answers, len(chunks), size, most)
		}
	}
	if mayBeCut([]member.LogChunk{{Data: make([]byte, member.MaxLogChunk)}}) {
		t.Error("more is asked for than was written")
	}
}

func TestAMembersLogsAreNoLongerThanARunMayWrite(t *testing.T) {
	answer := func(stream string, sizes ...int) (a logAnswer) {
		for _, size := range sizes {
			a.Chunks = append(a.Chunks, member.LogChunk{Stream: stream, Data: make([]byte, size)})
		}
		return a
	}
	for name, test := range map[string]struct {
		answers []logAnswer
		good    bool
	}{
		"all that it may write": {[]logAnswer{answer("stdout", 60, 40), answer("stderr", 99), answer("stderr", 1), {}, {Ended: true}}, true},
		"more of one stream":    {[]logAnswer{answer("stderr", 60), answer("stderr", 41)}, false},
		"more of one unknown":   {[]logAnswer{answer("x", 60), answer("x", 41)}, false},
		"nothing, on and on":    {[]logAnswer{answer("stdout", 0)}, false},
	} {
		told := toldLogs{most: 100}
		var err error
		for _, a := range test.answers {
			if err = told.add(a); err != nil {
				break
			}
		}
		if (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
